package kong

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/internal/api/webserver"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Config describes the node to clients, and guards the API.
type Config struct {
	// Token and ReadToken, where set, come as "Authorization: Bearer …" or as
	// Kong-Admin-Token, which decK can send. The second opens reading alone. With neither
	// and without Closed, who comes without credentials may do everything.
	Token, ReadToken string
	// Closed asks for credentials also where no token is set.
	Closed bool
	// DBLess says that entities can be changed by /config alone.
	DBLess   bool
	Hostname string
	NodeID   string // a UUID
	// Settings are shown under "configuration" at /; secrets must be masked already.
	Settings map[string]any
	// Started is when the node started.
	Started time.Time
}

// Deps is what the API needs from others.
type Deps struct {
	Gateway    *gateway.Gateway
	References gateway.References // nil: /references answers 404
	// Connections returns the counters /status shows; nil: zeros.
	Connections func() Connections
	// StoreReachable reports whether the control store answers; nil: always.
	StoreReachable func() bool
	// LogLevel reads and sets the level of the node's log; nil: it is fixed.
	LogLevel LogLevel
	// Identify tells who sent a request, by its signature or its Authorization; it may read
	// the body and puts it back. nil: only tokens are known.
	Identify func(*http.Request) (caller.Identity, error)
	// Authorize decides whether the caller of the context may use a path by a method: the
	// actions are those of AWS's API Gateway, apigateway:GET and so on.
	Authorize func(ctx context.Context, action name.Action, path string) error
	// Audit lists the changes that were made; nil: there is no list.
	Audit func(ctx context.Context, offset string, size int) (entries any, next string, err error)
	Log   *slog.Logger
}

// Connections are the data plane's counters.
type Connections struct {
	Accepted, Active, Requests int64
}

// Bounds of bodies.
const (
	maxBody   = 10 << 20  // of one, as Kong's nginx_admin_client_max_body_size
	maxBodies = 128 << 20 // of those that are not small, all together
	smallBody = 64 << 10
)

type api struct {
	cfg     Config
	deps    Deps
	loading sync.Mutex // held while a declaration is applied
	gw      *gateway.Gateway
	bodies  *semaphore.Weighted
	// declarations lets in one body of a whole configuration at a time: it and what it is parsed to take
	// many times the memory of an entity.
	declarations *semaphore.Weighted
}

// New returns the API's handler.
func New(c Config, d Deps) http.Handler {
	return &api{cfg: c, deps: d, gw: d.Gateway, bodies: semaphore.NewWeighted(maxBodies), declarations: semaphore.NewWeighted(1)}
}

// Refuse answers a request that does not reach the API, in the API's own shape.
func Refuse(w http.ResponseWriter, status int, why string) {
	new(api).write(w, time.Now(), message(status, why), true)
}

// request is one call with what its handler needs.
type request struct {
	*http.Request
	path []string // unescaped segments
	body schema.Record
	form bool // body came as a form and wants coercion
}

// answer is what a handler returns: a status with a JSON body, or no body at all.
type answer struct {
	status int
	body   any
	text   []byte // instead of body, as the header's Content-Type
	header http.Header
}

func ok(body any) answer      { return answer{status: http.StatusOK, body: body} }
func created(body any) answer { return answer{status: http.StatusCreated, body: body} }
func message(status int, text string) answer {
	return answer{status: status, body: map[string]any{"message": text}}
}

var noContent = answer{status: http.StatusNoContent}

// endpoint is what a path offers.
type endpoint map[string]func(*request) answer

func (e endpoint) methods() []string {
	out := []string{"OPTIONS"}
	for m := range e {
		out = append(out, m)
		if m == http.MethodGet {
			out = append(out, http.MethodHead)
		}
	}
	slices.Sort(out)
	return out
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w, r, done := webserver.Paced(w, r, webserver.Buffered)
	defer done()
	a.write(w, start, a.serve(r), r.Method != http.MethodHead)
}

func (a *api) write(w http.ResponseWriter, start time.Time, ans answer, withBody bool) {
	h := w.Header()
	h.Set("Server", "kong/"+gateway.Version)
	for name, values := range ans.header {
		h[name] = values
	}
	h.Set("X-Kong-Admin-Latency", strconv.FormatInt(time.Since(start).Milliseconds(), 10))
	out := ans.text
	if ans.body != nil {
		h.Set("Content-Type", "application/json; charset=utf-8")
		var err error
		if out, err = gateway.EncodeJSON(ans.body); err != nil {
			a.deps.Log.Error("encoding an answer of the Admin API", "err", err)
			ans.status, out = http.StatusInternalServerError, []byte(`{"message":"An unexpected error occurred"}`)
		}
	}
	if out == nil {
		w.WriteHeader(ans.status)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(out)))
	w.WriteHeader(ans.status)
	if withBody {
		_, _ = w.Write(out) // the client is gone if it fails
	}
}

