package gateway

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Fields that entities share.
var (
	fieldID = &schema.Field{Name: "id", Kind: schema.String, UUID: true, Auto: true,
		Description: "The entity's unique id."}
	fieldCreated = &schema.Field{Name: "created_at", Kind: schema.Integer, Timestamp: true, Auto: true,
		Description: "When the entity was created, in seconds since 1970."}
	fieldUpdated = &schema.Field{Name: "updated_at", Kind: schema.Integer, Timestamp: true, Auto: true,
		Description: "When the entity was last changed, in seconds since 1970."}
	fieldTags = &schema.Field{Name: "tags", Kind: schema.Set, Description: "Strings to group entities by.",
		Elements: &schema.Field{Kind: schema.String, Required: true, Check: checkTag}}
	fieldName = &schema.Field{Name: "name", Kind: schema.String, Unique: true, Check: checkName}
	fieldPort = &schema.Field{Name: "port", Kind: schema.Integer, Between: []float64{0, 65535}}
)

// Shared returns the fields every entity has: id, created_at, updated_at and tags. Plugins
// that bring entities of their own use them.
func Shared() (id, created, updated, tags *schema.Field) {
	return fieldID, fieldCreated, fieldUpdated, fieldTags
}

func timeoutField(name, what string) *schema.Field {
	return &schema.Field{Name: name, Kind: schema.Integer, Default: 60000, Between: []float64{1, 2147483646},
		Description: "Milliseconds to wait " + what + "."}
}

// oneOf turns strings into the values of a OneOf.
func oneOf(values ...string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

var services = &schema.Entity{
	Name: "services", EndpointKey: "name",
	Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldID, fieldCreated, fieldUpdated, fieldName,
		{Name: "retries", Kind: schema.Integer, Default: 5, Between: []float64{0, 32767},
			Description: "Further attempts after a connection failed."},
		{Name: "protocol", Kind: schema.String, Required: true, Default: "http",
			OneOf: oneOf("grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp")},
		{Name: "host", Kind: schema.String, Required: true, Check: checkHost},
		fieldPort.With("port", schema.Required, schema.Default(80)),
		{Name: "path", Kind: schema.String, StartsWith: "/", Check: checkPath},
		timeoutField("connect_timeout", "for a connection"),
		timeoutField("write_timeout", "between two writes"),
		timeoutField("read_timeout", "between two reads"),
		fieldTags,
		{Name: "client_certificate", Kind: schema.Foreign, Reference: "certificates",
			Description: "The certificate to show to the upstream."},
		{Name: "tls_verify", Kind: schema.Boolean, Description: "Verify the upstream's certificate."},
		{Name: "tls_verify_depth", Kind: schema.Integer, Between: []float64{0, 64},
			Description: "How many intermediate certificates may lie between the upstream's and the authority's."},
		{Name: "ca_certificates", Kind: schema.Array, Description: "The authorities to verify by; else the system's.",
			Elements: &schema.Field{Kind: schema.String, UUID: true, Reference: "ca_certificates"}},
		{Name: "enabled", Kind: schema.Boolean, Required: true, Default: true},
	}, Checks: []schema.Check{
		{If: &schema.Conditional{Field: "protocol", Is: oneOf("tcp", "tls", "udp", "grpc", "grpcs"),
			Then: "path", Match: schema.Match{EqNull: true}}},
		onlyByTLS("client_certificate"), onlyByTLS("tls_verify"), onlyByTLS("tls_verify_depth"), onlyByTLS("ca_certificates"),
	}},
	Shorthands: map[string]func(any, schema.Record) string{"url": expandURL},
}

// onlyByTLS refuses a service's field where the service is not spoken to over TLS.
func onlyByTLS(field string) schema.Check {
	return schema.Check{If: &schema.Conditional{Field: "protocol", Is: oneOf("http", "tcp", "udp", "grpc", "tls_passthrough"),
		Then: field, Match: schema.Match{EqNull: true}}}
}

