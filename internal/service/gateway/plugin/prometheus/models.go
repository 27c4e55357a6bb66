package prometheus

import (
	"sync"

	prom "github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/modeluse"
)

// models counts what language models are asked.
type models struct {
	requests, cost, tokens *prom.CounterVec
	latency                *prom.HistogramVec

	mu     *sync.RWMutex
	series map[modelKey]*modelSeries
}

type modelKey struct{ provider, model string }

// modelSeries is where the calls of one model are counted.
type modelSeries struct {
	requests, cost, prompt, completion, total prom.Counter
	latency                                   prom.Observer
}

// maxModels bounds the models that are told apart: a request may name one.
const maxModels = 1000

var modelBuckets = []float64{250, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000, 10000, 30000, 60000}

// newModels describes the metrics. Those of caches and vector databases are labels without
// a value: no plugin here has them.
func newModels(counter func(name, help string, labels ...string) *prom.CounterVec,
	histogram func(name, help string, buckets []float64, labels ...string) *prom.HistogramVec) models {
	of := []string{"ai_provider", "ai_model", "cache_status", "vector_db", "embeddings_provider", "embeddings_model", "workspace"}
	tokens := append(of[:6:6], "token_type", "workspace")
	return models{
		requests: counter("ai_llm_requests_total", "AI requests total per ai_provider in Kong", of...),
		cost:     counter("ai_llm_cost_total", "AI requests cost per ai_provider/cache in Kong", of...),
		tokens:   counter("ai_llm_tokens_total", "AI tokens total per ai_provider/cache in Kong", tokens...),
		latency:  histogram("ai_llm_provider_latency_ms", "AI latencies per ai_provider in Kong", modelBuckets, of...),
		mu:       new(sync.RWMutex), series: map[modelKey]*modelSeries{},
	}
}

func (m *models) vectors() []prom.Collector {
	return []prom.Collector{m.requests, m.cost, m.tokens, m.latency}
}

// count counts calls whose statistics are wanted; false where there are too many models.
func (m *models) count(uses []*modeluse.Use) (counted bool) {
	counted = true
	for _, u := range uses {
		if !u.Statistics {
			continue
		}
		s := m.of(modelKey{u.Provider, u.Model})
		if s == nil {
			counted = false
			continue
		}
		s.requests.Inc()
		add := func(c prom.Counter, v float64) {
			if v > 0 { // providers are not believed that it is
				c.Add(v)
			}
		}
		add(s.cost, u.Cost)
		add(s.prompt, float64(u.Prompt))
		add(s.completion, float64(u.Completion))
		add(s.total, float64(u.Total))
		if ms := u.Latency.Milliseconds(); ms > 0 {
			s.latency.Observe(float64(ms))
		}
	}
	return counted
}

// of returns the series of a model; nil where there are too many.
func (m *models) of(k modelKey) *modelSeries {
	m.mu.RLock()
	s := m.series[k]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.series[k]; s != nil || len(m.series) >= maxModels {
		return s
	}
	labels := []string{k.provider, k.model, "", "", "", "", gateway.Workspace}
	token := func(kind string) prom.Counter {
		return m.tokens.WithLabelValues(k.provider, k.model, "", "", "", "", kind, gateway.Workspace)
	}
	s = &modelSeries{m.requests.WithLabelValues(labels...), m.cost.WithLabelValues(labels...),
		token("prompt_tokens"), token("completion_tokens"), token("total_tokens"), m.latency.WithLabelValues(labels...)}
	m.series[k] = s
	return s
}
