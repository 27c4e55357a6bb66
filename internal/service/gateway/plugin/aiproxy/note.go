package aiproxy

import (
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/modeluse"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// notes is what a plugin is to tell the logs of its calls.
type notes struct {
	plugin, id           string
	statistics, payloads bool
}

// newNotes reads the configuration of a model. plugin is what logs have its calls under.
func newNotes(c schema.Record, plugin, id string) notes {
	l := inner(c, "logging")
	return notes{plugin, id, fields.Bool(l, "log_statistics"), fields.Bool(l, "log_payloads")}
}

// note is what is to be told of one call; nil: nothing.
type note struct {
	use   *modeluse.Use
	model *model
	start time.Time
}

// begin makes a note of a call that is about to be made. body is the client's.
func (n notes) begin(x *gateway.Exchange, m *model, t *talk, body []byte) *note {
	if !n.statistics && !n.payloads {
		return nil
	}
	u := &modeluse.Use{Plugin: n.plugin, PluginID: n.id, Provider: m.provider, Model: t.model, Answered: t.model, Statistics: n.statistics}
	if n.payloads {
		text := string(body)
		u.Request = &text
	}
	modeluse.Add(x, u)
	return &note{u, m, m.clock.Now()}
}

// end completes the note when the answer is there. answered is the model that gave it, as
// the provider tells; "" where it does not.
func (n *note) end(t *talk, answered, said string) {
	if n == nil {
		return
	}
	n.use.Latency = n.model.clock.Now().Sub(n.start)
	n.use.Tokens(t.usage.Prompt, t.usage.Completion, t.usage.Total, n.model.input, n.model.output)
	if answered != "" {
		n.use.Answered = answered
	}
	if n.use.Request != nil {
		n.use.Response = &said
	}
}