var consumers = &schema.Entity{
	Name: "consumers", EndpointKey: "username",
	Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldID, fieldCreated, fieldUpdated,
		{Name: "username", Kind: schema.String, Unique: true},
		{Name: "custom_id", Kind: schema.String, Unique: true},
		fieldTags,
	}, Checks: []schema.Check{{AtLeastOneOf: []string{"custom_id", "username"}}}},
}

// pluginsEntity describes the plugins collection; the kinds give "config" its schema.
func (g *Gateway) pluginsEntity() *schema.Entity {
	scoped := func(name, to string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Foreign, Reference: to, Cascade: true}
	}
	return &schema.Entity{
		Name: "plugins", EndpointKey: "instance_name",
		UniqueTogether: []string{"name", "route", "service", "consumer"},
		Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
			fieldID, fieldCreated, fieldUpdated,
			{Name: "name", Kind: schema.String, Required: true},
			fieldName.With("instance_name"),
			scoped("route", "routes"), scoped("service", "services"), scoped("consumer", "consumers"),
			{Name: "config", Kind: schema.Nested, Required: true},
			{Name: "protocols", Kind: schema.Set, Required: true, Default: oneOf("grpc", "grpcs", "http", "https"),
				Elements: &schema.Field{Kind: schema.String,
					OneOf: oneOf("grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp")}},
			{Name: "enabled", Kind: schema.Boolean, Required: true, Default: true},
			fieldTags,
		}},
		Variant: g.pluginVariant,
	}
}

// pluginVariant returns the plugin entity's record with config and scopes as the kind
// wants them, or what is wrong with the name.
func (g *Gateway) pluginVariant(r schema.Record) (*schema.Field, []schema.Check, string) {
	base := g.entities["plugins"].Record
	name, _ := r["name"].(string)
	if name == "" {
		return base, nil, ""
	}
	k, ok := g.kinds[name]
	if !ok {
		return nil, nil, "plugin '" + name + "' not enabled; add it to the 'plugins' configuration property"
	}
	return k.record, k.Checks, ""
}

// pluginRecord is the record of the plugins entity for one kind.
func pluginRecord(base *schema.Field, p *Plugin) *schema.Field {
	out := *base
	out.Fields = nil
	for _, f := range base.Fields {
		c := *f
		switch {
		case f.Name == "config":
			c = *p.Config
			c.Name, c.Kind, c.Required = "config", schema.Nested, true
		case f.Name == "protocols":
			e := *f.Elements
			switch { // what it does not act on it must not be set for
			case p.Protocols != nil:
				c.Default = oneOf(p.Protocols...)
				e.OneOf = oneOf(p.Protocols...)
			case !p.Streams:
				e.OneOf = f.Default.([]any)
			}
			c.Elements = &e
		case f.Kind == schema.Foreign:
			for _, no := range p.NoScopes {
				c.EqNull = c.EqNull || no == f.Name
			}
		}
		out.Fields = append(out.Fields, &c)
	}
	return &out
}

// expandURL turns a service's url into protocol, host, port and path.
func expandURL(v any, r schema.Record) string {
	s, ok := v.(string)
	if !ok {
		return "expected a string"
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return "missing host in url"
	}
	r["protocol"], r["host"], r["path"] = u.Scheme, u.Hostname(), nil
	if u.EscapedPath() != "" {
		r["path"] = u.EscapedPath()
	}
	port := 80.0
	switch u.Scheme {
	case "https", "tls", "grpcs":
		port = 443
	}
	if p := u.Port(); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil {
			return "invalid port"
		}
		port = float64(n)
	}
	r["port"] = port
	return ""
}

var (
	nameForm   = regexp.MustCompile(`^[\p{L}\p{N}\p{M}.\-_~\x{80}-\x{10FFFF}]+$`)
	methodForm = regexp.MustCompile(`^[A-Z]+$`)
	headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+\\-.^_`|~]+$")
	hostForm   = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9\-_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9\-_]*[A-Za-z0-9_])?)*\.?(\.\*)?$`)
	pathForm   = regexp.MustCompile(`^/[A-Za-z0-9.\-_~/%!$&'()*+,;=:@]*$`)
	badEscape  = regexp.MustCompile(`%([^0-9A-Fa-f]|[0-9A-Fa-f][^0-9A-Fa-f]|.?$)`)
)

