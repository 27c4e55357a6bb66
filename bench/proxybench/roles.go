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

// runFasthttp is the least a proxy can do with fasthttp: no routing, no plugins, no care
// for hop-by-hop headers.
func runFasthttp(to string) error {
	ln, err := announce()
	if err != nil {
		return err
	}
	debug.SetGCPercent(400)
	client := &fasthttp.HostClient{Addr: to, MaxConns: 1024, NoDefaultUserAgentHeader: true}
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
			ctx.Error(err.Error(), 502)
		}
	}, NoDefaultServerHeader: true}
	go s.Serve(ln)
	untilTold()
	return nil
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
	gw, err := gateway.New(gateway.Deps{Store: st, Clock: clock.System{}, Log: log})
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
	return nil
}
