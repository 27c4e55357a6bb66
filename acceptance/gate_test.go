package acceptance_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
)

// run runs a client and returns all it said.
func run(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), plat.Need(t, name), args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func must(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := run(t, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// upstream serves a handler on loopback until the test ends.
func upstream(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(ln) }() // it ends with Close
	t.Cleanup(func() { _ = s.Close() })
	return "http://" + ln.Addr().String()
}

// route makes a service for an upstream and a route of the same name to it.
func route(n *plat.Node, name, url string) {
	n.Admin("PUT", "/services/"+name, map[string]any{"url": url})
	n.Admin("PUT", "/routes/"+name, map[string]any{"paths": []string{"/" + name}, "service": map[string]any{"name": name}})
}

// TestKongScript replays the script of the first seed: as it is printed, with the routes
// named, and again.
func TestKongScript(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	statuses := func(env ...string) string {
		out := must(t, append(env, "KONG_ADMIN_URL="+n.Endpoints.KongAdmin), "bash", "testdata/kong_script.sh")
		var codes []string
		for _, m := range regexp.MustCompile(`HTTP/1.1 (\d+)`).FindAllStringSubmatch(out, -1) {
			codes = append(codes, m[1])
		}
		return strings.Join(codes, " ")
	}
	if got := statuses(); got != "201 201 404 201 201 404 201 201 404" {
		t.Errorf("as printed: %s", got)
	}
	if got := statuses(); got != "409 201 404 409 201 404 409 201 404" {
		t.Errorf("as printed, again: %s", got)
	}
	if got := statuses("NAME_ROUTES=1"); got != "409 201 201 409 201 201 409 201 201" {
		t.Errorf("with names: %s", got)
	}
	if got := statuses("NAME_ROUTES=1"); got != "409 409 409 409 409 409 409 409 409" {
		t.Errorf("with names, again: %s", got)
	}
	for _, path := range []string{"/services/service11/routes", "/routes/service12/plugins", "/routes/service13/service"} {
		must(t, nil, "curl", "-sf", n.Endpoints.KongAdmin+path)
	}
}

// TestKongPlaybook replays the Ansible playbook of the first seed.
func TestKongPlaybook(t *testing.T) {
	plat.Need(t, "ansible-playbook")
	n := plat.Start(t, plat.Options{})
	env := []string{"LC_ALL=C.UTF-8", "ANSIBLE_LOCAL_TEMP=" + t.TempDir(), "ANSIBLE_NOCOLOR=1"}
	args := []string{"-i", "localhost,", "-c", "local", "-e", "admin=" + n.Endpoints.KongAdmin, "testdata/kong_playbook.yaml"}
	if out := must(t, env, "ansible-playbook", args...); !strings.Contains(out, "failed=0") {
		t.Error(out)
	}
	for i := 6; i <= 10; i++ {
		out := must(t, nil, "curl", "-sf", fmt.Sprintf("%s/services/service%d/routes", n.Endpoints.KongAdmin, i))
		if !strings.Contains(out, fmt.Sprintf(`"paths":["/service%d"]`, i)) {
			t.Error(out)
		}
	}
	if out, err := run(t, env, "ansible-playbook", args...); err == nil || !strings.Contains(out, "UNIQUE violation detected") {
		t.Errorf("a second run: %v\n%s", err, out)
	}
}

// TestDecK carries a configuration in and out by decK.
func TestDecK(t *testing.T) {
	plat.Need(t, "deck")
	n := plat.Start(t, plat.Options{})
	dump := filepath.Join(t.TempDir(), "dump.yaml")
	deck := func(args ...string) string {
		return must(t, nil, "deck", append(args, "--kong-addr", n.Endpoints.KongAdmin)...)
	}
	if out := deck("ping"); !strings.Contains(out, "Successfully connected") {
		t.Error(out)
	}
	if out := deck("sync", "-s", "testdata/deck.yaml"); !strings.Contains(out, "Created: 10") {
		t.Error(out)
	}
	deck("dump", "-o", dump)
	unchanged := regexp.MustCompile(`Created: 0\s+Updated: 0\s+Deleted: 0`)
	if out := deck("sync", "-s", dump); !unchanged.MatchString(out) {
		t.Errorf("what was dumped is not what is there:\n%s", out)
	}
	deck("reset", "-f")
	if out := deck("sync", "-s", dump); !strings.Contains(out, "Created: 10") {
		t.Errorf("after a reset:\n%s", out)
	}
}

// TestClientsThroughTheGate asks by curl in every way a body can go.
func TestClientsThroughTheGate(t *testing.T) {
	plat.Need(t, "curl")
	file := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			http.ServeContent(w, r, "file", time.Unix(1e9, 0), bytes.NewReader(file))
		case "/count":
			size, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%s %d %v %v", r.Method, size, r.TransferEncoding, err)
		default:
			http.NotFound(w, r)
		}
	})
	n := plat.Start(t, plat.Options{})
	route(n, "up", url)
	sent := filepath.Join(t.TempDir(), "sent")
	if err := os.WriteFile(sent, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const big = 300 << 20
	if err := os.Truncate(sent, big); err != nil {
		t.Fatal(err)
	}
	before := rss(t, n.PID())
	for name, way := range map[string][]string{
		"HTTP/1.1":        {"--http1.1", n.Endpoints.Proxy},
		"HTTP/2 in clear": {"--http2-prior-knowledge", n.Endpoints.Proxy},
		"HTTP/2 by ALPN":  {"-k", "--http2", n.Endpoints.ProxyTLS},
		"HTTPS/1.1":       {"-k", "--http1.1", n.Endpoints.ProxyTLS},
	} {
		curl := func(path string, args ...string) string {
			args = append(append([]string{"-sS"}, way[:len(way)-1]...), args...)
			return must(t, nil, "curl", append(args, way[len(way)-1]+"/up"+path)...)
		}
		if got := curl("/count", "-T", sent, "-H", "Transfer-Encoding: chunked"); !strings.HasPrefix(got, fmt.Sprint("PUT ", big, " [chunked] <nil>")) {
			t.Errorf("%s: an upload of unknown length: %s", name, got)
		}
		if got := curl("/count", "-T", sent); !strings.HasPrefix(got, fmt.Sprint("PUT ", big)) {
			t.Errorf("%s: an upload: %s", name, got)
		}
		if got := curl("/count", "-H", "Expect: 100-continue", "-d", "abc"); !strings.HasPrefix(got, "POST 3 ") {
			t.Errorf("%s: 100-continue: %s", name, got)
		}
		if got := curl("/file", "-I"); !strings.Contains(strings.ToLower(got), "content-length: 16777216") {
			t.Errorf("%s: HEAD: %s", name, got)
		}
		if got := curl("/file", "-r", "16-31,0-3", "-w", "%{http_code}"); !strings.HasSuffix(got, "206") || !strings.Contains(got, "\n0123456789abcdef\r\n") {
			t.Errorf("%s: ranges: %s", name, got)
		}
		if got := curl("/file", "-w", "%{http_code} %{size_download}", "-o", "/dev/null"); got != "200 16777216" {
			t.Errorf("%s: a download: %s", name, got)
		}
	}
	if after := rss(t, n.PID()); after > before+100 {
		t.Errorf("resident memory went from %d to %d MiB", before, after)
	}
}

