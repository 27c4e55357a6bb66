package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// probe is a plugin that writes its configured mark into a header, in every phase.
type probe struct {
	name, mark string
	closed     *atomic.Int64
}

func (p *probe) note(x *gateway.Exchange, phase string) {
	x.Request.Header.Set("Trace", x.Request.Header.Get("Trace")+" "+p.name+":"+p.mark+":"+phase)
}
func (p *probe) Rewrite(x *gateway.Exchange)      { p.note(x, "rewrite") }
func (p *probe) Access(x *gateway.Exchange)       { p.note(x, "access") }
func (p *probe) HeaderFilter(x *gateway.Exchange) { p.note(x, "header") }
func (p *probe) Close(context.Context) error      { p.closed.Add(1); return nil }

// login authenticates whoever the header Who names.
type login struct{ directory gateway.Directory }

func (l login) Access(x *gateway.Exchange) {
	if c, ok := l.directory.Consumer(x.Request.Header.Get("Who")); ok {
		x.Authenticate(c, &gateway.Credential{ID: "cred", ConsumerID: c.ID})
	}
}

func probeKind(name string, priority int, closed *atomic.Int64) gateway.Plugin {
	return gateway.Plugin{
		Name: name, Priority: priority,
		Config: &schema.Field{Fields: []*schema.Field{{Name: "mark", Kind: schema.String}, {Name: "fail", Kind: schema.Boolean, Default: false}}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			if c["fail"] == true {
				return nil, errors.New("cannot be made")
			}
			mark, _ := c["mark"].(string)
			return &probe{name, mark, closed}, nil
		},
	}
}

func probes(closed *atomic.Int64) []gateway.Plugin {
	return []gateway.Plugin{
		probeKind("late", 1, closed), probeKind("early", 3000, closed),
		{Name: "login", Priority: 1000, Config: &schema.Field{}, New: func(_ schema.Record, env gateway.Env) (any, error) {
			return login{env.Directory}, nil
		}},
	}
}

// TestMostSpecificWins configures one plugin for every combination of scopes and removes
// the winners one by one.
func TestMostSpecificWins(t *testing.T) {
	var closed atomic.Int64
	g := gatewaytest.New(t, probes(&closed))
	s := gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "host": "h"})
	r := gatewaytest.Create(t, g, "routes", schema.Record{"name": "r", "paths": []any{"/"}, "service": schema.Record{"id": s["id"]}})
	c := gatewaytest.Create(t, g, "consumers", schema.Record{"username": "c"})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "login"})
	ref := func(rec schema.Record) schema.Record { return schema.Record{"id": rec["id"]} }
	order := []struct {
		mark  string
		scope schema.Record
	}{
		{"rsc", schema.Record{"route": ref(r), "service": ref(s), "consumer": ref(c)}}, {"rc", schema.Record{"route": ref(r), "consumer": ref(c)}},
		{"sc", schema.Record{"service": ref(s), "consumer": ref(c)}}, {"rs", schema.Record{"route": ref(r), "service": ref(s)}},
		{"c", schema.Record{"consumer": ref(c)}}, {"r", schema.Record{"route": ref(r)}}, {"s", schema.Record{"service": ref(s)}}, {"g", schema.Record{}},
	}
	var ids []string
	for _, o := range order {
		rec := schema.Record{"name": "late", "config": schema.Record{"mark": o.mark}}
		for k, v := range o.scope {
			rec[k] = v
		}
		ids = append(ids, gatewaytest.Create(t, g, "plugins", rec)["id"].(string))
	}
	plugins, _ := g.Entity("plugins")
	for i, o := range order {
		got := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"Who", "c"}}).Upstream.Get("Trace")
		want := fmt.Sprintf("late:%s:access late:%s:header", o.mark, o.mark)
		if !strings.HasSuffix(got, want) || strings.Count(got, "late:") != 2+strings.Count(got, "rewrite") {
			t.Errorf("without %d winners: %q, want %q", i, got, want)
		}
		anonymous := gatewaytest.Do(g, gatewaytest.Request{}).Upstream.Get("Trace")
		if strings.Contains(anonymous, "c:") {
			t.Errorf("a consumer's plugin runs for nobody: %q", anonymous)
		}
		if _, err := g.Delete(t.Context(), plugins, ids[i]); err != nil {
			t.Fatal(err)
		}
	}
	if got := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"Who", "c"}}).Upstream.Get("Trace"); got != "" {
		t.Errorf("nothing is configured, yet %q", got)
	}
}

