package kong

import (
	"maps"
	"net/http"

	"sluice.dev/sluice/internal/service/gateway/balancer"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// healthPaths are the endpoints that balancing finds.
var healthPaths = []string{
	"/upstreams/{upstreams}/health", "/upstreams/{upstreams}/targets/all",
	"/upstreams/{upstreams}/targets/{targets}/healthy", "/upstreams/{upstreams}/targets/{targets}/unhealthy",
	"/upstreams/{upstreams}/targets/{targets}/{address}/healthy", "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy",
}

// balancing finds the endpoints beneath an upstream that tell and set how its targets are.
func (a *api) balancing(path []string) endpoint {
	n := len(path)
	if n < 3 || path[0] != "upstreams" {
		return nil
	}
	switch last := path[n-1]; {
	case n == 3 && last == "health":
		return endpoint{http.MethodGet: a.upstreamHealth}
	case path[2] != "targets":
		return nil
	case n == 4 && last == "all":
		return endpoint{http.MethodGet: func(r *request) answer {
			targets, id, bad := a.targetsOf(r)
			if bad.status != 0 {
				return bad
			}
			return a.list(r, targets, "upstream", id)
		}}
	case (n == 5 || n == 6) && (last == "healthy" || last == "unhealthy"):
		address := ""
		if n == 6 {
			address = path[4]
		}
		return endpoint{http.MethodPut: func(r *request) answer {
			targets, id, bad := a.targetsOf(r)
			if bad.status != 0 {
				return bad
			}
			target, err := a.gw.GetUnder(targets, "upstream", id, path[3])
			if err != nil {
				return a.refused(r, err)
			}
			if !a.gw.SetTargetHealth(id, target["target"].(string), address, last == "healthy") {
				return message(http.StatusBadRequest, "target has no such address")
			}
			return noContent
		}}
	}
	return nil
}

// targetsOf returns the targets collection, and the id of the upstream the path names.
func (a *api) targetsOf(r *request) (targets *schema.Entity, id string, bad answer) {
	upstreams, _ := a.gw.Entity("upstreams")
	targets, _ = a.gw.Entity("targets")
	rec, err := a.gw.Get(upstreams, r.path[1])
	if err != nil {
		return nil, "", a.refused(r, err)
	}
	return targets, rec["id"].(string), answer{}
}

// Kong's words for health.
const (
	healthy   = "HEALTHY"
	unhealthy = "UNHEALTHY"
	checksOff = "HEALTHCHECKS_OFF"
	dnsError  = "DNS_ERROR"
)

func (a *api) upstreamHealth(r *request) answer {
	targets, id, bad := a.targetsOf(r)
	if bad.status != 0 {
		return bad
	}
	status, _ := a.gw.UpstreamStatus(id)
	if r.URL.Query().Get("balancer_health") == "1" {
		hosts := []any{}
		for i := range status.Targets {
			hosts = append(hosts, describeTarget(&status.Targets[i], status.Checked))
		}
		word := checksOff
		if status.Checked {
			word = wordFor(status.Healthy)
		}
		return ok(map[string]any{"node_id": a.cfg.NodeID, "next": nil, "data": map[string]any{
			"id": id, "health": word,
			"details": map[string]any{"healthy": status.Healthy, "weight": describeWeight(status.Weight), "hosts": hosts},
		}})
	}
	page := a.list(r, targets, "upstream", id)
	body, isPage := page.body.(map[string]any)
	records, _ := body["data"].([]schema.Record)
	if !isPage || page.status != http.StatusOK {
		return page
	}
	shown := make([]schema.Record, len(records))
	for i, rec := range records {
		shown[i] = maps.Clone(rec)
		shown[i]["health"] = dnsError
		for j := range status.Targets {
			if t := &status.Targets[j]; t.Name == rec["target"] {
				shown[i]["health"], shown[i]["data"] = targetHealth(t, status.Checked), describeTarget(t, status.Checked)
			}
		}
	}
	body["data"], body["node_id"] = shown, a.cfg.NodeID
	return page
}

// targetHealth is one word for a target: it is healthy where any of its addresses is.
func targetHealth(t *balancer.TargetStatus, checked bool) string {
	switch {
	case len(t.Addresses) == 0:
		return dnsError
	case !checked:
		return checksOff
	}
	for _, a := range t.Addresses {
		if a.Healthy {
			return healthy
		}
	}
	return unhealthy
}

func wordFor(up bool) string {
	if up {
		return healthy
	}
	return unhealthy
}

func describeTarget(t *balancer.TargetStatus, checked bool) map[string]any {
	addresses := []any{}
	for _, a := range t.Addresses {
		word := checksOff
		if checked {
			word = wordFor(a.Healthy)
		}
		addresses = append(addresses, map[string]any{
			"ip": a.Addr.Addr().String(), "port": a.Addr.Port(), "weight": a.Weight, "health": word,
		})
	}
	return map[string]any{"host": t.Host, "port": t.Port, "dns": t.DNS, "nodeWeight": t.Weight,
		"weight": describeWeight(t.Weighs), "addresses": addresses}
}

func describeWeight(w balancer.WeightStatus) map[string]any {
	return map[string]any{"total": w.Total, "available": w.Available, "unavailable": w.Total - w.Available}
}
