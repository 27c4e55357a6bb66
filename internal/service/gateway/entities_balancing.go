package gateway

import (
	"net/netip"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

var (
	hashInputs  = []string{"none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture"}
	fieldHashOn = &schema.Field{Kind: schema.String, Default: "none", OneOf: oneOf(hashInputs...)}
	fieldParam  = &schema.Field{Kind: schema.String}
	fieldHeader = &schema.Field{Kind: schema.String, Check: CheckHeaderName}

	fieldCount    = &schema.Field{Kind: schema.Integer, Default: 0, Between: []float64{0, 255}}
	fieldSeconds  = &schema.Field{Kind: schema.Number, Default: 0, Between: []float64{0, 65535}}
	fieldStatuses = &schema.Field{Kind: schema.Array, Elements: &schema.Field{Kind: schema.Integer, Between: []float64{100, 999}}}
	fieldProbe    = &schema.Field{Kind: schema.String, Default: "http", OneOf: oneOf("tcp", "http", "https", "grpc", "grpcs")}
)

func statuses(codes ...int) func(*schema.Field) {
	list := make([]any, len(codes))
	for i, c := range codes {
		list[i] = c
	}
	return schema.Default(list)
}

// record makes a field of a record whose own defaults are its default, so that /schemas
// shows them and an omitted record is a whole one.
func record(name string, fields ...*schema.Field) *schema.Field {
	f := &schema.Field{Name: name, Kind: schema.Nested, Required: true, Fields: fields}
	f.Default = defaults(f)
	return f
}

// defaults are the defaults of a record's fields.
func defaults(f *schema.Field) schema.Record {
	out := schema.Record{}
	for _, c := range f.Fields {
		if c.Default != nil {
			out[c.Name] = schema.Clone(c.Default)
		}
	}
	return out
}

func failures(more ...*schema.Field) []*schema.Field {
	return append(more, fieldCount.With("tcp_failures"), fieldCount.With("timeouts"), fieldCount.With("http_failures"))
}

var healthchecks = record("healthchecks",
	record("active",
		fieldProbe.With("type"),
		fieldSeconds.With("timeout", schema.Default(1)),
		&schema.Field{Name: "concurrency", Kind: schema.Integer, Default: 10, Between: []float64{1, 2147483648}},
		&schema.Field{Name: "http_path", Kind: schema.String, Default: "/", StartsWith: "/", Check: checkPath},
		&schema.Field{Name: "https_sni", Kind: schema.String, Check: checkSNI},
		&schema.Field{Name: "https_verify_certificate", Kind: schema.Boolean, Required: true, Default: true},
		&schema.Field{Name: "headers", Kind: schema.Map, Keys: fieldHeader,
			Values: &schema.Field{Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Check: checkHeaderValue}}},
		record("healthy",
			fieldSeconds.With("interval"), fieldStatuses.With("http_statuses", statuses(200, 302)), fieldCount.With("successes")),
		record("unhealthy", failures(
			fieldSeconds.With("interval"),
			fieldStatuses.With("http_statuses", statuses(429, 404, 500, 501, 502, 503, 504, 505)))...),
	),
	record("passive",
		fieldProbe.With("type"),
		record("healthy",
			fieldStatuses.With("http_statuses", statuses(200, 201, 202, 203, 204, 205, 206, 207, 208, 226,
				300, 301, 302, 303, 304, 305, 306, 307, 308)),
			fieldCount.With("successes")),
		record("unhealthy", failures(fieldStatuses.With("http_statuses", statuses(429, 500, 503)))...),
	),
	&schema.Field{Name: "threshold", Kind: schema.Number, Default: 0, Between: []float64{0, 100}},
)

// needs is the rule that a kind of hashing requires another field.
func needs(on, kind, field string) schema.Check {
	return schema.Check{If: &schema.Conditional{Field: on, Is: oneOf(kind), Then: field, Match: schema.Match{Required: true}}}
}