// TestConsumerChainGoesOn: plugins before the authentication run once, with the
// configuration that applies without a consumer; those behind it with the consumer's.
func TestConsumerChainGoesOn(t *testing.T) {
	var closed atomic.Int64
	g := gatewaytest.New(t, probes(&closed))
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "host": "h"})
	gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{"/"}, "service": schema.Record{"name": "s"}})
	gatewaytest.Create(t, g, "consumers", schema.Record{"username": "c"})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "login"})
	for _, name := range []string{"early", "late"} {
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": name, "config": schema.Record{"mark": "all"}})
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": name, "consumer": schema.Record{"username": "c"}, "config": schema.Record{"mark": "c"}})
	}
	got := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"Who", "c"}}).Upstream.Get("Trace")
	if want := " early:all:rewrite late:all:rewrite early:all:access late:c:access early:c:header late:c:header"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestBrokenPluginFailsClosed: a plugin that cannot be made must not be passed by.
func TestBrokenPluginFailsClosed(t *testing.T) {
	var closed atomic.Int64
	g := gatewaytest.New(t, probes(&closed))
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "host": "h"})
	gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{"/"}, "service": schema.Record{"name": "s"}})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "early", "config": schema.Record{"fail": true}})
	if got := gatewaytest.Do(g, gatewaytest.Request{}); got.Status != 500 || !strings.Contains(got.Body, "An unexpected error occurred") {
		t.Errorf("%+v", got)
	}
}

// TestInstancesCloseAfterTheirLastExchange changes a plugin while an exchange uses it.
func TestInstancesCloseAfterTheirLastExchange(t *testing.T) {
	var closed atomic.Int64
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "c.db"), Clock: clock.System{}, Log: gatewaytest.Log()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	g, err := gateway.New(gateway.Deps{Store: s, Clock: clock.System{}, Log: gatewaytest.Log(), Plugins: probes(&closed)})
	if err != nil {
		t.Fatal(err)
	}
	p := gatewaytest.Create(t, g, "plugins", schema.Record{"name": "late"})
	e, _ := g.Entity("plugins")
	x := g.Begin()
	if _, err := g.Patch(t.Context(), e, p["id"].(string), schema.Record{"config": schema.Record{"mark": "new"}}); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Create(t, g, "services", schema.Record{"host": "unrelated"}) // a new snapshot with the same instance
	if n := closed.Load(); n != 0 {
		t.Fatalf("%d instances closed while an exchange may be inside", n)
	}
	g.End(x)
	g.Close() // waits for what is to close
	if n := closed.Load(); n != 2 {
		t.Errorf("%d instances closed, want the old one and the new one", n)
	}
}

func TestTimestamps(t *testing.T) {
	clock := gatewaytest.NewClock(time.Unix(1_800_000_000, 0))
	g := gatewaytest.New(t, nil, func(d *gateway.Deps) { d.Clock = clock })
	e, _ := g.Entity("services")
	check := func(what string, r schema.Record, err error, created, updated float64) {
		t.Helper()
		if err != nil || r["created_at"] != created || r["updated_at"] != updated {
			t.Errorf("%s: %v %v, %v", what, r["created_at"], r["updated_at"], err)
		}
	}
	r, err := g.Create(t.Context(), e, schema.Record{"name": "s", "host": "h"})
	check("create", r, err, 1_800_000_000, 1_800_000_000)
	clock.Pass(time.Minute)
	r, err = g.Patch(t.Context(), e, "s", schema.Record{"port": 81.0})
	check("patch", r, err, 1_800_000_000, 1_800_000_060)
	clock.Pass(time.Minute)
	r, err = g.Replace(t.Context(), e, "s", schema.Record{"host": "h"})
	check("replace", r, err, 1_800_000_000, 1_800_000_120)
}

// TestReopen: what was stored is compiled again after a restart.
func TestReopen(t *testing.T) {
	url := "sqlite://" + filepath.Join(t.TempDir(), "c.db")
	for i := range 2 {
		s, err := store.Open(t.Context(), store.Config{URL: url, Clock: clock.System{}, Log: gatewaytest.Log()})
		if err != nil {
			t.Fatal(err)
		}
		g, err := gateway.New(gateway.Deps{Store: s, Clock: clock.System{}, Log: gatewaytest.Log()})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "host": "h", "tags": []any{"a"}})
			gatewaytest.Create(t, g, "routes", schema.Record{"name": "r", "paths": []any{"/x"}, "headers": schema.Record{"v": []any{"1"}}, "service": schema.Record{"name": "s"}})
		} else {
			if got := gatewaytest.Do(g, gatewaytest.Request{Target: "/x", Header: []string{"V", "1"}}); got.Status != 0 {
				t.Errorf("after a restart: %+v", got)
			}
			if got := gatewaytest.Do(g, gatewaytest.Request{Target: "/x"}); got.Status != 404 {
				t.Errorf("after a restart: %+v", got)
			}
			if got := g.Tags("a"); len(got) != 1 {
				t.Errorf("%v", got)
			}
		}
		g.Close()
		s.Close()
	}
}

