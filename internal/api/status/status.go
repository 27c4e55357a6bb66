// Package status tells how a node is doing: readiness, liveness, metrics, background jobs,
// and the certificate of the node's own authority.
package status

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

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
	// Components are parts of the node whose health the actuator tells of, by name.
	Components map[string]func() error
	CA         []byte // PEM
}

// Handler serves the status endpoints.
type Handler struct {
	mux        *http.ServeMux
	metrics    http.Handler
	components map[string]func() error
	ready      atomic.Bool
}

// New returns the handler; the node is not ready until SetReady.
func New(d Deps) *Handler {
	h := &Handler{mux: http.NewServeMux(), metrics: promhttp.HandlerFor(d.Registry, promhttp.HandlerOpts{}), components: d.Components}
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
		say(w, http.StatusOK, "ready")
	})
	h.mux.HandleFunc("GET /status/jobs", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, d.Jobs()) })
	for name, detail := range d.Detail {
		h.mux.HandleFunc("GET /status/"+name, func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, detail()) })
	}
	h.mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(d.CA) // the client is gone if it fails
	})
	h.mux.Handle("GET /metrics", h.metrics)
	return h
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
