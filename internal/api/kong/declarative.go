package kong

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/declarative"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// maxDeclaration bounds the body of a whole configuration; a large one is worth returning its memory for.
const (
	maxDeclaration   = 256 << 20
	largeDeclaration = 16 << 20
)

// readOnly refuses changes of single entities where there is no database.
func (a *api) readOnly(method string, path []string) answer {
	if !a.cfg.DBLess || len(path) == 0 || a.byPath(path[0]) == nil || path[0] == "schemas" {
		return answer{}
	}
	if last := path[len(path)-1]; method == http.MethodPut && len(path) >= 5 && (last == "healthy" || last == "unhealthy") {
		return answer{} // health is the node's own
	}
	verb := map[string]string{http.MethodPost: "create", http.MethodPut: "create or update", http.MethodPatch: "update", http.MethodDelete: "delete"}[method]
	if verb == "" {
		return answer{}
	}
	e := a.byPath(path[0])
	if len(path) > 2 {
		if child, _ := a.childOf(e, path[2]); child != nil {
			e = child
		}
	}
	return unsupported.answer("cannot "+verb+" '"+e.Name+"' entities when not using a database", nil)
}

// config serves /config, by which a gateway without a database is given its entities.
func (a *api) config() endpoint {
	only := func(f func(*request) answer) func(*request) answer {
		return func(r *request) answer {
			if !a.cfg.DBLess {
				return message(http.StatusBadRequest, "this endpoint is only available when Kong is configured to not use a database")
			}
			return f(r)
		}
	}
	return endpoint{
		http.MethodGet: only(func(r *request) answer {
			text, err := declarative.Format(a.gw.Export())
			if err != nil {
				return a.refused(r, err)
			}
			return ok(map[string]any{"config": string(text)})
		}),
		http.MethodPost: only(a.oneDeclaration(func(r *request) answer {
			d, refusal := a.declaration(r)
			if refusal.status != 0 {
				return refusal
			}
			if r.URL.Query().Get("check_hash") != "" && d.Hash() == a.gw.ConfigurationHash() {
				return answer{status: http.StatusNotModified}
			}
			if _, refusal = a.apply(r, d, gateway.ApplyOptions{Replace: true}); refusal.status != 0 {
				return refusal
			}
			return created(a.everything())
		})),
	}
}

// everything is all entities by collection and id, as Kong answers a new configuration.
func (a *api) everything() map[string]any {
	out := map[string]any{}
	for _, e := range a.gw.Entities() {
		byID := map[string]any{}
		for q, more := (gateway.ListQuery{Size: 1000}), true; more; {
			var page []schema.Record
			page, more = a.gw.List(e, q)
			for _, r := range page {
				q.After, _ = r["id"].(string)
				byID[q.After] = r
			}
		}
		if len(byID) > 0 {
			out[e.Name] = byID
		}
	}
	return out
}

// importAll serves /import: a whole configuration in one transaction. With replace=1 what
// it does not hold is removed, and with dry_run=1 nothing is changed.
func (a *api) importAll(r *request) answer {
	args := r.URL.Query()
	o := gateway.ApplyOptions{Replace: args.Get("replace") == "1", DryRun: args.Get("dry_run") == "1"}
	if a.cfg.DBLess && !o.DryRun {
		return unsupported.answer("cannot import entities when not using a database; POST /config replaces them", nil)
	}
	d, refusal := a.declaration(r)
	if refusal.status != 0 {
		return refusal
	}
	done, refusal := a.apply(r, d, o)
	if refusal.status != 0 {
		return refusal
	}
	return ok(done)
}

// export serves /export: everything as YAML that /import and /config read.
func (a *api) export(r *request) answer {
	text, err := declarative.Format(a.gw.Export())
	if err != nil {
		return a.refused(r, err)
	}
	return answer{status: http.StatusOK, text: text, header: http.Header{"Content-Type": {"application/yaml"}}}
}

// declarationWait is how long a whole configuration waits for the one before it.
const declarationWait = 30 * time.Second

