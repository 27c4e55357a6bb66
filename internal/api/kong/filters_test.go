package kong_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/kong"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestFilters: without WebAssembly every path of filters says so, and others do not exist.
func TestFilters(t *testing.T) {
	a := newAdmin(t)
	for _, path := range []string{"/filter-chains", "/filter-chains/x", "/routes/r/filter-chains", "/services/s/filter-chains/x", "/routes/r/filters/all", "/routes/r/filters/disabled"} {
		if status, out, _ := a.do("GET", path, ""); status != 400 || out["message"] != "this endpoint is only available when wasm is enabled" {
			t.Errorf("%s: %d %v", path, status, out)
		}
	}
	for _, path := range []string{"/filter-chains/x/y", "/consumers/c/filter-chains", "/routes/r/filters", "/services/s/filters/all"} {
		if status, _, _ := a.do("GET", path, ""); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// named are filters that do nothing: "known" takes text alone.
type named struct{}

func (named) Schema(name string) (schema.Record, bool) {
	return schema.Record{"type": "string"}, name == "known"
}

func (named) Check(_ string, config any) string {
	if _, ok := config.(string); !ok && config != nil {
		return "text alone"
	}
	return ""
}

func (named) New([]gateway.Filter) (any, error) { return struct{}{}, nil }

// TestFilterChains: chains are entities where there are filters.
func TestFilterChains(t *testing.T) {
	gw := gatewaytest.New(t, nil, func(d *gateway.Deps) { d.Filters = named{} })
	s := httptest.NewServer(kong.New(kong.Config{}, kong.Deps{Gateway: gw, Log: gatewaytest.Log()}))
	t.Cleanup(s.Close)
	a := &admin{t, s.URL}
	a.must(201, "POST", "/services", `{"name":"s","host":"h"}`)
	a.must(201, "POST", "/services/s/routes", `{"name":"r","paths":["/"]}`)
	for body, want := range map[string]string{
		`{"route":{"name":"r"},"filters":[{"name":"other"}]}`:                        "no such filter",
		`{"route":{"name":"r"},"filters":[{"name":"known","config":{"a":1}}]}`:       "text alone",
		`{"route":{"name":"r"},"filters":[]}`:                                        "length must be at least 1",
		`{"filters":[{"name":"known"}]}`:                                             "at least one of these fields",
		`{"route":{"name":"r"},"service":{"name":"s"},"filters":[{"name":"known"}]}`: "only one or none",
	} {
		if status, out, _ := a.do("POST", "/filter-chains", body); status != 400 || !strings.Contains(fmt.Sprint(out["message"]), want) {
			t.Errorf("%s: %d %v", body, status, out)
		}
	}
	a.must(201, "POST", "/routes/r/filter-chains", `{"name":"c","filters":[{"name":"known","config":"x"},{"name":"known","enabled":false}]}`)
	a.must(409, "POST", "/routes/r/filter-chains", `{"filters":[{"name":"known"}]}`)
	a.must(201, "POST", "/services/s/filter-chains", `{"filters":[{"name":"known"}],"enabled":false}`)
	a.must(200, "GET", "/filter-chains/c", "")
	for which, want := range map[string]int{"all": 3, "enabled": 1, "disabled": 2} {
		if list, _ := a.must(200, "GET", "/routes/r/filters/"+which, "")["filters"].([]any); len(list) != want {
			t.Errorf("%s: %v", which, list)
		}
	}
	if out := a.must(200, "GET", "/schemas/filters/known", ""); out["type"] != "string" {
		t.Errorf("%v", out)
	}
	a.must(404, "GET", "/schemas/filters/other", "")
	a.must(204, "DELETE", "/routes/r", "")
	a.must(404, "GET", "/filter-chains/c", "")
}
