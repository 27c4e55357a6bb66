package transformer

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
)

// template is a value of the configuration, compiled.
type template struct{ pieces []piece }

// piece is a text, a lookup, or an expression.
type piece struct {
	text    string
	from    string // what a lookup is in
	program *lua.Program
}

var (
	errUnclosed = errors.New("an expression $( that is not closed")
	lookup      = regexp.MustCompile(`^\s*(headers|query_params|uri_captures)(?:\.([A-Za-z_]\w*)|\[\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\])\s*$`)
)

// names are what expressions see, with where they are from.
var names = []struct{ name, source string }{
	{"headers", "kong.request.get_headers()"}, {"query_params", "kong.request.get_query()"},
	{"uri_captures", "kong.request.get_uri_captures()"}, {"shared", "kong.ctx.shared"},
}

func parse(e *lua.Engine, source string) (*template, error) {
	t := &template{}
	for {
		before, rest, found := strings.Cut(source, "$(")
		if before != "" {
			t.pieces = append(t.pieces, piece{text: before})
		}
		if !found {
			return t, nil
		}
		end := closing(rest)
		if end < 0 {
			return nil, errUnclosed
		}
		expr := rest[:end]
		source = rest[end+1:]
		if m := lookup.FindStringSubmatch(expr); m != nil {
			t.pieces = append(t.pieces, piece{from: m[1], text: m[2] + m[3] + m[4]})
			continue
		}
		var code strings.Builder
		for _, n := range names {
			if strings.Contains(expr, n.name) {
				code.WriteString("local " + n.name + " = " + n.source + " ")
			}
		}
		p, err := e.Compile("template", code.String()+"return ("+expr+")")
		if err != nil {
			return nil, err
		}
		t.pieces = append(t.pieces, piece{program: p})
	}
}

// closing returns where the parenthesis is that closes one before s; those in strings do
// not count.
func closing(s string) int {
	depth, quote := 1, byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func (t *template) close() {
	for _, p := range t.pieces {
		if p.program != nil {
			p.program.Close()
		}
	}
}

// render returns the value for a request. What is not there renders as nothing.
func (t *template) render(e *lua.Engine, u *lua.Unit, x *gateway.Exchange) (string, error) {
	if len(t.pieces) == 1 && t.pieces[0].from == "" && t.pieces[0].program == nil {
		return t.pieces[0].text, nil
	}
	var b strings.Builder
	for i := range t.pieces {
		p := &t.pieces[i]
		switch {
		case p.program != nil:
			v, err := e.Evaluate(x, u, p.program, lua.Access)
			if err != nil {
				return "", err
			}
			b.WriteString(textOf(v))
		case p.from == "headers":
			b.WriteString(header(x, p.text))
		case p.from == "query_params":
			v, _ := gateway.QueryValue(x.Request.RawQuery, p.text)
			b.WriteString(v)
		case p.from == "uri_captures":
			captured, values := x.Match().Captures(x.Request.Path)
			for i := range values {
				if captured[i] == p.text {
					b.WriteString(values[i])
				}
			}
		default:
			b.WriteString(p.text)
		}
	}
	return b.String(), nil
}

func header(x *gateway.Exchange, name string) string {
	if gateway.EqualFold(name, "host") {
		return x.Request.Authority
	}
	return x.Request.Header.Get(strings.ReplaceAll(name, "_", "-"))
}

func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'g', 14, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}
