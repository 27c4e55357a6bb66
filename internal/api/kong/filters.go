package kong

import (
	"net/http"
	"slices"

	"sluice.dev/sluice/internal/service/gateway"
)

// filters are the paths of filters in WebAssembly that do not follow from entities. Where
// the gateway has no filters, all paths of theirs answer what Kong does without wasm=on;
// clients such as decK take it for "there are none".
func (a *api) filters(path []string) endpoint {
	described := len(path) == 3 && path[0] == "schemas" && path[1] == "filters" && path[2] != "validate"
	under := len(path) >= 3 && (path[0] == "routes" || path[0] == "services")
	listed := under && path[0] == "routes" && len(path) == 4 && path[2] == "filters" && slices.Contains([]string{"all", "enabled", "disabled"}, path[3])
	if a.gw.Filters() != nil {
		switch {
		case described:
			return endpoint{http.MethodGet: func(*request) answer { return a.filterSchema(path[2]) }}
		case listed:
			return endpoint{http.MethodGet: func(r *request) answer { return a.filterUses(r, path[3]) }}
		}
		return nil
	}
	chains := len(path) <= 2 && path[0] == "filter-chains" || len(path) == 3 && path[0] == "filter-chains" && (path[2] == "route" || path[2] == "service")
	nested := under && len(path) <= 4 && path[2] == "filter-chains"
	if !chains && !nested && !listed && !described {
		return nil
	}
	refuse := func(*request) answer {
		return message(http.StatusBadRequest, "this endpoint is only available when wasm is enabled")
	}
	if listed || described {
		return endpoint{http.MethodGet: refuse}
	}
	return endpoint{http.MethodGet: refuse, http.MethodPost: refuse, http.MethodPut: refuse, http.MethodPatch: refuse, http.MethodDelete: refuse}
}

// filterSchema describes a filter's configuration by a JSON schema.
func (a *api) filterSchema(name string) answer {
	described, found := a.gw.Filters().Schema(name)
	if !found {
		return message(http.StatusNotFound, "Filter '"+name+"' not found")
	}
	return ok(described)
}

// filterUses lists the filters of a route: all, or those that are enabled or disabled.
func (a *api) filterUses(r *request, which string) answer {
	routes, _ := a.gw.Entity("routes")
	route, err := a.gw.Get(routes, r.path[1])
	if err != nil {
		return a.refused(r, err)
	}
	uses := slices.DeleteFunc(a.gw.FilterUses(route), func(u gateway.FilterUse) bool {
		return which == "enabled" && !u.Enabled || which == "disabled" && u.Enabled
	})
	return ok(map[string]any{"filters": uses})
}