func TestHeader(t *testing.T) {
	var h gateway.Header
	h.Add("A", "1")
	h.Add("b", "2")
	h.Add("a", "3")
	if h.Get("a") != "1" || h.Count("A") != 2 || h.Get("c") != "" {
		t.Error(h.Fields())
	}
	h.Set("a", "4")
	if fmt.Sprint(h.Fields()) != "[{A 4} {b 2}]" {
		t.Error(h.Fields())
	}
	if !h.Del("B") || h.Del("B") || h.Len() != 1 {
		t.Error(h.Fields())
	}
	h.Set("a", "x\r\nEvil: 1")
	h.Add("n", "a\x00b\tc")
	h.Add("bad name", "v")
	h.Add("", "v")
	if fmt.Sprint(h.Fields()) != "[{A x  Evil: 1} {n a b\tc}]" {
		t.Errorf("%q", h.Fields())
	}
	if !gateway.HasToken("close, Upgrade ,x", "upgrade") || gateway.HasToken("upgraded", "upgrade") || gateway.EqualFold("a@", "a`") {
		t.Error("tokens")
	}
}

func TestBody(t *testing.T) {
	g := gatewaytest.New(t, nil)
	read := func(length int64, limit int) (body, behind string, err error) {
		x := g.Begin()
		defer g.Discard(x)
		x.SetSource(strings.NewReader("0123456789"), length)
		b, err := x.Body(limit)
		rest := ""
		if x.Stream() != nil {
			var sb strings.Builder
			buf := make([]byte, 3)
			for {
				n, err := x.Stream().Read(buf)
				sb.Write(buf[:n])
				if err != nil {
					break
				}
			}
			rest = sb.String()
		}
		return string(b), rest, err
	}
	for _, length := range []int64{10, -1} {
		if b, _, err := read(length, 10); err != nil || b != "0123456789" {
			t.Errorf("length %d: %q %v", length, b, err)
		}
		if b, rest, err := read(length, 9); !errors.Is(err, gateway.ErrBodyTooLarge) || b != "" || rest != "0123456789" {
			t.Errorf("length %d, too large: %q %v; then %q", length, b, err, rest)
		}
	}
}

// references counts the reads that reach it, and can hold one back.
type references struct {
	gateway.References
	mu    sync.Mutex
	docs  map[string]string
	reads int
	hold  chan struct{}
	held  chan struct{}
	err   error
}

func (r *references) Get(_ context.Context, _, k string) ([]byte, bool, error) {
	r.mu.Lock()
	r.reads++
	d, ok := r.docs[k]
	hold, err := r.hold, r.err
	r.mu.Unlock()
	if hold != nil {
		r.held <- struct{}{}
		<-hold
	}
	return []byte(d), ok, err
}

func (r *references) Put(_ context.Context, _, k string, d []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.docs[k] = string(d)
	return nil
}

func (r *references) Delete(_ context.Context, _, k string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.docs[k]
	delete(r.docs, k)
	return ok, nil
}

func TestReferenceCache(t *testing.T) {
	ctx := t.Context()
	base := &references{docs: map[string]string{"a": `{"v":1}`}}
	var told []string
	c := gateway.CacheReferences(base, func(collection, key string) { told = append(told, collection+"/"+key) })
	defer c.Close()
	get := func(k string) string {
		t.Helper()
		d, ok, err := c.Get(ctx, "c", k)
		if err != nil {
			return err.Error()
		}
		if !ok {
			return "absent"
		}
		return string(d)
	}
	for range 3 {
		if get("a") != `{"v":1}` || get("b") != "absent" {
			t.Fatal(get("a"), get("b"))
		}
	}
	if base.reads != 2 {
		t.Errorf("%d reads, want one each, the absent one too", base.reads)
	}
	if s := c.Stats(); s.Misses != 2 || s.Hits < 4 || s.Size != 2 {
		t.Errorf("%+v", s)
	}
	if err := c.Put(ctx, "c", "b", []byte(`{"v":2}`)); err != nil || get("b") != `{"v":2}` {
		t.Errorf("%v %s", err, get("b"))
	}
	if existed, err := c.Delete(ctx, "c", "a"); !existed || err != nil || get("a") != "absent" {
		t.Error("a deleted reference is still there")
	}
	base.docs["b"] = `{"v":3}` // another node's change
	if get("b") != `{"v":2}` {
		t.Error("not from the cache")
	}
	c.Invalidate("c", "b")
	if get("b") != `{"v":3}` {
		t.Error("invalidation does not reach the cache")
	}
	if fmt.Sprint(told) != "[c/b c/a]" {
		t.Errorf("told %v", told)
	}
	base.err = errors.New("down")
	if get("new") != "down" {
		t.Error("an error is taken for absence")
	}
	base.err = nil
	if get("new") != "absent" {
		t.Error("an error was cached")
	}
	for _, bad := range []struct{ collection, key, doc string }{{"", "k", "{}"}, {"c", "", "{}"}, {"c", "a/b", "{}"}, {"c", strings.Repeat("k", 300), "{}"}, {"c", "k", "[]"}, {"c", "k", "null"}} {
		if err := c.Put(ctx, bad.collection, bad.key, []byte(bad.doc)); err == nil {
			t.Errorf("%+v is stored", bad)
		}
	}
}

