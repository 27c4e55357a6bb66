// Package status tells how a node is doing: readiness, liveness, metrics, background jobs,
// and the certificate of the node's own authority.
package status

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/work"
)

// Deps are what is told of.
type Deps struct {
	Registry *prometheus.Registry
	Jobs     func() []work.State
	// Detail is what else an operator may want to see, by name.
	Detail map[string]func() any
	// Healthy reports what stops the node from serving; nil if nothing does.
	Healthy func() error
	// Components are parts of the node without which it is not ready, by name, as the actuator shows them. What
	// they report is what Healthy does.
	Components map[string]func() error
	// Degraded are parts that others need and without which the node goes on: they are shown as down, and the
	// node stays up.
	Degraded map[string]func() error
	CA       []byte // PEM
	// Allow decides whether a request may see more than whether the node is well: jobs, details and metrics
	// name what is on the node. nil: every request may.
	Allow func(*http.Request) error
}

// Handler serves the status endpoints.
type Handler struct {
	mux        *http.ServeMux
	metrics    http.Handler
	components map[string]func() error
	degraded   map[string]func() error
	ready      atomic.Bool
}

// New returns the handler; the node is not ready until SetReady.
func New(d Deps) *Handler {
	h := &Handler{mux: http.NewServeMux(), metrics: promhttp.HandlerFor(d.Registry, promhttp.HandlerOpts{}), components: d.Components, degraded: d.Degraded}
	d.Registry.MustRegister(components{d.Components, d.Degraded})
	h.mux.HandleFunc("GET /status/live", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "live") })
	h.mux.HandleFunc("GET /status/ready", func(w http.ResponseWriter, _ *http.Request) {
		if !h.ready.Load() {
			say(w, http.StatusServiceUnavailable, "the node is starting or stopping")
			return
		}
		if err := d.Healthy(); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		warnings := h.warnings()
		if len(warnings) == 0 {
			say(w, http.StatusOK, "ready")
			return
		}
		write(w, http.StatusOK, map[string]any{"message": "ready", "warnings": warnings})
	})
	if d.Allow == nil {
		d.Allow = func(*http.Request) error { return nil }
	}
	allowed := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := d.Allow(r)
			switch {
			case err == nil:
				next.ServeHTTP(w, r)
			case fault.KindOf(err) == fault.Denied:
				say(w, http.StatusForbidden, fault.MessageOf(err))
			case fault.KindOf(err) == fault.Unauthenticated:
				w.Header().Set("WWW-Authenticate", `Basic realm="sluice"`)
				say(w, http.StatusUnauthorized, fault.MessageOf(err))
			default:
				say(w, http.StatusServiceUnavailable, fault.MessageOf(err))
			}
		})
	}
	h.metrics = allowed(h.metrics)
	shown := func(detail func() any) http.Handler {
		return allowed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, detail()) }))
	}
	h.mux.Handle("GET /status/jobs", shown(func() any { return d.Jobs() }))
	for name, detail := range d.Detail {
		h.mux.Handle("GET /status/"+name, shown(detail))
	}
	h.mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(d.CA) // the client is gone if it fails
	})
	h.mux.Handle("GET /metrics", h.metrics)
	return h
}

// warnings are what is away without which the node goes on.
func (h *Handler) warnings() map[string]string {
	out := map[string]string{}
	for name, check := range h.degraded {
		if err := check(); err != nil {
			out[name] = err.Error()
		}
	}
	return out
}

// SetReady says whether the node takes requests.
func (h *Handler) SetReady(ready bool) { h.ready.Store(ready) }

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func say(w http.ResponseWriter, status int, message string) {
	write(w, status, map[string]string{"message": message})
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if it fails
}
