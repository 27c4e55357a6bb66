package model

import (
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/api/aws/awswire"
)

// Field returns the Go name of a member: its name with a capital first letter.
func Field(member string) string {
	if member == "" {
		return ""
	}
	return strings.ToUpper(member[:1]) + member[1:]
}

// Tag returns the struct tag of a member of s, without quotes around it, and empty where
// awswire needs none. With input set it also says what the value must satisfy; answers are not
// validated.
func (m *Model) Tag(s *Shape, mem Member, input bool) string {
	t := m.Traits(mem.Ref)
	wire := t.LocationName
	if wire == "" {
		wire = mem.Name
	}
	opts := []string{wire}
	switch t.Location {
	case "header", "uri":
		opts = append(opts, t.Location)
	case "querystring":
		opts = append(opts, "query")
	case "headers":
		opts = append(opts, "prefix")
	case "statusCode":
		opts = append(opts, "status")
	}
	flag := func(on bool, word string) {
		if on {
			opts = append(opts, word)
		}
	}
	flag(s.Payload == mem.Name, "payload")
	flag(input && slices.Contains(s.Required, mem.Name), "required")
	flag(t.Flattened, "flat")
	flag(t.XMLAttribute, "attr")
	flag(t.IdempotencyTok, "idem")
	flag(input && t.Sensitive, "secret")

	var b strings.Builder
	if len(opts) > 1 || wire != Field(mem.Name) {
		put(&b, "aws", strings.Join(opts, ","))
	}
	if t.QueryName != "" {
		put(&b, "ec2", t.QueryName)
	}
	if ns := t.XMLNamespace; ns.URI != "" {
		put(&b, "ns", strings.TrimPrefix(ns.Prefix+"="+ns.URI, "="))
	}
	m.shapeTags(&b, "", mem.Ref, input)
	return b.String()
}

// shapeTags writes what belongs to the type rather than to the member: the names of a list's
// items and a map's entries, the time format, and the constraints, of all levels down to
// the next structure, each level under its own prefix.
func (m *Model) shapeTags(b *strings.Builder, prefix string, r Ref, input bool) {
	s, t := m.Shapes[r.Shape], m.Traits(r)
	if t.TimestampFormat != "" && s.Type == "timestamp" {
		put(b, prefix+"time", timeFormats[t.TimestampFormat])
	}
	if input {
		constraintTags(b, prefix, s)
	}
	level := func(name string, r *Ref) {
		if n := m.Traits(*r).LocationName; n != "" {
			put(b, prefix+name, n)
		}
		if m.Traits(*r).Flattened {
			put(b, prefix+name+".flat", "true")
		}
		m.shapeTags(b, prefix+name+".", *r, input)
	}
	switch s.Type {
	case "list":
		level("item", s.Member)
	case "map":
		level("key", s.Key)
		level("value", s.Value)
	}
}

var timeFormats = map[string]string{"iso8601": "iso8601", "rfc822": "http", "unixTimestamp": "unix"}

func constraintTags(b *strings.Builder, prefix string, s *Shape) {
	if s.Min != nil || s.Max != nil {
		key := "len"
		switch s.Type {
		case "integer", "long", "float", "double", "short", "byte":
			key = "range"
		}
		var lo, hi string
		if s.Min != nil {
			lo = s.Min.String()
		}
		if s.Max != nil {
			hi = s.Max.String()
		}
		if lo != "0" || hi != "" || key == "range" { // no length is below zero
			put(b, prefix+key, lo+","+hi)
		}
	}
	if _, ok := awswire.Pattern(s.Pattern); ok {
		put(b, prefix+"pattern", s.Pattern)
	}
	if len(s.Enum) > 0 {
		put(b, prefix+"enum", strings.Join(s.Enum, "|"))
	}
}

func put(b *strings.Builder, key, value string) {
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(key + ":" + strconv.Quote(value))
}
