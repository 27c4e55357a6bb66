package status

import (
	"encoding/json"
	"net/http"
)

// actuatorType is what Spring Boot says its answers are.
const actuatorType = "application/vnd.spring-boot.actuator.v3+json"

// health is one component of a node's health, or all of it.
type health struct {
	Status     string            `json:"status"`
	Components map[string]health `json:"components,omitempty"`
}

// Actuator serves /actuator/health and /actuator/prometheus in the form of Spring Boot's, for
// load balancers and scrapers that know it. Why something is down is for the status port. The paths are below
// prefix, which signatures of requests cover.
func (h *Handler) Actuator(prefix string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+prefix+"/actuator/health", func(w http.ResponseWriter, _ *http.Request) {
		out, status := h.health(), http.StatusOK
		if out.Status != "UP" {
			status = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", actuatorType)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(out) // the client is gone if it fails
	})
	mux.Handle("GET "+prefix+"/actuator/prometheus", h.metrics)
	return mux
}

func (h *Handler) health() health {
	word := func(ok bool) string {
		if ok {
			return "UP"
		}
		return "DOWN"
	}
	out := health{Components: map[string]health{"ping": {Status: "UP"}, "readinessState": {Status: word(h.ready.Load())}}}
	all := h.ready.Load()
	for name, check := range h.components {
		ok := check() == nil
		out.Components[name] = health{Status: word(ok)}
		all = all && ok
	}
	for name, check := range h.degraded {
		out.Components[name] = health{Status: word(check() == nil)}
	}
	out.Status = word(all)
	return out
}
