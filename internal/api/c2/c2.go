package c2

import (
	"bytes"
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
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/jsontext"
)

// Edge is what the front needs of the service.
type Edge interface {
	Heartbeat(ctx context.Context, h *edge.Heartbeat, send func([]edge.Operation) error) error
	Acknowledge(ctx context.Context, r *edge.Result) error
	FlowFor(ctx context.Context, version, agent string, p edge.Peer) (edge.Content, error)
	ResourceFor(ctx context.Context, id, agent string, p edge.Peer) (edge.Resource, error)
	WriteResource(ctx context.Context, r edge.Resource, w io.Writer) error
	KeepDebug(ctx context.Context, order, agent string, p edge.Peer, body io.Reader) error
	Enrol(ctx context.Context, token string, csr []byte) (edge.Certificate, error)
	Renew(ctx context.Context, p edge.Peer, csr []byte) (edge.Certificate, error)
}

// Config says where the front is.
type Config struct {
	// Context is the path that all of EFM's are under, such as /efm.
	Context string
	// BodyTime is how long a body of JSON may take to arrive; 30 seconds if zero.
	BodyTime time.Duration
}

// Deps is what the front works with.
type Deps struct {
	Edge Edge
	Log  *slog.Logger
	// Fail answers with an error.
	Fail func(w http.ResponseWriter, err error)
	// Agent is the agent whose certificate a client has shown and the platform has issued,
	// without its address; the zero Peer if it showed none.
	Agent func(r *http.Request) edge.Peer
}

// Bounds of bodies.
const (
	maxBody    = 12 << 20  // of one, decompressed
	maxBodies  = 128 << 20 // of those that are not small, all together
	maxDebug   = 256 << 20
	smallBody  = 64 << 10
	mediumBody = 4 << 20
	maxDepth   = 64 // of JSON
)

const (
	protocolPath = "/c2-protocol"
	// bodyTime is how long a body of JSON may take to arrive, and debugTime a bundle.
	bodyTime  = 30 * time.Second
	debugTime = 10 * time.Minute
)

// front answers agents.
type front struct {
	cfg    Config
	deps   Deps
	bodies *semaphore.Weighted
}

// New returns the handler of the protocol's paths.
func New(c Config, d Deps) http.Handler {
	if c.BodyTime == 0 {
		c.BodyTime = bodyTime
	}
	f := &front{cfg: c, deps: d, bodies: semaphore.NewWeighted(maxBodies)}
	mux := http.NewServeMux()
	// What is not served is answered in the protocol's own shape too.
	on := func(method, path string, h http.HandlerFunc) {
		mux.HandleFunc(method+" "+path, h)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", method)
			d.Fail(&withStatus{w, http.StatusMethodNotAllowed}, noSuchPath.New("there is only %s %.200s", method, r.URL.Path))
		})
	}
	api := c.Context + "/api"
	for _, base := range []string{api + protocolPath, "/c2/api" + protocolPath} {
		on("POST", base+"/heartbeat", f.heartbeat)
		on("POST", base+"/acknowledge", f.acknowledge)
		on("GET", base+"/flows/{flow}", f.flow)
		on("GET", base+"/flows/{flow}/{rest...}", f.flow)
		on("GET", base+"/resources/{resource}", f.resource)
		on("POST", base+"/debug/{order}", f.debug)
	}
	on("GET", api+"/flows/{flow}", f.flow)
	on("POST", "/c2/config/heartbeat", f.heartbeat)
	on("POST", "/c2/config/acknowledge", f.acknowledge)
	on("POST", api+"/agent-deployer/enroll", f.enrol)
	on("POST", api+"/agent-deployer/renew", f.enrol)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		d.Fail(w, noSuchPath.New("there is no %s %.200s here", r.Method, r.URL.Path))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "//") { // an agent has put a base and a path together
			r = r.Clone(r.Context())
			for strings.Contains(r.URL.Path, "//") {
				r.URL.Path = strings.ReplaceAll(r.URL.Path, "//", "/")
			}
			r.URL.RawPath = ""
		}
		mux.ServeHTTP(w, r)
	})
}

// withStatus answers with a status of its own.
type withStatus struct {
	http.ResponseWriter
	status int
}

func (w *withStatus) WriteHeader(int) { w.ResponseWriter.WriteHeader(w.status) }

var (
	badBody    = &fault.Reason{Kind: fault.Invalid, Name: "InvalidBody"}
	tooLarge   = &fault.Reason{Kind: fault.TooLarge, Name: "BodyTooLarge"}
	busy       = &fault.Reason{Kind: fault.Unavailable, Name: "Busy"}
	noSuchPath = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchPath"}
)

func queryEscape(s string) string { return url.QueryEscape(s) }

// peer is who an agent is, as far as its connection tells.
func (f *front) peer(r *http.Request) edge.Peer {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	p := f.deps.Agent(r)
	p.Address = host
	return p
}

