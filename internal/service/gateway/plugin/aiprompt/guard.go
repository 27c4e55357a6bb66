package aiprompt

import (
	"regexp"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// NewGuard returns the kind ai-prompt-guard.
func NewGuard() gateway.Plugin {
	patterns := func(name string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Array, LenMax: schema.Ptr(10), Elements: &schema.Field{Kind: schema.String,
			LenMin: schema.Ptr(1), LenMax: schema.Ptr(500), Check: func(v any) string {
				if _, err := regexp.Compile(v.(string)); err != nil {
					return "not a regular expression"
				}
				return ""
			}}}
	}
	return gateway.Plugin{
		Name: "ai-prompt-guard", Version: gateway.Version, Priority: 771,
		Config: &schema.Field{Fields: []*schema.Field{
			patterns("allow_patterns"), patterns("deny_patterns"), schema.Flag("allow_all_conversation_history", "Look at the last prompt alone.", false),
			maxSize(), schema.Flag("match_all_roles", "Look at the messages of all roles, not of users alone.", false),
		}, Checks: []schema.Check{{AtLeastOneOf: []string{"allow_patterns", "deny_patterns"}},
			{If: &schema.Conditional{Field: "match_all_roles", Is: []any{true}, Then: "allow_all_conversation_history", Match: schema.Match{OneOf: []any{false}}}}}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			g := &guard{limit: fields.Int(c, "max_request_body_size"), last: fields.Bool(c, "allow_all_conversation_history"), all: fields.Bool(c, "match_all_roles")}
			for name, to := range map[string]*[]*regexp.Regexp{"allow_patterns": &g.allow, "deny_patterns": &g.deny} {
				for _, s := range fields.Strings(c, name) {
					re, err := regexp.Compile(s)
					if err != nil {
						return nil, err
					}
					*to = append(*to, re)
				}
			}
			return g, nil
		},
	}
}

type guard struct {
	limit       int
	last, all   bool
	allow, deny []*regexp.Regexp
}

// Access implements gateway.Accessor.
func (g *guard) Access(x *gateway.Exchange) {
	r := read(x, g.limit)
	if r == nil {
		return
	}
	prompt, ok := g.prompt(r)
	if !ok || matches(g.deny, prompt) || len(g.allow) > 0 && !matches(g.allow, prompt) {
		refuse(x, "bad request") // clients are not told that, and by what, they are guarded against
	}
}

func matches(list []*regexp.Regexp, s string) bool {
	for _, re := range list {
		if re.MatchString(s) {
			return true
		}
	}
	return false
}

// prompt is the text that is looked at.
func (g *guard) prompt(r schema.Record) (string, bool) {
	messages, chat := r["messages"].([]any)
	if !chat {
		s, ok := r["prompt"].(string)
		return s, ok
	}
	var all []string
	for _, m := range messages {
		message, _ := m.(schema.Record)
		role, ok := message["role"].(string)
		if !ok {
			return "", false
		}
		if role != "user" && !g.all {
			continue
		}
		content, ok := message["content"].(string)
		if !ok {
			return "", false
		}
		all = append(all, content)
	}
	if g.last && len(all) > 0 {
		all = all[len(all)-1:]
	}
	return strings.Join(all, ""), len(all) > 0
}
