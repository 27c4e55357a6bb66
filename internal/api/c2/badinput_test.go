package c2_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/c2"
	"sluice.dev/sluice/internal/service/edge"
)

// agents is how many agents of all classes are known.
func (n *node) agents() (agents, classes int) {
	n.Helper()
	list, err := n.edge.Classes(as(n, "root"))
	if err != nil {
		n.Fatal(err)
	}
	for _, c := range list {
		page, err := n.edge.Agents(as(n, "root"), c.Name, "", 0)
		if err != nil {
			n.Fatal(err)
		}
		agents += len(page.Agents)
	}
	return agents, len(list)
}

// What is wrong with a message is said in the protocol's own shape, with the member at fault,
// and changes nothing.
func TestBadInput(t *testing.T) {
	n := alone(t)
	beat := func(agentInfo, rest string) string { return `{"agentInfo":{` + agentInfo + `}` + rest + `}` }
	long := strings.Repeat("x", 10_000)
	ok := `"identifier":"a","agentClass":"c"`
	for name, c := range map[string]struct {
		path, body, field string
		status            int
		header            []string
	}{
		"nothing":                    {body: "", status: 400},
		"no JSON":                    {body: `{"agentInfo":`, status: 400},
		"more than one text":         {body: `{}{}`, status: 400},
		"NaN":                        {body: beat(ok, `,"metrics":{"cpu":NaN}`), status: 400},
		"a list":                     {body: `[]`, status: 400},
		"a text":                     {body: `"heartbeat"`, status: 400},
		"null":                       {body: `null`, status: 400, field: "agentInfo.identifier"},
		"no agent":                   {body: `{}`, status: 400, field: "agentInfo.identifier"},
		"a number for a name":        {body: beat(`"identifier":7,"agentClass":"c"`, ""), status: 400, field: "agentInfo.identifier"},
		"a list for an object":       {body: beat(ok, `,"flowInfo":[]`), status: 400, field: "flowInfo"},
		"a path for an id":           {body: beat(`"identifier":"../../etc","agentClass":"c"`, ""), status: 400, field: "agentInfo.identifier"},
		"a path for a class":         {body: beat(`"identifier":"a","agentClass":"..\\up"`, ""), status: 400, field: "agentInfo.agentClass"},
		"all for a class":            {body: beat(`"identifier":"a","agentClass":"*"`, ""), status: 400, field: "agentInfo.agentClass"},
		"a line break in an id":      {body: beat(`"identifier":"a\nb","agentClass":"c"`, ""), status: 400, field: "agentInfo.identifier"},
		"NUL in an id":               {body: beat(`"identifier":"a\u0000","agentClass":"c"`, ""), status: 400, field: "agentInfo.identifier"},
		"no UTF-8 in an id":          {body: beat("\"identifier\":\"a\xff\",\"agentClass\":\"c\"", ""), status: 400, field: "agentInfo.identifier"},
		"a long id":                  {body: beat(`"identifier":"`+long+`","agentClass":"c"`, ""), status: 400, field: "agentInfo.identifier"},
		"a long hash":                {body: beat(ok+`,"agentManifestHash":"`+long+`"`, ""), status: 400, field: "agentInfo.agentManifestHash"},
		"a long host name":           {body: beat(ok, `,"deviceInfo":{"networkInfo":{"hostname":"`+long+`"}}`), status: 400, field: "deviceInfo.networkInfo.hostname"},
		"a long flow id":             {body: beat(ok, `,"flowInfo":{"flowId":"`+long+`"}`), status: 400, field: "flowInfo.flowId"},
		"an id twice":                {body: beat(`"identifier":"b",`+ok, ""), status: 400, field: "agentInfo.identifier"},
		"an id twice, in capitals":   {body: beat(`"IDENTIFIER":"b",`+ok, ""), status: 400, field: "agentInfo.identifier"},
		"an agent twice":             {body: beat(ok, `,"agentInfo":{`+ok+`}`), status: 400, field: "agentInfo"},
		"a manifest twice":           {body: beat(ok+`,"agentManifest":{},"agentManifest":{}`, ""), status: 400, field: "agentInfo.agentManifest"},
		"a manifest that is a list":  {body: beat(ok+`,"agentManifestHash":"h","agentManifest":[]`, ""), status: 400, field: "agentInfo.agentManifest"},
		"a manifest with a bad part": {body: beat(ok+`,"agentManifestHash":"h","agentManifest":{"identifier":"m","agentType":"cpp","version":"1","bundles":[{"group":"g","artifact":"a","version":"1","componentManifest":{"processors":[{}]}}]}`, ""), status: 400, field: "agentInfo.agentManifest.bundles[0].componentManifest.processors[0].type"},
		"nested without end":         {body: beat(ok, `,"metrics":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)), status: 400},
		"another type":               {body: beat(ok, ""), status: 400, field: "Content-Type", header: []string{"Content-Type", "text/yaml"}},
		"no type at all":             {body: beat(ok, ""), status: 400, field: "Content-Type", header: []string{"Content-Type", ";;"}},
		"another encoding":           {body: beat(ok, ""), status: 400, field: "Content-Encoding", header: []string{"Content-Encoding", "br"}},
		"not gzip":                   {body: beat(ok, ""), status: 400, field: "Content-Encoding", header: []string{"Content-Encoding", "gzip"}},
		"half of gzip":               {body: packed(beat(ok, "")).String()[:30], status: 400, header: []string{"Content-Encoding", "gzip"}},
		"damaged gzip":               {body: damaged(beat(ok, "")), status: 400, header: []string{"Content-Encoding", "gzip"}},
		"no state":                   {path: "/acknowledge", body: `{"operationId":"x"}`, status: 400, field: "operationState"},
		"another state":              {path: "/acknowledge", body: `{"operationId":"x","operationState":{"state":"` + long + `"}}`, status: 400, field: "operationState.state"},
		"no operation":               {path: "/acknowledge", body: dialects[0].ack("", "FULLY_APPLIED", ""), status: 404, field: "operationId"},
		"an unknown operation":       {path: "/acknowledge", body: dialects[0].ack("11111111-2222-8333-8444-555555555555", "FULLY_APPLIED", ""), status: 404, field: "operationId"},
		"one with an agent":          {path: "/acknowledge", body: dialects[0].ack("11111111-2222-8333-8444-555555555555", "FULLY_APPLIED", `{`+ok+`}`), status: 404, field: "operationId"},
		"one of C++":                 {path: "/acknowledge", body: dialects[1].ack("11111111-2222-8333-8444-555555555555", "NOT_APPLIED", `{`+ok+`}`), status: 404, field: "operationId"},
		"two states":                 {path: "/acknowledge", body: `{"operationId":"x","operationState":{"state":"FULLY_APPLIED","state":"NOT_APPLIED"}}`, status: 400, field: "operationState.state"},
		"a number for details":       {path: "/acknowledge", body: `{"operationId":"x","operationState":{"state":"FULLY_APPLIED","details":1}}`, status: 400, field: "operationState.details"},
		"no form":                    {path: "/debug/0000000000000001?aid=a", body: `{}`, status: 400, field: "Content-Type"},
		"a form without a file":      {path: "/debug/0000000000000001?aid=a", body: "--b--\r\n", status: 400, field: "file", header: []string{"Content-Type", "multipart/form-data; boundary=b"}},
		"a bundle nobody asked for":  {path: "/debug/0000000000000001?aid=a", body: form("x").String(), status: 404, field: "order", header: []string{"Content-Type", "multipart/form-data; boundary=b"}},
		"a bundle for a path":        {path: "/debug/..%2f..%2fetc?aid=a", body: form("x").String(), status: 404, field: "order", header: []string{"Content-Type", "multipart/form-data; boundary=b"}},
		"an enrolment without a key": {path: "/../agent-deployer/enroll", body: `{"token":"x"}`, status: 400, field: "csr"},
		"an enrolment by a number":   {path: "/../agent-deployer/enroll", body: `{"token":1}`, status: 400, field: "token"},
	} {
		if c.path == "" {
			c.path = "/heartbeat"
		}
		header := append([]string{"Content-Type", "application/json"}, c.header...)
		path := strings.Replace("/efm/api/c2-protocol"+c.path, "/c2-protocol/..", "", 1)
		r := n.send(n.Client(), "POST", path, strings.NewReader(c.body), header...)
		if r.status != c.status {
			t.Errorf("%s: %d %s, want %d", name, r.status, r.body, c.status)
			continue
		}
		if f := r.failure(t); f.Error.Field != c.field || len(r.body) > 1000 {
			t.Errorf("%s: %.1200s, want the field %q", name, r.body, c.field)
		}
	}
	for path, status := range map[string]int{"/flows/..%2f..%2fetc%2fpasswd": 404, "/flows/x?aid=a": 404, "/resources/%00": 401, "/resources/" + long: 401, "/resources/x?aid=..%2f": 404, "/flows/x?aid=%zz": 404} {
		if r := n.send(n.Client(), "GET", "/efm/api/c2-protocol"+path, nil); r.status != status {
			t.Errorf("%.50s: %d %s", path, r.status, r.body)
		} else {
			r.failure(t)
		}
	}
	if agents, classes := n.agents(); agents != 0 || classes != 0 {
		t.Errorf("%d agents and %d classes have come of it", agents, classes)
	}

	// What is odd and harmless is taken, and numbers that are none of ours are as they came.
	n.beat(beat(ok, `,"metrics":{"cpu":-1,"much":1e999,"text":"`+"\xff"+`"},"created":-5,"unknown":null`))
	r, err := n.edge.LastReport(as(t, "root"), "a")
	if err != nil || !bytes.Contains(r.Raw, []byte(`"much":1e999`)) || !bytes.Contains(r.Raw, []byte("\ufffd")) {
		t.Errorf("%s, %v", r.Raw, err)
	}
}

func damaged(s string) string {
	b := packed(s).Bytes()
	b[len(b)-5] ^= 1 // of the sum
	return string(b)
}

// A heartbeat that was overtaken by a newer one does not bring back what that has changed.
func TestOvertakenHeartbeat(t *testing.T) {
	n, d := alone(t), dialects[0]
	m := machine{id: "a", class: "c", hash: "h", manifest: d.manifest, created: 1_700_000_000_000}
	flow := func(want string) {
		t.Helper()
		if a, err := n.edge.Agent(as(t, "root"), "a"); err != nil || a.FlowID != want {
			t.Errorf("%q, %v, want %q", a.FlowID, err, want)
		}
	}
	old := m
	old.flow = "old"
	n.beat(d.beat(old))
	m.flow, m.created = "new", old.created+30_000
	n.beat(d.beat(m))
	n.beat(d.beat(old))
	flow("new")
	m.flow = "same time"
	n.beat(d.beat(m))
	flow("same time")
	m.flow, m.created = "clock was set back", m.created-3_600_000
	n.beat(d.beat(m))
	flow("clock was set back")
}

// An agent can say of its orders alone how they ended, by whatever ids.
func TestInventedAcknowledgements(t *testing.T) {
	n, d := alone(t), dialects[0]
	root := as(t, "root")
	mine, theirs := machine{id: "a", class: "mine", hash: "h", manifest: d.manifest}, machine{id: "b", class: "theirs", hash: "h"}
	n.beat(d.beat(mine))
	n.beat(d.beat(theirs))
	order := func(class string) (int64, string, answer) {
		o, err := n.edge.Order(root, edge.Request{Operation: "TRANSFER", Operand: "debug", Class: class})
		if err != nil {
			t.Fatal(err)
		}
		return o.Number, class, n.beat(d.beat(mine))
	}
	own, _, got := order("mine")
	id := got.Requested[0].Identifier
	other, _, _ := order("theirs")
	// The id tells the order in its last half.
	invented := func(order int64) string {
		return fmt.Sprintf("%s%04x-%012x", id[:19], 1<<15|order>>48, order&(1<<48-1))
	}
	if invented(own) != id {
		t.Fatalf("%s is not %s", invented(own), id)
	}
	for _, n2 := range []int64{other, own + 1000, 1<<62 - 1} {
		for _, info := range []string{"", mine.agentInfo()} {
			if r := n.post("/acknowledge", d.ack(invented(n2), "NOT_APPLIED", info)); r.status != 404 || r.failure(t).Error.Field != "operationId" {
				t.Errorf("%d: %d %s", n2, r.status, r.body)
			}
		}
	}
	if st, err := n.edge.OrderOf(root, other); err != nil || len(st.States) != 0 {
		t.Errorf("%+v, %v", st.States, err)
	}
	for range 2 { // and again, as after a lost answer
		if r := n.post("/acknowledge", d.ack(id, "FULLY_APPLIED", "")); r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if r := n.post("/acknowledge", d.ack(id, "NOT_APPLIED", "")); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	states(t, n, own, edge.Done)
}

// endless is a body of JSON that goes on and on.
func endless(size int) io.Reader {
	return io.MultiReader(strings.NewReader(`{"agentInfo":{"identifier":"a","agentClass":"c","agentManifestHash":"h","agentManifest":{"identifier":"`),
		io.LimitReader(fill{}, int64(size)), strings.NewReader(`"}}}`))
}

type fill struct{}

// xs is what there is endless of.
var xs = bytes.Repeat([]byte("x"), 64<<10)

func (fill) Read(b []byte) (int, error) { return copy(b, xs), nil }

// Large bodies, and small ones that become large, are refused, and take memory of a size that
// does not depend on theirs, nor on how many come.
func TestLargeBodies(t *testing.T) {
	n := alone(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := io.Copy(z, endless(100<<20)); err != nil {
		t.Fatal(err)
	}
	_ = z.Close()
	if bomb.Len() > 2<<20 {
		t.Fatal(bomb.Len())
	}
	var peak atomic.Uint64
	stop := make(chan struct{})
	var watch sync.WaitGroup
	measure := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak.Store(max(peak.Load(), m.HeapInuse))
	}
	runtime.GC()
	measure()
	before := peak.Load()
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				measure()
			}
		}
	})
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			var body io.Reader
			header := []string{"Content-Type", "application/json"}
			if i%2 == 0 {
				body, header = bytes.NewReader(bomb.Bytes()), append(header, "Content-Encoding", "gzip")
			} else {
				body = struct{ io.Reader }{endless(50 << 20)} // of a length that is not told
			}
			r := n.raw(body, header...)
			if r.status != 413 && r.status != 503 && r.status != 0 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	all.Wait()
	close(stop)
	watch.Wait()
	grown := (peak.Load() - before) >> 20
	t.Logf("40 bodies at one time: the heap grew by %d MiB at most", grown)
	if grown > 500 {
		t.Errorf("the heap grew by %d MiB", grown)
	}
	r := n.send(n.Client(), "POST", "/efm/api/c2-protocol/heartbeat", bytes.NewReader(bomb.Bytes()), "Content-Type", "application/json", "Content-Encoding", "gzip")
	if r.status != 413 || r.failure(t).Error.Reason != "BodyTooLarge" {
		t.Errorf("%d %s", r.status, r.body)
	}
	// One that fits the body and not what a manifest may be.
	var b strings.Builder
	_, _ = io.Copy(&b, endless(9<<20))
	if r := n.post("/heartbeat", b.String()); r.status != 413 || r.failure(t).Error.Field != "agentInfo.agentManifest" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if agents, classes := n.agents(); agents != 0 || classes != 0 {
		t.Errorf("%d agents and %d classes have come of it", agents, classes)
	}
}

// raw posts a heartbeat that may be refused before it was sent; then the status may be 0.
func (n *node) raw(body io.Reader, header ...string) reply {
	r, err := http.NewRequestWithContext(n.Context(), "POST", n.URL+"/efm/api/c2-protocol/heartbeat", body)
	if err != nil {
		n.Error(err)
		return reply{}
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := n.Client().Do(r)
	if err != nil {
		return reply{} // the server has hung up in the middle of the body
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, text}
}

// Bodies that trickle in are given up, and hold up nobody meanwhile.
func TestSlowBodies(t *testing.T) {
	n := start(t, "", "alone", false, edge.Config{}, c2.Config{BodyTime: 2 * time.Second})
	var slow []net.Conn
	for i := range 40 {
		conn, err := net.Dial("tcp", n.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		encoding := []string{"", "Content-Encoding: gzip\r\n"}[i%2]
		fmt.Fprintf(conn, "POST /efm/api/c2-protocol/heartbeat HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\n%sContent-Length: 11000000\r\n\r\n", encoding)
		_, _ = conn.Write(packed(strings.Repeat("y", 100)).Bytes()[:20])
		slow = append(slow, conn)
	}
	began := time.Now()
	for _, d := range dialects {
		m := machine{id: d.name, class: "c", hash: "h", manifest: d.manifest}
		n.taken(n.send(n.Client(), "POST", "/efm/api/c2-protocol/heartbeat", packed(d.beat(m)), "Content-Type", "application/json", "Content-Encoding", "gzip"))
	}
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("others waited for %s", took)
	}
	for _, conn := range slow {
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		(reply{resp.StatusCode, resp.Header, text}).failure(t)
		if resp.StatusCode != 400 {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
	}
	// The bound is that of a body, not of the connection it came on.
	for range 2 {
		n.beat(dialects[0].beat(machine{id: "a", class: "c", hash: "h"}))
		time.Sleep(1100 * time.Millisecond)
	}
	n.beat(dialects[0].beat(machine{id: "a", class: "c", hash: "h"}))
}
