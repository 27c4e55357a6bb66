package kong

import (
	"net/http"
	"slices"
)

// filters are the paths of filters in WebAssembly, which are not configured: what Kong
// answers without wasm=on. Clients such as decK take it for "there are none".
func filters(path []string) endpoint {
	chains := len(path) <= 2 && path[0] == "filter-chains"
	under := len(path) >= 3 && (path[0] == "routes" || path[0] == "services")
	nested := under && len(path) <= 4 && path[2] == "filter-chains"
	listed := under && path[0] == "routes" && len(path) == 4 && path[2] == "filters" && slices.Contains([]string{"all", "enabled", "disabled"}, path[3])
	if !chains && !nested && !listed {
		return nil
	}
	refuse := func(*request) answer {
		return message(http.StatusBadRequest, "this endpoint is only available when wasm is enabled")
	}
	if listed {
		return endpoint{http.MethodGet: refuse}
	}
	return endpoint{http.MethodGet: refuse, http.MethodPost: refuse, http.MethodPut: refuse, http.MethodPatch: refuse, http.MethodDelete: refuse}
}
