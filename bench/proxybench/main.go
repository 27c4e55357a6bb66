// Command proxybench measures what a proxied request costs in CPU: Sluice's data plane
// against nginx as a plain proxy and against proxies made of fasthttp, all before the same
// upstream, in turns, so that whatever else the machine does meets all of them alike.
//
// Every line it prints is one JSON object: a "round" line per proxy and round, and at the
// end a "result" line per proxy with the median CPU per request and the median of the
// ratios to nginx in the same round. CPU is user and system time of the proxy's processes
// from /proc, divided by the requests wrk counted.
//
//	proxybench -rounds 5 -duration 4s -body 1024 -connections 64
//
// It needs nginx and wrk on the PATH; where one is missing it says so and exits 3.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	role := flag.String("role", "", "internal: run as upstream or as one of the proxies")
	to := flag.String("to", "", "internal: address of the upstream")
	rounds := flag.Int("rounds", 5, "rounds; each measures every proxy once")
	duration := flag.Duration("duration", 4*time.Second, "length of one measurement")
	body := flag.Int("body", 1024, "bytes of the upstream's answer")
	connections := flag.Int("connections", 64, "connections of the load generator")
	only := flag.String("only", "", "comma-separated proxies to measure besides nginx: sluice,fasthttp,fasthttp-dressed")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the sluice proxy to this file")
	plugins := flag.String("plugins", "", "plugins on the measured route: key-auth,rate-limiting,prometheus,file-log,collector")
	routes := flag.Int("routes", 4, "routes of the sluice proxy; the load goes to all of them")
	secure := flag.Bool("tls", false, "clients speak TLS")
	proto := flag.String("proto", "h1", "what clients speak: h1, h2 (over TLS), or grpc (over TLS, unary calls of body bytes)")
	rate := flag.Int("rate", 0, "requests per second, for latency under a load that is not full; 0 for as many as it takes")
	sockets := flag.Int("websockets", 0, "open so many WebSockets through the sluice proxy, and nothing else")
	dir := flag.String("dir", "", "internal: directory of the certificate")
	flag.Parse()
	raiseLimit()
	var err error
	switch *role {
	case "upstream":
		err = runUpstream(*body, *proto)
	case "sluice":
		err = runSluice(*to, *dir, *profile, *plugins, *routes, *proto == "grpc")
	case "fasthttp", "fasthttp-dressed":
		err = runFasthttp(*to, *role == "fasthttp-dressed")
	default:
		if *sockets > 0 {
			err = withDirectory(func(dir string) error { return runWebSockets(*sockets, dir) })
			break
		}
		err = run(config{*rounds, *duration, *body, *connections, *only, *profile, *plugins, *routes, *secure, *proto, *rate})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxybench:", err)
		if errors.Is(err, exec.ErrNotFound) {
			os.Exit(3)
		}
		os.Exit(1)
	}
}

type config struct {
	rounds      int
	duration    time.Duration
	body        int
	connections int
	only        string
	profile     string
	plugins     string
	routes      int
	secure      bool
	proto       string
	rate        int
}

// base is the peer that ratios are to.
func (c config) base() string {
	if c.proto == "grpc" {
		return "caddy"
	}
	return "nginx"
}

// target is a proxy under measurement.
type target struct {
	name   string
	addr   string
	secure string // address for TLS
	pids   []int
	stop   func()
}

// round is one measurement.
type round struct {
	Kind     string  `json:"kind"`
	Round    int     `json:"round"`
	Proxy    string  `json:"proxy"`
	CPU      float64 `json:"cpu_us_per_request"`
	Ratio    float64 `json:"ratio"` // of CPU to the peer
	Rate     float64 `json:"requests_per_second"`
	Requests int64   `json:"requests"`
	Errors   int64   `json:"errors"`
	P99      float64 `json:"p99_ms"`
	RSS      int64   `json:"rss_kb"`
}

func run(c config) error {
	for _, tool := range []string{"nginx", "wrk", "h2load"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	return withDirectory(func(dir string) error { return compare(c, dir) })
}

// withDirectory gives do a directory with a certificate in it.
func withDirectory(do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "proxybench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := certificate(dir); err != nil {
		return err
	}
	return do(dir)
}