// rss is a process's resident memory in MiB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(raw)
	if m == nil {
		t.Fatalf("no VmRSS in %s", raw)
	}
	kib, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// TestNobodyGetsAnothersAnswer puts many clients before an upstream that misbehaves in
// every way, and some clients misbehave too. Each client that gets an answer of the
// upstream must get its own.
func TestNobodyGetsAnothersAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go misbehave(c)
		}
	}()
	n := plat.Start(t, plat.Options{})
	route(n, "up", "http://"+ln.Addr().String())
	var wg sync.WaitGroup
	var own, failed atomic.Int64
	for client := range 24 {
		wg.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for i := range 150 {
				id := fmt.Sprintf("%d-%d", client, i)
				if i%10 == 9 { // leaves without waiting
					if c, err := net.Dial("tcp", strings.TrimPrefix(n.Endpoints.Proxy, "http://")); err == nil {
						fmt.Fprintf(c, "GET /up/%d/left-%s HTTP/1.1\r\nHost: h\r\n\r\n", i%8, id)
						_ = c.Close() // rude on purpose
					}
					continue
				}
				method, body := "GET", io.Reader(nil)
				if i%3 == 0 {
					method, body = "POST", strings.NewReader(strings.Repeat(id, 1+i*200))
				}
				req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("%s/up/%d/%s", n.Endpoints.Proxy, (client+i)%8, id), body)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					failed.Add(1)
					continue
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close() // read already
				switch {
				case resp.StatusCode == 200 && err == nil:
					if own.Add(1); string(got) != id || resp.Header.Get("X-Own") != id {
						t.Errorf("%s got %q, header %q", id, got, resp.Header.Get("X-Own"))
					}
				case resp.StatusCode == 200 && !strings.HasPrefix(id, string(got)):
					t.Errorf("%s got the beginning of another's answer: %q", id, got)
				case resp.StatusCode != 200 && resp.StatusCode != 502:
					t.Errorf("%s: status %d", id, resp.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	if own.Load() < 1000 {
		t.Errorf("only %d answers came through, %d failed", own.Load(), failed.Load())
	}
}

// misbehave answers requests with their last path segment; the first segment says how.
func misbehave(c net.Conn) {
	defer func() { _ = c.Close() }() // the last word in any case
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		parts := strings.Split(r.URL.Path, "/")
		how, id := parts[1], parts[2]
		if how != "6" {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
		}
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Own: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(id), id)
		switch how {
		case "0": // more than was promised
			fmt.Fprint(c, answer, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
		case "1": // cut short
			fmt.Fprint(c, answer[:len(answer)-1])
			return
		case "2": // ends after the answer without saying so
			fmt.Fprint(c, answer)
			return
		case "3": // in two pieces, chunked
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Own: %s\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n%s\r\n", id, id[:1])
			fmt.Fprintf(c, "%x\r\n%s\r\n0\r\n\r\n", len(id)-1, id[1:])
		case "4": // nothing
			return
		case "5": // no HTTP
			fmt.Fprint(c, "nonsense\r\n\r\n")
			return
		case "6": // answers before it has read the body, then ends
			fmt.Fprint(c, answer)
			return
		default:
			fmt.Fprint(c, answer)
		}
	}
}

// TestAdminChangesUnderTraffic changes the configuration all the time while requests go
// through: none fails, and every change is in force when its call returns.
func TestAdminChangesUnderTraffic(t *testing.T) {
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") }) // the client counts
	n := plat.Start(t, plat.Options{})
	route(n, "steady", url)
	n.Admin("POST", "/routes/steady/plugins", map[string]any{"name": "key-auth"})
	n.Admin("PUT", "/consumers/c", map[string]any{"username": "c"})
	n.Admin("POST", "/consumers/c/key-auth", map[string]any{"key": "steady-key"})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var served atomic.Int64
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status := ask(t, n, "/steady", "steady-key"); status != 200 {
					t.Errorf("the steady route answered %d", status)
					return
				}
				served.Add(1)
			}
		})
	}
	expect := func(what string, want int, path, key string) {
		if got := ask(t, n, path, key); got != want {
			t.Errorf("%s: status %d, want %d", what, got, want)
		}
	}
	for i := range 60 {
		name := fmt.Sprintf("r%d", i)
		path, key := "/"+name, "key-"+name
		n.Admin("PUT", "/routes"+path, map[string]any{"paths": []string{path}, "service": map[string]any{"name": "steady"}})
		expect("a new route", 200, path, "")
		n.Admin("PUT", "/routes"+path+"/plugins/00000000-0000-4000-8000-"+fmt.Sprintf("%012d", i), map[string]any{"name": "key-auth"})
		expect("a new plugin", 401, path, "")
		n.Admin("PUT", "/consumers/c/key-auth/"+key, map[string]any{})
		expect("a new key", 200, path, key)
		n.Admin("DELETE", "/consumers/c/key-auth/"+key, nil)
		expect("a removed key", 401, path, key)
		n.Admin("PATCH", "/services/steady", map[string]any{"read_timeout": 60000 + i})
		n.Admin("DELETE", "/routes"+path, nil)
		expect("a removed route", 404, path, key)
	}
	close(stop)
	wg.Wait()
	if served.Load() < 100 {
		t.Errorf("only %d requests went through", served.Load())
	}
}

