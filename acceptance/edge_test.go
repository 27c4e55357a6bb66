package acceptance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/base/store/dbtest"
	"sluice.dev/sluice/internal/service/edge/edgetest"
)

// edgeAgent is an agent as small as can be: it beats to one node and acknowledges to the next.
type edgeAgent struct {
	id, class string
	flow      string // the version that it runs
	text      string // of it
	asked     int    // how often it was asked for its manifest
}

func (a *edgeAgent) post(n *plat.Node, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	resp, err := http.Post(n.Endpoints.Console+"/efm/api/c2-protocol/"+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 {
		return fmt.Errorf("%s: %s: %.300s", path, resp.Status, raw)
	}
	return json.Unmarshal(raw, out)
}

func (a *edgeAgent) report() map[string]any {
	return map[string]any{"operation": "heartbeat",
		"agentInfo":  map[string]any{"identifier": a.id, "agentClass": a.class, "agentManifestHash": "edge-hash"},
		"deviceInfo": map[string]any{"identifier": "device of " + a.id},
		"flowInfo":   map[string]any{"flowId": a.flow}}
}

// beat reports to a node and carries out what it says; it tells another that it did.
func (a *edgeAgent) beat(n, other *plat.Node) error {
	var got struct {
		Requested []struct {
			Identifier, Operation, Operand string
			Args                           map[string]any
		} `json:"requestedOperations"`
	}
	if err := a.post(n, "heartbeat", a.report(), &got); err != nil {
		return err
	}
	for _, o := range got.Requested {
		ack := map[string]any{}
		switch o.Operation + " " + o.Operand {
		case "DESCRIBE manifest":
			a.asked++
			ack = a.report()
			ack["agentInfo"].(map[string]any)["agentManifest"] = json.RawMessage(edgetest.Manifest("java"))
		case "UPDATE configuration":
			resp, err := http.Get(other.Endpoints.Console + "/efm/api" + o.Args["relativeFlowUrl"].(string))
			if err != nil {
				return err
			}
			text, err := io.ReadAll(resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != 200 {
				return fmt.Errorf("the flow: %s %.300s %w", resp.Status, text, err)
			}
			a.flow, a.text = o.Args["flowId"].(string), string(text)
		default:
			return fmt.Errorf("asked for %s %s", o.Operation, o.Operand)
		}
		ack["operation"], ack["operationId"], ack["identifier"] = "acknowledge", o.Identifier, a.id
		ack["operationState"] = map[string]any{"state": "FULLY_APPLIED"}
		if err := a.post(other, "acknowledge", ack, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

func TestAFlowDrawnByRESTComesToAgentsInWaves(t *testing.T) {
	nodes := clusterOf(t, 3, dbtest.MariaDB(t).URL)
	const api = "/efm/api"
	var all []*edgeAgent
	for i := range 4 {
		all = append(all, &edgeAgent{id: fmt.Sprintf("edge-%d", i), class: "pumps"})
	}
	turn := 0
	beat := func() error {
		for _, a := range all {
			turn++
			if err := a.beat(nodes[turn%3], nodes[(turn+1)%3]); err != nil {
				return err
			}
		}
		return nil
	}
	var class struct{ Manifest, Version string }
	plat.Until(t, "the class has its agents' manifest", func() error {
		if err := beat(); err != nil {
			return err
		}
		if err := nodes[2].Call("GET", api+"/agent-classes/pumps", nil, &class); err != nil {
			return err
		}
		if class.Manifest != "edge-hash" {
			return fmt.Errorf("%+v", class)
		}
		return nil
	})
	asked := 0
	for _, a := range all {
		asked += a.asked
	}
	if asked != 1 {
		t.Errorf("the manifest was asked for %d times", asked)
	}

	d := draw(t, nodes[0], "pumps")
	// Each component is made on another node.
	from := d.add("processors", map[string]any{"type": "org.apache.nifi.processors.standard.GenerateFlowFile", "schedulingPeriod": "1 sec"})
	to := d.at(nodes[1]).add("processors", map[string]any{"type": "org.apache.nifi.processors.standard.LogAttribute", "autoTerminatedRelationships": []string{"success"}})
	d.at(nodes[2]).connect(from, "success", to)
	late := map[string]any{"revision": map[string]any{"version": 7}, "componentConfiguration": map[string]any{"name": "late"}}
	if err := nodes[0].Call("PUT", d.flow+"/processors/"+from, late, nil); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("a wrong revision: %v", err)
	}
	version, rollout := d.at(nodes[1]).publish(map[string]any{"waves": []any{map[string]any{"agents": 1}}, "max_failed_percent": 0})
	// The first wave is one agent; until that one has said that it runs the flow, no other
	// is told of it.
	first := 0
	plat.Until(t, "all agents run the flow", func() error {
		if err := beat(); err != nil {
			return err
		}
		have := 0
		for _, a := range all {
			if a.flow == version {
				have++
			}
		}
		if have > 0 && first == 0 {
			first = have
		}
		if err := nodes[0].Call("GET", api+"/agent-classes/pumps", nil, &class); err != nil {
			return err
		}
		if have < len(all) || class.Version != version {
			return fmt.Errorf("%d agents run it, and the class %+v", have, class)
		}
		return nil
	})
	if first != 1 {
		t.Errorf("%d agents were in the first wave", first)
	}
	for _, a := range all {
		if !strings.Contains(a.text, from) || !strings.Contains(a.text, to) {
			t.Errorf("agent %s runs another flow: %.200s", a.id, a.text)
		}
	}
	var status struct {
		State  string
		States map[string]int
		Total  int
	}
	if err := nodes[2].Call("GET", fmt.Sprintf("%s/rollouts/%d", api, rollout), nil, &status); err != nil {
		t.Fatal(err)
	}
	if status.State != "DONE" || status.States["DONE"] != 4 || status.Total != 4 {
		t.Errorf("%+v", status)
	}
}
