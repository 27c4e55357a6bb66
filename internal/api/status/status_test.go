package status_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/internal/api/status"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/work"
)

// What is on a node is for callers who may look; whether it is well is for everybody.
func TestDetailIsForThoseWhoMay(t *testing.T) {
	var verdict error
	h := status.New(status.Deps{Registry: prometheus.NewRegistry(), Jobs: func() []work.State { return nil }, Healthy: func() error { return nil },
		Detail: map[string]func() any{"deliveries": func() any { return "detail" }},
		Allow:  func(*http.Request) error { return verdict }})
	h.SetReady(true)
	reason := func(k fault.Kind) error { return (&fault.Reason{Kind: k, Name: "R"}).New("no") }
	for _, tc := range []struct {
		verdict error
		detail  int
	}{{nil, 200}, {reason(fault.Unauthenticated), 401}, {reason(fault.Denied), 403}, {reason(fault.Unavailable), 503}} {
		verdict = tc.verdict
		for path, want := range map[string]int{"/status/live": 200, "/status/ready": 200, "/metrics": tc.detail, "/status/jobs": tc.detail, "/status/deliveries": tc.detail} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code != want {
				t.Errorf("%v: %s answers %d, want %d", tc.verdict, path, w.Code, want)
			}
		}
		for path, want := range map[string]int{"/actuator/health": 200, "/actuator/prometheus": tc.detail} {
			w := httptest.NewRecorder()
			h.Actuator().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code != want {
				t.Errorf("%v: %s answers %d, want %d", tc.verdict, path, w.Code, want)
			}
		}
	}
}
