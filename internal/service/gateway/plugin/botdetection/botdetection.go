package botdetection

import (
	"regexp"
	"strings"

	"github.com/maypok86/otter/v2"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind.
func New() gateway.Plugin {
	list := func(name, description string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Array, Default: []any{}, Description: description,
			Elements: &schema.Field{Kind: schema.String, Check: func(v any) string {
				if _, err := regexp.Compile(v.(string)); err != nil {
					return "value '" + v.(string) + "' is not a valid regex"
				}
				return ""
			}}}
	}
	return gateway.Plugin{
		Name: "bot-detection", Version: gateway.Version, Priority: 2500, NoScopes: []string{"consumer"},
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config: &schema.Field{Fields: []*schema.Field{
			list("allow", "Expressions for agents that may pass."),
			list("deny", "Expressions for agents that may not pass."),
		}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			in := &instance{seen: otter.Must(&otter.Options[string, bool]{MaximumSize: 10_000})}
			var err error
			if in.allow, err = union(schema.Strings(c["allow"])); err != nil {
				return nil, err
			}
			in.deny, err = union(schema.Strings(c["deny"]))
			return in, err
		},
	}
}

// union compiles expressions to one that matches where any of them does; nil for none.
func union(list []string) (*regexp.Regexp, error) {
	if len(list) == 0 {
		return nil, nil
	}
	return regexp.Compile("(?:" + strings.Join(list, ")|(?:") + ")")
}

// bots are the agents refused unless they are allowed: what calls itself a bot, spider or
// crawler, and well-known fetchers that do not.
var bots = regexp.MustCompile(`[A-Za-z]+[Bb]ot\b|[Bb]ot[/;) -]|[Ss]pider|[Cc]rawler|Nutch|facebookexternalhit|` +
	`Google.*/\+/web/snippet|Slurp|Mediapartners-Google|ia_archiver|Pingdom|scrapy|Scrapy|HTTrack|Teleport|Qwantify|Wotbox`)

type instance struct {
	allow, deny *regexp.Regexp
	seen        *otter.Cache[string, bool] // agents and whether they pass
}

// longest is how much of a User-Agent is looked at.
const longest = 512

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	switch n := x.Request.Header.Count("User-Agent"); {
	case n == 0:
		return
	case n > 1:
		x.Fail(400, "Only one User-Agent header allowed")
		return
	}
	agent := strings.TrimSpace(x.Request.Header.Get("User-Agent"))
	agent = agent[:min(len(agent), longest)]
	passes, known := in.seen.GetIfPresent(agent)
	if !known {
		passes = in.passes(agent)
		in.seen.Set(strings.Clone(agent), passes)
	}
	if !passes {
		x.Fail(403, "Forbidden")
	}
}

func (in *instance) passes(agent string) bool {
	if in.allow != nil && in.allow.MatchString(agent) {
		return true
	}
	return !(in.deny != nil && in.deny.MatchString(agent)) && !bots.MatchString(agent)
}