func (a *api) serve(r *http.Request) answer {
	limit := int64(maxBody)
	if r.URL.Path == "/config" || r.URL.Path == "/import" {
		limit = maxDeclaration
	}
	r.Body = http.MaxBytesReader(nil, r.Body, limit)
	release, refusal := a.reserve(r)
	if refusal.status != 0 {
		return refusal
	}
	defer release()
	r, refusal = a.admit(r)
	if refusal.status != 0 {
		return refusal
	}
	path, err := segments(r.URL.EscapedPath())
	if err != nil {
		return message(http.StatusBadRequest, "Bad request")
	}
	ep := a.route(path)
	if ep == nil {
		return message(http.StatusNotFound, "Not found")
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if method == http.MethodOptions {
		allow := strings.Join(ep.methods(), ", ")
		return answer{status: http.StatusNoContent, header: http.Header{
			"Allow": {allow}, "Access-Control-Allow-Methods": {allow}, "Access-Control-Allow-Headers": {"Content-Type"},
		}}
	}
	handle := ep[method]
	if handle == nil {
		ans := message(http.StatusMethodNotAllowed, "Method not allowed")
		ans.header = http.Header{"Allow": {strings.Join(ep.methods(), ", ")}}
		return ans
	}
	if refusal := a.readOnly(method, path); refusal.status != 0 {
		return refusal
	}
	req := &request{Request: r, path: path}
	if method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		if bad := req.readBody(len(path) > 0 && (path[0] == "references" || path[0] == "config" || path[0] == "import")); bad.status != 0 {
			return bad
		}
	}
	return handle(req)
}

// bodyWait is how long a request waits for the memory that its body needs.
const bodyWait = 30 * time.Second

// reserve takes the memory that a body needs out of what all may hold together. Small ones need no place: there
// are as many of them as connections.
func (a *api) reserve(r *http.Request) (release func(), refusal answer) {
	size := r.ContentLength
	if size < 0 || size > maxBody {
		size = maxBody
	}
	if size <= smallBody {
		return func() {}, answer{}
	}
	ctx, cancel := context.WithTimeout(r.Context(), bodyWait)
	defer cancel()
	if a.bodies.Acquire(ctx, size) != nil {
		ans := message(http.StatusServiceUnavailable, "too many large bodies are under way; try again later")
		ans.header = http.Header{"Retry-After": {"10"}}
		return nil, ans
	}
	return func() { a.bodies.Release(size) }, answer{}
}

// segments cuts a path at its slashes and unescapes the pieces. A slash at the end does
// not count.
func segments(escaped string) ([]string, error) {
	trimmed := strings.Trim(escaped, "/")
	if trimmed == "" {
		return nil, nil
	}
	out := strings.Split(trimmed, "/")
	for i, s := range out {
		u, err := url.PathUnescape(s)
		if err != nil {
			return nil, err
		}
		out[i] = u
	}
	return out, nil
}

// route finds the endpoint of a path; nil where there is none.
func (a *api) route(path []string) endpoint {
	if len(path) > 0 {
		if ep := a.filters(path); ep != nil {
			return ep
		}
	}
	if ep := a.fixed(path); ep != nil {
		return ep
	}
	if len(path) == 0 {
		return nil
	}
	if ep := a.balancing(path); ep != nil {
		return ep
	}
	if ep := a.ofPlugin(path); ep != nil {
		return ep
	}
	e := a.byPath(path[0])
	if e == nil || e.OnlyNested {
		return nil
	}
	switch len(path) {
	case 1:
		return a.collection(e)
	case 2:
		return a.single(e)
	}
	if f := foreignField(e, path[2]); f != nil && len(path) == 3 {
		if parent, ok := a.gw.Entity(f.Reference); ok {
			return a.parentOf(e, f, parent)
		}
	}
	child, field := a.childOf(e, path[2])
	if child == nil {
		return nil
	}
	switch len(path) {
	case 3:
		return a.nested(e, child, field)
	case 4:
		return a.nestedSingle(e, child, field)
	}
	return nil
}

func (a *api) byPath(segment string) *schema.Entity {
	for _, e := range a.gw.Entities() {
		if e.AdminPath() == segment {
			return e
		}
	}
	return nil
}

func foreignField(e *schema.Entity, name string) *schema.Field {
	f := e.Record.Field(name)
	if f == nil || f.Kind != schema.Foreign || f.NoEndpoint {
		return nil
	}
	return f
}

// childOf finds the entity with a foreign field to e whose collection is called segment
// under a parent.
func (a *api) childOf(e *schema.Entity, segment string) (*schema.Entity, *schema.Field) {
	for _, child := range a.gw.Entities() {
		if child.PathUnder() != segment {
			continue
		}
		for _, f := range child.Record.Fields {
			if f.Kind == schema.Foreign && f.Reference == e.Name {
				return child, f
			}
		}
	}
	return nil, nil
}
