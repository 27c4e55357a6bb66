package kong

import (
	"net/http"
	"slices"
)

// unserved are Kong's collections that the gateway has no entities for yet, each with the
// collections and the parents it is reached under.
//
// Clients that carry over a whole configuration, decK above all, read every collection
// Kong has before they touch one. That there is nothing in these is the truth, so reading
// them gives an empty page; writing is refused, so that nobody takes an entity for
// stored that is not.
var unserved = []struct {
	path   string
	nested string // under a parent, where it differs
	under  []string
}{
	{path: "oauth2", under: []string{"consumers"}},
	{path: "oauth2_tokens"},
}

// empty finds the endpoint of a path among the unserved collections; nil where Kong has
// none either.
func (a *api) empty(path []string) endpoint {
	for _, u := range unserved {
		nested := u.path
		if u.nested != "" {
			nested = u.nested
		}
		switch {
		case len(path) == 1 && path[0] == u.path:
			return refusing(u.path, func(*request) answer { return emptyPage })
		case len(path) == 2 && path[0] == u.path:
			return refusing(u.path, func(*request) answer { return message(http.StatusNotFound, "Not found") })
		case len(path) >= 3 && path[2] == nested && slices.Contains(u.under, path[0]):
			parent := a.byPath(path[0])
			return refusing(u.path, func(r *request) answer {
				if parent == nil || len(path) > 3 {
					return message(http.StatusNotFound, "Not found")
				}
				if _, err := a.gw.Get(parent, path[1]); err != nil {
					return a.refused(r, err)
				}
				return emptyPage
			})
		}
	}
	return nil
}

var emptyPage = ok(map[string]any{"data": []any{}, "next": nil})

// refusing reads by get and refuses everything else by Kong's code for what a node cannot do.
func refusing(collection string, get func(*request) answer) endpoint {
	refuse := func(verb string) func(*request) answer {
		return func(*request) answer {
			return unsupported.answer("cannot "+verb+" '"+collection+"' entities: they are not served yet", nil)
		}
	}
	return endpoint{
		http.MethodGet: get, http.MethodPost: refuse("create"), http.MethodPut: refuse("create"),
		http.MethodPatch: refuse("update"), http.MethodDelete: refuse("delete"),
	}
}
