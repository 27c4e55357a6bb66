package c2

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge"
)

// Edge is what the front needs of the service.
type Edge interface {
	Heartbeat(ctx context.Context, h *edge.Heartbeat) ([]edge.Operation, error)
	Acknowledge(ctx context.Context, r *edge.Result) error
	FlowFor(ctx context.Context, version, agent string, p edge.Peer) (edge.Content, error)
	ReadResource(ctx context.Context, id, agent string, p edge.Peer, w io.Writer) (edge.Resource, error)
	ResourceInfo(id string) (edge.Resource, bool)
	KeepDebug(ctx context.Context, order, agent string, p edge.Peer, body io.Reader) error
	Enrol(ctx context.Context, token string, csr []byte) (edge.Certificate, error)
	Renew(ctx context.Context, p edge.Peer, csr []byte) (edge.Certificate, error)
}

// Config says where the front is.
type Config struct {
	// Context is the path that all of EFM's are under, such as /efm.
	Context string
}

// Deps is what the front works with.
type Deps struct {
	Edge Edge
	Log  *slog.Logger
	// Fail answers with an error.
	Fail func(w http.ResponseWriter, err error)
	// Agent is the agent whose certificate a client has shown and the platform has issued; ""
	// if it showed none.
	Agent func(r *http.Request) string
}

// Bounds of bodies.
const (
	maxBody      = 12 << 20 // of one, decompressed
	maxBodies    = 256 << 20
	maxDebug     = 256 << 20
	smallBody    = 64 << 10
	protocolPath = "/c2-protocol"
)

// front answers agents.
type front struct {
	cfg    Config
	deps   Deps
	bodies *semaphore.Weighted
}

// New returns the handler of the protocol's paths.
func New(c Config, d Deps) http.Handler {
	f := &front{cfg: c, deps: d, bodies: semaphore.NewWeighted(maxBodies)}
	mux := http.NewServeMux()
	api := c.Context + "/api"
	for _, base := range []string{api + protocolPath, "/c2/api" + protocolPath} {
		mux.HandleFunc("POST "+base+"/heartbeat", f.heartbeat)
		mux.HandleFunc("POST "+base+"/acknowledge", f.acknowledge)
		mux.HandleFunc("GET "+base+"/flows/{flow}", f.flow)
		mux.HandleFunc("GET "+base+"/flows/{flow}/{rest...}", f.flow)
		mux.HandleFunc("GET "+base+"/resources/{resource}", f.resource)
		mux.HandleFunc("POST "+base+"/debug/{order}", f.debug)
	}
	mux.HandleFunc("POST /c2/config/heartbeat", f.heartbeat)
	mux.HandleFunc("POST /c2/config/acknowledge", f.acknowledge)
	mux.HandleFunc("POST "+api+"/agent-deployer/enroll", f.enrol)
	mux.HandleFunc("POST "+api+"/agent-deployer/renew", f.enrol)
	return mux
}

var (
	badBody  = &fault.Reason{Kind: fault.Invalid, Name: "InvalidBody"}
	tooLarge = &fault.Reason{Kind: fault.TooLarge, Name: "BodyTooLarge"}
	busy     = &fault.Reason{Kind: fault.Unavailable, Name: "Busy"}
)

func queryEscape(s string) string { return url.QueryEscape(s) }

// peer is who an agent is, as far as its connection tells.
func (f *front) peer(r *http.Request) edge.Peer {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return edge.Peer{Agent: f.deps.Agent(r), Address: host}
}

// read reads a body of JSON. release must be called when it is not used any more.
func (f *front) read(r *http.Request) (body []byte, release func(), err error) {
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t != "" && t != "application/json" {
		return nil, nil, badBody.Field("Content-Type", "the body is application/json, not %q", t)
	}
	in := io.Reader(http.MaxBytesReader(nil, r.Body, maxBody))
	size := r.ContentLength
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, badBody.Field("Content-Encoding", "the body is not compressed with gzip")
		}
		in, size = z, -1
	default:
		return nil, nil, badBody.Field("Content-Encoding", "the body is compressed with gzip or not at all, not with %q", enc)
	}
	if size > maxBody {
		return nil, nil, tooLarge.New("the body is larger than %d bytes", maxBody)
	}
	// Most bodies are small; what a large one takes is counted before it is read.
	hold := int64(smallBody)
	if size < 0 || size > smallBody {
		hold = maxBody
		if size > 0 {
			hold = size
		}
	}
	if err := f.bodies.Acquire(r.Context(), hold); err != nil {
		return nil, nil, busy.New("too many large bodies are under way")
	}
	release = func() { f.bodies.Release(hold) }
	body, err = io.ReadAll(io.LimitReader(in, maxBody+1))
	switch tooLong := (*http.MaxBytesError)(nil); {
	case errors.As(err, &tooLong), err == nil && len(body) > maxBody:
		err = tooLarge.New("the body is larger than %d bytes", maxBody)
	case err != nil:
		err = badBody.Wrap(err, "the body broke off or is damaged")
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return body, release, nil
}

