package console

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/cluster"
)

// Cluster is what the API needs of the service.
type Cluster interface {
	Nodes(ctx context.Context) ([]cluster.Node, error)
	Describe(ctx context.Context, node string) (cluster.Node, error)
	Cordon(ctx context.Context, node string, on, drain bool) (cluster.Node, error)
	Forget(ctx context.Context, node string) error
	Status(ctx context.Context) (cluster.Status, error)
}

// Deps is what the front works with.
type Deps struct {
	Cluster Cluster
	// Identify tells who sends a request.
	Identify func(r *http.Request) (caller.Identity, error)
	Log      *slog.Logger
	// Listeners are what the page at / says is served where.
	Listeners []Listener
	// Mounts are other fronts, by the pattern of their paths.
	Mounts map[string]http.Handler
}

// New returns the handler of the console's port.
func New(d Deps) http.Handler {
	f := &front{d}
	mux := http.NewServeMux()
	for pattern, h := range d.Mounts {
		mux.Handle(pattern, h)
	}
	mux.HandleFunc("GET /{$}", f.index)
	mux.HandleFunc("GET /api/v1/cluster", f.call(func(r *http.Request) (any, error) { return d.Cluster.Status(r.Context()) }))
	mux.HandleFunc("GET /api/v1/cluster/nodes", f.call(func(r *http.Request) (any, error) {
		nodes, err := d.Cluster.Nodes(r.Context())
		return map[string]any{"nodes": nodes}, err
	}))
	mux.HandleFunc("GET /api/v1/cluster/nodes/{node}", f.call(func(r *http.Request) (any, error) {
		return d.Cluster.Describe(r.Context(), r.PathValue("node"))
	}))
	order := func(on, drain bool) http.HandlerFunc {
		return f.call(func(r *http.Request) (any, error) {
			return d.Cluster.Cordon(r.Context(), r.PathValue("node"), on, drain)
		})
	}
	mux.HandleFunc("POST /api/v1/cluster/nodes/{node}/cordon", order(true, false))
	mux.HandleFunc("POST /api/v1/cluster/nodes/{node}/drain", order(true, true))
	mux.HandleFunc("POST /api/v1/cluster/nodes/{node}/uncordon", order(false, false))
	mux.HandleFunc("DELETE /api/v1/cluster/nodes/{node}", f.call(func(r *http.Request) (any, error) {
		return struct{}{}, d.Cluster.Forget(r.Context(), r.PathValue("node"))
	}))
	return mux
}

type front struct{ deps Deps }

// call serves one operation: it identifies the caller, runs op and encodes what it returns.
func (f *front) call(op func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r, err := Identified(r, f.deps.Identify)
		var out any
		if err == nil {
			out, err = op(r)
		}
		if err != nil {
			WriteError(w, f.deps.Log, err)
			return
		}
		write(w, http.StatusOK, out)
	}
}

// Identified returns the request with who sends it in its context.
func Identified(r *http.Request, identify func(*http.Request) (caller.Identity, error)) (*http.Request, error) {
	id, err := identify(r)
	if err != nil {
		return r, err
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // empty where there is no port
	return r.WithContext(caller.WithRequest(caller.With(r.Context(), id), caller.Request{ID: name.UniqueID("", 20), SourceIP: host})), nil
}

// Statuses of faults, by kind.
var statuses = map[fault.Kind]int{
	fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized, fault.Denied: http.StatusForbidden, fault.NotFound: http.StatusNotFound,
	fault.Exists: http.StatusConflict, fault.Conflict: http.StatusConflict, fault.Exhausted: http.StatusTooManyRequests, fault.Throttled: http.StatusTooManyRequests,
	fault.Unavailable: http.StatusServiceUnavailable, fault.Unsupported: http.StatusNotImplemented, fault.TooLarge: http.StatusRequestEntityTooLarge,
}

// Status is the HTTP status of an error.
func Status(err error) int {
	if s, ok := statuses[fault.KindOf(err)]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// WriteError answers with an error. What it was is logged where it is ours.
func WriteError(w http.ResponseWriter, log *slog.Logger, err error) {
	status := Status(err)
	if status == http.StatusInternalServerError {
		log.Error("a call of the console's port failed", "error", err)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="sluice"`)
	}
	reason := "InternalError"
	if r := fault.ReasonOf(err); r != nil {
		reason = r.Name
	}
	e := map[string]string{"reason": reason, "message": fault.MessageOf(err)}
	if field := fault.FieldOf(err); field != "" {
		e["field"] = field
	}
	write(w, status, map[string]any{"error": e})
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if it fails
}