func checkName(v any) string {
	if s := v.(string); !nameForm.MatchString(s) {
		return "invalid value '" + s + "': the only accepted ascii characters are alphanumerics or ., -, _, and ~"
	}
	return ""
}

func checkTag(v any) string {
	for _, c := range v.(string) {
		if c < 0x20 || c == 0x7f || c == ',' || c == '/' {
			return "invalid tag '" + v.(string) + "': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
		}
	}
	return ""
}

func checkMethod(v any) string {
	if s := v.(string); !methodForm.MatchString(s) {
		return "invalid value: " + s
	}
	return ""
}

func checkHost(v any) string {
	s := v.(string)
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return ""
	}
	if name, port, ok := strings.Cut(s, ":"); ok && hostForm.MatchString(name) {
		if _, err := strconv.Atoi(port); err == nil {
			return "must not have a port"
		}
	}
	if !hostForm.MatchString(s) || strings.Contains(s, "*") {
		return "invalid value: " + s
	}
	return ""
}

func checkSNI(v any) string {
	s := v.(string)
	if _, err := netip.ParseAddr(s); err == nil {
		return "must not be an IP"
	}
	if strings.Contains(s, ":") {
		return "must not have a port"
	}
	if !hostForm.MatchString(s) || strings.Count(s, "*") > 1 {
		return "invalid value: " + s
	}
	return ""
}

func checkRouteHost(v any) string {
	s := v.(string)
	if _, err := netip.ParseAddrPort(s); err == nil {
		return ""
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return ""
	}
	host, port, ok := strings.Cut(s, ":")
	if ok {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return "invalid port number"
		}
	}
	switch {
	case strings.Count(host, "*") > 1:
		return "invalid wildcard: must have at most one wildcard"
	case strings.Contains(host, "*") && !strings.HasPrefix(host, "*.") && !strings.HasSuffix(host, ".*"):
		return "invalid wildcard: must be placed at leftmost or rightmost label"
	case !hostForm.MatchString(host):
		return "invalid value: " + s
	}
	return ""
}

// checkPath checks a service's path.
func checkPath(v any) string {
	s := v.(string)
	switch {
	case strings.Contains(s, "//"):
		return "must not have empty segments"
	case !pathForm.MatchString(s):
		return "invalid path: '" + s + "' (characters outside of the reserved list of RFC 3986 found)"
	case badEscape.MatchString(s):
		return "invalid url-encoded value: '" + badEscape.FindString(s) + "'"
	}
	return ""
}

// checkRoutePath checks a prefix, or a regular expression behind a "~".
func checkRoutePath(v any) string {
	s := v.(string)
	if expr, ok := strings.CutPrefix(s, "~"); ok {
		if !strings.HasPrefix(expr, "/") {
			return "should start with: / (fixed path) or ~/ (regex path)"
		}
		if _, err := parsePathRule(s); err != nil {
			return "invalid regex: '" + expr + "' (" + err.Error() + ")"
		}
		return ""
	}
	if !strings.HasPrefix(s, "/") {
		return "should start with: / (fixed path) or ~/ (regex path)"
	}
	if msg := checkPath(v); msg != "" {
		return msg
	}
	if normal, ok := NormalizePath(s); !ok || normal != s {
		return "non-normalized path, consider use '" + normal + "' instead"
	}
	return ""
}

func checkRouteHeaderName(v any) string {
	s := v.(string)
	if strings.EqualFold(s, "host") {
		return "cannot contain 'host' header, which must be specified in the 'hosts' attribute"
	}
	return CheckHeaderName(v)
}

func checkRouteHeaderValue(v any) string {
	if expr, ok := strings.CutPrefix(v.(string), "~*"); ok {
		if _, err := regexp.Compile("(?i)" + expr); err != nil {
			return "invalid regex: '" + expr + "' (" + err.Error() + ")"
		}
	}
	return ""
}
