package acceptance_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

// Three agents are enrolled by the command that the node prints, over TLS, and take a flow
// that was drawn by REST. What they read from their files comes out as SQL of the
// demonstration's table: all of it, though one of them and the node are killed on the way.
func TestAgentsDeliverIntoTheDemosStream(t *testing.T) {
	const class, each = "airports", 200
	data := t.TempDir()
	if out, err := plat.Command(nil, "demo", "--events", "1000", "--data", data).CombinedOutput(); err != nil {
		t.Fatalf("sluice demo: %v\n%s", err, out)
	}
	n := plat.Start(t, plat.Options{Dir: data, Env: []string{"SLUICE_CONSOLE_TLS=true", "SLUICE_EDGE_REQUIRE_CERTIFICATE=true"}})
	var agents []*plat.Agent
	var inboxes []string
	for i := range 3 {
		dir := t.TempDir()
		var token struct{ Command, AgentID string }
		if err := n.Call("POST", "/efm/api/agent-deployer/generateCommand", map[string]any{"agentClass": class}, &token); err != nil {
			t.Fatal(err)
		}
		line := exec.Command("bash", "-c", token.Command+` --data "$DIR"`)
		line.Env = append(os.Environ(), "PATH="+filepath.Dir(plat.Program())+":"+os.Getenv("PATH"), "DIR="+dir)
		if out, err := line.CombinedOutput(); err != nil || !strings.Contains(string(out), token.AgentID) {
			t.Fatalf("%s: %v\n%s", token.Command, err, out)
		}
		inbox := filepath.Join(t.TempDir(), fmt.Sprintf("departures-%d.csv", i))
		inboxes = append(inboxes, inbox)
		parameters := map[string]any{"parameters": []any{map[string]any{"name": "inbox", "value": inbox}}}
		agents = append(agents, plat.StartAgent(t, dir, "--heartbeat", "200ms"))
		plat.Until(t, "the agent is known", func() error {
			return n.Call("PUT", "/efm/api/agents/"+token.AgentID+"/parameters", parameters, nil)
		})
	}
	plat.Until(t, "the class has a manifest", func() error {
		var is struct{ Manifest string }
		err := n.Call("GET", "/efm/api/agent-classes/"+class, nil, &is)
		if err == nil && is.Manifest == "" {
			err = errors.New("it has none")
		}
		return err
	})
	secret := []any{map[string]any{"name": "secret", "value": n.Root.Secret, "sensitive": true}, map[string]any{"name": "inbox", "value": "/nowhere"}}
	if err := n.Call("PUT", "/efm/api/agent-classes/"+class+"/parameters", map[string]any{"parameters": secret}, nil); err != nil {
		t.Fatal(err)
	}

	d := draw(t, n, class)
	key := d.add("controller-services", map[string]any{"type": "org.apache.nifi.processors.aws.credentials.provider.service.AWSCredentialsProviderControllerService",
		"properties": map[string]any{"Access Key ID": n.Root.ID, "Secret Access Key": "#{secret}"}})
	tail := d.add("processors", map[string]any{"type": "org.apache.nifi.processors.standard.TailFile", "schedulingPeriod": "100 ms", "properties": map[string]any{"File to Tail": "#{inbox}"}})
	split := d.add("processors", map[string]any{"type": "org.apache.nifi.processors.standard.SplitText", "autoTerminatedRelationships": []string{"original", "failure"},
		"properties": map[string]any{"Remove Trailing Newlines": "false"}}) // a record of the lake is a line
	put := d.add("processors", map[string]any{"type": "org.apache.nifi.processors.aws.kinesis.stream.PutKinesisStream", "penaltyDuration": "100 ms", "autoTerminatedRelationships": []string{"success"},
		"properties": map[string]any{"Stream Name": "departures", "AWS Credentials Provider service": key, "Endpoint Override URL": n.Endpoints.AWS}})
	d.connect(tail, "success", split)
	d.connect(split, "splits", put)
	d.connect(put, "failure", put)
	first, _ := d.publish(nil)

	write := func(from, to int) {
		t.Helper()
		for i, inbox := range inboxes {
			f, err := os.OpenFile(inbox, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			for k := from; k < to; k++ {
				fmt.Fprintf(f, "edge-%d-%d,2026-11-01 12:00:00,2026-11-01 12:00:00,UA,%d,N14228,EWR,IAH,2,1400\n", i, k, k+1)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(want int) {
		t.Helper()
		plat.Until(t, "what the agents read is in the table", func() error {
			c, err := n.SQL(t.Context(), n.Root)
			if err != nil {
				return err
			}
			defer c.Close(t.Context())
			var rows int
			if err := c.QueryRow(t.Context(), "select count(distinct event_id) from lake.departures where event_id like 'edge-%'").Scan(&rows); err != nil {
				return err
			}
			if rows != want {
				return fmt.Errorf("%d rows of %d", rows, want)
			}
			return nil
		})
	}
	write(0, each/2)
	d.runs(class, first)
	count(3 * each / 2)

	n.Kill() // the agents go on without it
	agents[0].Kill()
	write(each/2, each)
	agents[0].Launch()
	n.Launch()
	count(3 * each)

	// An edit comes to them while they run, and their files are read on from where they were.
	var is struct {
		Revision map[string]any
	}
	if err := n.Call("GET", d.flow+"/processors/"+tail, nil, &is); err != nil {
		t.Fatal(err)
	}
	edit := map[string]any{"revision": is.Revision, "componentConfiguration": map[string]any{"schedulingPeriod": "50 ms"}}
	if err := n.Call("PUT", d.flow+"/processors/"+tail, edit, nil); err != nil {
		t.Fatal(err)
	}
	// It is published by the command, which knows the node by its authority and follows the rollout.
	out, err := plat.Command(nil, "edge", "publish", "--class", class, "--wave", "1", "--data", n.Dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "DONE, 3 agents, 3 DONE") {
		t.Errorf("edge publish: %v\n%s", err, out)
	}
	write(each, each+10)
	count(3 * (each + 10))
	for _, a := range agents {
		a.Stop()
	}
}
