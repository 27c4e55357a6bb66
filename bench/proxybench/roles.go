package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
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
	"sluice.dev/sluice/internal/service/gateway/plugin/filelog"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/prometheus"
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

// runUpstream answers every request with a body of the given size, or with the message
// that came, where the requests are gRPC's or WebSockets'.
func runUpstream(size int, proto string) error {
	ln, err := announce()
	if err != nil {
		return err
	}
	switch proto {
	case "grpc":
		go serveGRPC(ln)
		untilTold()
		return nil
	case "websocket":
		go serveWebSockets(ln)
		untilTold()
		return nil
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

// serveGRPC is a server of one unary method that answers what it is asked.
func serveGRPC(ln net.Listener) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		io.Copy(w, r.Body)
		w.Header().Set("Grpc-Status", "0")
	})}
	return s.Serve(ln)
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

// runSluice is the data plane with some routes.
func runSluice(to, certs, profile, plugins string, routes int, grpc bool) error {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cert, err := loadCertificate(certs)
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
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	st, err := store.Open(ctx, store.Config{URL: "sqlite:///" + strings.TrimPrefix(filepath.Join(dir, "control.db"), "/"), Clock: clock.System{}, Log: log})
	if err != nil {
		return err
	}
	defer st.Close()
	gw, err := gateway.New(gateway.Deps{Store: st, Clock: clock.System{}, Log: log, Plugins: kinds()})
	if err != nil {
		return err
	}
	if err := configure(ctx, gw, to, dir, plugins, routes, grpc); err != nil {
		return err
	}
	p := proxy.New(proxy.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}, proxy.Deps{Gateway: gw, Log: log})
	serve, stop := context.WithCancel(ctx)
	defer stop()
	go p.Serve(serve, plain, secure)
	fmt.Println(plain.Addr(), secure.Addr())
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
		keyauth.New(), ratelimiting.New(), collector.New(collector.Deps{Appender: nowhere{}}), filelog.New(filelog.Deps{}),
		prometheus.New(prometheus.Deps{NodeID: "bench", Node: func() prometheus.Node { return prometheus.Node{} },
			Health: func() []prometheus.TargetHealth { return nil }}).Plugin(),
	}
}

// nowhere takes events and forgets them: what is measured is the way there.
type nowhere struct{}

func (nowhere) Append(context.Context, string, []collector.Record) error { return nil }

// configure makes the routes and puts the plugins before all of them.
func configure(ctx context.Context, gw *gateway.Gateway, to, dir, plugins string, routes int, grpc bool) error {
	doc := map[string]any{"_format_version": "3.0"}
	list := make([]any, routes)
	for i := range list {
		list[i] = map[string]any{"name": fmt.Sprint("r", i), "paths": []any{fmt.Sprint("/r", i)}, "strip_path": false, "service": "bench"}
	}
	scheme := "http"
	if grpc {
		scheme = "grpc"
		for _, r := range list {
			r.(map[string]any)["protocols"] = []any{"grpc", "grpcs"}
		}
	}
	doc["services"], doc["routes"] = []any{map[string]any{"name": "bench", "url": scheme + "://" + to}}, list
	if plugins != "" {
		doc["consumers"] = []any{map[string]any{"username": "bench", "keyauth_credentials": []any{map[string]any{"key": "bench"}}}}
		var configured []any
		for name := range strings.SplitSeq(plugins, ",") {
			config := map[string]any{}
			switch name {
			case "rate-limiting":
				config["minute"] = 1e9
			case "file-log":
				config["path"] = filepath.Join(dir, "access.log")
			case "prometheus":
				config["status_code_metrics"], config["latency_metrics"], config["bandwidth_metrics"] = true, true, true
			case "collector":
				config["stream"], config["success_status"] = "bench", 200.0
				config["fields"] = []any{map[string]any{"name": "programme"}}
			}
			configured = append(configured, map[string]any{"name": name, "config": config})
		}
		doc["plugins"] = configured
	}
	d, err := gw.Declare(doc)
	if err != nil {
		return err
	}
	_, err = gw.Apply(ctx, d, gateway.ApplyOptions{})
	return err
}
