package expression

import (
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
)

// Bounds of templates and of what they make.
const (
	maxSource = 64 << 10
	maxValue  = 1 << 20
	maxDepth  = 32
	maxCalls  = 1000
)

// Invalid is the reason of a template that does not parse, or whose values do not fit.
var Invalid = &fault.Reason{Kind: fault.Invalid, Name: "InvalidExpression"}

// Env is what a template is evaluated against.
type Env struct {
	Attributes map[string]string
	Clock      clock.Clock
}

// Template is a parsed value. It is safe for concurrent use.
type Template struct {
	source string
	parts  []part
}

// part is literal text or an expression.
type part struct {
	text string
	expr *expr
}

// expr is a subject with calls behind it.
type expr struct {
	attribute string // the subject, unless calls[0] needs none
	rooted    bool   // calls[0] is the subject
	calls     []call
}

type call struct {
	name string
	fn   *function
	args []arg
}

// arg is a constant or an expression.
type arg struct {
	value any
	expr  *expr
}

// Parse reads a template.
func Parse(source string) (*Template, error) {
	if len(source) > maxSource {
		return nil, Invalid.New("an expression may have %d bytes, not %d", maxSource, len(source))
	}
	p := parser{s: source}
	t := &Template{source: source}
	var text strings.Builder
	for p.i < len(p.s) {
		switch {
		case strings.HasPrefix(p.s[p.i:], "$${"):
			text.WriteString("${")
			p.i += 3
		case strings.HasPrefix(p.s[p.i:], "${"):
			if text.Len() > 0 {
				t.parts = append(t.parts, part{text: text.String()})
				text.Reset()
			}
			e, err := p.expression()
			if err != nil {
				return nil, err
			}
			t.parts = append(t.parts, part{expr: e})
		default:
			text.WriteByte(p.s[p.i])
			p.i++
		}
	}
	if text.Len() > 0 {
		t.parts = append(t.parts, part{text: text.String()})
	}
	return t, nil
}

// Literal is a template of plain text.
func Literal(text string) *Template { return &Template{source: text, parts: []part{{text: text}}} }

// String is the source.
func (t *Template) String() string { return t.source }

// Constant reports whether the template has no expressions.
func (t *Template) Constant() bool {
	return len(t.parts) == 0 || len(t.parts) == 1 && t.parts[0].expr == nil
}

