package kong_test

import "testing"

// TestUnservedCollections holds what clients that read a whole configuration rely on:
// every collection of Kong's can be read, and none takes what is not kept.
func TestUnservedCollections(t *testing.T) {
	a := newAdmin(t)
	a.must(201, "POST", "/consumers", "username=alice")
	for _, path := range []string{
		"/oauth2", "/oauth2_tokens", "/consumers/alice/oauth2",
	} {
		page := a.must(200, "GET", path+"?size=1000", "")
		if data, ok := page["data"].([]any); !ok || len(data) != 0 || page["next"] != nil {
			t.Errorf("%s: %v", path, page)
		}
		refused := a.must(405, "POST", path, "name=x")
		if refused["code"] != 12.0 || refused["name"] != "operation unsupported" {
			t.Errorf("%s: %v", path, refused)
		}
	}
	for path, methods := range map[string][]string{
		"/consumers/nobody/oauth2":        nil,
		"/consumers/alice/oauth2/x":       {"PUT"},
		"/targets":                        nil,
		"/nothing-kong-has":               nil,
		"/consumers/alice/nothing":        nil,
		"/services/upstreams/u/something": nil,
	} {
		a.must(404, "GET", path, "")
		for _, m := range methods {
			if out := a.must(405, m, path, ""); out["code"] != 12.0 {
				t.Errorf("%s %s: %v", m, path, out)
			}
		}
	}
}
