package cors

import (
	"regexp"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

var methods = []any{"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "cors", Version: gateway.Version, Priority: 2000, NoScopes: []string{"consumer"},
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "origins", Kind: schema.Array, Description: "Origins that may see answers: *, origins, or regular expressions.",
				Elements: &schema.Field{Kind: schema.String, Check: checkOrigin}},
			schema.StringArray("headers", "Headers that requests may have; those a preflight asks for."),
			schema.StringArray("exposed_headers", "Headers of answers that pages may see."),
			{Name: "methods", Kind: schema.Array, Default: methods, Elements: &schema.Field{Kind: schema.String, OneOf: methods},
				Description: "Methods that requests may have."},
			{Name: "max_age", Kind: schema.Number, Description: "Seconds that a browser may keep the answer to a preflight."},
			schema.Flag("credentials", "Requests may carry credentials.", false),
			schema.Flag("private_network", "Pages of public networks may ask.", false),
			schema.Flag("preflight_continue", "Leave preflight requests to the upstream.", false),
		}},
		New: newInstance,
	}
}

func checkOrigin(v any) string {
	if v == "*" {
		return ""
	}
	if _, err := regexp.Compile(v.(string)); err != nil {
		return "invalid regex: '" + v.(string) + "'"
	}
	return ""
}

// instance implements gateway.Accessor and gateway.HeaderFilter.
type instance struct {
	any         bool // every origin may see the answers
	fixed       string
	origins     []origin
	headers     string
	exposed     string
	methods     string
	maxAge      string
	credentials bool
	private     bool
	pass        bool // preflight requests go to the upstream
}

// origin is one allowed origin. Those written without a scheme are compared with the host
// alone.
type origin struct {
	exact string
	regex *regexp.Regexp
	host  bool
}

var plain = regexp.MustCompile(`^[A-Za-z0-9.:/-]+$`)

func newInstance(c schema.Record, _ gateway.Env) (any, error) {
	in := &instance{
		headers: strings.Join(schema.Strings(c["headers"]), ","), exposed: strings.Join(schema.Strings(c["exposed_headers"]), ","),
		methods: strings.Join(schema.Strings(c["methods"]), ","),
	}
	if age, ok := c["max_age"].(float64); ok {
		in.maxAge = strconv.FormatFloat(age, 'f', -1, 64)
	}
	in.credentials, _ = c["credentials"].(bool)
	in.private, _ = c["private_network"].(bool)
	in.pass, _ = c["preflight_continue"].(bool)
	listed := schema.Strings(c["origins"])
	in.any = len(listed) == 0
	for _, o := range listed {
		entry := origin{host: !strings.Contains(o, ":")}
		switch {
		case o == "*":
			in.any = true
			continue
		case plain.MatchString(o):
			entry.exact = normal(o)
		default:
			re, err := regexp.Compile("^(?:" + strings.TrimSuffix(strings.TrimPrefix(o, "^"), "$") + ")$")
			if err != nil {
				return nil, err
			}
			entry.regex = re
		}
		in.origins = append(in.origins, entry)
	}
	if len(listed) == 1 && plain.MatchString(listed[0]) {
		in.fixed = listed[0]
	}
	return in, nil
}

// normal is an origin without the port that its scheme implies.
func normal(o string) string {
	o = strings.TrimSuffix(strings.ToLower(o), "/")
	if strings.HasPrefix(o, "http://") {
		return strings.TrimSuffix(o, ":80")
	}
	if strings.HasPrefix(o, "https://") {
		return strings.TrimSuffix(o, ":443")
	}
	return o
}

func hostOf(o string) string {
	if _, rest, ok := strings.Cut(o, "://"); ok {
		o = rest
	}
	host, _, _ := strings.Cut(o, ":")
	return host
}

func (in *instance) allows(o string) bool {
	for _, a := range in.origins {
		subject := o
		if a.host {
			subject = hostOf(o)
		}
		if a.regex != nil && a.regex.MatchString(subject) || a.regex == nil && a.exact == subject {
			return true
		}
	}
	return false
}

// answer sets the headers that say who may see an answer.
func (in *instance) answer(h *gateway.Header, from string) {
	const allow = "Access-Control-Allow-Origin"
	switch {
	case in.any && in.credentials && from != "":
		vary(h) // a browser refuses * together with credentials
		h.Set(allow, from)
	case in.any:
		h.Set(allow, "*")
		return
	case in.fixed != "":
		vary(h)
		h.Set(allow, in.fixed)
	default:
		vary(h)
		if o := normal(from); from != "" && in.allows(o) {
			h.Set(allow, o)
		} else {
			h.Del(allow)
		}
	}
	if in.credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// vary says that the answer depends on the origin.
func vary(h *gateway.Header) {
	for _, f := range h.Fields() {
		if gateway.EqualFold(f.Name, "Vary") && gateway.HasToken(f.Value, "Origin") {
			return
		}
	}
	h.Add("Vary", "Origin")
}

// preflight reports whether a browser asks before the request it wants to make.
func preflight(x *gateway.Exchange) bool {
	h := &x.Request.Header
	return x.Request.Method == "OPTIONS" && h.Get("Origin") != "" && h.Get("Access-Control-Request-Method") != ""
}

// Access answers preflight requests.
func (in *instance) Access(x *gateway.Exchange) {
	if in.pass || !preflight(x) {
		return
	}
	ask, h := &x.Request.Header, &x.Response.Header
	in.answer(h, ask.Get("Origin"))
	headers := in.headers
	if headers == "" {
		headers = ask.Get("Access-Control-Request-Headers")
	}
	if headers != "" {
		h.Set("Access-Control-Allow-Headers", headers)
	}
	h.Set("Access-Control-Allow-Methods", in.methods)
	if in.maxAge != "" {
		h.Set("Access-Control-Max-Age", in.maxAge)
	}
	if in.private && ask.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	x.Respond(200, nil)
}

// HeaderFilter sets the headers on every other answer.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	from := x.Request.Header.Get("Origin")
	if preflight(x) {
		return
	}
	in.answer(&x.Response.Header, from)
	if in.exposed != "" {
		x.Response.Header.Set("Access-Control-Expose-Headers", in.exposed)
	}
}
