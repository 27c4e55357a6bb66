package kong

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// collection serves /{collection}.
func (a *api) collection(e *schema.Entity) endpoint {
	return endpoint{
		http.MethodGet: func(r *request) answer { return a.list(r, e, "", "") },
		http.MethodPost: func(r *request) answer {
			rec, err := a.gw.Create(r.Context(), e, a.recordFor(r, e))
			if err != nil {
				return a.refused(r, err)
			}
			return created(rec)
		},
	}
}

// single serves /{collection}/{key}.
func (a *api) single(e *schema.Entity) endpoint {
	return endpoint{
		http.MethodGet:   func(r *request) answer { return a.get(r, e, r.path[1]) },
		http.MethodPut:   func(r *request) answer { return a.put(r, e, r.path[1], a.recordFor(r, e)) },
		http.MethodPatch: func(r *request) answer { return a.patch(r, e, r.path[1], a.patchFor(r, e, r.path[1])) },
		http.MethodDelete: func(r *request) answer {
			if _, err := a.gw.Delete(r.Context(), e, r.path[1]); err != nil {
				return a.refused(r, err)
			}
			return noContent
		},
	}
}

func (a *api) get(r *request, e *schema.Entity, key string) answer {
	rec, err := a.gw.Get(e, key)
	if err != nil {
		return a.refused(r, err)
	}
	return ok(rec)
}

func (a *api) put(r *request, e *schema.Entity, key string, in schema.Record) answer {
	rec, err := a.gw.Replace(r.Context(), e, key, in)
	if err != nil {
		return a.refused(r, err)
	}
	return ok(rec)
}

func (a *api) patch(r *request, e *schema.Entity, key string, in schema.Record) answer {
	rec, err := a.gw.Patch(r.Context(), e, key, in)
	if err != nil {
		return a.refused(r, err)
	}
	return ok(rec)
}

// patchFor is recordFor with the stored name, where the body names no kind of plugin.
func (a *api) patchFor(r *request, e *schema.Entity, key string) schema.Record {
	if _, named := r.body["name"]; !named && e.Variant != nil && r.form {
		if stored, err := a.gw.Get(e, key); err == nil {
			r.body["name"] = stored["name"]
		}
	}
	return a.recordFor(r, e)
}

// parentOf serves /{collection}/{key}/{foreign field}: the entity the field points at.
func (a *api) parentOf(e *schema.Entity, f *schema.Field, parent *schema.Entity) endpoint {
	find := func(r *request) (id string, rec schema.Record, ans answer) {
		rec, err := a.gw.Get(e, r.path[1])
		if err != nil {
			return "", nil, a.refused(r, err)
		}
		ref, _ := rec[f.Name].(schema.Record)
		id, _ = ref["id"].(string)
		return id, rec, answer{}
	}
	notFound := message(http.StatusNotFound, "Not found")
	return endpoint{
		http.MethodGet: func(r *request) answer {
			id, _, bad := find(r)
			switch {
			case bad.status != 0:
				return bad
			case id == "":
				return notFound
			}
			return a.get(r, parent, id)
		},
		http.MethodPatch: func(r *request) answer {
			id, _, bad := find(r)
			switch {
			case bad.status != 0:
				return bad
			case id == "":
				return notFound
			}
			return a.patch(r, parent, id, a.patchFor(r, parent, id))
		},
		http.MethodPut: func(r *request) answer {
			id, rec, bad := find(r)
			if bad.status != 0 {
				return bad
			}
			if id != "" {
				return a.put(r, parent, id, a.recordFor(r, parent))
			}
			made, err := a.gw.Create(r.Context(), parent, a.recordFor(r, parent))
			if err != nil {
				return a.refused(r, err)
			}
			link := schema.Record{f.Name: schema.Record{"id": made["id"]}}
			if _, err := a.gw.Patch(r.Context(), e, rec["id"].(string), link); err != nil {
				return a.refused(r, err)
			}
			return ok(made)
		},
		http.MethodDelete: func(r *request) answer {
			id, _, bad := find(r)
			switch {
			case bad.status != 0:
				return bad
			case id == "":
				return notFound
			}
			return message(http.StatusMethodNotAllowed, "Method not allowed")
		},
	}
}

// nested serves /{parent}/{key}/{children}.
func (a *api) nested(parent, child *schema.Entity, f *schema.Field) endpoint {
	return endpoint{
		http.MethodGet: func(r *request) answer {
			p, err := a.gw.Get(parent, r.path[1])
			if err != nil {
				return a.refused(r, err)
			}
			return a.list(r, child, f.Name, p["id"].(string))
		},
		http.MethodPost: func(r *request) answer {
			p, err := a.gw.Get(parent, r.path[1])
			if err != nil {
				return a.refused(r, err)
			}
			rec, err := a.gw.Create(r.Context(), child, withParent(a.recordFor(r, child), f, p))
			if err != nil {
				return a.refused(r, err)
			}
			return created(rec)
		},
	}
}

func withParent(in schema.Record, f *schema.Field, parent schema.Record) schema.Record {
	out := schema.Record{f.Name: schema.Record{"id": parent["id"]}}
	for k, v := range in {
		if k != f.Name {
			out[k] = v
		}
	}
	return out
}

