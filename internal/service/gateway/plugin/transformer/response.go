package transformer

import (
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// NewResponse returns the kind response-transformer.
func NewResponse() gateway.Plugin {
	types := &schema.Field{Name: "json_types", Kind: schema.Array, Required: true, Default: []any{},
		Elements: &schema.Field{Kind: schema.String, OneOf: []any{"boolean", "number", "string"}}}
	parts := func(name string) *schema.Field {
		return action(name, list("json", checkPair), types, list("headers", checkHeader))
	}
	return gateway.Plugin{
		Name: "response-transformer", Version: gateway.Version, Priority: 800,
		Config: &schema.Field{Fields: []*schema.Field{
			action("remove", list("json", nil), list("headers", nil)),
			action("rename", list("headers", checkRename), list("json", checkPair)),
			parts("replace"), parts("add"), parts("append"),
		}},
		New: func(c schema.Record, _ gateway.Env) (any, error) { return newResponse(c) },
	}
}

// response is one configuration.
type response struct{ header, body *changes }

func newResponse(c schema.Record) (any, error) {
	in := &response{}
	for part, to := range map[string]**changes{"headers": &in.header, "json": &in.body} {
		p, err := newPlan(nil, c, part)
		if err != nil {
			return nil, err
		}
		if *to, err = p.render(nil); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// Parts implements gateway.Composite: bodies are looked at only where one could change.
func (in *response) Parts() []any {
	if in.body.empty() {
		return nil
	}
	return []any{bodyPart{in}}
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *response) HeaderFilter(x *gateway.Exchange) {
	h := &x.Response.Header
	json := strings.Contains(strings.ToLower(h.Get("Content-Type")), jsonType)
	encoding := h.Get("Content-Encoding")
	if !in.body.empty() && json && (encoding == "" || gateway.EqualFold(encoding, "identity")) {
		x.Put(in, &held{})
	}
	in.header.applyHeader(h)
}

// held is a body on its way, up to its end.
type held struct {
	body  []byte
	large bool
}

type bodyPart struct{ in *response }

// BodyFilter implements gateway.BodyFilter.
func (p bodyPart) BodyFilter(x *gateway.Exchange, chunk []byte, last bool) []byte {
	h, ok := x.Value(p.in).(*held)
	if !ok || h.large {
		return chunk
	}
	h.body = append(h.body, chunk...)
	if len(h.body) > maxBody {
		h.large = true
		return h.body
	}
	if !last {
		return nil
	}
	if len(h.body) > 0 {
		if out, changed := p.in.body.applyJSON(h.body); changed {
			return out
		}
	}
	return h.body
}
