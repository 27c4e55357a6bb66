package aiproxy_test

import (
	"encoding/json"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// aiLog is what a log has of calls of models, by the plugin that made them.
type aiLog map[string]struct {
	Meta    map[string]any
	Usage   map[string]float64
	Payload map[string]string
}

// kind is a plugin that keeps what a log plugin would write.
func (l *aiLog) kind(t *testing.T) gateway.Plugin {
	return gateway.Plugin{Name: "keep-log", Priority: 9, Config: &schema.Field{}, New: func(schema.Record, gateway.Env) (any, error) {
		return keeper{t, l}, nil
	}}
}

type keeper struct {
	t *testing.T
	l *aiLog
}

// Log implements gateway.Logger.
func (k keeper) Log(x *gateway.Exchange) {
	var r struct{ AI aiLog }
	if err := json.Unmarshal(record.Append(nil, x), &r); err != nil {
		k.t.Error(err)
	}
	*k.l = r.AI
}

func TestNotes(t *testing.T) {
	s := newStub(t)
	on := func(statistics, payloads bool) schema.Record {
		return schema.Record{"logging": schema.Record{"log_statistics": statistics, "log_payloads": payloads}, "model.options.input_cost": 10.0, "model.options.output_cost": 20.0}
	}
	const used = `{"messages":[{"role":"user","content":"used it all"}]}`
	for name, c := range map[string]struct {
		edits             schema.Record
		plugin, body      string
		prompt, cost      float64
		request, response string
		calls             int
	}{
		"nothing":     {on(false, false), "ai-proxy", used, 0, 0, "", "", 0},
		"statistics":  {on(true, false), "ai-proxy", used, 25, 0.00049, "", "", 1},
		"payloads":    {on(false, true), "ai-proxy", used, 0, 0, used, usedAnswer, 1},
		"both":        {on(true, true), "ai-proxy", used, 25, 0.00049, used, usedAnswer, 1},
		"transformer": {on(true, true), "ai-request-transformer", "used", 25, 0.00049, "used", usedAnswer, 1},
		"refused":     {on(true, true), "ai-proxy", "{", 0, 0, "", "", 0},
	} {
		var log aiLog
		config, as := s.llm(c.edits), "proxy"
		if c.plugin != "ai-proxy" {
			config, as = schema.Record{"prompt": "p", "llm": config}, c.plugin
		}
		g := newGateway(t, c.plugin, config, log.kind(t))
		gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Body: c.body, Header: []string{"Content-Type", "application/json"}})
		l := log[as]
		if len(log) != c.calls || l.Usage["prompt_tokens"] != c.prompt || l.Usage["cost"] != c.cost || l.Payload["request"] != c.request || l.Payload["response"] != c.response {
			t.Errorf("%s: %+v", name, log)
		}
		if c.prompt > 0 && (l.Meta["provider_name"] != "openai" || l.Meta["request_model"] != "m1" || l.Meta["response_model"] != "m1-0613" || l.Meta["plugin_id"] == "" || l.Usage["total_tokens"] != 37) {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// TestEstimate counts the tokens of a stream whose provider does not.
func TestEstimate(t *testing.T) {
	s := newStub(t)
	close(s.more)
	var log aiLog
	g := newGateway(t, "ai-proxy", s.llm(schema.Record{"logging": schema.Record{"log_statistics": true}}), log.kind(t))
	got := gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Body: `{"messages":[{"role":"user","content":"one two three"}],"stream":true}`, Header: []string{"Content-Type", "application/json"}})
	if got.Body != "data: one\n\ndata: [DONE]\n\n" || log["proxy"].Usage["prompt_tokens"] != 5 || log["proxy"].Usage["completion_tokens"] != 0 {
		t.Errorf("%q %+v", got.Body, log)
	}
}