// nestedSingle serves /{parent}/{key}/{children}/{key}.
func (a *api) nestedSingle(parent, child *schema.Entity, f *schema.Field) endpoint {
	// find returns the parent and the child, which is nil where it does not exist or
	// belongs to another parent.
	find := func(r *request) (p, c schema.Record, bad answer) {
		p, err := a.gw.Get(parent, r.path[1])
		if err != nil {
			return nil, nil, a.refused(r, err)
		}
		c, err = a.gw.GetUnder(child, f.Name, p["id"].(string), r.path[3])
		if err == nil {
			return p, c, answer{}
		}
		if _, err := a.gw.Get(child, r.path[3]); err == nil { // another parent's
			return p, nil, message(http.StatusNotFound, "Not found")
		}
		return p, nil, answer{}
	}
	existing := func(do func(r *request, p schema.Record, id string) answer) func(*request) answer {
		return func(r *request) answer {
			p, c, bad := find(r)
			switch {
			case bad.status != 0:
				return bad
			case c == nil:
				return message(http.StatusNotFound, "Not found")
			}
			return do(r, p, c["id"].(string))
		}
	}
	return endpoint{
		http.MethodGet: existing(func(r *request, _ schema.Record, id string) answer { return a.get(r, child, id) }),
		http.MethodPatch: existing(func(r *request, p schema.Record, id string) answer {
			return a.patch(r, child, id, withParent(a.patchFor(r, child, id), f, p))
		}),
		http.MethodPut: func(r *request) answer {
			p, c, bad := find(r)
			if bad.status != 0 {
				return bad
			}
			key, in := r.path[3], withParent(a.recordFor(r, child), f, p)
			byKey := child.KeyUnder != "" && !schema.IsUUID(key)
			if byKey {
				in[child.KeyUnder] = key
			}
			switch {
			case c != nil:
				return a.put(r, child, c["id"].(string), in)
			case byKey:
				rec, err := a.gw.Create(r.Context(), child, in)
				if err != nil {
					return a.refused(r, err)
				}
				return ok(rec)
			}
			return a.put(r, child, key, in)
		},
		http.MethodDelete: existing(func(r *request, _ schema.Record, id string) answer {
			if _, err := a.gw.Delete(r.Context(), child, id); err != nil {
				return a.refused(r, err)
			}
			return noContent
		}),
	}
}

// pageSize is how many records the client wants at a time.
func (r *request) pageSize() (size int, refusal answer) {
	v := r.URL.Query().Get("size")
	if v == "" {
		return 100, answer{}
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 1000 {
		return 0, invalidSize.answer("size must be an integer between 1 and 1000", nil)
	}
	return n, answer{}
}

// list serves a page of a collection, of the children of one parent where parent is not
// empty.
func (a *api) list(r *request, e *schema.Entity, parent, parentID string) answer {
	args := r.URL.Query()
	size, refusal := r.pageSize()
	if refusal.status != 0 {
		return refusal
	}
	q := gateway.ListQuery{Size: size, Parent: parent, ParentID: parentID}
	if v := args.Get("offset"); v != "" {
		after, good := parseOffset(v)
		if !good {
			return codes[gateway.InvalidOffset].answer("invalid offset", nil)
		}
		q.After = after
	}
	if args.Has("tags") {
		bad := ""
		if q.Tags, q.AnyTag, bad = parseTags(args.Get("tags")); bad != "" {
			return codes[gateway.InvalidOptions].answer("invalid option (tags: "+bad+")", map[string]any{"tags": bad})
		}
	}
	if v := args.Get("custom_id"); v != "" && e.Name == "consumers" && parent == "" {
		page := []schema.Record{}
		if rec, found := a.gw.ByUnique(e.Name, "custom_id", v); found {
			page = append(page, rec)
		}
		return ok(map[string]any{"data": page, "next": nil})
	}
	page, more := a.gw.List(e, q)
	if page == nil {
		page = []schema.Record{}
	}
	body := map[string]any{"data": page, "next": nil}
	if more {
		offset := makeOffset(page[len(page)-1]["id"].(string))
		next := url.Values{"offset": {offset}}
		if parent == "" {
			for _, name := range []string{"tags", "size"} {
				if args.Has(name) {
					next.Set(name, args.Get(name))
				}
			}
		}
		body["offset"], body["next"] = offset, "/"+strings.Join(r.path, "/")+"?"+next.Encode()
	}
	return ok(body)
}

// makeOffset wraps the last id of a page so that clients do not take it for one.
func makeOffset(id string) string {
	raw, _ := json.Marshal([]string{id})
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseOffset(s string) (id string, good bool) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return "", false
	}
	var ids []string
	if json.Unmarshal(raw, &ids) != nil || len(ids) != 1 || !schema.IsUUID(ids[0]) {
		return "", false
	}
	return ids[0], true
}

// parseTags reads a,b (all of them) or a/b (any of them).
func parseTags(s string) (tags []string, anyOf bool, bad string) {
	switch all, some := strings.Contains(s, ","), strings.Contains(s, "/"); {
	case s == "":
		return nil, false, "cannot be null"
	case all && some:
		return nil, false, "invalid filter syntax: '" + s + "'"
	case some:
		tags, anyOf = strings.Split(s, "/"), true
	default:
		tags = strings.Split(s, ",")
	}
	for _, t := range tags {
		if t == "" {
			return nil, false, "invalid filter syntax: '" + s + "'"
		}
	}
	return tags, anyOf, ""
}