// oneDeclaration runs f when no other request holds a whole configuration.
func (a *api) oneDeclaration(f func(*request) answer) func(*request) answer {
	return func(r *request) answer {
		ctx, cancel := context.WithTimeout(r.Context(), declarationWait)
		defer cancel()
		if a.declarations.Acquire(ctx, 1) != nil {
			ans := message(http.StatusServiceUnavailable, "another configuration is being loaded; try again later")
			ans.header = http.Header{"Retry-After": {"10"}}
			return ans
		}
		defer a.declarations.Release(1)
		ans := f(r)
		if r.ContentLength < 0 || r.ContentLength > largeDeclaration {
			debug.FreeOSMemory() // what such a body was parsed to would stay with the process for minutes
		}
		return ans
	}
}

// declaration reads the body: a document in YAML or JSON, as it is or as the member
// "config" of a form or of a JSON object.
func (a *api) declaration(r *request) (*gateway.Declaration, answer) {
	text, err := r.document()
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, message(http.StatusRequestEntityTooLarge, "request body too large")
	case err != nil:
		return nil, message(http.StatusBadRequest, "Cannot parse the form")
	case strings.TrimSpace(string(text)) == "":
		return nil, message(http.StatusBadRequest, "expected a declarative configuration")
	}
	doc, err := declarative.Parse(text)
	if err == nil {
		if inner, is := doc["config"].(string); is && len(doc) == 1 {
			doc, err = declarative.Parse([]byte(inner))
		}
	}
	if err != nil {
		return nil, codes[gateway.InvalidDeclaration].answer("declarative config is invalid: "+err.Error(), map[string]any{"error": err.Error()})
	}
	d, err := a.gw.Declare(doc)
	if err != nil {
		return nil, a.misfits(r, err)
	}
	return d, answer{}
}

func (r *request) document() ([]byte, error) {
	media, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch media {
	case "multipart/form-data":
		if err := r.readMultipart(params["boundary"]); err != nil {
			return nil, err
		}
	case "application/x-www-form-urlencoded":
		if err := r.readForm(); err != nil {
			return nil, err
		}
	default:
		return io.ReadAll(r.Body)
	}
	text, _ := r.body["config"].(string)
	return []byte(text), nil
}

// apply applies a declaration, one at a time.
func (a *api) apply(r *request, d *gateway.Declaration, o gateway.ApplyOptions) (gateway.Applied, answer) {
	if !a.loading.TryLock() {
		ans := message(http.StatusTooManyRequests, "Currently loading previous configuration")
		ans.header = http.Header{"Retry-After": {"1"}}
		return gateway.Applied{}, ans
	}
	defer a.loading.Unlock()
	done, err := a.gw.Apply(r.Context(), d, o)
	if err != nil {
		return done, a.misfits(r, err)
	}
	return done, answer{}
}

// misfits tells what is wrong with a declaration, with flatten_errors=1 record by record.
func (a *api) misfits(r *request, err error) answer {
	ans := a.refused(r, err)
	refused, ok := errors.AsType[*gateway.Error](err)
	if body, is := ans.body.(map[string]any); ok && is && r.URL.Path == "/import" {
		body["problems"] = a.gw.Problems(refused)
	}
	if !ok || r.URL.Query().Get("flatten_errors") != "1" {
		return ans
	}
	flat := []any{}
	for _, m := range refused.Misfits {
		e, _ := a.gw.Entity(m.Collection)
		one := map[string]any{"entity_type": strings.TrimSuffix(m.Collection, "s"), "entity": m.Record, "errors": flatten("", m.Violations)}
		for name, v := range map[string]any{"entity_name": m.Record[e.EndpointKey], "entity_id": m.Record["id"], "entity_tags": m.Record["tags"]} {
			if v != nil {
				one[name] = v
			}
		}
		flat = append(flat, one)
	}
	if body, is := ans.body.(map[string]any); is {
		body["flattened_errors"] = flat
		if len(flat) > 0 {
			body["fields"] = map[string]any{}
		}
	}
	return ans
}

// flatten lists what is wrong with one record by dotted field.
func flatten(prefix string, v schema.Violations) []any {
	out := []any{}
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch e := v[name].(type) {
		case schema.Violations:
			out = append(out, flatten(prefix+name+".", e)...)
		case []any:
			if name == schema.EntityKey {
				out = append(out, map[string]any{"type": "entity", "messages": e})
			} else {
				out = append(out, map[string]any{"type": "field", "field": prefix + name, "messages": e})
			}
		default:
			out = append(out, map[string]any{"type": "field", "field": prefix + name, "message": e})
		}
	}
	return out
}
