package kong_test

import "testing"

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
