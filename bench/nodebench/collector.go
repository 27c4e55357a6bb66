package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/valyala/fasthttp"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/api/aws/kinesis"
)

// load is what one run of wrk saw.
type load struct {
	rate   float64
	total  float64
	errors float64
}

var (
	wrkRate  = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkTotal = regexp.MustCompile(`(\d+) requests in`)
	wrkSock  = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkBad   = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

func wrk(ctx context.Context, o options, url, script string, connections int) (l load, err error) {
	args := []string{"-t2", "-c" + strconv.Itoa(connections), "-d" + o.duration.String()}
	if script != "" {
		args = append(args, "-s", script)
	}
	out, err := exec.CommandContext(ctx, "wrk", append(args, url)...).Output()
	if err != nil {
		return l, err
	}
	number := func(re *regexp.Regexp) (sum float64) {
		for _, m := range re.FindAllSubmatch(out, -1) {
			for _, g := range m[1:] {
				n, err := strconv.ParseFloat(string(g), 64)
				if err != nil {
					panic(err) // the expression matches digits
				}
				sum += n
			}
		}
		return sum
	}
	return load{number(wrkRate), number(wrkTotal), number(wrkSock) + number(wrkBad)}, nil
}

func benchCollector(ctx context.Context, o options) error {
	n, err := startNode(ctx, o, filepath.Join(o.dir, "collector"))
	if err != nil {
		return err
	}
	defer func() { _ = n.Stop(syscall.SIGTERM) }() // the figures are out by then
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = upstream.Close() }() // ends the server
	answer := bytes.Repeat([]byte{'x'}, 1024)
	go func() {
		_ = fasthttp.Serve(upstream, func(ctx *fasthttp.RequestCtx) { ctx.SetBody(answer) }) // ends with the listener
	}()
	if err := n.collectorRoute(ctx, upstream.Addr().String()); err != nil {
		return err
	}
	// An event of 300 bytes.
	event := fmt.Sprintf(`{"programme":"p-1","page":"/checkout/step-2","session":"%s","value":12.5,"note":"%s"}`,
		strings.Repeat("s", 36), strings.Repeat("n", 165))
	script := filepath.Join(o.dir, "post.lua")
	if err := os.WriteFile(script, []byte("wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\nwrk.body = '"+event+"'\n"), 0o600); err != nil {
		return err
	}
	var ratios, costs, plainCosts, rates, plainRates []float64
	measure := func(url, script string) (rate, cost float64, err error) {
		before, err := n.CPU()
		if err != nil {
			return 0, 0, err
		}
		l, err := wrk(ctx, o, url, script, 64)
		if err != nil {
			return 0, 0, err
		}
		after, err := n.CPU()
		if l.errors > 0 {
			return 0, 0, fmt.Errorf("%.0f errors at 64 connections", l.errors)
		}
		return l.rate, float64((after - before).Microseconds()) / l.total, err
	}
	for range o.rounds {
		plainRate, plainCost, err := measure(n.URLs.Proxy+"/plain", "")
		if err != nil {
			return err
		}
		rate, cost, err := measure(n.URLs.Proxy+"/events", script)
		if err != nil {
			return err
		}
		ratios, costs, rates = append(ratios, rate/plainRate), append(costs, cost), append(rates, rate)
		plainRates, plainCosts = append(plainRates, plainRate), append(plainCosts, plainCost)
	}
	rig.Report("collector", "plain proxy of the same build", rig.Median(plainRates), "requests/s")
	rig.Report("collector", "plain proxy of the same build, CPU", rig.Median(plainCosts), "µs/request")
	rig.Report("collector", "durable events, 64 connections, "+strconv.Itoa(len(event))+" bytes", rig.Median(rates), "events/s")
	rig.Judge("collector", "CPU of the node", rig.Median(costs), "µs/event", "≤ 45", rig.Median(costs) <= 45)
	rig.Judge("collector", "rate against the plain proxy", rig.Median(ratios), "×", "≥ 0.7", rig.Median(ratios) >= 0.7)
	many, err := wrk(ctx, o, n.URLs.Proxy+"/events", script, 1000)
	if err != nil {
		return err
	}
	rig.Report("collector", "durable events, 1000 connections", many.rate, "events/s")
	rig.Judge("collector", "errors at 1000 connections", many.errors, "errors", "0", many.errors == 0)
	return nil
}

func (n *node) collectorRoute(ctx context.Context, upstream string) error {
	type object = map[string]any
	k := kinesis.Client{Client: n.aws}
	if _, err := k.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: new("events"), ShardCount: new(int64(1))}); err != nil {
		return err
	}
	field := func(name, kind string) object { return object{"name": name, "type": kind, "required": true} }
	for _, c := range []struct {
		method, path string
		body         object
	}{
		{"PUT", "/references/programmes/p-1", object{"enabled": true}},
		{"POST", "/services", object{"name": "plain", "url": "http://" + upstream}},
		{"POST", "/services/plain/routes", object{"name": "plain", "paths": []string{"/plain"}}},
		{"POST", "/services/plain/routes", object{"name": "events", "paths": []string{"/events"}}},
		{"POST", "/routes/events/plugins", object{"name": "collector", "config": object{"stream": "events",
			"programme_field": "programme", "references": "programmes",
			"fields": []object{field("programme", "string"), field("page", "string"), field("session", "string"), field("value", "number")}}}},
	} {
		if err := n.Admin(c.method, c.path, c.body); err != nil {
			return err
		}
	}
	return nil
}
