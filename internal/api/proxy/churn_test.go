package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// mark tells in two phases which generation of the configuration a request has.
type mark struct {
	n    string
	live *atomic.Int64
}

func (m mark) Access(x *gateway.Exchange)       { x.Request.Header.Set("X-Access", m.n) }
func (m mark) HeaderFilter(x *gateway.Exchange) { x.Response.Header.Set("X-Filter", m.n) }
func (m mark) Close(context.Context) error      { m.live.Add(-1); return nil }

func newMark(live *atomic.Int64) gateway.Plugin {
	return gateway.Plugin{Name: "mark", Priority: 1, Config: &schema.Field{Fields: []*schema.Field{{Name: "n", Kind: schema.Integer}}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			live.Add(1)
			return mark{fmt.Sprint(c["n"]), live}, nil
		}}
}

// churn is a rig whose configuration changes all the time.
type churn struct {
	*rig
	ca            *gatewaytest.Authority
	live          atomic.Int64 // instances of mark
	begun, done   atomic.Int64 // the generation that is being put into force, and the one that is
	markID        string
	targets       [2]string
	asked, failed atomic.Int64
}

func (c *churn) complain(format string, args ...any) {
	if c.failed.Add(1) <= 10 {
		c.t.Errorf(format, args...)
	}
}

func (c *churn) entity(name string) *schema.Entity {
	e, _ := c.gw.Entity(name)
	return e
}

// change makes one round of changes, of everything that a snapshot is compiled of.
func (c *churn) change(generation int64) {
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			c.complain("a change: %v", err)
		}
	}
	add := func(collection string, r schema.Record) string {
		made, err := c.gw.Create(ctx, c.entity(collection), r)
		must(err)
		id, _ := made["id"].(string)
		return id
	}
	drop := func(collection, id string) {
		_, err := c.gw.Delete(ctx, c.entity(collection), id)
		must(err)
	}
	patch := func(collection, id string, r schema.Record) {
		_, err := c.gw.Patch(ctx, c.entity(collection), id, r)
		must(err)
	}
	c.begun.Store(generation)
	patch("plugins", c.markID, schema.Record{"config": schema.Record{"n": float64(generation)}})
	c.done.Store(generation)

	service := add("services", schema.Record{"name": "passing", "url": "http://" + c.targets[0]})
	route := add("routes", schema.Record{"paths": []any{"/passing"}, "service": schema.Record{"id": service}})
	plugin := add("plugins", schema.Record{"name": "mark", "route": schema.Record{"id": route}, "config": schema.Record{"n": 0.0}})
	patch("services", "passing", schema.Record{"retries": float64(generation % 3)})
	p := c.ca.Issue(c.t, "n", gatewaytest.Names("n"))
	patch("certificates", "n", schema.Record{"cert": p.Cert, "key": p.Key})
	other := add("certificates", pairRecord(c.ca.Issue(c.t, "o"), "o"))

	// of the two targets one is always there
	u, err := c.gw.Get(c.entity("upstreams"), "balanced")
	must(err)
	upstream := schema.Record{"id": u["id"]}
	for _, t := range c.targets {
		id := add("targets", schema.Record{"upstream": upstream, "target": t})
		for _, old := range []string{c.targets[0], c.targets[1]} {
			if old == t {
				continue
			}
			if r, err := c.gw.GetUnder(c.entity("targets"), "upstream", u["id"].(string), old); err == nil {
				drop("targets", r["id"].(string))
			}
		}
		if t == c.targets[1] {
			continue
		}
		patch("targets", id, schema.Record{"weight": 10.0})
	}

	// the whole, as it is but for the route that goes again
	doc := c.gw.Export()
	doc["routes"] = without(doc["routes"].([]any), route)
	doc["plugins"] = without(doc["plugins"].([]any), plugin)
	d, err := c.gw.Declare(doc)
	must(err)
	if err == nil {
		_, err = c.gw.Apply(ctx, d, gateway.ApplyOptions{Replace: true})
		must(err)
	}
	drop("services", service)
	drop("certificates", other)
}

func without(list []any, id string) (out []any) {
	for _, r := range list {
		if r.(schema.Record)["id"] != id {
			out = append(out, r)
		}
	}
	return out
}

