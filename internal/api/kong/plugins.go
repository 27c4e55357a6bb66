package kong

import (
	"net/http"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
)

// ofPlugin finds the endpoint of a path among those that kinds of plugin bring; nil where
// none does.
func (a *api) ofPlugin(path []string) endpoint {
	for _, kind := range a.gw.Plugins() {
		for i := range kind.Admin {
			if params, ok := fits(kind.Admin[i].Path, path); ok {
				return pluginEndpoint(&kind.Admin[i], params)
			}
		}
	}
	return nil
}

// fits matches a path with a pattern such as /proxy-cache/{key}.
func fits(pattern string, path []string) (params map[string]string, ok bool) {
	want := strings.Split(strings.Trim(pattern, "/"), "/")
	if len(want) != len(path) {
		return nil, false
	}
	params = map[string]string{}
	for i, w := range want {
		if name, is := strings.CutPrefix(w, "{"); is {
			params[strings.TrimSuffix(name, "}")] = path[i]
		} else if w != path[i] {
			return nil, false
		}
	}
	return params, true
}

func pluginEndpoint(e *gateway.AdminEndpoint, params map[string]string) endpoint {
	out := endpoint{}
	for method, serve := range e.Methods {
		out[method] = func(r *request) answer {
			got := serve(gateway.AdminRequest{Context: r.Context(), Params: params, Query: r.URL.Query(), Body: r.body})
			ans := answer{status: got.Status, body: got.Body, text: got.Text}
			if got.Text != nil {
				ans.header = http.Header{"Content-Type": {got.ContentType}}
			}
			return ans
		}
	}
	return out
}
