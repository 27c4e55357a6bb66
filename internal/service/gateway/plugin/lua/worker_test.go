package lua_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// worker is a gateway with the plugins "worker", which uses dictionaries, timers and
// resty.http, and "peek", which tells what is in a dictionary.
func worker(t *testing.T, uri string) *gateway.Gateway {
	t.Helper()
	e := lua.New(lua.Config{Limit: 300 * time.Millisecond}, lua.Deps{Clock: clock.System{}, Log: gatewaytest.Log()})
	kinds, err := e.Load("testdata", []string{"worker", "peek"})
	if err != nil {
		t.Fatal(err)
	}
	g := gatewaytest.New(t, kinds)
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "worker", "config": schema.Record{"uri": uri}})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "peek"})
	return g
}

func TestSharedDictionaries(t *testing.T) {
	g := worker(t, "http://127.0.0.1:1")
	if r := gatewaytest.Do(g, gatewaytest.Request{Target: "/dict"}); r.Status != 200 {
		t.Errorf("%+v", r)
	}
}

func TestOutboundRequestsAndTimers(t *testing.T) {
	over := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-over
			return
		}
		body, _ := io.ReadAll(r.Body)
		time.Sleep(400 * time.Millisecond) // longer than a call may take by itself
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(201)
		fmt.Fprintf(w, "%s %s %s %v %v", r.Method, r.RequestURI, body, r.Header["X-One"], r.Header["X-Two"])
	}))
	t.Cleanup(func() { close(over); up.Close() })
	g := worker(t, up.URL)
	r := gatewaytest.Do(g, gatewaytest.Request{})
	if r.Status != 200 || r.Body != "POST /x?q=1%202 sent [1] [a b]" || r.Header.Get("X-Got") != "yes201" {
		t.Fatalf("%+v %v", r, r.Header.Fields())
	}
	if got := r.Header.Get("X-Errors"); got != "timeout,connection refused,bad uri: it has no scheme of HTTP, or no host" {
		t.Errorf("errors %q", got)
	}
	look := func(key string) string {
		return gatewaytest.Do(g, gatewaytest.Request{Target: "/peek", Header: []string{"X-Key", key}}).Body
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %q, %q", what, look("late"), look("ticks"))
			}
		}
	}
	until("a timer", func() bool { return look("late") == "after falsetimer" })
	until("a recurring timer", func() bool { n, _ := strconv.Atoi(look("ticks")); return n >= 15 })
	if n := look("pending"); n != "1" {
		t.Errorf("%s timers: init_worker's counts once", n)
	}
}
