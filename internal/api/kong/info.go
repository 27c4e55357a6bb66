package kong

import (
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// fixed finds the endpoints that do not follow from entities.
func (a *api) fixed(path []string) endpoint {
	get := func(f func(*request) answer) endpoint { return endpoint{http.MethodGet: f} }
	at := func(i int) string {
		if i < len(path) {
			return path[i]
		}
		return ""
	}
	switch n := len(path); {
	case n == 0:
		return get(a.root)
	case n == 1 && at(0) == "status":
		return get(a.status)
	case n == 1 && at(0) == "endpoints":
		return get(a.endpoints)
	case n == 1 && at(0) == "timers":
		return get(func(*request) answer { return ok(map[string]any{"worker": map[string]any{"id": 0, "count": 1}}) })
	case n == 1 && at(0) == "tags", n == 2 && at(0) == "tags":
		return get(func(r *request) answer {
			return ok(map[string]any{"data": a.gw.Tags(at(1)), "next": nil})
		})
	case n == 2 && at(0) == "plugins" && at(1) == "enabled":
		return get(func(*request) answer {
			names := []string{}
			for _, p := range a.gw.Plugins() {
				names = append(names, p.Name)
			}
			slices.Sort(names)
			return ok(map[string]any{"enabled_plugins": names})
		})
	case n == 3 && at(0) == "plugins" && at(1) == "schema":
		return get(func(*request) answer { return a.pluginSchema(at(2), true) })
	case n == 2 && at(0) == "status" && at(1) == "dns":
		return get(func(*request) answer {
			return message(http.StatusNotImplemented, "not implemented with the legacy DNS client")
		})
	case at(0) == "cache", at(0) == "debug", at(0) == "clustering":
		return a.debug(path)
	case n == 1 && at(0) == "config":
		return a.config()
	case n == 1 && at(0) == "import":
		return endpoint{http.MethodPost: a.oneDeclaration(a.importAll)}
	case n == 1 && at(0) == "export":
		return get(a.export)
	case at(0) == "schemas":
		return a.schemas(path)
	case n == 2 && at(0) == "audit" && at(1) == "objects" && a.deps.Audit != nil:
		return get(a.audit)
	case at(0) == "references" && a.deps.References != nil:
		return a.references(path)
	}
	return nil
}

func (a *api) root(*request) answer {
	available := map[string]any{}
	for _, p := range a.gw.Plugins() {
		available[p.Name] = map[string]any{"version": p.Version, "priority": p.Priority}
	}
	settings := a.cfg.Settings
	if settings == nil {
		settings = map[string]any{}
	}
	return ok(map[string]any{
		"tagline": "Welcome to kong", "version": gateway.Version, "edition": "community",
		"hostname": a.cfg.Hostname, "node_id": a.cfg.NodeID, "lua_version": "none (Go " + runtime.Version() + ")",
		"timers":        map[string]any{"running": 0, "pending": 0},
		"plugins":       map[string]any{"available_on_server": available, "enabled_in_cluster": a.gw.EnabledPlugins()},
		"configuration": settings,
		"pids":          map[string]any{"master": 0, "workers": []int{}},
	})
}

func (a *api) status(*request) answer {
	var c Connections
	if a.deps.Connections != nil {
		c = a.deps.Connections()
	}
	reachable := a.deps.StoreReachable == nil || a.deps.StoreReachable()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	mib := strconv.FormatFloat(float64(m.HeapInuse)/(1<<20), 'f', 2, 64) + " MiB"
	body := map[string]any{
		"database": map[string]any{"reachable": reachable},
		"memory": map[string]any{"lua_shared_dicts": map[string]any{}, "workers_lua_vms": []any{
			map[string]any{"http_allocated_gc": mib, "pid": 0},
		}},
		"server": map[string]any{
			"connections_active": c.Active, "connections_reading": 0, "connections_writing": c.Active,
			"connections_waiting": 0, "connections_accepted": c.Accepted, "connections_handled": c.Accepted,
			"total_requests": c.Requests,
		},
	}
	if a.cfg.DBLess {
		delete(body, "database")
		body["configuration_hash"] = a.gw.ConfigurationHash()
	}
	return ok(body)
}

// endpoints lists every path there is.
func (a *api) endpoints(*request) answer {
	out := []string{"/", "/cache", "/cache/{key}", "/clustering/data-planes", "/clustering/status", "/config",
		"/debug/cluster/log-level/{log_level}", "/debug/node/log-level", "/debug/node/log-level/{log_level}", "/endpoints", "/export", "/import", "/status", "/tags", "/tags/{tags}", "/timers", "/plugins/enabled",
		"/plugins/schema/{name}", "/schemas/{name}", "/schemas/{db_entity_name}/validate", "/schemas/plugins/{name}",
		"/schemas/plugins/validate"}
	out = append(out, healthPaths...)
	if a.deps.References != nil {
		out = append(out, "/references/{collection}", "/references/{collection}/{key}")
	}
	if a.gw.Filters() != nil {
		out = append(out, "/routes/{routes}/filters/all", "/routes/{routes}/filters/disabled", "/routes/{routes}/filters/enabled", "/schemas/filters/{name}")
	}
	if a.deps.Audit != nil {
		out = append(out, "/audit/objects")
	}
	for _, e := range a.gw.Entities() {
		base, one := "/"+e.AdminPath(), "/"+e.AdminPath()+"/{"+e.Name+"}"
		if !e.OnlyNested {
			out = append(out, base, one)
		}
		for _, f := range e.Record.Fields {
			parent, found := a.gw.Entity(f.Reference)
			if f.Kind != schema.Foreign || !found {
				continue
			}
			under := "/" + parent.AdminPath() + "/{" + parent.Name + "}/" + e.PathUnder()
			out = append(out, under, under+"/{"+e.Name+"}")
			if !e.OnlyNested && !f.NoEndpoint {
				out = append(out, one+"/"+f.Name)
			}
		}
	}
	for _, kind := range a.gw.Plugins() {
		for _, e := range kind.Admin {
			out = append(out, e.Path)
		}
	}
	slices.Sort(out)
	return ok(map[string]any{"data": out})
}

// schemas serves /schemas/….
func (a *api) schemas(path []string) endpoint {
	get := func(f func(*request) answer) endpoint { return endpoint{http.MethodGet: f} }
	switch {
	case len(path) == 3 && path[1] == "vaults" && path[2] != "validate":
		if e, found := a.gw.Entity("vaults"); found && path[2] == "env" {
			return get(func(*request) answer { return ok(map[string]any{"fields": e.Record.Field("config").DescribeFields()}) })
		}
		return get(func(*request) answer { return message(http.StatusNotFound, "No vault named '"+path[2]+"'") })
	case len(path) == 3 && path[2] == "validate":
		return endpoint{http.MethodPost: func(r *request) answer { return a.validate(r, path[1]) }}
	case len(path) == 3 && path[1] == "plugins":
		return get(func(*request) answer { return a.pluginSchema(path[2], false) })
	case len(path) == 2 && path[1] == "tags":
		return get(func(*request) answer {
			return ok(map[string]any{"fields": gateway.TagRecord().DescribeFields(), "entity_checks": []any{}})
		})
	case len(path) == 2:
		return get(func(*request) answer {
			e, found := a.gw.Entity(path[1])
			if !found {
				return message(http.StatusNotFound, "No entity named '"+path[1]+"'")
			}
			return ok(map[string]any{
				"fields": e.Record.DescribeFields(), "entity_checks": schema.DescribeChecks(e.Record.Checks),
			})
		})
	}
	return nil
}

// pluginSchema describes a kind of plugin: its entity, or its configuration alone.
func (a *api) pluginSchema(name string, configOnly bool) answer {
	record, checks, found := a.gw.PluginRecord(name)
	if !found {
		return message(http.StatusNotFound, "No plugin named '"+name+"'")
	}
	if configOnly {
		config := record.Field("config")
		body := map[string]any{"fields": config.DescribeFields()}
		if len(config.Shorthands) > 0 {
			body["shorthand_fields"] = config.DescribeShorthands()
		}
		return ok(body)
	}
	fields := []any{}
	for _, f := range record.Fields {
		switch f.Name {
		case "config", "protocols", "route", "service", "consumer":
			fields = append(fields, schema.Record{f.Name: f.Describe()})
		}
	}
	return ok(map[string]any{"fields": fields, "entity_checks": schema.DescribeChecks(checks)})
}

func (a *api) validate(r *request, name string) answer {
	e, found := a.gw.Entity(name)
	if !found {
		return message(http.StatusNotFound, "No entity named '"+name+"'")
	}
	if err := a.gw.Validate(e, a.recordFor(r, e)); err != nil {
		return a.refused(r, err)
	}
	return message(http.StatusOK, "schema validation successful")
}

// references serves the platform's reference data.
func (a *api) references(path []string) endpoint {
	refs := a.deps.References
	switch len(path) {
	case 2:
		return endpoint{http.MethodGet: func(r *request) answer {
			size, bad := r.pageSize()
			if bad.status != 0 {
				return bad
			}
			page, err := refs.List(r.Context(), path[1], r.URL.Query().Get("offset"), size+1)
			if err != nil {
				return a.refused(r, err)
			}
			body := map[string]any{"next": nil}
			if len(page) > size {
				page = page[:size]
				last := page[size-1].Key
				next := url.Values{"offset": {last}}
				if r.URL.Query().Has("size") {
					next.Set("size", strconv.Itoa(size))
				}
				body["offset"], body["next"] = last, "/references/"+url.PathEscape(path[1])+"?"+next.Encode()
			}
			if page == nil {
				page = []gateway.ReferenceEntry{}
			}
			body["data"] = page
			return ok(body)
		}}
	case 3:
		return endpoint{
			http.MethodGet: func(r *request) answer {
				doc, found, err := refs.Get(r.Context(), path[1], path[2])
				switch {
				case err != nil:
					return a.refused(r, err)
				case !found:
					return message(http.StatusNotFound, "Not found")
				}
				return ok(rawJSON(doc))
			},
			http.MethodPut: func(r *request) answer {
				doc, err := io.ReadAll(r.Body)
				if err != nil {
					return message(http.StatusRequestEntityTooLarge, "request body too large")
				}
				if err := refs.Put(r.Context(), path[1], path[2], doc); err != nil {
					return a.refused(r, err)
				}
				return ok(rawJSON(doc))
			},
			http.MethodDelete: func(r *request) answer {
				if _, err := refs.Delete(r.Context(), path[1], path[2]); err != nil {
					return a.refused(r, err)
				}
				return noContent
			},
		}
	}
	return nil
}

// rawJSON is a document that is passed on as it is.
type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (d rawJSON) MarshalJSON() ([]byte, error) { return d, nil }