// ask sends one request of each kind and looks at the answers.
func (c *churn) ask(client *http.Client, base string) {
	for path, may := range map[string]string{"/still/x": "200", "/balanced": "200", "/passing": "200 404"} {
		from := c.done.Load()
		resp, err := client.Get(base + path)
		if c.asked.Add(1); err != nil {
			c.complain("%s: %v", path, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		to := c.begun.Load()
		if err != nil || !strings.Contains(may, strconv.Itoa(resp.StatusCode)) {
			c.complain("%s: %d %s %v", path, resp.StatusCode, body, err)
			continue
		}
		filter := resp.Header.Get("X-Filter")
		if n, _ := strconv.ParseInt(filter, 10, 64); path == "/still/x" && (n < from || n > to || string(body) != "GET "+filter) {
			c.complain("%s: generation %q in the answer and %q at the upstream; %d to %d were in force", path, filter, body, from, to)
		}
	}
}

// talk says something over an upgraded connection and hears it again.
func talk(conn net.Conn, br *bufio.Reader, text string) error {
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text+"\n"); err != nil {
		return err
	}
	got, err := br.ReadString('\n')
	if err == nil && got != text+"\n" {
		err = fmt.Errorf("heard %q, said %q", got, text)
	}
	return err
}

func (c *churn) upgrade() (net.Conn, *bufio.Reader, error) {
	conn, err := net.Dial("tcp", c.plain)
	if err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, "GET /still/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err == nil && resp.StatusCode != 101 {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return conn, br, err
}

// run makes rounds of changes while clients ask.
func (c *churn) run(first, rounds int64) {
	var clients sync.WaitGroup
	var over atomic.Bool
	secure := &tls.Config{ServerName: "n", RootCAs: c.ca.Pool()}
	for _, h2 := range []bool{false, false, true, true} {
		tr := &http.Transport{TLSClientConfig: secure.Clone(), ForceAttemptHTTP2: h2}
		base := "http://" + c.plain
		if h2 {
			base = "https://" + c.secure
		}
		clients.Go(func() {
			defer tr.CloseIdleConnections()
			for i := 0; !over.Load(); i++ {
				if c.ask(&http.Client{Transport: tr}, base); i%32 == 31 {
					tr.CloseIdleConnections() // a handshake with what is in force now
				}
			}
		})
	}
	clients.Go(func() {
		held, br, err := c.upgrade()
		if err != nil {
			c.complain("an upgrade: %v", err)
			return
		}
		defer held.Close()
		for i := 0; !over.Load(); i++ {
			if err := talk(held, br, strconv.Itoa(i)); err != nil {
				c.complain("an upgraded connection: %v", err)
				return
			}
			if i%16 == 0 {
				conn, br, err := c.upgrade()
				if err == nil {
					err = talk(conn, br, "new")
					conn.Close()
				}
				if c.asked.Add(1); err != nil {
					c.complain("a new upgraded connection: %v", err)
				}
			}
		}
	})
	clients.Go(func() { // another administrator
		for i := 0; !over.Load(); i++ {
			name := "other" + strconv.Itoa(i)
			c.gw.Create(context.Background(), c.entity("services"), schema.Record{"name": name, "host": "h"})
			c.gw.Delete(context.Background(), c.entity("services"), name)
		}
	})
	for i := range rounds {
		c.change(first + i)
	}
	over.Store(true)
	clients.Wait()
}

// settle waits until what counts is at most limit, and returns it.
func settle(limit int64, count func() int64) int64 {
	n := count()
	for end := time.Now().Add(10 * time.Second); n > limit && time.Now().Before(end); n = count() {
		time.Sleep(5 * time.Millisecond)
	}
	return n
}

// TestConfigurationChangesUnderLoad changes all there is while clients of all kinds ask.
// Every answer is by a configuration that was in force, what was not touched is always
// answered, and nothing is left behind.
func TestConfigurationChangesUnderLoad(t *testing.T) {
	c := &churn{ca: gatewaytest.NewAuthority(t, "ca")}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, r.Method+" "+r.Header.Get("X-Access"))
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		io.Copy(conn, rw)
	}))
	t.Cleanup(upstream.Close)
	c.targets = [2]string{named(t, "a"), named(t, "b")}
	c.rig = newRig(t, proxy.Config{}, newMark(&c.live))
	c.route(upstream.URL, schema.Record{}, "/still")
	c.balance("balanced", nil, schema.Record{"read_timeout": 10000.0, "connect_timeout": 10000.0}, c.targets[1])
	gatewaytest.Create(t, c.gw, "certificates", pairRecord(c.ca.Issue(t, "n", gatewaytest.Names("n")), "n"))
	c.markID = gatewaytest.Create(t, c.gw, "plugins", schema.Record{"name": "mark", "config": schema.Record{"n": 0.0}})["id"].(string)

	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	idle := func() int64 { return int64(runtime.NumGoroutine()) }
	const rounds, pooled = 12, 30 // goroutines of connections that stay open for later use
	before := idle()
	c.run(1, rounds) // what is made once is there now
	if n := settle(1, c.live.Load); n != 1 {
		t.Errorf("%d instances of a plugin are left, 1 is configured", n)
	}
	memory := heap()
	c.run(1+rounds, 3*rounds)
	if n := settle(1, c.live.Load); n != 1 {
		t.Errorf("%d instances of a plugin are left, 1 is configured", n)
	}
	if n := settle(before+pooled, idle); n > before+pooled {
		t.Errorf("%d goroutines before, %d after", before, n)
	}
	if n := settle(memory+2<<20, heap); n > memory+2<<20 {
		t.Errorf("heap of %d bytes before, %d after", memory, n)
	}
	t.Logf("%d requests, %d rounds of changes", c.asked.Load(), 4*rounds)
}
