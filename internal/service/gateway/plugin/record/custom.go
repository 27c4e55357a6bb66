package record

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Expression computes the value of a custom field: what JSON can hold, or nil to leave the
// field out. It is called in the log phase, by many goroutines.
type Expression func(x *gateway.Exchange) (any, error)

// Compile compiles the source of an expression.
type Compile func(source string) (Expression, error)

// CustomFields describes custom_fields_by_lua. Without a compiler it refuses any.
func CustomFields(compile Compile) *schema.Field {
	return &schema.Field{Name: "custom_fields_by_lua", Kind: schema.Map,
		Description: "Lua code that computes fields to add to the record, by name.",
		Keys:        &schema.Field{Kind: schema.String},
		Values: &schema.Field{Kind: schema.String, Check: func(v any) string {
			if compile == nil {
				return "custom_fields_by_lua is not served: this node has no Lua"
			}
			if _, err := compile(v.(string)); err != nil {
				return "error parsing Lua code: " + err.Error()
			}
			return ""
		}},
	}
}

// Serializer makes the records of one plugin instance.
type Serializer struct {
	custom []custom
	log    *slog.Logger
	pool   sync.Pool // *[]byte
}

type custom struct {
	path []string
	run  Expression
}

// NewSerializer returns the serializer for a plugin's configuration.
func NewSerializer(config schema.Record, compile Compile, log *slog.Logger) (*Serializer, error) {
	s := &Serializer{log: log}
	s.pool.New = func() any { b := make([]byte, 0, 4096); return &b }
	fields, _ := config["custom_fields_by_lua"].(schema.Record)
	for name, source := range fields {
		run, err := compile(source.(string))
		if err != nil {
			return nil, err
		}
		s.custom = append(s.custom, custom{strings.Split(name, "."), run})
	}
	slices.SortFunc(s.custom, func(a, b custom) int { return slices.Compare(a.path, b.path) })
	return s, nil
}

// maxScratch is the largest buffer that is kept for the next record.
const maxScratch = 64 << 10

// With calls use with the record of an exchange, which is valid until use returns.
func (s *Serializer) With(x *gateway.Exchange, use func(record []byte)) {
	buf := s.pool.Get().(*[]byte)
	out := Append((*buf)[:0], x)
	if len(s.custom) > 0 {
		use(s.customize(out, x))
	} else {
		use(out)
	}
	if cap(out) <= maxScratch {
		*buf = out[:0]
		s.pool.Put(buf)
	}
}

// Clone returns the record of an exchange in memory of its own.
func (s *Serializer) Clone(x *gateway.Exchange) (record []byte) {
	s.With(x, func(b []byte) { record = slices.Clone(b) })
	return record
}

// customize applies the custom fields. It takes the record apart and together again:
// only who uses custom fields pays for them.
func (s *Serializer) customize(record []byte, x *gateway.Exchange) []byte {
	var fields schema.Record
	if err := json.Unmarshal(record, &fields); err != nil {
		s.log.Error("a log record is not valid", "err", err)
		return record
	}
	for _, c := range s.custom {
		value, err := c.run(x)
		if err != nil {
			s.log.Warn("a custom field of the log failed", "field", strings.Join(c.path, "."), "err", err)
			continue
		}
		Place(fields, c.path, value)
	}
	out, err := gateway.EncodeJSON(fields)
	if err != nil {
		s.log.Warn("custom fields of the log cannot be encoded", "err", err)
		return record
	}
	return out
}

// Place sets the value at a path, or removes it where the value is nil. A path that leads
// through something that is no object is passed over.
func Place(in schema.Record, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		next, ok := in[name].(schema.Record)
		if !ok {
			if in[name] != nil || value == nil {
				return
			}
			next = schema.Record{}
			in[name] = next
		}
		in = next
	}
	if last := path[len(path)-1]; value == nil {
		delete(in, last)
	} else {
		in[last] = value
	}
}