// compare measures the targets in turns.
func compare(c config, dir string) error {
	upstream, err := child("upstream", "-role", "upstream", "-body", strconv.Itoa(c.body), "-proto", c.proto)
	if err != nil {
		return err
	}
	defer upstream.stop()
	targets := []*target{}
	scheme := ""
	if c.proto == "grpc" {
		scheme = "h2c://" // which nginx, as it is configured here, does not speak
	} else {
		ng, err := startNginx(dir, upstream.addr)
		if err != nil {
			return err
		}
		defer ng.stop()
		targets = append(targets, ng)
	}
	for _, name := range []string{"sluice", "caddy", "fasthttp", "fasthttp-dressed"} {
		if c.only != "" && !slices.Contains(strings.Split(c.only, ","), name) {
			continue
		}
		args := []string{"-role", name, "-to", upstream.addr}
		var t *target
		var err error
		switch name {
		case "caddy":
			t, err = startCaddy(dir, upstream.addr, scheme)
		case "sluice":
			t, err = child(name, append(args, "-dir", dir, "-cpuprofile", c.profile, "-plugins", c.plugins, "-routes", strconv.Itoa(c.routes), "-proto", c.proto)...)
		default:
			t, err = child(name, args...)
		}
		if err != nil {
			return err
		}
		defer t.stop()
		targets = append(targets, t)
	}
	message := append([]byte{0, 0, 0, byte(c.body >> 8), byte(c.body)}, make([]byte, c.body)...) // as gRPC frames it
	if err := os.WriteFile(filepath.Join(dir, "message"), message, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "paths.lua"), fmt.Appendf(nil, pathsScript, c.routes), 0o600); err != nil {
		return err
	}
	for _, t := range targets { // warm up: connections, pools, buffers
		if _, err := measure(t, time.Second, c, dir); err != nil {
			return err
		}
	}
	enc := json.NewEncoder(os.Stdout)
	all := map[string][]round{}
	for i := range c.rounds {
		var base float64
		order := slices.Clone(targets)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		results := map[string]round{}
		for _, t := range order {
			r, err := measure(t, c.duration, c, dir)
			if err != nil {
				return err
			}
			if t.name == c.base() {
				base = r.CPU
			}
			r.Round = i + 1
			results[t.name] = r
		}
		for _, t := range targets {
			r := results[t.name]
			r.Ratio = r.CPU / base
			all[t.name] = append(all[t.name], r)
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
	}
	for _, t := range targets {
		rs := all[t.name]
		if err := enc.Encode(map[string]any{
			"kind": "result", "proxy": t.name, "base": c.base(), "proto": c.proto, "tls": c.secure, "plugins": c.plugins, "routes": c.routes, "rate": c.rate,
			"rss_mb": median(rs, func(r round) float64 { return float64(r.RSS) / 1024 }),
			"p99_ms": median(rs, func(r round) float64 { return r.P99 }), "errors": median(rs, func(r round) float64 { return float64(r.Errors) }),
			"cpu_us_per_request":  median(rs, func(r round) float64 { return r.CPU }),
			"ratio":               median(rs, func(r round) float64 { return r.Ratio }),
			"requests_per_second": median(rs, func(r round) float64 { return r.Rate }),
		}); err != nil {
			return err
		}
	}
	return nil
}

func median(rs []round, of func(round) float64) float64 {
	vs := make([]float64, len(rs))
	for i, r := range rs {
		vs[i] = of(r)
	}
	slices.SortFunc(vs, cmp.Compare)
	return vs[len(vs)/2]
}

// cpu is the user and system time of the processes. The kernel counts it in hundredths
// of a second.
func cpu(pids []int) (time.Duration, error) {
	var total time.Duration
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		user, _ := strconv.ParseInt(f[11], 10, 64)
		system, _ := strconv.ParseInt(f[12], 10, 64)
		total += time.Duration(user+system) * 10 * time.Millisecond
	}
	return total, nil
}

func rss(pids []int) (kb int64) {
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			kb += pages * int64(os.Getpagesize()) / 1024
		}
	}
	return kb
}

// child starts this program in another role; the child prints its address first.
func child(name string, args ...string) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe() // closing it tells the child to end
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("%s did not start: %w", name, cmd.Wait())
	}
	addr, secure, _ := strings.Cut(strings.TrimSpace(line), " ")
	return &target{name: name, addr: addr, secure: secure, pids: []int{cmd.Process.Pid}, stop: func() {
		in.Close()
		cmd.Wait()
	}}, nil
}

// children lists the processes whose parent is pid.
func children(pid int) ([]int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil, err
	}
	var out []int
	for f := range strings.FieldsSeq(string(b)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// untilTold blocks until standard input ends.
func untilTold() { io.Copy(io.Discard, os.Stdin) }