// TestReferenceCacheRace changes a document while an older reading of it is on its way
// into the cache: the older one must not stay.
func TestReferenceCacheRace(t *testing.T) {
	base := &references{docs: map[string]string{"a": `{"v":1}`}, hold: make(chan struct{}), held: make(chan struct{}, 1)}
	c := gateway.CacheReferences(base, nil)
	defer c.Close()
	done := make(chan struct{})
	go func() { c.Get(t.Context(), "c", "a"); close(done) }()
	<-base.held
	hold := base.hold
	base.mu.Lock()
	base.hold = nil
	base.mu.Unlock()
	if err := c.Put(t.Context(), "c", "a", []byte(`{"v":2}`)); err != nil {
		t.Fatal(err)
	}
	close(hold)
	<-done
	if d, _, _ := c.Get(t.Context(), "c", "a"); string(d) != `{"v":2}` {
		t.Errorf("%s", d)
	}
}

func bare(t testing.TB, host string) (*gateway.Gateway, func(*gateway.Gateway)) {
	g := gatewaytest.New(t, nil)
	u := gatewaytest.Create(t, g, "upstreams", schema.Record{"name": "shop", "hash_on": "ip"})
	for _, target := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
		gatewaytest.Create(t, g, "targets", schema.Record{"target": target, "upstream": schema.Record{"id": u["id"]}})
	}
	s := gatewaytest.Create(t, g, "services", schema.Record{"url": "http://" + host + ":1"})
	for _, p := range []any{"/a", "/b", "/c"} {
		gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{p}, "strip_path": false, "service": schema.Record{"id": s["id"]}})
	}
	conn := &gateway.Conn{PeerIP: "1.1.1.1", ServerPort: 80}
	return g, func(g *gateway.Gateway) {
		x := g.Begin()
		x.Conn = conn
		x.Request.Method, x.Request.Scheme, x.Request.Authority = "GET", "http", "example.com"
		x.Request.Header.Add("User-Agent", "x")
		x.Request.Header.Add("Accept", "*/*")
		gateway.SetTarget(&x.Request, "/b/c?d=e", 80)
		g.Access(x)
		if x.Answered() {
			panic(x.Response.Status)
		}
		if err := x.NextTry(time.Now()); err != nil {
			panic(err)
		}
		x.SetForwarded()
		x.AnswerTry(200)
		g.HeaderFilter(x)
		g.End(x)
	}
}

func BenchmarkExchange(b *testing.B) {
	g, fill := bare(b, "127.0.0.1")
	b.ReportAllocs()
	for b.Loop() {
		fill(g)
	}
}

// BenchmarkChangeAmong10000Routes is one change of a route, until the data plane acts on
// it, by one writer and by many at once.
func BenchmarkChangeAmong10000Routes(b *testing.B) {
	g := gatewaytest.New(b, nil)
	s := gatewaytest.Create(b, g, "services", schema.Record{"url": "http://127.0.0.1:1"})
	ref := schema.Record{"id": s["id"]}
	e, _ := g.Entity("routes")
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < 10_000; i += 64 {
				rec := schema.Record{"paths": []any{fmt.Sprintf("/s%d/v%d", i/3, i%3)}, "service": ref, "name": fmt.Sprint("r", i)}
				if _, err := g.Create(context.Background(), e, rec); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, writers := range []int{1, 10} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			b.SetParallelism(writers)
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1)
					if _, err := g.Patch(context.Background(), e, fmt.Sprint("r", i%10_000), schema.Record{"tags": []any{fmt.Sprint(i)}}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