// fallback is the rule for hash_fallback where hash_on has one of some values.
func fallback(hashOn []string, allowed ...string) schema.Check {
	return schema.Check{If: &schema.Conditional{Field: "hash_on", Is: oneOf(hashOn...), Then: "hash_fallback",
		Match: schema.Match{OneOf: oneOf(allowed...)}}}
}

var upstreams = &schema.Entity{
	Name: "upstreams", EndpointKey: "name",
	Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldID, fieldCreated, fieldUpdated,
		{Name: "name", Kind: schema.String, Required: true, Unique: true, Check: checkUpstreamName,
			Description: "A host name. A service with this host is balanced over the upstream's targets."},
		{Name: "algorithm", Kind: schema.String, Default: "round-robin",
			OneOf: oneOf("consistent-hashing", "least-connections", "round-robin", "latency")},
		fieldHashOn.With("hash_on"),
		fieldHashOn.With("hash_fallback"),
		fieldHeader.With("hash_on_header"),
		fieldHeader.With("hash_fallback_header"),
		{Name: "hash_on_cookie", Kind: schema.String, Check: checkCookieName},
		{Name: "hash_on_cookie_path", Kind: schema.String, Default: "/", StartsWith: "/", Check: checkPath},
		fieldParam.With("hash_on_query_arg"), fieldParam.With("hash_fallback_query_arg"),
		fieldParam.With("hash_on_uri_capture"), fieldParam.With("hash_fallback_uri_capture"),
		{Name: "slots", Kind: schema.Integer, Default: 10000, Between: []float64{10, 65536}},
		healthchecks,
		fieldTags,
		{Name: "host_header", Kind: schema.String, Check: checkHostPort},
		{Name: "client_certificate", Kind: schema.Foreign, Reference: "certificates",
			Description: "The certificate to show to targets, where the service has none."},
		{Name: "use_srv_name", Kind: schema.Boolean, Default: false},
	}, Checks: []schema.Check{
		needs("hash_on", "header", "hash_on_header"), needs("hash_fallback", "header", "hash_fallback_header"),
		needs("hash_on", "cookie", "hash_on_cookie"), needs("hash_fallback", "cookie", "hash_on_cookie"),
		needs("hash_on", "query_arg", "hash_on_query_arg"), needs("hash_fallback", "query_arg", "hash_fallback_query_arg"),
		needs("hash_on", "uri_capture", "hash_on_uri_capture"), needs("hash_fallback", "uri_capture", "hash_fallback_uri_capture"),
		fallback([]string{"none", "cookie"}, "none"),
		fallback([]string{"consumer"}, "none", "ip", "header", "cookie", "path", "query_arg", "uri_capture"),
		fallback([]string{"ip"}, "none", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"),
		fallback([]string{"path"}, "none", "consumer", "header", "cookie", "query_arg", "uri_capture", "ip"),
		{Distinct: []string{"hash_on_header", "hash_fallback_header"}},
		{Distinct: []string{"hash_on_query_arg", "hash_fallback_query_arg"}},
		{Distinct: []string{"hash_on_uri_capture", "hash_fallback_uri_capture"}},
		{If: &schema.Conditional{Field: "algorithm", Is: oneOf("least-connections"), Then: "hash_on",
			Match: schema.Match{OneOf: oneOf("none")}}},
	}},
	Shorthands: map[string]func(any, schema.Record) string{
		// What to hash decides the algorithm; least-connections hashes nothing.
		"hash_on": func(v any, r schema.Record) string {
			r["hash_on"] = v
			if v != "none" {
				r["algorithm"] = "consistent-hashing"
			}
			return ""
		},
		"algorithm": func(v any, r schema.Record) string {
			r["algorithm"] = v
			if _, given := r["hash_on"]; !given && v == "least-connections" {
				r["hash_on"] = "none"
			}
			return ""
		},
	},
}