// Text evaluates the template.
func (t *Template) Text(env Env) (string, error) {
	if len(t.parts) == 1 && t.parts[0].expr == nil {
		return t.parts[0].text, nil
	}
	var out strings.Builder
	for _, p := range t.parts {
		text := p.text
		if p.expr != nil {
			v, err := p.expr.eval(env)
			if err != nil {
				return "", err
			}
			text = asText(v)
		}
		if out.Len()+len(text) > maxValue {
			return "", Invalid.New("the value of %q is longer than %d bytes", brief(t.source), maxValue)
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// Bool evaluates the template as a condition: the text true, in any case, holds.
func (t *Template) Bool(env Env) (bool, error) {
	s, err := t.Text(env)
	return strings.EqualFold(strings.TrimSpace(s), "true"), err
}

func (e *expr) eval(env Env) (any, error) {
	var v any
	if !e.rooted {
		if s, ok := env.Attributes[e.attribute]; ok {
			v = s
		}
	}
	for _, c := range e.calls {
		args := make([]any, len(c.args))
		for i, a := range c.args {
			args[i] = a.value
			if a.expr != nil {
				var err error
				if args[i], err = a.expr.eval(env); err != nil {
					return nil, err
				}
			}
		}
		var err error
		if v, err = c.fn.call(env, v, args); err != nil {
			return nil, Invalid.Wrap(err, "%s() cannot be evaluated", c.name)
		}
		if s, ok := v.(string); ok && len(s) > maxValue {
			return nil, Invalid.New("%s() made a value longer than %d bytes", c.name, maxValue)
		}
	}
	return v, nil
}

type parser struct {
	s     string
	i     int
	depth int
	calls int
}

func (p *parser) fail(format string, args ...any) error {
	return Invalid.New("%s at character %d of %q", fmt.Sprintf(format, args...), p.i+1, brief(p.s))
}

func brief(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

func (p *parser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *parser) take(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// expression reads from ${ to its }.
func (p *parser) expression() (*expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail("expressions nest deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	p.i += 2
	e := &expr{}
	p.space()
	name, quoted, err := p.name()
	if err != nil {
		return nil, err
	}
	if p.i < len(p.s) && p.s[p.i] == '(' && !quoted {
		c, err := p.call(name, true)
		if err != nil {
			return nil, err
		}
		e.rooted, e.calls = true, append(e.calls, c)
	} else {
		e.attribute = name
	}
	for {
		switch {
		case p.take('}'):
			return e, nil
		case p.take(':'):
			p.space()
			name, quoted, err := p.name()
			if err != nil {
				return nil, err
			}
			if quoted || p.i >= len(p.s) || p.s[p.i] != '(' {
				return nil, p.fail("a function and its parentheses are expected")
			}
			c, err := p.call(name, false)
			if err != nil {
				return nil, err
			}
			e.calls = append(e.calls, c)
		default:
			return nil, p.fail("} or : is expected")
		}
	}
}

// name reads a name, bare or in quotes.
func (p *parser) name() (name string, quoted bool, err error) {
	if p.i < len(p.s) && (p.s[p.i] == '\'' || p.s[p.i] == '"') {
		s, err := p.quoted()
		return s, true, err
	}
	start := p.i
	for p.i < len(p.s) && strings.IndexByte(":(){}[],'\"$/ \t\r\n;", p.s[p.i]) < 0 {
		p.i++
	}
	if p.i == start {
		return "", false, p.fail("a name is expected")
	}
	return p.s[start:p.i], false, nil
}

func (p *parser) quoted() (string, error) {
	quote := p.s[p.i]
	p.i++
	var out strings.Builder
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch {
		case c == quote:
			return out.String(), nil
		case c == '\\' && p.i < len(p.s):
			c = p.s[p.i]
			p.i++
			switch c {
			case 'n':
				out.WriteByte('\n')
			case 't':
				out.WriteByte('\t')
			case 'r':
				out.WriteByte('\r')
			case '\\', '\'', '"':
				out.WriteByte(c)
			default: // regular expressions keep their escapes
				out.WriteByte('\\')
				out.WriteByte(c)
			}
		default:
			out.WriteByte(c)
		}
	}
	return "", p.fail("a quote is not closed")
}

func (p *parser) call(name string, subject bool) (call, error) {
	if p.calls++; p.calls > maxCalls {
		return call{}, p.fail("more than %d calls", maxCalls)
	}
	fn := functions[name]
	if fn == nil || fn.subject != subject {
		return call{}, p.fail("there is no function %s() here", name)
	}
	p.i++ // the parenthesis
	c := call{name: name, fn: fn}
	for !p.take(')') {
		if len(c.args) > 0 && !p.take(',') {
			return call{}, p.fail(", or ) is expected")
		}
		p.space()
		a, err := p.arg()
		if err != nil {
			return call{}, err
		}
		c.args = append(c.args, a)
	}
	if len(c.args) < fn.least || fn.most >= 0 && len(c.args) > fn.most {
		return call{}, p.fail("%s() does not take %d arguments", name, len(c.args))
	}
	return c, prepare(&c)
}

func (p *parser) arg() (arg, error) {
	if p.i >= len(p.s) {
		return arg{}, p.fail("an argument is expected")
	}
	switch c := p.s[p.i]; {
	case c == '\'' || c == '"':
		s, err := p.quoted()
		return arg{value: s}, err
	case strings.HasPrefix(p.s[p.i:], "${"):
		e, err := p.expression()
		return arg{expr: e}, err
	}
	start := p.i
	for p.i < len(p.s) && strings.IndexByte(",) \t\r\n", p.s[p.i]) < 0 {
		p.i++
	}
	word := p.s[start:p.i]
	switch strings.ToLower(word) {
	case "true":
		return arg{value: true}, nil
	case "false":
		return arg{value: false}, nil
	case "null":
		return arg{}, nil
	}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		return arg{value: n}, nil
	}
	if f, err := strconv.ParseFloat(word, 64); err == nil {
		return arg{value: f}, nil
	}
	return arg{}, p.fail("%q is no argument", brief(word))
}

// asText is how a value appears in the text around it.
func asText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		return v.Format("Mon Jan 02 15:04:05 MST 2006")
	}
	panic(fmt.Sprintf("expression: a %T is no value", v))
}

func newUUID() string {
	id, err := uuid.NewRandomFromReader(rand.Reader)
	if err != nil {
		panic(err) // the system's randomness never fails
	}
	return id.String()
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
