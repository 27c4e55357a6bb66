package modeluse

import (
	"encoding/json"
	"math"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// Use is one call of a model.
type Use struct {
	Plugin   string // what the log has it under: proxy, or the name of a transformer
	PluginID string
	Provider string
	Model    string // that was asked
	Answered string // the model that answered, as the provider calls it
	Latency  time.Duration

	Prompt, Completion, Total int     // tokens
	Cost                      float64 // by the configured prices

	Statistics        bool    // all of the above goes into logs and metrics
	Request, Response *string // what was said; nil: it does not go into logs
}

// Tokens sets the tokens, and what they cost by prices for a million of them.
func (u *Use) Tokens(prompt, completion, total int, input, output float64) {
	if total == 0 {
		total = prompt + completion
	}
	u.Prompt, u.Completion, u.Total = prompt, completion, total
	if input > 0 && output > 0 {
		u.Cost = (float64(prompt)*input + float64(completion)*output) / 1e6
	}
}

type key struct{}

// uses are those of an exchange.
type uses struct{ all []*Use }

// Add makes a use one of the exchange. It may be completed until the log phase.
func Add(x *gateway.Exchange, u *Use) {
	in, _ := x.Value(key{}).(*uses)
	if in == nil {
		in = &uses{}
		x.Put(key{}, in)
	}
	in.all = append(in.all, u)
}

// Of returns the uses of an exchange, in the order they began.
func Of(x *gateway.Exchange) []*Use {
	in, _ := x.Value(key{}).(*uses)
	if in == nil {
		return nil
	}
	return in.all
}

// The object that Kong's log has for a use.
type logged struct {
	Meta    *meta    `json:"meta,omitempty"`
	Usage   *usage   `json:"usage,omitempty"`
	Payload *payload `json:"payload,omitempty"`
}

type meta struct {
	PluginID      string `json:"plugin_id"`
	ProviderName  string `json:"provider_name"`
	RequestModel  string `json:"request_model"`
	ResponseModel string `json:"response_model"`
	LLMLatency    int64  `json:"llm_latency"`
}

type usage struct {
	TimePerToken     float64 `json:"time_per_token"`
	PromptTokens     int     `json:"prompt_tokens"`
	CompletionTokens int     `json:"completion_tokens"`
	TotalTokens      int     `json:"total_tokens"`
	Cost             float64 `json:"cost"`
}

type payload struct {
	Request  *string `json:"request,omitempty"`
	Response *string `json:"response,omitempty"`
}

// AppendLog appends the member "ai" of a log's record, with a comma before it, where there
// is anything of the exchange's uses to log.
func AppendLog(dst []byte, x *gateway.Exchange) []byte {
	var all map[string]logged
	for _, u := range Of(x) {
		if !u.Statistics && u.Request == nil && u.Response == nil {
			continue
		}
		if all == nil {
			all = map[string]logged{}
		}
		all[u.Plugin] = u.logged()
	}
	if all == nil {
		return dst
	}
	p, err := json.Marshal(all)
	if err != nil { // a cost that is no number
		return dst
	}
	return append(append(dst, `,"ai":`...), p...)
}

func (u *Use) logged() (l logged) {
	if u.Request != nil || u.Response != nil {
		l.Payload = &payload{u.Request, u.Response}
	}
	if !u.Statistics {
		return l
	}
	ms := u.Latency.Milliseconds()
	l.Meta = &meta{u.PluginID, u.Provider, u.Model, u.Answered, ms}
	l.Usage = &usage{PromptTokens: u.Prompt, CompletionTokens: u.Completion, TotalTokens: u.Total, Cost: u.Cost}
	if u.Completion > 0 {
		l.Usage.TimePerToken = math.Floor(float64(ms) / float64(u.Completion))
	}
	return l
}