var targets = &schema.Entity{
	Name: "targets", KeyUnder: "target", OnlyNested: true, UniqueTogether: []string{"upstream", "target"},
	Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldID, millisecond(fieldCreated), millisecond(fieldUpdated),
		{Name: "upstream", Kind: schema.Foreign, Reference: "upstreams", Required: true, Cascade: true},
		{Name: "target", Kind: schema.String, Required: true, Check: func(v any) string {
			if _, _, ok := splitTarget(v.(string)); !ok {
				return invalidTarget(v.(string))
			}
			return ""
		}, Description: "The host name or IP address and the port of the target; without a port, 8000."},
		{Name: "weight", Kind: schema.Integer, Default: 100, Between: []float64{0, 65535},
			Description: "The share of the traffic, relative to the other targets'; 0 for none."},
		fieldTags,
	}},
	Shorthands: map[string]func(any, schema.Record) string{
		"target": func(v any, r schema.Record) string {
			r["target"] = v
			if s, ok := v.(string); ok {
				if host, port, ok := splitTarget(s); ok {
					r["target"] = joinTarget(host, port)
				}
			}
			return ""
		},
	},
}

// millisecond is a timestamp with fractions of a second.
func millisecond(f *schema.Field) *schema.Field {
	return f.With(f.Name, func(c *schema.Field) { c.Kind = schema.Number })
}

// defaultTargetPort is the port of a target that names none.
const defaultTargetPort = 8000

// splitTarget cuts a target into its host, without brackets and in lower case, and port.
func splitTarget(s string) (host string, port int, ok bool) {
	host, port = strings.ToLower(s), defaultTargetPort
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && a.Zone() == "" {
		return a.String(), port, true
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		n, err := strconv.ParseUint(host[i+1:], 10, 16)
		if err != nil || n == 0 {
			return "", 0, false
		}
		host, port = host[:i], int(n)
	}
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return a.String(), port, err == nil && a.Is6() && a.Zone() == ""
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.String(), port, a.Is4()
	}
	return host, port, hostForm.MatchString(host) && !strings.Contains(host, "*")
}

// joinTarget returns a target in the form that is stored. IPv6 addresses are written in full,
// as Kong does: clients such as decK compare them with what they sent.
func joinTarget(host string, port int) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = a.StringExpanded()
	}
	return bracket(host) + ":" + strconv.Itoa(port)
}

// bracket puts an IPv6 address into brackets, as it stands before a port.
func bracket(host string) string {
	if strings.Contains(host, ":") {
		return "[" + strings.Trim(host, "[]") + "]"
	}
	return host
}

func invalidTarget(s string) string {
	return "Invalid target ('" + s + "'); not a valid hostname or ip address"
}

func checkUpstreamName(v any) string {
	s := v.(string)
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return "Invalid name; no ip addresses allowed"
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return "Invalid name; no ip addresses allowed"
	}
	name, port, ported := strings.Cut(s, ":")
	if !hostForm.MatchString(name) || strings.Contains(name, "*") {
		return "Invalid name; must be a valid hostname"
	}
	if ported {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "Invalid name; must be a valid hostname"
		}
		return "Invalid name; no port allowed"
	}
	return ""
}

func checkHostPort(v any) string {
	s := v.(string)
	if _, err := netip.ParseAddrPort(s); err == nil {
		return ""
	}
	host, port, ported := strings.Cut(s, ":")
	if n, err := strconv.ParseUint(port, 10, 16); ported && (err != nil || n == 0) {
		return "invalid value: " + s
	}
	if !hostForm.MatchString(host) || strings.Contains(host, "*") {
		return "invalid value: " + s
	}
	return ""
}

// CheckHeaderName is the check of a field that names a header.
func CheckHeaderName(v any) string {
	if s := v.(string); !headerForm.MatchString(s) {
		return "bad header name '" + s + "', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
	}
	return ""
}

func checkHeaderValue(v any) string {
	if strings.ContainsAny(v.(string), "\r\n\x00") {
		return "must not have line ends"
	}
	return ""
}

func checkCookieName(v any) string {
	if s := v.(string); !headerForm.MatchString(s) {
		return "Invalid cookie name '" + s + "', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
	}
	return ""
}