// read reads a body of JSON. release must be called when it is not used any more.
func (f *front) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Header.Get("Content-Type") != "" && t != "application/json" {
		return nil, nil, badBody.Field("Content-Type", "the body is application/json, not %.100q", r.Header.Get("Content-Type"))
	}
	if r.ContentLength > maxBody {
		return nil, nil, tooLarge.New("the body is larger than %d bytes", maxBody)
	}
	until(w, f.cfg.BodyTime)
	in := io.Reader(http.MaxBytesReader(w, r.Body, maxBody))
	switch enc := strings.ToLower(r.Header.Get("Content-Encoding")); enc {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, badBody.Field("Content-Encoding", "the body is not compressed with gzip")
		}
		in = z
	default:
		return nil, nil, badBody.Field("Content-Encoding", "the body is compressed with gzip or not at all, not with %.100q", enc)
	}
	defer func() {
		if err == nil {
			until(w, 0)
			return
		}
		if release != nil {
			release()
		}
		body, release = nil, nil
		switch tooLong := (*http.MaxBytesError)(nil); {
		case errors.As(err, &tooLong):
			err = tooLarge.New("the body is larger than %d bytes", maxBody)
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = badBody.New("the body has not arrived within %s", f.cfg.BodyTime)
		case fault.ReasonOf(err) == nil:
			err = badBody.Wrap(err, "the body broke off or is damaged")
		}
	}()
	// Most bodies are small, and of as many as there are connections at most. What a large one
	// takes is counted when it proves to be large: who sends slowly does not hold up others.
	if body, err = grow(nil, in, smallBody); err != nil || len(body) < smallBody {
		return body, func() {}, err
	}
	held := int64(mediumBody)
	if err := f.bodies.Acquire(r.Context(), held); err != nil {
		return nil, nil, busy.New("too many large bodies are under way")
	}
	release = sync.OnceFunc(func() { f.bodies.Release(held) })
	for _, size := range []int{mediumBody / 4, mediumBody, maxBody + 1} {
		if size > mediumBody { // to wait here would keep others waiting
			if !f.bodies.TryAcquire(maxBody - mediumBody) {
				return nil, release, busy.New("too many large bodies are under way")
			}
			held = maxBody
		}
		if body, err = grow(body, in, size); err != nil || len(body) < size {
			return body, release, err
		}
	}
	return nil, release, tooLarge.New("the body is larger than %d bytes", maxBody)
}

// grow reads what follows a body's beginning, up to a size in all.
func grow(begun []byte, in io.Reader, size int) ([]byte, error) {
	if begun == nil {
		return io.ReadAll(io.LimitReader(in, int64(size)))
	}
	body := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	body.Write(begun)
	_, err := body.ReadFrom(io.LimitReader(in, int64(size-len(begun))))
	return body.Bytes(), err
}

// until bounds the time that what is read of a request may take; 0 takes the bound away.
func until(w http.ResponseWriter, d time.Duration) {
	at := time.Time{}
	if d > 0 {
		at = time.Now().Add(d)
	}
	_ = http.NewResponseController(w).SetReadDeadline(at) // a recorder of a test has none
}

// decode reads a body of JSON into v.
func decode(body []byte, v any) error {
	if err := jsontext.Depth(body, maxDepth); err != nil {
		return badBody.New("the body is %v", err)
	}
	err := json.Unmarshal(body, v)
	switch wrong := (*json.UnmarshalTypeError)(nil); {
	case errors.As(err, &wrong) && wrong.Field == "":
		return badBody.New("the body is a %s, not an object", wrong.Value)
	case errors.As(err, &wrong):
		return badBody.Field(wrong.Field, "%s cannot be a %s", wrong.Field, wrong.Value)
	case err != nil:
		return badBody.New("the body is no JSON: %s", err)
	}
	if field := twice(gjson.ParseBytes(body), ""); field != "" {
		return badBody.Field(field, "%s is there twice", field)
	}
	return nil
}

func (f *front) heartbeat(w http.ResponseWriter, r *http.Request) {
	body, release, err := f.read(w, r)
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
	sending := false
	err = f.deps.Edge.Heartbeat(r.Context(), h, func(ops []edge.Operation) error {
		sending = true
		return f.send(w, r, f.place(r, h.Agent).operations(ops))
	})
	if err != nil && !sending {
		f.deps.Fail(w, err)
	}
}

// send writes an answer through to the connection: an error says that the agent does not get it.
func (f *front) send(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if err := r.Context().Err(); err != nil { // the connection is gone already
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	err = http.NewResponseController(w).Flush()
	if errors.Is(err, http.ErrNotSupported) { // a recorder of a test
		return nil
	}
	return err
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
	body, release, err := f.read(w, r)
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
	res := a.result(f.peer(r))
	res.Body = body
	if bare := withoutManifest(body); bare != nil {
		res.Body = bare
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
	info, err := f.deps.Edge.ResourceFor(r.Context(), r.PathValue("resource"), r.URL.Query().Get("aid"), f.peer(r))
	if err != nil {
		f.deps.Fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": info.Name}))
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size, 10))
	out := &counted{w: w}
	if err := f.deps.Edge.WriteResource(r.Context(), info, out); err != nil {
		if out.n == 0 {
			w.Header().Del("Content-Disposition")
			w.Header().Del("Content-Length")
			f.deps.Fail(w, err)
			return
		}
		f.deps.Log.Warn("an agent's download broke off", "resource", info.ID, "error", err)
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
	until(w, debugTime)
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
		until(w, 0)
		f.write(w, struct{}{})
		return
	}
}

// enrol gives an agent a certificate: against a token, or against the one it has.
func (f *front) enrol(w http.ResponseWriter, r *http.Request) {
	body, release, err := f.read(w, r)
	if err != nil {
		f.deps.Fail(w, err)
		return
	}
	defer release()
	var in struct {
		Token string `json:"token"`
		CSR   string `json:"csr"`
	}
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
