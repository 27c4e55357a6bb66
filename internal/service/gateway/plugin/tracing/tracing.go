package tracing

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// formats in the order in which the older configuration looks for them.
var formats = []string{"b3", "w3c", "jaeger", "ot", "datadog", "aws", "gcp"}

func injectable() []string { return append([]string{"b3-single"}, formats...) }

// Field describes "propagation" with its default format.
func Field(format string) *schema.Field {
	choice := func(of []string) *schema.Field { return &schema.Field{Kind: schema.String, OneOf: fields.Any(of...)} }
	return &schema.Field{Name: "propagation", Kind: schema.Nested, Required: true, Default: schema.Record{"default_format": format},
		Fields: []*schema.Field{
			{Name: "extract", Kind: schema.Array, Elements: choice(formats), Description: "Formats to look for; the first one found counts."},
			{Name: "clear", Kind: schema.Array, Elements: fields.HeaderName(), Description: "Headers to remove after extraction."},
			{Name: "inject", Kind: schema.Array, Elements: choice(append([]string{"preserve"}, injectable()...)), Description: "Formats to write."},
			fields.Choice("default_format", injectable(), schema.Required),
		}}
}

// HeaderType describes the older "header_type". kind is the kind of plugin.
func HeaderType(kind string, edits ...func(*schema.Field)) *schema.Field {
	return fields.Choice("header_type", append([]string{"preserve", "ignore"}, injectable()...),
		append(edits, schema.Default("preserve"), replaced(kind, "header_type"))...)
}

// replaced marks a field that "propagation" replaced.
func replaced(kind, name string) func(*schema.Field) {
	return func(f *schema.Field) {
		f.Deprecated = kind + ": config." + name + " is deprecated, please use config.propagation options instead"
	}
}

// DefaultHeaderType describes the older "default_header_type".
func DefaultHeaderType(kind, format string) *schema.Field {
	return fields.Choice("default_header_type", injectable(), schema.Required, schema.Default(format), replaced(kind, "default_header_type"))
}

// Propagation is how traces are taken over and passed on.
type Propagation struct {
	extract, clear, inject []string
	fallback               string
}

// Of reads a plugin's configuration. The older fields count where "propagation" has
// nothing but its default format.
func Of(config schema.Record) Propagation {
	r, _ := config["propagation"].(schema.Record)
	p := Propagation{fields.Strings(r, "extract"), fields.Strings(r, "clear"), fields.Strings(r, "inject"), fields.String(r, "default_format")}
	if r["extract"] != nil || r["clear"] != nil || r["inject"] != nil {
		return p
	}
	if f := fields.String(config, "default_header_type"); f != "" {
		p.fallback = f
	}
	switch t := fields.String(config, "header_type"); t {
	case "":
	case "preserve":
		p.extract, p.inject = formats, []string{"preserve"}
	case "ignore":
		p.inject = []string{p.fallback}
	default:
		p.extract, p.inject = formats, []string{"preserve", t}
	}
	return p
}

// Trace is a request's place in a trace.
type Trace struct {
	ID      []byte // 8 or 16 bytes
	Parent  []byte // of the server span; nil: it is the first
	Server  []byte // the span of the client's request
	Client  []byte // the span of the request to the upstream
	Sampled bool
	debug   bool
}

// Begin finds the trace of a request, or begins one with an id of size bytes. sample
// decides whether it is recorded, knowing what the client wants.
func (p Propagation) Begin(x *gateway.Exchange, size int, sample func(client Sampling, id []byte) bool) (t *Trace, found string) {
	var c context
	for _, format := range p.extract {
		if got, ok := extractors[format](&x.Request.Header); ok {
			if c, found = got, format; format == "b3" && c.single {
				found = "b3-single"
			}
			break
		}
	}
	t = &Trace{ID: c.trace, Parent: c.span, Server: NewSpan(), Client: NewSpan(), debug: c.debug}
	if t.ID == nil {
		t.ID = append(NewSpan(), NewSpan()...)[:size]
	}
	if c.shared && c.span != nil {
		t.Server, t.Parent = c.span, c.parent
	}
	t.Sampled = sample(c.sampled, t.ID)
	return t, found
}

// Pass writes the headers that tell the upstream of the trace, after removing those that
// are to be cleared. found is what Begin found.
func (p Propagation) Pass(x *gateway.Exchange, t *Trace, found string) {
	h := &x.Request.Header
	for _, name := range p.clear {
		h.Del(name)
	}
	c := context{trace: t.ID, span: t.Client, parent: t.Server, sampled: sampledIf(t.Sampled), debug: t.debug}
	var written []string
	for _, format := range p.inject {
		if format == "preserve" {
			if format = found; format == "" {
				format = p.fallback
			}
		}
		if in, ok := injectors[format]; ok && !slices.Contains(written, format) {
			in.inject(h, c)
			written = append(written, format)
		}
	}
}

// NewSpan returns a random id of 8 bytes that is not zero.
func NewSpan() []byte { return binary.BigEndian.AppendUint64(nil, rand.Uint64N(math.MaxUint64)+1) }

// Share reports whether a trace belongs to a share of all, between 0 and 1. Every node
// decides alike for one trace.
func Share(id []byte, share float64) bool {
	n := binary.BigEndian.Uint64(id[len(id)-8:])
	return float64(n>>11)/(1<<53) < share
}
