package flow

import (
	"regexp"
	"strings"
)

// parameterName is what NiFi and C++ agents take for a parameter's name.
var parameterName = regexp.MustCompile(`^[-A-Za-z0-9_. ]{1,255}$`)

// token is a stretch of a value that begins with hashes and a brace: a reference to a
// parameter where the hashes are odd, else the escape of one.
type token struct {
	start, end int // of the hashes and of the closing brace
	hashes     int
	name       string // between the braces
}

// reference reports whether the token stands for a parameter's value.
func (t token) reference() bool { return t.hashes%2 == 1 }

// tokens finds the tokens of a value, as ParameterTokenParser of C++ agents and NiFi's
// parsers do. A brace that is never closed begins none.
func tokens(value string) []token {
	var out []token
	for i := 0; i < len(value); {
		if value[i] != '#' {
			i++
			continue
		}
		t := token{start: i}
		for i < len(value) && value[i] == '#' {
			i++
		}
		t.hashes = i - t.start
		if i == len(value) || value[i] != '{' {
			continue
		}
		n := strings.IndexByte(value[i:], '}')
		if n < 0 {
			break
		}
		t.name = value[i+1 : i+n]
		i += n + 1
		t.end = i
		out = append(out, t)
	}
	return out
}

// References returns the names of the parameters that a property's value refers to.
func References(value string) []string {
	var out []string
	for _, t := range tokens(value) {
		if t.reference() {
			out = append(out, t.name)
		}
	}
	return out
}

// Escape returns the value of a property that agents read as the literal text.
func Escape(literal string) string {
	var out strings.Builder
	last := 0
	for _, t := range tokens(literal) {
		out.WriteString(literal[last:t.start])
		out.WriteString(strings.Repeat("#", 2*t.hashes))
		last = t.start + t.hashes
	}
	out.WriteString(literal[last:])
	return out.String()
}

// expand returns the literal text a value stands for. What value a parameter has, value
// tells; it may report an error, which ends the expansion.
func expand(v string, value func(name string) (string, error)) (string, error) {
	var out strings.Builder
	last := 0
	for _, t := range tokens(v) {
		out.WriteString(v[last:t.start])
		out.WriteString(strings.Repeat("#", t.hashes/2))
		last = t.end
		if !t.reference() {
			out.WriteString(v[t.start+t.hashes : t.end])
			continue
		}
		s, err := value(t.name)
		if err != nil {
			return "", err
		}
		out.WriteString(s)
	}
	out.WriteString(v[last:])
	return out.String(), nil
}