// ask sends a GET through the gateway and returns its status.
func ask(t *testing.T, n *plat.Node, path, key string) int {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.Endpoints.Proxy+path, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	if key != "" {
		req.Header.Set("apikey", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body) // only the status counts
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestTerminationDrains: a request in flight is answered after SIGTERM, and the node ends
// with 0 then.
func TestTerminationDrains(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-answer
		_, _ = io.WriteString(w, "late") // the client checks
	})
	n := plat.Start(t, plat.Options{})
	route(n, "up", url)
	got := make(chan string, 1)
	go func() {
		resp, err := http.Get(n.Endpoints.Proxy + "/up")
		if err != nil {
			got <- err.Error()
			return
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // read already
		got <- fmt.Sprint(resp.StatusCode, string(body), err)
	}()
	<-asked
	n.Terminate()
	plat.Until(t, "no new connection is taken", func() error {
		c, err := net.Dial("tcp", strings.TrimPrefix(n.Endpoints.Proxy, "http://"))
		if err == nil {
			_ = c.Close() // only asked
			return fmt.Errorf("still listening")
		}
		return nil
	})
	close(answer)
	if s := <-got; s != "200late<nil>" {
		t.Errorf("the request in flight: %s", s)
	}
	if code := n.Wait(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// TestLimitsAndKeysByCurl counts a limit exactly and looks what the upstream is told.
func TestLimitsAndKeysByCurl(t *testing.T) {
	plat.Need(t, "curl")
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s|%s", r.RequestURI, r.Header.Get("Apikey"), r.Header.Get("X-Consumer-Username"))
	})
	n := plat.Start(t, plat.Options{})
	route(n, "up", url)
	n.Admin("POST", "/routes/up/plugins", map[string]any{"name": "key-auth", "config": map[string]any{"hide_credentials": true}})
	n.Admin("POST", "/routes/up/plugins", map[string]any{"name": "rate-limiting", "config": map[string]any{"year": 20}})
	for _, c := range []string{"alice", "bob"} {
		n.Admin("PUT", "/consumers/"+c, map[string]any{})
		n.Admin("POST", "/consumers/"+c+"/key-auth", map[string]any{"key": c + "-key"})
	}
	if got := must(t, nil, "curl", "-s", n.Endpoints.Proxy+"/up?a=1&apikey=bob-key&b=2", "-H", "X-Consumer-Username: root"); got != "/?a=1&b=2||bob" {
		t.Errorf("a key in the query: %s", got)
	}
	out := must(t, nil, "curl", "-s", "-Z", "--parallel-max", "20", "-H", "apikey: alice-key", "-o", "/dev/null", "-w", "%{http_code}\n", n.Endpoints.Proxy+"/up?n=[1-60]")
	if ok, full := strings.Count(out, "200"), strings.Count(out, "429"); ok != 20 || full != 40 {
		t.Errorf("%d passed and %d were refused, want 20 and 40", ok, full)
	}
	head := must(t, nil, "curl", "-si", "-H", "apikey: alice-key", n.Endpoints.Proxy+"/up")
	for _, want := range []string{"429", "X-RateLimit-Limit-Year: 20\r\n", "X-RateLimit-Remaining-Year: 0\r\n", "RateLimit-Limit: 20\r\n", "Retry-After: ", "API rate limit exceeded"} {
		if !strings.Contains(head, want) {
			t.Errorf("%q is missing:\n%s", want, head)
		}
	}
	if got := must(t, nil, "curl", "-si", "-H", "apikey: bob-key", n.Endpoints.Proxy+"/up"); !strings.Contains(got, "X-RateLimit-Remaining-Year: 18\r\n") {
		t.Errorf("another's limit:\n%s", got)
	}
}

// tracking starts a node with a stream, its delivery into a bucket, and a collector on /t.
func tracking(t *testing.T, config string) (*plat.Node, []string) {
	plat.Need(t, "aws")
	n := plat.Start(t, plat.Options{})
	env := n.Env(n.Root)
	aws := func(args ...string) { must(t, env, "aws", args...) }
	aws("s3api", "create-bucket", "--bucket", "lake")
	aws("kinesis", "create-stream", "--stream-name", "events", "--shard-count", "1")
	aws("firehose", "create-delivery-stream", "--delivery-stream-name", "to-lake", "--delivery-stream-type", "KinesisStreamAsSource",
		"--kinesis-stream-source-configuration", "KinesisStreamARN=arn:aws:kinesis:us-east-1:123456789012:stream/events,RoleARN=arn:aws:iam::123456789012:role/d",
		"--extended-s3-destination-configuration", "BucketARN=arn:aws:s3:::lake,RoleARN=arn:aws:iam::123456789012:role/d,Prefix=events/,BufferingHints={SizeInMBs=1,IntervalInSeconds=1}")
	n.Admin("PUT", "/routes/t", map[string]any{"paths": []string{"/t"}})
	n.Admin("POST", "/routes/t/plugins", map[string]any{"name": "collector", "config": json.RawMessage(config)})
	return n, env
}

// stored counts the records of the stream by the aws CLI.
func stored(t *testing.T, env []string) int {
	t.Helper()
	it := strings.TrimSpace(must(t, env, "aws", "kinesis", "get-shard-iterator", "--stream-name", "events", "--shard-id", "shardId-000000000000",
		"--shard-iterator-type", "TRIM_HORIZON", "--query", "ShardIterator", "--output", "text"))
	count := strings.TrimSpace(must(t, env, "aws", "kinesis", "get-records", "--shard-iterator", it, "--query", "length(Records)"))
	got, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// texts are values that something on the way to SQL might take for its own.
var texts = []string{
	"plain", "", "|", "a|b", "\\", "\\\\", "\\|", "|\\", "\\N", "\\n", "a\\b", "tab\there", "'q'", `"`, `"q"`, `a"b`, `"a|b"`, "NULL", "null", " lead",
	"trail ", "trailing \\", "#", "ünï©ødé 😀 漢字", "\u2028", "\x01", "\x7f", "{\"a\":[1]}", strings.Repeat("long|\\", 900),
}

// TestDelimitedComesOutAsItWentIn sends values through the collector, the stream and the
// delivery, and reads them by SQL.
func TestDelimitedComesOutAsItWentIn(t *testing.T) {
	n, env := tracking(t, `{"stream":"events","format":"delimited","columns":["event_id","received_at","client_ip","user_agent","text","n","last"],
		"fields":[{"name":"text"},{"name":"n","type":"number"},{"name":"last"}]}`)
	var events []map[string]any
	for i, s := range texts {
		events = append(events, map[string]any{"event_id": fmt.Sprint(i), "text": s, "n": i, "last": s})
	}
	send(t, n, 202, "application/json", events, "User-Agent", `agent|with \ "all"`)
	checkTexts(t, n, `row format delimited fields terminated by '|' escaped by '\\'`, `agent|with \ "all"`)
	for _, bad := range []string{"a\nb", "a\rb", "a\x00b"} {
		answer := send(t, n, 400, "application/json", []any{map[string]any{"text": "good"}, map[string]any{"text": bad}})
		if answer["event"] != 1.0 || answer["field"] != "text" {
			t.Errorf("%q: %v", bad, answer)
		}
	}
	if got := stored(t, env); got != len(texts) {
		t.Errorf("%d records are in the stream, want %d", got, len(texts))
	}
}

// TestJSONComesOutAsItWentIn is the same for the JSON format, which holds line ends too.
func TestJSONComesOutAsItWentIn(t *testing.T) {
	n, env := tracking(t, `{"stream":"events","fields":[{"name":"text"},{"name":"n","type":"number"},{"name":"last"}]}`)
	var lines bytes.Buffer
	for i, s := range texts {
		raw, err := json.Marshal(map[string]any{"event_id": fmt.Sprint(i), "text": s, "n": i, "last": s, "more": map[string]any{"deep": []any{s, nil}}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s\r\n", raw)
	}
	send(t, n, 202, "application/x-ndjson", lines.String(), "User-Agent", "agent")
	checkTexts(t, n, `row format serde 'org.openx.data.jsonserde.JsonSerDe'`, "agent")
	send(t, n, 202, "application/json", "{\"event_id\":\"pretty\",\"text\":\"a\\nb\\r\\n\",\n\"more\":{\n\"a\":[\n1]}}")
	if resp, err := http.Get(n.Endpoints.Proxy + "/t/p.gif?event_id=pixel&text=%F0%9F%98%80%0A&other=%22"); err != nil || resp.Header.Get("Content-Type") != "image/gif" {
		t.Errorf("%v %v", resp, err)
	}
	count := len(texts) + 2
	for body, field := range map[string]string{
		`[{},{"text":1}]`: "text", `[{},{"n":"x"}]`: "n", `[{},{"n":1e400}]`: "n", `[{},{"text":"\ud800"}]`: "text", `[{},{"text":"a","text":"b"}]`: "text",
		`[{},{"zz":1,"\u007az":2}]`: "zz", `[{},{"event_id":""}]`: "event_id", `[{},{"text":"` + strings.Repeat("x", 9000) + `"}]`: "text",
	} {
		if answer := send(t, n, 400, "application/json", body); answer["event"] != 1.0 || answer["field"] != field {
			t.Errorf("%.60s: %v", body, answer)
		}
	}
	for _, body := range []string{"{", "[" + strings.Repeat("[", 100_000), "\xff", `{"text":"a"`} {
		send(t, n, 400, "application/json", body)
	}
	if got := stored(t, env); got != count {
		t.Errorf("%d records are in the stream, want %d", got, count)
	}
	db := n.MustSQL(n.Root)
	plat.Until(t, "the line ends come out", func() error {
		var pretty, pixel string
		if err := db.QueryRow(t.Context(), "select text from lake.events where event_id = 'pretty'").Scan(&pretty); err != nil {
			return err
		}
		if err := db.QueryRow(t.Context(), "select text from lake.events where event_id = 'pixel'").Scan(&pixel); err != nil {
			return err
		}
		if pretty != "a\nb\r\n" || pixel != "😀\n" {
			return fmt.Errorf("%q and %q", pretty, pixel)
		}
		return nil
	})
	must(t, env, "aws", "kinesis", "delete-stream", "--stream-name", "events", "--enforce-consumer-deletion")
	resp, err := http.Post(n.Endpoints.Proxy+"/t", "application/json", strings.NewReader(`{"text":"a"}`))
	if err != nil || resp.StatusCode != 500 || resp.Header.Get("Retry-After") != "" {
		t.Errorf("without the stream: %v %v", resp, err)
	}
}

// send posts events and returns the answer.
func send(t *testing.T, n *plat.Node, want int, kind string, events any, headers ...string) map[string]any {
	t.Helper()
	raw, isText := events.(string)
	if !isText {
		b, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		raw = string(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.Endpoints.Proxy+"/t", strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // read already
	var answer map[string]any
	if err != nil || resp.StatusCode != want || json.Unmarshal(body, &answer) != nil {
		t.Fatalf("%.80s: %d %s %v, want %d", raw, resp.StatusCode, body, err, want)
	}
	return answer
}

// checkTexts waits until all texts are in SQL as they were sent.
func checkTexts(t *testing.T, n *plat.Node, format, agent string) {
	t.Helper()
	db := n.MustSQL(n.Root)
	for _, s := range []string{
		"create external schema lake from data catalog database 'lake' region 'us-east-1' create external database if not exists",
		"create external table lake.events (event_id varchar, received_at timestamp, client_ip varchar, user_agent varchar, text varchar(8000), n double precision, last varchar(8000)) " +
			format + " location 's3://lake/events/'",
	} {
		if _, err := db.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	plat.Until(t, "the events come out", func() error {
		rows, err := db.Query(t.Context(), "select event_id, client_ip, user_agent, coalesce(text, ''), n, coalesce(last, ''), received_at from lake.events")
		if err != nil {
			return err
		}
		defer rows.Close()
		var seen []string
		for rows.Next() {
			var id, ip, ua, text, last string
			var number float64
			var at time.Time
			if err := rows.Scan(&id, &ip, &ua, &text, &number, &last, &at); err != nil {
				return err
			}
			i, err := strconv.Atoi(id)
			if err != nil {
				return err
			}
			if text != texts[i] || last != texts[i] || ip != "127.0.0.1" || ua != agent || number != float64(i) || time.Since(at) > time.Hour {
				return fmt.Errorf("%q came out as %q, %q, %s, %s, %v, %v", texts[i], text, last, ip, ua, number, at)
			}
			seen = append(seen, id)
		}
		slices.Sort(seen)
		if seen = slices.Compact(seen); len(seen) != len(texts) {
			return fmt.Errorf("%d of %d", len(seen), len(texts))
		}
		return rows.Err()
	})
}

// TestReferencesTakeEffectAtOnce changes the programmes that events are checked against.
func TestReferencesTakeEffectAtOnce(t *testing.T) {
	n, _ := tracking(t, `{"stream":"events","fields":[{"name":"campaign","required":true}],"programme_field":"campaign","references":"campaigns"}`)
	event := map[string]any{"campaign": "c1"}
	for range 20 {
		send(t, n, 422, "application/json", event)
		n.Admin("PUT", "/references/campaigns/c1", map[string]any{"enabled": true})
		send(t, n, 202, "application/json", event)
		n.Admin("PUT", "/references/campaigns/c1", map[string]any{"valid_to": 1})
		send(t, n, 422, "application/json", event)
		n.Admin("PUT", "/references/campaigns/c1", map[string]any{"name": "again"})
		send(t, n, 202, "application/json", event)
		n.Admin("DELETE", "/references/campaigns/c1", nil)
	}
}
