package proxycache

import (
	"maps"
	"slices"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// admin is the paths of the Admin API over this node's answers.
func (k *kind) admin() []gateway.AdminEndpoint {
	type methods = map[string]func(gateway.AdminRequest) gateway.AdminAnswer
	all := methods{"GET": k.show, "DELETE": k.purge}
	return []gateway.AdminEndpoint{
		{Path: "/proxy-cache", Methods: methods{"DELETE": func(gateway.AdminRequest) gateway.AdminAnswer {
			k.memory.flush()
			return gateway.AdminAnswer{Status: 204}
		}}},
		{Path: "/proxy-cache/{cache_key}", Methods: all},
		{Path: "/proxy-cache/{plugin_id}/caches/{cache_key}", Methods: all},
	}
}

var notFound = gateway.AdminAnswer{Status: 404, Body: schema.Record{"message": "Not found"}}

// holders are the instances that a call means: the one it names, or all.
func (k *kind) holders(r gateway.AdminRequest) []*instance {
	k.mu.Lock()
	defer k.mu.Unlock()
	if id, named := r.Params["plugin_id"]; named {
		if in, ok := k.instances[id]; ok {
			return []*instance{in}
		}
		return nil
	}
	return slices.Collect(maps.Values(k.instances))
}

func (k *kind) show(r gateway.AdminRequest) gateway.AdminAnswer {
	for _, in := range k.holders(r) {
		a, ok := k.memory.get(slot{in.dictionary, r.Params["cache_key"]}, in.clock.Now())
		if !ok {
			continue
		}
		header := schema.Record{}
		for _, f := range a.header {
			switch old := header[f.Name].(type) {
			case nil:
				header[f.Name] = f.Value
			case string:
				header[f.Name] = []any{old, f.Value}
			case []any:
				header[f.Name] = append(old, f.Value)
			}
		}
		return gateway.AdminAnswer{Status: 200, Body: schema.Record{
			"status": a.status, "headers": header, "body": string(a.body), "body_len": len(a.body),
			"timestamp": a.stored.Unix(), "ttl": int(a.ttl / time.Second), "version": 1,
		}}
	}
	return notFound
}

func (k *kind) purge(r gateway.AdminRequest) gateway.AdminAnswer {
	for _, in := range k.holders(r) {
		if k.memory.drop(slot{in.dictionary, r.Params["cache_key"]}) {
			return gateway.AdminAnswer{Status: 204}
		}
	}
	return notFound
}
