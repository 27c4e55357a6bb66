package proxycache

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Deps bounds the cache.
type Deps struct {
	MaxBytes int // of all answers kept; 0: 128 MiB
}

const defaultBytes = 128 << 20

// kind is what the instances of a node share.
type kind struct {
	memory *memory

	mu        sync.Mutex
	instances map[string]*instance // by the id of the plugin entity
}

// New returns the kind.
func New(d Deps) gateway.Plugin {
	if d.MaxBytes == 0 {
		d.MaxBytes = defaultBytes
	}
	k := &kind{memory: newMemory(d.MaxBytes), instances: map[string]*instance{}}
	array := func(name string, elements *schema.Field, by []any, edits ...func(*schema.Field)) *schema.Field {
		f := schema.Field{Kind: schema.Array, Elements: elements}
		if by != nil {
			f.Default = by
		}
		return f.With(name, edits...)
	}
	text := &schema.Field{Kind: schema.String}
	return gateway.Plugin{
		Name: "proxy-cache", Version: gateway.Version, Priority: 100,
		Config: &schema.Field{Fields: []*schema.Field{
			array("response_code", &schema.Field{Kind: schema.Integer, Between: []float64{100, 900}}, []any{200, 301, 404}, schema.Required,
				func(f *schema.Field) { f.LenMin = schema.Ptr(1) }),
			array("request_method", fields.Choice("", []string{"HEAD", "GET", "POST", "PATCH", "PUT"}), []any{"GET", "HEAD"}, schema.Required),
			array("content_type", text, []any{"text/plain", "application/json"}, schema.Required),
			{Name: "cache_ttl", Kind: schema.Integer, Default: 300, Gt: schema.Ptr(0.0), Description: "Seconds an answer is fresh."},
			fields.Choice("strategy", []string{"memory"}, schema.Required),
			schema.Flag("cache_control", "Go by Cache-Control, of requests and answers.", false),
			{Name: "ignore_uri_case", Kind: schema.Boolean, Default: false},
			{Name: "storage_ttl", Kind: schema.Integer, Description: "Seconds an answer is kept; unset: as long as it is fresh."},
			{Name: "memory", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
				{Name: "dictionary_name", Kind: schema.String, Required: true, Default: "kong_db_cache",
					Description: "Instances with the same name share their answers."}}},
			array("vary_query_params", text, nil), array("vary_headers", text, nil),
			{Name: "response_headers", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
				{Name: "age", Kind: schema.Boolean, Default: true}, {Name: "X-Cache-Status", Kind: schema.Boolean, Default: true},
				{Name: "X-Cache-Key", Kind: schema.Boolean, Default: true}}},
		}},
		Admin: k.admin(),
		New:   func(c schema.Record, env gateway.Env) (any, error) { return k.newInstance(c, env), nil },
	}
}

type instance struct {
	kind         *kind
	id           string
	clock        clock.Clock
	dictionary   string
	codes        []int
	methods      []string
	types        []mediaType
	ttl          time.Duration
	storage      time.Duration // 0: as long as the answer is fresh
	control      bool
	ignoreCase   bool
	varyArgs     []string
	varyHeaders  []string
	age          bool
	status       bool
	tellsKey     bool
	maxBodyBytes int
}

