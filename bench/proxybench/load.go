package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pathsScript sends wrk to all routes in turn.
const pathsScript = `
local n, i = %d, 0
request = function()
  i = i + 1
  return wrk.format(nil, "/r" .. (i %% n))
end
`

// measure puts load on a target for a while.
func measure(t *target, d time.Duration, c config, dir string) (round, error) {
	before, err := cpu(t.pids)
	if err != nil {
		return round{}, err
	}
	load := wrk
	if c.proto != "h1" || c.rate > 0 {
		load = h2load
	}
	r, err := load(t, d, c, dir)
	if err != nil {
		return r, err
	}
	after, err := cpu(t.pids)
	if err != nil {
		return r, err
	}
	if r.Requests == 0 {
		return r, fmt.Errorf("%s served nothing", t.name)
	}
	r.Kind, r.Proxy = "round", t.name
	r.CPU = float64((after - before).Microseconds()) / float64(r.Requests)
	r.RSS = rss(t.pids)
	return r, nil
}

// address is where clients find a target.
func (t *target) address(c config) string {
	if c.secure || c.proto != "h1" {
		return "https://" + t.secure + "/"
	}
	return "http://" + t.addr + "/"
}

var (
	requestsLine = regexp.MustCompile(`(\d+) requests in`)
	rateLine     = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	p99Line      = regexp.MustCompile(`99%\s+(\S+)`)
	errorsLine   = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	socketLine   = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// number finds a number in what a load generator said; 0 where it said nothing of it.
func number(out []byte, re *regexp.Regexp) float64 {
	if m := re.FindSubmatch(out); m != nil {
		n, _ := strconv.ParseFloat(string(m[1]), 64)
		return n
	}
	return 0
}

// wrk asks as fast as it is answered.
func wrk(t *target, d time.Duration, c config, dir string) (round, error) {
	out, err := exec.Command("wrk", "-t2", "-c", strconv.Itoa(c.connections), "-d", d.String(), "--latency",
		"-s", filepath.Join(dir, "paths.lua"), "-H", "apikey: bench", t.address(c)).CombinedOutput()
	if err != nil {
		return round{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	r := round{Requests: int64(number(out, requestsLine)), Rate: number(out, rateLine), Errors: int64(number(out, errorsLine))}
	if m := socketLine.FindSubmatch(out); m != nil {
		for _, s := range m[1:] {
			n, _ := strconv.ParseInt(string(s), 10, 64)
			r.Errors += n
		}
	}
	if m := p99Line.FindSubmatch(out); m != nil {
		if p99, err := time.ParseDuration(string(m[1])); err == nil {
			r.P99 = float64(p99.Microseconds()) / 1000
		}
	}
	return r, nil
}

var (
	doneLine   = regexp.MustCompile(`(\d+) succeeded`)
	failedLine = regexp.MustCompile(`(\d+) failed`)
	speedLine  = regexp.MustCompile(`finished in .*, ([\d.]+) req/s`)
)

// h2load asks by HTTP/2, by gRPC, or at a fixed rate.
func h2load(t *target, d time.Duration, c config, dir string) (round, error) {
	log := filepath.Join(dir, "h2load.log")
	_ = os.Remove(log) // h2load appends
	args := []string{"-t2", "-D", strconv.Itoa(max(int(d.Seconds()), 1)), "--log-file=" + log}
	if c.proto == "h1" {
		args = append(args, "--h1", "-c", strconv.Itoa(c.connections), "--rps", strconv.FormatFloat(float64(c.rate)/float64(c.connections), 'f', 2, 64))
	} else {
		args = append(args, "-c", "8", "-m", strconv.Itoa(max(c.connections/8, 1)))
	}
	if c.proto == "grpc" {
		args = append(args, "-d", filepath.Join(dir, "message"), "-H", "content-type: application/grpc", "-H", "te: trailers")
	}
	out, err := exec.Command("h2load", append(args, "-H", "apikey: bench", t.address(c)+"r0")...).CombinedOutput()
	if err != nil {
		return round{}, fmt.Errorf("h2load: %w: %s", err, out)
	}
	r := round{Requests: int64(number(out, doneLine)), Rate: number(out, speedLine), Errors: int64(number(out, failedLine))}
	r.P99, err = p99Of(log)
	return r, err
}

// p99Of reads h2load's log: a line per request, of its start, status and microseconds.
func p99Of(log string) (ms float64, err error) {
	f, err := os.Open(log)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var took []int
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 3 {
			continue
		}
		n, err := strconv.Atoi(words[2])
		if err != nil {
			return 0, err
		}
		took = append(took, n)
	}
	if len(took) == 0 {
		return 0, lines.Err()
	}
	slices.Sort(took)
	return float64(took[len(took)*99/100]) / 1000, lines.Err()
}