// decode reads a body of JSON into v.
func decode(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return badBody.Field(wrong.Field, "%s cannot be a %s", wrong.Field, wrong.Value)
	}
	if err != nil {
		return badBody.New("the body is no JSON: %s", err)
	}
	return nil
}

func (f *front) heartbeat(w http.ResponseWriter, r *http.Request) {
	body, release, err := f.read(r)
	if err != nil {
		f.deps.Fail(w, err)
		return
	}
	defer release()
	var rep report
	if err := decode(body, &rep); err != nil {
		f.deps.Fail(w, err)
		return
	}
	h := rep.heartbeat(body, f.peer(r))
	ops, err := f.deps.Edge.Heartbeat(r.Context(), h)
	if err != nil {
		f.deps.Fail(w, err)
		return
	}
	f.write(w, f.place(r, h.Agent).operations(ops))
}

// place is where the agent has found this node.
func (f *front) place(r *http.Request, agent string) place {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return place{absolute: scheme + "://" + r.Host + f.cfg.Context + "/api", agent: agent}
}

func (f *front) write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the agent is gone if it fails, and asks again
}

func (f *front) acknowledge(w http.ResponseWriter, r *http.Request) {
	body, release, err := f.read(r)
	if err != nil {
		f.deps.Fail(w, err)
		return
	}
	defer release()
	var a acknowledgement
	if err = decode(body, &a); err == nil && a.OperationState == nil {
		err = badBody.Field("operationState", "operationState is missing")
	}
	if err != nil {
		f.deps.Fail(w, err)
		return
	}
	peer := f.peer(r)
	res := &edge.Result{Operation: a.OperationID, State: strings.ToUpper(a.OperationState.State), Details: a.details(), Agent: a.Identifier, Peer: peer}
	if a.AgentInfo != nil {
		if res.Agent == "" {
			res.Agent = a.AgentInfo.Identifier
		}
		res.Report = a.heartbeat(nil, peer)
		if res.Report.Agent == "" {
			res.Report.Agent = res.Agent
		}
	}
	if err := f.deps.Edge.Acknowledge(r.Context(), res); err != nil {
		f.deps.Fail(w, err)
		return
	}
	f.write(w, struct{}{})
}

func (f *front) flow(w http.ResponseWriter, r *http.Request) {
	c, err := f.deps.Edge.FlowFor(r.Context(), r.PathValue("flow"), r.URL.Query().Get("aid"), f.peer(r))
	if err != nil {
		f.deps.Fail(w, err)
		return
	}
	w.Header().Set("Content-Type", c.Type)
	w.Header().Set("ETag", `"`+c.Digest+`"`)
	_, _ = w.Write(c.Text) // the agent is gone if it fails, and asks again
}

func (f *front) resource(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("resource")
	if info, ok := f.deps.Edge.ResourceInfo(id); ok {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": info.Name}))
	}
	out := &counted{w: w}
	if _, err := f.deps.Edge.ReadResource(r.Context(), id, r.URL.Query().Get("aid"), f.peer(r), out); err != nil {
		if out.n == 0 {
			w.Header().Del("Content-Disposition")
			f.deps.Fail(w, err)
			return
		}
		f.deps.Log.Warn("an agent's download broke off", "resource", id, "error", err)
		panic(http.ErrAbortHandler) // what was sent must not look whole
	}
}

// counted knows whether anything was written.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// debug takes the bundle that TRANSFER debug asks for: a part called file.
func (f *front) debug(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxDebug)
	parts, err := r.MultipartReader()
	if err != nil {
		f.deps.Fail(w, badBody.Field("Content-Type", "the body is multipart/form-data"))
		return
	}
	for {
		part, err := parts.NextPart()
		if err != nil {
			f.deps.Fail(w, badBody.Field("file", "the body has no part called file"))
			return
		}
		if part.FormName() != "file" {
			continue
		}
		if err := f.deps.Edge.KeepDebug(r.Context(), r.PathValue("order"), r.URL.Query().Get("aid"), f.peer(r), part); err != nil {
			f.deps.Fail(w, err)
			return
		}
		f.write(w, struct{}{})
		return
	}
}

// enrol gives an agent a certificate: against a token, or against the one it has.
func (f *front) enrol(w http.ResponseWriter, r *http.Request) {
	body, release, err := f.read(r)
	if err != nil {
		f.deps.Fail(w, err)
		return
	}
	defer release()
	var in struct{ Token, CSR string }
	if err := decode(body, &in); err != nil {
		f.deps.Fail(w, err)
		return
	}
	var c edge.Certificate
	if strings.HasSuffix(r.URL.Path, "/renew") {
		c, err = f.deps.Edge.Renew(r.Context(), f.peer(r), []byte(in.CSR))
	} else {
		c, err = f.deps.Edge.Enrol(r.Context(), in.Token, []byte(in.CSR))
	}
	if err != nil {
		f.deps.Fail(w, err)
		return
	}
	f.write(w, c)
}