func (k *kind) newInstance(c schema.Record, env gateway.Env) *instance {
	memory, _ := c["memory"].(schema.Record)
	headers, _ := c["response_headers"].(schema.Record)
	in := &instance{
		kind: k, id: env.ID, clock: env.Clock, dictionary: fields.String(memory, "dictionary_name"),
		methods: fields.Strings(c, "request_method"),
		ttl:     fields.Seconds(c, "cache_ttl"), storage: fields.Seconds(c, "storage_ttl"), control: fields.Bool(c, "cache_control"),
		ignoreCase: fields.Bool(c, "ignore_uri_case"),
		varyArgs:   slices.Sorted(slices.Values(fields.Strings(c, "vary_query_params"))),
		age:        fields.Bool(headers, "age"), status: fields.Bool(headers, "X-Cache-Status"), tellsKey: fields.Bool(headers, "X-Cache-Key"),
		maxBodyBytes: k.memory.max / 8,
	}
	for _, name := range fields.Strings(c, "vary_headers") {
		in.varyHeaders = append(in.varyHeaders, strings.ToLower(name))
	}
	slices.Sort(in.varyHeaders)
	codes, _ := c["response_code"].([]any)
	for _, v := range codes {
		if n, ok := v.(float64); ok {
			in.codes = append(in.codes, int(n))
		}
	}
	for _, s := range fields.Strings(c, "content_type") {
		if m, ok := parseMediaType(s); ok {
			in.types = append(in.types, m)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.instances[env.ID] = in
	return in
}

// Close implements gateway.Closer.
func (in *instance) Close(context.Context) error {
	in.kind.mu.Lock()
	defer in.kind.mu.Unlock()
	if in.kind.instances[in.id] == in { // else its successor is there already
		delete(in.kind.instances, in.id)
	}
	return nil
}

// visit is what becomes of one request.
type visit struct {
	key    string // "" where the cache has nothing to do with it
	status string
	age    int // of a hit
	keep   *answer
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	v := &visit{status: "Bypass"}
	x.Put(in, v)
	d := directives(nil)
	if in.control {
		d = parseDirectives(&x.Request.Header)
		_, authorized := x.Request.Header.Lookup("Authorization")
		if authorized || d.any("no-store", "no-cache") {
			return
		}
	}
	if !slices.Contains(in.methods, x.Request.Method) {
		return
	}
	v.key = in.key(x)
	now := in.clock.Now()
	a, ok := in.kind.memory.get(slot{in.dictionary, v.key}, now)
	if !ok || !a.fits(&x.Request.Header) {
		v.status = "Miss"
		if d.any("only-if-cached") {
			x.Fail(504, "gateway timeout")
		}
		return
	}
	age := now.Sub(a.stored)
	if !in.acceptable(d, a, age) {
		v.status = "Refresh"
		return
	}
	v.status, v.age = "Hit", int(age/time.Second)
	x.Respond(a.status, a.body, a.header...)
}

// acceptable reports whether an answer of an age may be given to a request.
func (in *instance) acceptable(d directives, a *answer, age time.Duration) bool {
	if !in.control {
		return age <= in.ttl
	}
	if limit, ok := d.seconds("max-age"); ok && age > limit {
		return false
	}
	if least, ok := d.seconds("min-fresh"); ok && a.ttl-age < least {
		return false
	}
	stale := age - a.ttl
	if stale <= 0 {
		return true
	}
	limit, ok := d.seconds("max-stale")
	return ok && (d["max-stale"] == "" || stale <= limit)
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	v, ok := x.Value(in).(*visit)
	if !ok {
		return
	}
	h := &x.Response.Header
	if v.status == "Hit" {
		if in.age {
			h.Set("Age", strconv.Itoa(v.age))
		}
	} else if v.key != "" && x.FromUpstream() {
		in.consider(x, v)
	}
	if in.status {
		h.Set("X-Cache-Status", v.status)
	}
	if in.tellsKey && v.key != "" {
		h.Set("X-Cache-Key", v.key)
	}
}

// consider decides whether an upstream's answer is kept.
func (in *instance) consider(x *gateway.Exchange, v *visit) {
	now := in.clock.Now()
	a := &answer{status: x.Response.Status, stored: now, ttl: in.ttl}
	cacheable := slices.Contains(in.codes, a.status) && in.takesType(&x.Response.Header)
	if in.control {
		d := parseDirectives(&x.Response.Header)
		a.ttl = lifetime(d, &x.Response.Header, now)
		cacheable = cacheable && a.ttl > 0 && !d.any("private", "no-store", "no-cache")
	}
	vary, ok := varies(x)
	if !cacheable || !ok || x.Response.Length > int64(in.maxBodyBytes) {
		v.status = "Bypass"
		return
	}
	keep := in.storage
	if keep <= 0 {
		keep = a.ttl
	}
	a.vary, a.expires = vary, now.Add(keep+time.Second) // an answer is fresh to the end of its last second
	for _, f := range x.Response.Header.Fields() {
		if keeps(f.Name) {
			a.header = append(a.header, gateway.Field{Name: strings.Clone(f.Name), Value: strings.Clone(f.Value)})
		}
	}
	if x.Request.Method == "HEAD" || a.status == 204 || a.status == 304 { // there is no body whose end could be waited for
		in.kind.memory.put(slot{in.dictionary, v.key}, a)
		return
	}
	v.keep = a
}

func (in *instance) takesType(h *gateway.Header) bool {
	got, ok := parseMediaType(h.Get("Content-Type"))
	return ok && slices.ContainsFunc(in.types, func(m mediaType) bool { return m.takes(got) })
}

// BodyFilter implements gateway.BodyFilter.
func (in *instance) BodyFilter(x *gateway.Exchange, chunk []byte, last bool) []byte {
	v, ok := x.Value(in).(*visit)
	if !ok || v.keep == nil {
		return chunk
	}
	if len(v.keep.body)+len(chunk) > in.maxBodyBytes {
		v.keep = nil
		return chunk
	}
	v.keep.body = append(v.keep.body, chunk...)
	if last {
		v.keep.body = slices.Clip(v.keep.body)
		in.kind.memory.put(slot{in.dictionary, v.key}, v.keep)
		v.keep = nil
	}
	return chunk
}
