package gateway

import (
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/expression"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Flavor is how routes say what they match, and some of what they do with a path.
type Flavor string

// The flavors. The two traditional ones match alike; path_handling v1 acts in Traditional
// alone, as in Kong.
const (
	TraditionalCompatible Flavor = "traditional_compatible"
	Traditional           Flavor = "traditional"
	Expressions           Flavor = "expressions"
)

// Flavors lists them all.
func Flavors() []Flavor { return []Flavor{TraditionalCompatible, Traditional, Expressions} }

func routesEntity(flavor Flavor) *schema.Entity {
	e := &schema.Entity{
		Name: "routes", EndpointKey: "name",
		Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
			fieldID, fieldCreated, fieldUpdated, fieldName,
			{Name: "protocols", Kind: schema.Set, Required: true, LenMin: schema.Ptr(1), Default: oneOf("http", "https"),
				Elements: &schema.Field{Kind: schema.String,
					OneOf: oneOf("grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp")},
				Subsets: [][]string{{"http", "https"}, {"tcp", "tls", "udp"}, {"tls_passthrough"}, {"grpc", "grpcs"}}},
			{Name: "methods", Kind: schema.Set, Elements: &schema.Field{Kind: schema.String, Check: checkMethod}},
			{Name: "hosts", Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Check: checkRouteHost}},
			{Name: "paths", Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Check: checkRoutePath}},
			{Name: "headers", Kind: schema.Map,
				Keys:   &schema.Field{Kind: schema.String, Check: checkRouteHeaderName},
				Values: &schema.Field{Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Check: checkRouteHeaderValue}}},
			{Name: "https_redirect_status_code", Kind: schema.Integer, Required: true, Default: 426,
				OneOf: []any{426.0, 301.0, 302.0, 307.0, 308.0}},
			{Name: "regex_priority", Kind: schema.Integer, Default: 0},
			{Name: "strip_path", Kind: schema.Boolean, Required: true, Default: true},
			{Name: "path_handling", Kind: schema.String, Default: "v0", OneOf: oneOf("v0", "v1")},
			{Name: "preserve_host", Kind: schema.Boolean, Required: true, Default: false},
			{Name: "request_buffering", Kind: schema.Boolean, Required: true, Default: true},
			{Name: "response_buffering", Kind: schema.Boolean, Required: true, Default: true},
			{Name: "snis", Kind: schema.Set, Elements: &schema.Field{Kind: schema.String, Check: checkSNI}},
			{Name: "sources", Kind: schema.Set, Elements: routeEnd},
			{Name: "destinations", Kind: schema.Set, Elements: routeEnd},
			fieldTags,
			{Name: "service", Kind: schema.Foreign, Reference: "services"},
		}, Checks: []schema.Check{{Custom: func(r schema.Record, bad func(field, msg string)) { checkRoute(flavor, r, bad) }}}},
		Prepare: func(r schema.Record) {
			// A route of gRPC cannot strip its path, so there the default is not to.
			for _, p := range list(r["protocols"]) {
				if _, given := r["strip_path"]; !given && (p == "grpc" || p == "grpcs") {
					r["strip_path"] = false
				}
			}
		},
	}
	if flavor == Expressions {
		e.Record.Fields = append(e.Record.Fields,
			&schema.Field{Name: "expression", Kind: schema.String, Description: "What the route matches, in the language of expressions."},
			&schema.Field{Name: "priority", Kind: schema.Integer, Required: true, Default: 0, Between: []float64{0, 1<<46 - 1},
				Description: "Of the routes whose expression holds, the one of the highest priority is taken."})
	}
	return e
}

// routeEnd is one end of a connection: an address or a network, a port, or both.
var routeEnd = &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
	{Name: "ip", Kind: schema.String, Check: checkEndIP}, fieldPort,
}, Checks: []schema.Check{{AtLeastOneOf: []string{"ip", "port"}}}}

func checkEndIP(v any) string {
	if _, err := parseNetwork(v.(string)); err != nil {
		return "invalid ip or cidr range: '" + v.(string) + "'"
	}
	return ""
}

// matchFields are what a route matches by, each by the words of Kong's errors.
var matchFields = []string{"methods", "hosts", "paths", "headers", "snis", "sources", "destinations"}

func checkRoute(flavor Flavor, r schema.Record, bad func(field, msg string)) {
	protocols := list(r["protocols"])
	if len(protocols) == 0 {
		return // said already
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(protocols, func(p string) bool { return slices.Contains(names, p) })
	}
	set := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return !schema.Empty(r[n]) })
	}
	stream := has("tcp", "tls", "udp", "tls_passthrough")
	if set("expression") {
		if set(matchFields...) {
			bad("", "cannot set 'expression' with '"+join(matchFields[:len(matchFields)-1])+"' or 'destinations' simultaneously")
			return
		}
		sub := expression.HTTP
		if stream {
			sub = expression.Stream
		}
		if _, err := expression.Parse(str(r["expression"]), sub); err != nil {
			bad("", "Router Expression failed validation: "+err.Error())
		}
		if has("grpc", "grpcs") && r["strip_path"] == true {
			bad("strip_path", "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'")
		}
		return
	}
	if set("snis") && !has("https", "grpcs", "tls", "tls_passthrough") {
		bad("snis", "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'")
		return
	}
	forbid := func(when string, names ...string) {
		for _, n := range names {
			if set(n) {
				bad(n, "cannot set '"+n+"' when 'protocols' is "+when)
			}
		}
	}
	need := func(when string, names ...string) {
		if !set(names...) {
			bad("", "must set one of '"+join(names)+"' when 'protocols' is "+when)
		}
	}
	if stream {
		forbid("'tcp', 'tls', 'tls_passthrough' or 'udp'", "methods", "hosts", "paths", "headers")
		if has("tls_passthrough") {
			if !set("snis") {
				bad("", "must set snis when 'protocols' is 'tls_passthrough'")
			}
			return
		}
		need("'tcp', 'tls' or 'udp'", "sources", "destinations", "snis")
		return
	}
	var ends []string
	if flavor == Expressions {
		ends = []string{"sources", "destinations"}
	}
	switch {
	case has("grpc", "grpcs"):
		if r["strip_path"] == true {
			bad("strip_path", "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'")
		}
		forbid("'grpc' or 'grpcs'", "methods")
		names := append([]string{"hosts", "headers", "paths"}, ends...)
		if has("grpcs") {
			names = append(names, "snis")
		}
		need("'"+join(protocols)+"'", names...)
	case has("https"):
		need("'https'", append([]string{"methods", "hosts", "headers", "paths", "snis"}, ends...)...)
	default:
		need("'http'", append([]string{"methods", "hosts", "headers", "paths"}, ends...)...)
	}
	if flavor != Expressions {
		when := "'http' or 'https'"
		if has("grpc", "grpcs") {
			when = "'grpc' or 'grpcs'"
		}
		forbid(when, "sources", "destinations")
	}
}

func join(s []string) string { return strings.Join(s, "', '") }
