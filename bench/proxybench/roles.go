package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/ratelimiting"
)

// announce listens on a free port and prints it.
func announce() (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	fmt.Println(ln.Addr())
	return ln, nil
}

// runUpstream answers every request with a body of the given size.
func runUpstream(size int) error {
	ln, err := announce()
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte{'x'}, size)
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.Response.Header.SetContentType("application/octet-stream")
		ctx.Response.SetBodyRaw(body)
	}, Name: "upstream"}
	go s.Serve(ln)
	untilTold()
	return nil
}

// runFasthttp is a proxy with fasthttp. Bare, it is the least one can do: no routing, no
// plugins, no care for hop-by-hop headers. With dress it does to the headers what a
// gateway must, still without routing, plugins, streaming or a strict reading of requests.
func runFasthttp(to string, dress bool) error {
	ln, err := announce()
	if err != nil {
		return err
	}
	debug.SetGCPercent(400)
	client := &fasthttp.HostClient{Addr: to, MaxConns: 1024, NoDefaultUserAgentHeader: true}
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		if dress {
			dressRequest(ctx)
		}
		if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
			ctx.Error(err.Error(), 502)
		}
		if dress {
			dressAnswer(ctx)
		}
	}, NoDefaultServerHeader: true}
	if dress {
		s.ReadTimeout, s.WriteTimeout, s.IdleTimeout = time.Minute, time.Minute, 75*time.Second
		client.ReadTimeout, client.WriteTimeout = time.Minute, time.Minute
		s.NoDefaultDate = true
	}
	go s.Serve(ln)
	untilTold()
	return nil
}

var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"}

func dressRequest(ctx *fasthttp.RequestCtx) {
	h := &ctx.Request.Header
	for _, name := range hopByHop {
		h.Del(name)
	}
	ip := ctx.RemoteIP().String()
	host := string(h.Host())
	h.Set("X-Forwarded-For", ip)
	h.Set("X-Forwarded-Proto", "http")
	h.Set("X-Forwarded-Host", host)
	h.Set("X-Forwarded-Port", "80")
	h.SetBytesV("X-Forwarded-Path", ctx.Path())
	h.Set("X-Real-IP", ip)
	h.Set("Via", "1.1 kong/3.9.1")
	h.Set("X-Kong-Request-Id", "0123456789abcdef0123456789abcdef")
}

func dressAnswer(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	for _, name := range hopByHop {
		h.Del(name)
	}
	h.Set("X-Kong-Upstream-Latency", "0")
	h.Set("X-Kong-Proxy-Latency", "0")
	h.Set("Via", "1.1 kong/3.9.1")
	h.Set("X-Kong-Request-Id", "0123456789abcdef0123456789abcdef")
}

// runSluice is the data plane with one route among a few.
func runSluice(to, profile, plugins string) error {
	ln, err := announce()
	if err != nil {
		return err
	}
	debug.SetGCPercent(400)
	dir, err := os.MkdirTemp("", "proxybench-sluice")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	st, err := store.Open(ctx, store.Config{URL: "sqlite:///" + strings.TrimPrefix(filepath.Join(dir, "control.db"), "/"), Clock: clock.System{}, Log: log})
	if err != nil {
		return err
	}
	defer st.Close()
	gw, err := gateway.New(gateway.Deps{Store: st, Clock: clock.System{}, Log: log, Plugins: kinds()})
	if err != nil {
		return err
	}
	if err := configure(ctx, gw, to, plugins); err != nil {
		return err
	}
	p := proxy.New(proxy.Config{}, proxy.Deps{Gateway: gw, Log: log})
	serve, stop := context.WithCancel(ctx)
	defer stop()
	go p.Serve(serve, ln, nil)
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	untilTold()
	stop()
	end, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	p.Shutdown(end)
	return nil
}

// kinds are the plugins a measurement may use.
func kinds() []gateway.Plugin {
	return []gateway.Plugin{
		keyauth.New(), ratelimiting.New(), collector.New(collector.Deps{Appender: nowhere{}}),
	}
}

// nowhere takes events and forgets them: what is measured is the way there.
type nowhere struct{}

func (nowhere) Append(context.Context, string, []collector.Record) error { return nil }

// configure makes the measured route and a few others.
func configure(ctx context.Context, gw *gateway.Gateway, to, plugins string) error {
	create := func(entity string, r map[string]any) error {
		e, _ := gw.Entity(entity)
		_, err := gw.Create(ctx, e, r)
		return err
	}
	if err := create("services", map[string]any{"name": "bench", "url": "http://" + to}); err != nil {
		return err
	}
	for _, path := range []string{"/bench", "/one", "/two", "/three"} {
		if err := create("routes", map[string]any{
			"name": path[1:], "paths": []any{path}, "strip_path": false, "service": map[string]any{"name": "bench"},
		}); err != nil {
			return err
		}
	}
	if plugins == "" {
		return nil
	}
	if err := create("consumers", map[string]any{"username": "bench"}); err != nil {
		return err
	}
	if err := create("keyauth_credentials", map[string]any{"key": "bench", "consumer": map[string]any{"username": "bench"}}); err != nil {
		return err
	}
	for name := range strings.SplitSeq(plugins, ",") {
		config := map[string]any{}
		switch name {
		case "rate-limiting":
			config["minute"] = 1e9
		case "collector":
			config["stream"], config["success_status"] = "bench", 200.0
			config["fields"] = []any{map[string]any{"name": "programme"}}
		}
		if err := create("plugins", map[string]any{"name": name, "config": config, "route": map[string]any{"name": "bench"}}); err != nil {
			return err
		}
	}
	return nil
}
