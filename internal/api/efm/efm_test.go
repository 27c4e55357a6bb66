package efm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"sluice.dev/sluice/internal/api/console"
	"sluice.dev/sluice/internal/api/efm"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/edgetest"
)

// rights lets root do everything, and the user "viewer" see.
type rights struct{}

func (rights) Authorize(ctx context.Context, action name.Action, _ name.ARN, _ ...name.Attr) error {
	who, _ := caller.From(ctx)
	if who.Root || who.UserName == "viewer" && action == edge.View {
		return nil
	}
	return (&fault.Reason{Kind: fault.Denied, Name: "AccessDenied"}).New("Access Denied")
}

// bench is the handler with a real service on SQLite behind it, and its document.
type bench struct {
	t    testing.TB
	edge *edge.Service
	h    http.Handler
	doc  *openapi3.T
	// called are the operations that were.
	called map[string]bool
}

func open(t testing.TB) *bench {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(t.Context(), store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "control.db"), Key: [32]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := lease.New(t.Context(), lease.Config{Node: "n", Owner: "n"}, lease.Deps{Store: st, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s := edge.New(edge.Config{Node: "n"}, edge.Deps{Store: st, Auth: rights{}, Leases: keeper, Clock: clock.System{}, Authority: authority{}, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, run := range []func(context.Context) error{st.Run, keeper.Run, s.Run} {
		all.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		all.Wait()
		_ = keeper.Close(context.Background())
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	h, err := efm.New(efm.Config{Context: "/efm"}, efm.Deps{Edge: s, Fail: func(w http.ResponseWriter, err error) { console.WriteError(w, log, err) }, Identify: func(r *http.Request) (*http.Request, error) {
		user, _, ok := r.BasicAuth()
		if !ok {
			return nil, (&fault.Reason{Kind: fault.Unauthenticated, Name: "NoCredentials"}).New("who are you?")
		}
		return r.WithContext(caller.With(r.Context(), caller.Identity{Root: user == "root", UserName: user, ARN: "arn:aws:iam::1:" + user})), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, edge: s, h: h, called: map[string]bool{}}
	w := b.send(request("GET", "/openapi.json", "", ""))
	if b.doc, err = openapi3.NewLoader().LoadFromData(w.Body.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := b.doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func rootContext(t testing.TB) context.Context {
	return caller.With(t.Context(), caller.Identity{Root: true})
}

// request is one of root's.
func request(method, path, media, body string) *http.Request {
	r := httptest.NewRequest(method, "http://node/efm/api"+path, strings.NewReader(body))
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	r.SetBasicAuth("root", "secret")
	return r
}

func (b *bench) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	return w
}

// call sends a request of an operation of the document, whose path has {names}, for which
// values are given in order; request and answer must be as the document says. It returns the
// answer, decoded.
func (b *bench) call(want int, method, template string, args []string, query, media, body string) map[string]any {
	b.t.Helper()
	path, values := template, map[string]string{}
	for _, a := range args {
		i, j := strings.Index(path, "{"), strings.Index(path, "}")
		values[path[i+1:j]] = a
		path = path[:i] + a + path[j+1:]
	}
	r := request(method, path+query, media, body)
	item := b.doc.Paths.Value(template)
	if item == nil || item.GetOperation(method) == nil {
		b.t.Fatalf("the document has no %s %s", method, template)
	}
	op := item.GetOperation(method)
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: values,
		Route:   &routers.Route{Spec: b.doc, Path: template, PathItem: item, Method: method, Operation: op},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
	if want < 300 {
		if err := openapi3filter.ValidateRequest(b.t.Context(), in); err != nil {
			b.t.Errorf("%s %s: the request is not as the document says: %v", method, path, err)
		}
	}
	w := b.send(r)
	if w.Code != want {
		b.t.Fatalf("%s %s: %d, not %d: %s", method, path, w.Code, want, w.Body)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: w.Code, Header: w.Header(),
		Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())), Options: &openapi3filter.Options{IncludeResponseStatus: true}}
	if err := openapi3filter.ValidateResponse(b.t.Context(), out); err != nil {
		b.t.Errorf("%s %s: the answer is not as the document says: %v\n%s", method, path, err, w.Body)
	}
	if want < 300 {
		b.called[op.OperationID] = true
	}
	var answer any
	_ = json.Unmarshal(w.Body.Bytes(), &answer) // not all answers are JSON
	if m, ok := answer.(map[string]any); ok {
		return m
	}
	return map[string]any{"": answer, "text": w.Body.String()}
}

func (b *bench) get(template string, args ...string) map[string]any {
	b.t.Helper()
	path, query, _ := strings.Cut(template, "?")
	if query != "" {
		query = "?" + query
	}
	return b.call(200, "GET", path, args, query, "", "")
}

func (b *bench) json(want int, method, template, body string, args ...string) map[string]any {
	b.t.Helper()
	path, query, _ := strings.Cut(template, "?")
	if query != "" {
		query = "?" + query
	}
	return b.call(want, method, path, args, query, "application/json", body)
}

// in is the bench for another test, which it fails.
func (b *bench) in(t testing.TB) *bench {
	c := *b
	c.t = t
	return &c
}

// beat sends a heartbeat of an agent.
func (b *bench) beat(agent, class, hash string, manifest []byte) []edge.Operation {
	b.t.Helper()
	ops, err := edgetest.Heartbeat(b.t.Context(), b.edge, &edge.Heartbeat{Agent: agent, Class: class, ManifestHash: hash, Manifest: manifest,
		Device: edge.Device{Hostname: agent}, Raw: []byte(`{"identifier":"` + agent + `"}`), Peer: edge.Peer{Address: "10.0.0.1"}})
	if err != nil {
		b.t.Fatal(err)
	}
	return ops
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// TestEveryOperationIsAsDocumented calls every operation of the table once at least.
func TestEveryOperationIsAsDocumented(t *testing.T) {
	b := open(t)
	b.beat("agent-1", "pumps", "java-hash", edgetest.Manifest("java"))
	b.beat("agent-2", "boats", "cpp-hash", edgetest.Manifest("cpp"))
	b.get("/openapi.json")
	t.Run("classes", func(t *testing.T) { callClasses(b.in(t)) })
	t.Run("operations", func(t *testing.T) { callOrders(b.in(t)) })
	t.Run("agents", func(t *testing.T) { callAgents(b.in(t)) })
	t.Run("designer", func(t *testing.T) { callDesigner(b.in(t)) })
	t.Run("versions", func(t *testing.T) { callVersions(b.in(t)) })
	t.Run("resources", func(t *testing.T) { callResources(b.in(t)) })
	for path, item := range b.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if !b.called[op.OperationID] {
				t.Errorf("%s %s was not called", method, path)
			}
		}
	}
}

func callClasses(b *bench) {
	b.json(201, "POST", "/agent-classes", `{"name":"trucks","description":"on the road"}`)
	b.json(409, "POST", "/agent-classes", `{"name":"trucks"}`)
	b.get("/agent-classes")
	if c := b.json(200, "PUT", "/agent-classes/{class}", `{"description":"off the road","parameters":[{"name":"key","sensitive":true,"value":"s3cret"}]}`, "trucks"); c["description"] != "off the road" {
		b.t.Error(c)
	}
	b.get("/agent-classes/{class}", "trucks")
	b.get("/agent-classes/{class}/manifest-diff?manifest=cpp-hash", "pumps")
	got := b.get("/agent-classes/{class}/parameters", "trucks")
	if text, _ := json.Marshal(got); string(text) != `{"parameters":[{"name":"key","sensitive":true}]}` {
		b.t.Errorf("%s", text)
	}
	// What is not told is not lost by sending back what was.
	b.json(200, "PUT", "/agent-classes/{class}/parameters", `{"parameters":[{"name":"key","sensitive":true},{"name":"port","value":"1"}]}`, "trucks")
	if c, err := b.edge.Class(rootContext(b.t), "trucks"); err != nil || len(c.Parameters) != 2 || *c.Parameters[0].Value != "s3cret" {
		b.t.Error(c, err)
	}
	b.get("/agent-manifests")
	b.get("/agent-manifests/{id}", "java-hash")
	b.json(200, "POST", "/agent-class-manifest-config", `{"agentClass":"trucks","agentManifestId":"cpp-hash"}`)
	b.call(200, "DELETE", "/agent-class-manifest-config", nil, "?agentClass=trucks", "", "")
	b.call(204, "DELETE", "/agent-classes/{class}", []string{"trucks"}, "", "", "")
	b.call(404, "GET", "/agent-classes/{class}", []string{"trucks"}, "", "", "")
	b.call(409, "DELETE", "/agent-classes/{class}", []string{"pumps"}, "", "", "")
}

func callOrders(b *bench) {
	o := b.json(201, "POST", "/operations", `{"operation":"TRANSFER","operand":"debug","agentId":"agent-1","expiresIn":600}`)
	id := strings.TrimSpace(jsonText(o["number"]))
	var debug string
	for _, op := range b.beat("agent-1", "pumps", "java-hash", nil) {
		if op.Operation == "TRANSFER" {
			debug = op.Args[edge.DownloadArg].(edge.Download).Path
		}
	}
	if err := b.edge.KeepDebug(b.t.Context(), strings.TrimPrefix(debug, "debug/"), "agent-1", edge.Peer{}, strings.NewReader("a bundle")); err != nil {
		b.t.Fatal(err)
	}
	if got := b.get("/operations/{id}/debug/{agent}", id, "agent-1")["text"]; got != "a bundle" {
		b.t.Error(got)
	}
	b.call(404, "GET", "/operations/{id}/debug/{agent}", []string{id, "agent-2"}, "", "", "")
	ask := strings.TrimSpace(jsonText(b.json(201, "POST", "/operations", `{"operation":"DESCRIBE","operand":"manifest","agentId":"agent-1"}`)["number"]))
	for _, op := range b.beat("agent-1", "pumps", "java-hash", nil) {
		if op.Operation == "DESCRIBE" {
			r := &edge.Result{Operation: op.ID, State: "FULLY_APPLIED", Agent: "agent-1", Body: []byte(`{"operationState":{"state":"FULLY_APPLIED"}}`)}
			if err := b.edge.Acknowledge(b.t.Context(), r); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	if got := b.get("/operations/{id}/answer/{agent}", ask, "agent-1"); got["operationState"] == nil {
		b.t.Error(got)
	}
	b.get("/operations?agentClass=pumps")
	b.get("/operations/{id}", id)
	b.call(204, "DELETE", "/operations/{id}", []string{id}, "", "", "")
	if o := b.get("/operations/{id}", id); o["cancelled"] != true {
		b.t.Error(o)
	}
	until(b.t, "events are kept", func() bool { return len(b.get("/events?agentClass=pumps&hours=2")[""].([]any)) > 1 })
}

func callAgents(b *bench) {
	page := b.get("/agents?agentClass=pumps&limit=1")
	if list := page["agents"].([]any); len(list) != 1 || list[0].(map[string]any)["id"] != "agent-1" {
		b.t.Error(page)
	}
	if a := b.get("/agents/{id}", "agent-1"); a["report"].(map[string]any)["identifier"] != "agent-1" {
		b.t.Error(a)
	}
	if h := b.get("/agents/{id}/operations", "agent-1")[""].([]any); len(h) != 2 {
		b.t.Error(h)
	}
	b.json(200, "PUT", "/agents/{id}/parameters", `{"parameters":[{"name":"port","value":"7"}]}`, "agent-1")
	b.get("/agents/{id}/parameters", "agent-1")
	b.call(204, "DELETE", "/agents/{id}", []string{"agent-1"}, "", "", "")
	b.call(404, "GET", "/agents/{id}", []string{"agent-1"}, "", "", "")
	b.beat("agent-1", "pumps", "java-hash", nil)
}

func jsonText(v any) string {
	text, _ := json.Marshal(v) // it came from JSON
	return string(text)
}

func TestBadRequestsAreRefusedByName(t *testing.T) {
	b := open(t)
	b.beat("agent-1", "pumps", "java-hash", edgetest.Manifest("java"))
	const js = "application/json"
	for _, c := range []struct {
		name, method, path, media, body string
		change                          func(*http.Request)
		status                          int
		reason, field                   string
	}{
		{name: "unknown member", method: "POST", path: "/agent-classes", media: js, body: `{"name":"a","colour":"red"}`, status: 400, reason: "InvalidRequest", field: "colour"},
		{name: "unknown member inside", method: "PUT", path: "/agent-classes/pumps", media: js, body: `{"parameters":[{"name":"a","val":"1"}]}`, status: 400, reason: "InvalidRequest", field: "parameters[0].val"},
		{name: "another case", method: "POST", path: "/agent-classes", media: js, body: `{"Name":"a"}`, status: 400, reason: "InvalidRequest", field: "Name"},
		{name: "twice", method: "POST", path: "/agent-classes", media: js, body: `{"name":"a","name":"b"}`, status: 400, reason: "InvalidRequest", field: "name"},
		{name: "wrong type", method: "POST", path: "/agent-classes", media: js, body: `{"name":7}`, status: 400, reason: "InvalidRequest", field: "name"},
		{name: "missing", method: "POST", path: "/agent-classes", media: js, body: `{}`, status: 400, reason: "InvalidRequest", field: "name"},
		{name: "no JSON", method: "POST", path: "/agent-classes", media: js, body: `{"name":`, status: 400, reason: "InvalidRequest"},
		{name: "deep", method: "POST", path: "/agent-classes", media: js, body: strings.Repeat("[", 100_000), status: 400, reason: "InvalidRequest"},
		{name: "huge", method: "POST", path: "/agent-classes", media: js, body: `{"name":"` + strings.Repeat("a", 2<<20) + `"}`, status: 413, reason: "BodyTooLarge"},
		{name: "a form", method: "POST", path: "/agent-classes", media: "text/plain", body: `{"name":"a"}`, status: 400, reason: "UnsupportedMediaType", field: "Content-Type"},
		{name: "unknown parameter", method: "GET", path: "/agents?agentClass=pumps&sort=id", status: 400, reason: "InvalidRequest", field: "sort"},
		{name: "missing parameter", method: "GET", path: "/agents", status: 400, reason: "InvalidRequest", field: "agentClass"},
		{name: "no number", method: "GET", path: "/agents?agentClass=pumps&limit=many", status: 400, reason: "InvalidRequest", field: "limit"},
		{name: "no operation's number", method: "GET", path: "/operations/x", status: 400, reason: "InvalidRequest", field: "id"},
		{name: "a forged page", method: "GET", path: "/agents?agentClass=pumps&after=zz", status: 400, reason: "InvalidRequest", field: "after"},
		{name: "an operation nobody has", method: "POST", path: "/operations", media: js, body: `{"operation":"EXPLODE","agentClass":"pumps"}`, status: 400, reason: "InvalidRequest", field: "operation"},
		{name: "no such path", method: "GET", path: "/agent", status: 404, reason: "NoSuchPath"},
		{name: "another site", method: "POST", path: "/agent-classes", media: js, body: `{"name":"a"}`, status: 403, reason: "CrossSiteRequest",
			change: func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }},
		{name: "another site, says the browser", method: "DELETE", path: "/agents/agent-1", status: 403, reason: "CrossSiteRequest",
			change: func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }},
		{name: "nobody", method: "GET", path: "/agent-classes", status: 401, reason: "NoCredentials", change: func(r *http.Request) { r.Header.Del("Authorization") }},
		{name: "nobody asks for the document", method: "GET", path: "/openapi.json", status: 401, reason: "NoCredentials", change: func(r *http.Request) { r.Header.Del("Authorization") }},
		{name: "who may only see", method: "DELETE", path: "/agents/agent-1", status: 403, reason: "AccessDenied", change: func(r *http.Request) { r.SetBasicAuth("viewer", "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(c.method, c.path, c.media, c.body)
			if c.change != nil {
				c.change(r)
			}
			w := b.send(r)
			var got struct {
				Error struct{ Reason, Field, Message string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err, w.Body)
			}
			if w.Code != c.status || got.Error.Reason != c.reason || got.Error.Field != c.field || got.Error.Message == "" {
				t.Errorf("%d %+v", w.Code, got.Error)
			}
		})
	}
	if w := b.send(request("GET", "/agent-classes", "", "")); strings.Count(w.Body.String(), `"name"`) != 1 {
		t.Error("something was made:", w.Body)
	}
}

// authority issues nothing: tokens alone are asked for here.
type authority struct{ edge.Authority }
