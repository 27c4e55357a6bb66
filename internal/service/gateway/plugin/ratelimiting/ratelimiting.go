package ratelimiting

import (
	"context"
	"log/slog"
	"strconv"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/quota"
	"sluice.dev/sluice/internal/service/gateway/plugin/redisserver"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind, with counters of its own.
func New() gateway.Plugin {
	local := quota.NewLocal()
	config := []*schema.Field{}
	dotted := []string{}
	for _, name := range quota.Names {
		config = append(config, &schema.Field{Name: name, Kind: schema.Number, Gt: schema.Ptr(0.0), Description: "Requests per " + name + "."})
		dotted = append(dotted, "config."+name)
	}
	str := func(values ...any) []any { return values }
	config = append(config,
		&schema.Field{Name: "limit_by", Kind: schema.String, Default: "consumer",
			OneOf: str("consumer", "credential", "ip", "service", "header", "path"), Description: "Whom the limit is for."},
		&schema.Field{Name: "header_name", Kind: schema.String, Check: gateway.CheckHeaderName, Description: "Header whose values are limited."},
		&schema.Field{Name: "path", Kind: schema.String, StartsWith: "/", Description: "Path that is limited."},
		quota.PolicyField(),
		schema.Flag("fault_tolerant", "Let requests pass where the counters cannot be reached.", true),
		redisserver.Field("The Redis server of the policy redis."),
		schema.Flag("hide_client_headers", "Do not tell clients their limits.", false),
		&schema.Field{Name: "error_code", Kind: schema.Number, Default: 429, Between: []float64{100, 599}, Description: "Status of a refusal."},
		&schema.Field{Name: "error_message", Kind: schema.String, Default: "API rate limit exceeded", Description: "What a refusal says."},
		&schema.Field{Name: "sync_rate", Kind: schema.Number, Required: true, Default: -1,
			Description: "Of Kong, where counts in Redis may lag by so many seconds; here they never do."},
	)
	return gateway.Plugin{
		Name: "rate-limiting", Version: gateway.Version, Priority: 910,
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config:    &schema.Field{Fields: config, Shorthands: redisserver.Shorthands("rate-limiting"), Checks: []schema.Check{{Custom: quota.Ascending}}},
		Checks: []schema.Check{
			{AtLeastOneOf: dotted}, quota.PolicyCheck,
			{If: &schema.Conditional{Field: "config.limit_by", Is: str("header"), Then: "config.header_name",
				Match: schema.Match{Required: true}}},
			{If: &schema.Conditional{Field: "config.limit_by", Is: str("path"), Then: "config.path",
				Match: schema.Match{Required: true}}},
		},
		Entities: []*schema.Entity{quota.Entity},
		New: func(config schema.Record, env gateway.Env) (any, error) {
			return newInstance(config, env, quota.New(config, env, local)), nil
		},
	}
}

type instance struct {
	id       string
	clock    clock.Clock
	log      *slog.Logger
	counter  quota.Counter
	tolerant bool
	limits   quota.Limits
	by       string
	header   string
	path     string
	hidden   bool
	status   int
	message  string
	// names and limits of the headers, made once
	limitName, leftName, limitText [quota.Periods]string
}

func newInstance(c schema.Record, env gateway.Env, counter quota.Counter) *instance {
	in := &instance{id: env.ID, clock: env.Clock, log: env.Log, counter: counter}
	for p := range quota.Periods {
		if n, ok := c[quota.Names[p]].(float64); ok {
			in.limits[p] = max(int64(n), 1)
			in.limitName[p] = "X-RateLimit-Limit-" + quota.Titles[p]
			in.leftName[p] = "X-RateLimit-Remaining-" + quota.Titles[p]
			in.limitText[p] = strconv.FormatInt(in.limits[p], 10)
		}
	}
	in.tolerant, _ = c["fault_tolerant"].(bool)
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
	u, err := in.counter.Take(x.Context(), quota.Subject{Plugin: in.id, Who: in.who(x)}, &in.limits, 1, in.clock.Now())
	if err != nil {
		in.log.Error("counting requests", "err", err)
		if !in.tolerant {
			x.Fail(500, "An unexpected error occurred")
		}
		return
	}
	tightest := quota.Period(-1)
	for p := range quota.Periods {
		if in.limits[p] == 0 {
			continue
		}
		if tightest < 0 || u.Left[p] <= u.Left[tightest] {
			tightest = p
		}
	}
	if !in.hidden {
		x.Put(in, &verdict{u, tightest})
	}
	if u.Full >= 0 {
		if in.hidden {
			x.Fail(in.status, in.message)
			return
		}
		x.Fail(in.status, in.message, gateway.Field{Name: "Retry-After", Value: strconv.FormatInt(u.Reset[tightest], 10)})
	}
}

// Close implements gateway.Closer.
func (in *instance) Close(context.Context) error {
	in.counter.Close()
	return nil
}

type verdict struct {
	usage    quota.Usage
	tightest quota.Period
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	v, ok := x.Value(in).(*verdict)
	if !ok {
		return
	}
	h := &x.Response.Header
	for p := range quota.Periods {
		if in.limits[p] != 0 {
			h.Set(in.limitName[p], in.limitText[p])
			h.Set(in.leftName[p], strconv.FormatInt(v.usage.Left[p], 10))
		}
	}
	t := v.tightest
	h.Set("RateLimit-Limit", in.limitText[t])
	h.Set("RateLimit-Remaining", strconv.FormatInt(v.usage.Left[t], 10))
	h.Set("RateLimit-Reset", strconv.FormatInt(v.usage.Reset[t], 10))
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
		return x.ClientIP()
	}
	return id
}
