package aiprompt

import (
	"encoding/json"
	"errors"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// maxSize describes the largest body that is looked at.
func maxSize() *schema.Field {
	return &schema.Field{Name: "max_request_body_size", Kind: schema.Integer, Default: 8192, Gt: schema.Ptr(0.0)}
}

// read returns a request's body. It has answered where that is nil.
func read(x *gateway.Exchange, limit int) schema.Record {
	body, err := x.Body(limit)
	if errors.Is(err, gateway.ErrBodyTooLarge) {
		x.Fail(413, gateway.TooLargeMessage)
		return nil
	}
	var r schema.Record
	kind := strings.ToLower(x.Request.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "application/json") || json.Unmarshal(body, &r) != nil || r == nil {
		refuse(x, "this LLM route only supports application/json requests")
		return nil
	}
	return r
}

func refuse(x *gateway.Exchange, message string) {
	body, _ := gateway.EncodeJSON(schema.Record{"error": schema.Record{"message": message}}) // strings alone
	x.Respond(400, body, gateway.Field{Name: "Content-Type", Value: "application/json; charset=utf-8"})
}

// NewDecorator returns the kind ai-prompt-decorator.
func NewDecorator() gateway.Plugin {
	prompts := func(name string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Array, LenMax: schema.Ptr(15), Elements: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
			fields.Choice("role", []string{"system", "assistant", "user"}, schema.Required, schema.Default("system")),
			{Name: "content", Kind: schema.String, Required: true, LenMin: schema.Ptr(1), LenMax: schema.Ptr(100000)}}}}
	}
	return gateway.Plugin{
		Name: "ai-prompt-decorator", Version: gateway.Version, Priority: 772,
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "prompts", Kind: schema.Nested, Fields: []*schema.Field{prompts("prepend"), prompts("append")}}, maxSize(),
		}, Checks: []schema.Check{{AtLeastOneOf: []string{"prompts.prepend", "prompts.append"}}}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			p, _ := c["prompts"].(schema.Record)
			d := &decorator{limit: fields.Int(c, "max_request_body_size")}
			d.before, _ = p["prepend"].([]any)
			d.after, _ = p["append"].([]any)
			return d, nil
		},
	}
}

type decorator struct {
	limit         int
	before, after []any
}

// Access implements gateway.Accessor.
func (d *decorator) Access(x *gateway.Exchange) {
	r := read(x, d.limit)
	if r == nil {
		return
	}
	messages, ok := r["messages"].([]any)
	if !ok || len(messages) == 0 {
		refuse(x, "this LLM route only supports llm/chat type requests")
		return
	}
	all := append(append([]any(nil), d.before...), messages...)
	r["messages"] = append(all, d.after...)
	if body, err := gateway.EncodeJSON(r); err == nil {
		x.SetBody(body)
	}
}
