package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// A reference is {vault://name/secret} or {vault://name/secret/member}: name is a kind of
// vault or the prefix of a vault entity, and member picks from a secret that is a JSON
// object. References stand in fields that the schema marks as referenceable; what they
// point at is read when the configuration that holds them is compiled, and never stored.
const referenceScheme = "{vault://"

func isReference(s string) bool {
	return strings.HasPrefix(s, referenceScheme) && strings.HasSuffix(s, "}")
}

// resolveSecrets returns a record with its references replaced by what they point at. A
// record without references is returned as it is.
func (g *Gateway) resolveSecrets(f *schema.Field, r schema.Record) (schema.Record, error) {
	v, err := g.resolveSecret(f, r)
	if err != nil {
		return nil, err
	}
	out, _ := v.(schema.Record)
	return out, nil
}

func (g *Gateway) resolveSecret(f *schema.Field, v any) (any, error) {
	switch v := v.(type) {
	case string:
		if f.Referenceable && isReference(v) {
			return g.secret(v)
		}
	case []any:
		if f.Elements == nil {
			return v, nil
		}
		return resolveEach(v, func(e any) (any, error) { return g.resolveSecret(f.Elements, e) })
	case schema.Record:
		var out schema.Record
		for name, e := range v {
			inner := f.Values
			if f.Kind != schema.Map {
				inner = f.Field(name)
			}
			if inner == nil {
				continue
			}
			resolved, err := g.resolveSecret(inner, e)
			if err != nil {
				return nil, err
			}
			if !schema.Equal(resolved, e) {
				if out == nil {
					out = maps.Clone(v)
				}
				out[name] = resolved
			}
		}
		if out != nil {
			return out, nil
		}
	}
	return v, nil
}

func resolveEach(list []any, resolve func(any) (any, error)) (any, error) {
	out := make([]any, len(list))
	for i, e := range list {
		v, err := resolve(e)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// Secret reads what a reference points at. Errors name the reference, never the secret.
func (g *Gateway) Secret(ref string) (string, error) {
	if !isReference(ref) {
		return "", errors.New("not a reference to a vault")
	}
	return g.secret(ref)
}

func (g *Gateway) secret(ref string) (string, error) {
	path := strings.TrimSuffix(strings.TrimPrefix(ref, referenceScheme), "}")
	path, _, _ = strings.Cut(path, "#") // the version of a secret, which an environment does not have
	vault, path, _ := strings.Cut(path, "/")
	name, member, _ := strings.Cut(path, "/")
	prefix := ""
	if vault != "env" {
		rec, ok := g.ByUnique("vaults", "prefix", vault)
		if !ok {
			return "", fmt.Errorf("%s: there is no vault %q", ref, vault)
		}
		config, _ := rec["config"].(schema.Record)
		prefix, _ = config["prefix"].(string)
	}
	if g.deps.Secret == nil || name == "" {
		return "", fmt.Errorf("%s: nothing to read", ref)
	}
	variable := strings.ToUpper(strings.ReplaceAll(prefix+name, "-", "_"))
	text, ok := g.deps.Secret(variable)
	if !ok {
		return "", fmt.Errorf("%s: the variable %s is not set", ref, variable)
	}
	if member == "" {
		return text, nil
	}
	var members map[string]any
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		return "", fmt.Errorf("%s: the variable %s is not a JSON object", ref, variable)
	}
	v, ok := members[member].(string)
	if !ok {
		return "", fmt.Errorf("%s: no text under that name", ref)
	}
	return v, nil
}
