package status_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/internal/api/status"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/work"
)

// What a node goes on without is shown, and takes it out of no balancer, on either of the two pages.
func TestPagesOfHealthAgree(t *testing.T) {
	var ready, database error
	h := status.New(status.Deps{Registry: prometheus.NewRegistry(), Jobs: func() []work.State { return nil },
		Healthy: func() error { return ready }, Components: map[string]func() error{"cluster": func() error { return ready }},
		Degraded: map[string]func() error{"db": func() error { return database }}})
	h.SetReady(true)
	for _, tc := range []struct {
		ready, database error
		status          int
		shown           string
	}{
		{nil, nil, 200, `"db":{"status":"UP"}`},
		{nil, errors.New("the database is silent"), 200, `"db":{"status":"DOWN"}`},
		{errors.New("drained"), nil, 503, `"cluster":{"status":"DOWN"}`},
	} {
		ready, database = tc.ready, tc.database
		plain, actuator := httptest.NewRecorder(), httptest.NewRecorder()
		h.ServeHTTP(plain, httptest.NewRequest("GET", "/status/ready", nil))
		h.Actuator("").ServeHTTP(actuator, httptest.NewRequest("GET", "/actuator/health", nil))
		if plain.Code != tc.status || actuator.Code != tc.status || !strings.Contains(actuator.Body.String(), tc.shown) {
			t.Errorf("%v, %v: %d and %d, %s; want %d and %s", tc.ready, tc.database, plain.Code, actuator.Code, actuator.Body, tc.status, tc.shown)
		}
		metrics := httptest.NewRecorder()
		h.ServeHTTP(metrics, httptest.NewRequest("GET", "/metrics", nil))
		for name, err := range map[string]error{"cluster": ready, "db": database} {
			up := 1
			if err != nil {
				up = 0
			}
			if want := fmt.Sprintf("sluice_component_up{component=%q} %d\n", name, up); !strings.Contains(metrics.Body.String(), want) {
				t.Errorf("%v, %v: the metrics lack %q:\n%s", tc.ready, tc.database, want, metrics.Body)
			}
		}
		if database != nil && !strings.Contains(plain.Body.String(), database.Error()) {
			t.Errorf("/status/ready does not say what is away: %s", plain.Body)
		}
	}
}

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
			h.Actuator("").ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code != want {
				t.Errorf("%v: %s answers %d, want %d", tc.verdict, path, w.Code, want)
			}
		}
	}
}
