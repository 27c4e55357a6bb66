package ratelimiting

import (
	"fmt"
	"strconv"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind, with counters of its own.
func New() gateway.Plugin {
	c := newCounters()
	limit := func(p period) *schema.Field {
		return &schema.Field{Name: periodNames[p], Kind: schema.Number, Gt: schema.Ptr(0.0),
			Description: "Requests per " + periodNames[p] + "."}
	}
	config := []*schema.Field{}
	dotted := []string{}
	for p := range periods {
		config = append(config, limit(p))
		dotted = append(dotted, "config."+periodNames[p])
	}
	str := func(values ...any) []any { return values }
	config = append(config,
		&schema.Field{Name: "limit_by", Kind: schema.String, Default: "consumer",
			OneOf: str("consumer", "credential", "ip", "service", "header", "path")},
		&schema.Field{Name: "header_name", Kind: schema.String},
		&schema.Field{Name: "path", Kind: schema.String, StartsWith: "/"},
		&schema.Field{Name: "policy", Kind: schema.String, Default: "local", OneOf: str("local", "cluster", "redis"),
			Check: func(v any) string {
				if v != "local" {
					return fmt.Sprintf("policy '%v' is not served yet; use 'local'", v)
				}
				return ""
			}},
		&schema.Field{Name: "fault_tolerant", Kind: schema.Boolean, Required: true, Default: true},
		&schema.Field{Name: "redis", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
			{Name: "host", Kind: schema.String},
			{Name: "port", Kind: schema.Integer, Default: 6379, Between: []float64{0, 65535}},
			{Name: "timeout", Kind: schema.Integer, Default: 2000, Between: []float64{0, 2147483646}},
			{Name: "username", Kind: schema.String, Referenceable: true},
			{Name: "password", Kind: schema.String, Referenceable: true, Encrypted: true, LenMin: schema.Ptr(0)},
			{Name: "database", Kind: schema.Integer, Default: 0},
			{Name: "ssl", Kind: schema.Boolean, Default: false},
			{Name: "ssl_verify", Kind: schema.Boolean, Default: false},
			{Name: "server_name", Kind: schema.String},
		}},
		&schema.Field{Name: "hide_client_headers", Kind: schema.Boolean, Required: true, Default: false},
		&schema.Field{Name: "error_code", Kind: schema.Number, Default: 429, Between: []float64{100, 599}},
		&schema.Field{Name: "error_message", Kind: schema.String, Default: "API rate limit exceeded"},
		&schema.Field{Name: "sync_rate", Kind: schema.Number, Required: true, Default: -1},
	)
	return gateway.Plugin{
		Name: "rate-limiting", Version: gateway.Version, Priority: 910,
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config:    &schema.Field{Fields: config, Checks: []schema.Check{{Custom: ascending}}},
		Checks: []schema.Check{
			{AtLeastOneOf: dotted},
			{If: &schema.Conditional{Field: "config.limit_by", Is: str("header"), Then: "config.header_name",
				Match: schema.Match{Required: true}}},
			{If: &schema.Conditional{Field: "config.limit_by", Is: str("path"), Then: "config.path",
				Match: schema.Match{Required: true}}},
		},
		New: func(config schema.Record, env gateway.Env) (any, error) { return newInstance(config, env, c), nil },
	}
}

// ascending refuses a limit for a longer period that is lower than one for a shorter.
func ascending(r schema.Record, bad func(field, msg string)) {
	for short := range periods {
		v1, ok1 := r[periodNames[short]].(float64)
		for long := short + 1; long < periods && ok1; long++ {
			if v2, ok2 := r[periodNames[long]].(float64); ok2 && v2 < v1 {
				bad("", fmt.Sprintf("The limit for %s(%.1f) cannot be lower than the limit for %s(%.1f)",
					periodNames[long], v2, periodNames[short], v1))
				return
			}
		}
	}
}

type instance struct {
	id       string
	clock    clock.Clock
	counters *counters
	limits   [periods]int64
	by       string
	header   string
	path     string
	hidden   bool
	status   int
	message  string
	// names and limits of the headers, made once
	limitName, leftName, limitText [periods]string
}

func newInstance(c schema.Record, env gateway.Env, counters *counters) *instance {
	in := &instance{id: env.ID, clock: env.Clock, counters: counters}
	for p := range periods {
		if n, ok := c[periodNames[p]].(float64); ok {
			in.limits[p] = max(int64(n), 1)
			in.limitName[p] = "X-RateLimit-Limit-" + periodTitles[p]
			in.leftName[p] = "X-RateLimit-Remaining-" + periodTitles[p]
			in.limitText[p] = strconv.FormatInt(in.limits[p], 10)
		}
	}
	in.by, _ = c["limit_by"].(string)
	in.header, _ = c["header_name"].(string)
	in.path, _ = c["path"].(string)
	in.hidden, _ = c["hide_client_headers"].(bool)
	in.message, _ = c["error_message"].(string)
	status, _ := c["error_code"].(float64)
	in.status = int(status)
	return in
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	now := in.clock.Now()
	u := in.counters.take(subject{in.id, in.who(x)}, &in.limits, now)
	tightest := period(-1)
	for p := range periods {
		if in.limits[p] == 0 {
			continue
		}
		if u.full < 0 || u.full == p {
			u.left[p]--
		}
		u.left[p] = max(u.left[p], 0)
		if tightest < 0 || u.left[p] <= u.left[tightest] {
			tightest = p
		}
	}
	if !in.hidden {
		x.Put(in, &verdict{u, tightest})
	}
	if u.full >= 0 {
		if in.hidden {
			x.Fail(in.status, in.message)
			return
		}
		x.Fail(in.status, in.message, gateway.Field{Name: "Retry-After", Value: strconv.FormatInt(u.reset[tightest], 10)})
	}
}

type verdict struct {
	usage    usage
	tightest period
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	v, ok := x.Value(in).(*verdict)
	if !ok {
		return
	}
	h := &x.Response.Header
	for p := range periods {
		if in.limits[p] != 0 {
			h.Set(in.limitName[p], in.limitText[p])
			h.Set(in.leftName[p], strconv.FormatInt(v.usage.left[p], 10))
		}
	}
	t := v.tightest
	h.Set("RateLimit-Limit", in.limitText[t])
	h.Set("RateLimit-Remaining", strconv.FormatInt(v.usage.left[t], 10))
	h.Set("RateLimit-Reset", strconv.FormatInt(v.usage.reset[t], 10))
}

// who names the subject of a request. Where the chosen one does not apply, the client's
// address stands in.
func (in *instance) who(x *gateway.Exchange) string {
	id := ""
	switch in.by {
	case "consumer":
		if c := x.Consumer(); c != nil {
			id = c.ID
		} else if c := x.Credential(); c != nil {
			id = c.ID
		}
	case "credential":
		if c := x.Credential(); c != nil {
			id = c.ID
		}
	case "service":
		if s := x.Upstream.Service; s != nil {
			id = s.ID
		}
	case "header":
		id = x.Request.Header.Get(in.header)
	case "path":
		if x.Request.Path == in.path {
			id = in.path
		}
	}
	if id == "" {
		return x.Conn.ClientIP
	}
	return id
}
