package openidconnect

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// claims are what a token says. Numbers are json.Number.
type claims map[string]any

// algorithms are those that tokens may be signed by: no shared secrets, and not "none".
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

func parseClaims(b []byte) (claims, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var c claims
	if err := d.Decode(&c); err != nil || c == nil {
		return nil, errors.New("the claims are no JSON object")
	}
	return c, nil
}

// at returns what is at a path of nested objects, nil for nothing.
func (c claims) at(path []string) any {
	var v any = map[string]any(c)
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	if len(path) == 0 {
		return nil
	}
	return v
}

// list returns the words of a claim: of an array, or of a text with blanks.
func (c claims) list(path []string) []string {
	switch v := c.at(path).(type) {
	case string:
		return strings.Fields(v)
	case []any:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// text returns a claim as one line of text, "" for none.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	}
	b, _ := json.Marshal(v) // it came from JSON
	return string(b)
}

// moment returns the time of a claim.
func (c claims) moment(name string) (time.Time, bool) {
	n, ok := c[name].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1e12 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}

// has reports whether a claim has what is required: all words of one of the entries.
func (c claims) has(path, required []string) bool {
	if len(required) == 0 {
		return true
	}
	have := c.list(path)
	return slices.ContainsFunc(required, func(all string) bool {
		words := strings.Fields(all)
		return len(words) > 0 && !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(have, w) })
	})
}

// timely checks the times of a token.
func (c claims) timely(now time.Time, leeway time.Duration, mustExpire bool) error {
	exp, ok := c.moment("exp")
	if !ok && (mustExpire || c["exp"] != nil) {
		return errors.New("no valid exp claim")
	}
	if ok && !now.Before(exp.Add(leeway)) {
		return errors.New("the token has expired")
	}
	for _, name := range []string{"nbf", "iat"} {
		at, ok := c.moment(name)
		if !ok && c[name] != nil {
			return errors.New("no valid " + name + " claim")
		}
		if ok && now.Before(at.Add(-leeway)) {
			return errors.New("the token is not valid yet")
		}
	}
	return nil
}
