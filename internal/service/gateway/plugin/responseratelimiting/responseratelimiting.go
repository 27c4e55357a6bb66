package responseratelimiting

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/quota"
	"sluice.dev/sluice/internal/service/gateway/plugin/redisserver"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind, with counters of its own.
func New() gateway.Plugin {
	local := quota.NewLocal()
	limits := &schema.Field{Kind: schema.Nested, Required: true, Checks: []schema.Check{
		{AtLeastOneOf: quota.Names[:]}, {Custom: quota.Ascending},
	}}
	for _, name := range quota.Names {
		limits.Fields = append(limits.Fields, &schema.Field{Name: name, Kind: schema.Number, Gt: schema.Ptr(0.0), Description: "Units per " + name + "."})
	}
	return gateway.Plugin{
		Name: "response-ratelimiting", Version: gateway.Version, Priority: 900,
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config: &schema.Field{Shorthands: redisserver.Shorthands("response-ratelimiting"), Fields: []*schema.Field{
			{Name: "header_name", Kind: schema.String, Default: "x-kong-limit", Check: gateway.CheckHeaderName,
				Description: "Header of the upstream's answer that says what it cost."},
			{Name: "limit_by", Kind: schema.String, Default: "consumer", OneOf: []any{"consumer", "credential", "ip"},
				Description: "Whom the limits are for."},
			quota.PolicyField(),
			schema.Flag("fault_tolerant", "Let requests pass where the counters cannot be reached.", true),
			redisserver.Field("The Redis server of the policy redis."),
			schema.Flag("block_on_first_violation", "Refuse requests as soon as one of the limits is used up.", false),
			schema.Flag("hide_client_headers", "Do not tell clients their limits.", false),
			{Name: "limits", Kind: schema.Map, Required: true, LenMin: schema.Ptr(1), Keys: &schema.Field{Kind: schema.String},
				Values: limits, Description: "Limits by name."},
		}},
		Checks:   []schema.Check{quota.PolicyCheck},
		Entities: []*schema.Entity{quota.Entity},
		New: func(c schema.Record, env gateway.Env) (any, error) {
			in := &instance{id: env.ID, clock: env.Clock, log: env.Log, counter: quota.New(c, env, local)}
			in.header, _ = c["header_name"].(string)
			in.by, _ = c["limit_by"].(string)
			in.tolerant, _ = c["fault_tolerant"].(bool)
			in.block, _ = c["block_on_first_violation"].(bool)
			in.hidden, _ = c["hide_client_headers"].(bool)
			given, _ := c["limits"].(schema.Record)
			for name, v := range given {
				l := limit{name: name}
				byPeriod, _ := v.(schema.Record)
				for p := range quota.Periods {
					if n, ok := byPeriod[quota.Names[p]].(float64); ok {
						l.limits[p] = max(int64(n), 1)
					}
				}
				in.limits = append(in.limits, l)
			}
			slices.SortFunc(in.limits, func(a, b limit) int { return strings.Compare(a.name, b.name) })
			return in, nil
		},
	}
}

type limit struct {
	name   string
	limits quota.Limits
}

// least is what is left of the limit in the tightest window.
func (l *limit) least(u *quota.Usage) int64 {
	least := int64(-1)
	for p := range quota.Periods {
		if l.limits[p] != 0 && (least < 0 || u.Left[p] < least) {
			least = u.Left[p]
		}
	}
	return least
}

type instance struct {
	id       string
	clock    clock.Clock
	log      *slog.Logger
	counter  quota.Counter
	header   string
	by       string
	tolerant bool
	block    bool
	hidden   bool
	limits   []limit // by name
}

// state is what an exchange keeps between the phases.
type state struct {
	who   string
	usage []quota.Usage // by limit
	cost  []int64
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	st := &state{who: in.who(x), usage: make([]quota.Usage, len(in.limits)), cost: make([]int64, len(in.limits))}
	for i := range in.limits {
		l := &in.limits[i]
		u, err := in.counter.Add(x.Context(), in.subject(st, l), &l.limits, 0, in.clock.Now())
		if err != nil {
			in.log.Error("reading what is left of a limit", "err", err)
			if !in.tolerant {
				x.Fail(500, "An unexpected error occurred")
			}
			return
		}
		left := l.least(&u)
		if in.block && left == 0 {
			x.Fail(429, "API rate limit exceeded for '"+l.name+"'")
			return
		}
		st.usage[i] = u
		x.Request.Header.Set("X-RateLimit-Remaining-"+l.name, strconv.FormatInt(left, 10))
	}
	x.Put(in, st)
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	st, ok := x.Value(in).(*state)
	if !ok || !x.FromUpstream() {
		return
	}
	h := &x.Response.Header
	for _, f := range h.Fields() {
		if gateway.EqualFold(f.Name, in.header) {
			in.read(f.Value, st.cost)
		}
	}
	h.Del(in.header)
	over := false
	for i := range in.limits {
		l, u := &in.limits[i], &st.usage[i]
		if st.cost[i] > 0 {
			// It is counted before the client has the answer, so that its next request finds it.
			over = over || st.cost[i] > l.least(u)
			counted, err := in.counter.Add(context.WithoutCancel(x.Context()), in.subject(st, l), &l.limits, st.cost[i], in.clock.Now())
			if err != nil {
				in.log.Error("counting what a request has cost", "err", err)
			} else {
				*u = counted
			}
		}
		for p := range quota.Periods {
			if l.limits[p] != 0 && !in.hidden {
				name := l.name + "-" + quota.Titles[p]
				h.Set("X-RateLimit-Limit-"+name, strconv.FormatInt(l.limits[p], 10))
				h.Set("X-RateLimit-Remaining-"+name, strconv.FormatInt(u.Left[p], 10))
			}
		}
	}
	if over {
		x.Response.Status = 429
		x.Put(overKey{in}, true)
	}
}

// overKey tells, for one exchange, that its answer broke a limit.
type overKey struct{ in *instance }

// BodyFilter keeps an answer from the client that broke a limit.
func (in *instance) BodyFilter(x *gateway.Exchange, chunk []byte, _ bool) []byte {
	if x.Value(overKey{in}) != nil {
		return nil
	}
	return chunk
}

// Close implements gateway.Closer.
func (in *instance) Close(context.Context) error {
	in.counter.Close()
	return nil
}

// read adds up what a header says: "videos=2, images" costs two videos and one image.
// Names that there is no limit for do not count.
func (in *instance) read(header string, cost []int64) {
	for part := range strings.SplitSeq(header, ",") {
		name, text, given := strings.Cut(strings.TrimSpace(part), "=")
		n := int64(1)
		if given {
			parsed, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
			if err != nil || parsed < 0 {
				continue
			}
			n = parsed
		}
		i, found := slices.BinarySearchFunc(in.limits, strings.TrimSpace(name), func(l limit, name string) int { return strings.Compare(l.name, name) })
		if found {
			cost[i] += n
		}
	}
}

func (in *instance) subject(st *state, l *limit) quota.Subject {
	return quota.Subject{Plugin: in.id + ":" + l.name, Who: st.who}
}

// who names the subject. Where the chosen one does not apply, the client's address stands in.
func (in *instance) who(x *gateway.Exchange) string {
	switch in.by {
	case "consumer":
		if c := x.Consumer(); c != nil {
			return c.ID
		}
		fallthrough
	case "credential":
		if c := x.Credential(); c != nil {
			return c.ID
		}
	}
	return x.ClientIP()
}
