package agent_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/agent"
	edge "sluice.dev/sluice/internal/service/edge/manifest"
)

// flowOf writes text into files of a directory.
func flowOf(text, dir string) string {
	return fmt.Sprintf(`{"rootGroup": {"identifier": "00000000-0000-4000-8000-000000000001", "name": "root",
	 "controllerServices": [{"identifier": "00000000-0000-4000-8000-000000000002", "name": "ssl", "type": "org.apache.nifi.ssl.StandardSSLContextService", "properties": {"Truststore Password": "s3cret"}}],
	 "processors": [
	  {"identifier": "00000000-0000-4000-8000-000000000003", "name": "gen", "type": "org.apache.nifi.processors.standard.GenerateFlowFile", "schedulingPeriod": "20 ms", "properties": {"Custom Text": %q}},
	  {"identifier": "00000000-0000-4000-8000-000000000004", "name": "put", "type": "org.apache.nifi.processors.standard.PutFile", "properties": {"Directory": %q}, "autoTerminatedRelationships": ["success", "failure"]}],
	 "connections": [{"identifier": "00000000-0000-4000-8000-000000000005", "name": "c", "source": {"id": "00000000-0000-4000-8000-000000000003", "type": "PROCESSOR"}, "destination": {"id": "00000000-0000-4000-8000-000000000004", "type": "PROCESSOR"}, "selectedRelationships": ["success"]}]}}`, text, dir)
}

// written waits for a file of this content.
func written(t *testing.T, dir, text string) {
	t.Helper()
	eventually(t, "no file has the text "+text, func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, n := range names {
			if b, err := os.ReadFile(n); err == nil && string(b) == text {
				return true
			}
		}
		return false
	})
}

func want(t *testing.T, what string, a map[string]any, state, details string) {
	t.Helper()
	if s, d := stateOf(a); s != state || !strings.Contains(d, details) {
		t.Errorf("%s: %s, %q; want %s, %q", what, s, d, state, details)
	}
}

func TestOperations(t *testing.T) {
	s, data, out := newServer(t), t.TempDir(), t.TempDir()
	stop := run(t, agent.Config{Data: data, URLs: []string{s.URL + "/efm/api"}, Class: "C"})

	first := s.beats
	eventually(t, "no heartbeat", func() bool { s.mu.Lock(); defer s.mu.Unlock(); first = s.beats; return len(first) > 1 })
	info := first[0]["agentInfo"].(map[string]any)
	if info["agentClass"] != "C" || first[0]["gzip"] != true {
		t.Errorf("%v", first[0])
	}
	raw, _ := json.Marshal(info["agentManifest"])
	if _, err := edge.Parse(raw); err != nil {
		t.Errorf("the manifest of the first heartbeat: %v", err)
	}
	if light := first[1]["agentInfo"].(map[string]any); light["agentManifest"] != nil || light["agentManifestHash"] != info["agentManifestHash"] {
		t.Errorf("the second heartbeat is not light: %v", light)
	}

	// A flow, by a relative and by an absolute URL.
	s.files["/efm/api/flows/f1"] = flowOf("one", out)
	s.files["/efm/api/flows/f2"] = flowOf("two", out)
	s.files["/efm/api/flows/bad"] = strings.Replace(flowOf("bad", out), "GenerateFlowFile", "NoSuch", 1)
	flow := func(id string) map[string]any { return map[string]any{"flowId": id, "relativeFlowUrl": "/flows/" + id} }
	want(t, "f1", s.order("1", "UPDATE", "configuration", flow("f1")), "FULLY_APPLIED", "")
	written(t, out, "one")
	want(t, "f1 again", s.order("2", "UPDATE", "configuration", flow("f1")), "NO_OPERATION", "")
	want(t, "f2", s.order("3", "UPDATE", "configuration", map[string]any{"flowId": "f2", "location": s.URL + "/efm/api/flows/f2?aid=x"}), "FULLY_APPLIED", "")
	written(t, out, "two")
	want(t, "bad", s.order("4", "UPDATE", "configuration", flow("bad")), "NOT_APPLIED", "unknown type")
	want(t, "absent", s.order("5", "UPDATE", "configuration", flow("absent")), "NOT_APPLIED", "404")
	want(t, "no id", s.order("6", "UPDATE", "configuration", nil), "NOT_APPLIED", "flowId")
	eventually(t, "the flow's id is not reported", func() bool { return s.beat()["flowInfo"].(map[string]any)["flowId"] == "f2" })

	// The flow and its parts.
	want(t, "stop", s.order("10", "STOP", "processor", map[string]any{"processorId": "00000000-0000-4000-8000-000000000004"}), "FULLY_APPLIED", "")
	eventually(t, "nothing waits", func() bool {
		q := s.beat()["flowInfo"].(map[string]any)["queues"].(map[string]any)["00000000-0000-4000-8000-000000000005"].(map[string]any)
		return q["size"].(float64) > 2
	})
	want(t, "stop flow", s.order("11", "STOP", "flow", nil), "FULLY_APPLIED", "")
	want(t, "clear", s.order("12", "CLEAR", "connection", map[string]any{"c": "00000000-0000-4000-8000-000000000005"}), "FULLY_APPLIED", "00000000-0000-4000-8000-000000000005: ")
	want(t, "clear some", s.order("13", "CLEAR", "connection", map[string]any{"c": "00000000-0000-4000-8000-000000000005", "d": "d"}), "PARTIALLY_APPLIED", "no connection")
	want(t, "start an unknown one", s.order("14", "START", "processor", map[string]any{"processorId": "x"}), "NOT_APPLIED", "no processor")
	want(t, "start", s.order("15", "START", "flow", nil), "FULLY_APPLIED", "")
	want(t, "pause", s.order("16", "PAUSE", "flow", nil), "FULLY_APPLIED", "")
	if got := s.beat()["flowInfo"].(map[string]any)["runStatus"]; got != "STOPPED" {
		t.Errorf("paused: %v", got)
	}
	want(t, "resume", s.order("17", "RESUME", "flow", nil), "FULLY_APPLIED", "")

	d := s.order("20", "DESCRIBE", "manifest", nil)
	want(t, "describe", d, "FULLY_APPLIED", "")
	if m := d["agentInfo"].(map[string]any); m["agentManifest"] == nil || d["deviceInfo"] == nil || d["flowInfo"] == nil {
		t.Errorf("describe: %v", m)
	}
	want(t, "unknown", s.order("21", "EXPLODE", "now", nil), "OPERATION_NOT_UNDERSTOOD", "EXPLODE")

	// Settings, all or none.
	want(t, "bad properties", s.order("30", "UPDATE", "properties", map[string]any{"nifi.log.level": "DEBUG", "no.such": "x"}), "NOT_APPLIED", "no.such")
	want(t, "properties", s.order("31", "UPDATE", "properties", map[string]any{"c2.agent.heartbeat.period": 100, "c2.full.heartbeat": "true", "c2.request.compression": "none"}), "FULLY_APPLIED", "")
	eventually(t, "the settings do not hold", func() bool {
		b := s.beat()
		return b["gzip"] == false && b["agentInfo"].(map[string]any)["agentManifest"] != nil
	})

	// A bundle without secrets.
	want(t, "debug", s.order("40", "TRANSFER", "debug", map[string]any{"relativeTarget": "/debug"}), "FULLY_APPLIED", "")
	files := unpack(t, s.uploaded)
	if !strings.Contains(files["flow.json"], "********") || strings.Contains(files["flow.json"], "s3cret") || files["logs/agent.log"] == "" {
		t.Errorf("the bundle: %v", files["flow.json"])
	}

	// A lost acknowledgement, a repeated operation.
	s.mu.Lock()
	s.loseAcks = 3
	s.mu.Unlock()
	want(t, "lost acks", s.order("50", "STOP", "flow", nil), "FULLY_APPLIED", "")
	want(t, "repeated", s.order("50", "STOP", "flow", nil), "FULLY_APPLIED", "")

	// After a restart of the agent all is as it was.
	want(t, "restart", s.order("60", "RESTART", "", nil), "FULLY_APPLIED", "")
	eventually(t, "the flow does not run after the restart", func() bool {
		f := s.beat()["flowInfo"].(map[string]any)
		return f["runStatus"] == "RUNNING" && f["flowId"] == "f2"
	})
	stop()
	id := info["identifier"]
	run(t, agent.Config{Data: data, URLs: []string{s.URL + "/efm/api"}})
	if got := s.beat()["agentInfo"].(map[string]any); got["identifier"] != id || got["agentClass"] != "C" {
		t.Errorf("another agent: %v", got)
	}
}

// A flow that was kept and does not start any more is not said to run: the server sends it
// again, and it is tried again.
func TestAKeptFlowThatDoesNotStart(t *testing.T) {
	s, data, out := newServer(t), t.TempDir(), t.TempDir()
	kept := strings.Replace(flowOf("one", out), "GenerateFlowFile", "NoSuch", 1)
	if err := os.WriteFile(filepath.Join(data, "flow.json"), []byte(`{"flowId":"f1","flow":`+kept+`}`), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, agent.Config{Data: data, URLs: []string{s.URL + "/efm/api"}, Class: "C"})
	if info := s.beat()["flowInfo"].(map[string]any); info["flowId"] != nil && info["flowId"] != "" {
		t.Errorf("the agent says that it runs %v", info["flowId"])
	}
	s.files["/efm/api/flows/f1"] = flowOf("one", out)
	want(t, "again", s.order("1", "UPDATE", "configuration", map[string]any{"flowId": "f1", "relativeFlowUrl": "/flows/f1"}), "FULLY_APPLIED", "")
	written(t, out, "one")
}

func unpack(t *testing.T, bundle []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	z, err := gzip.NewReader(bytes.NewReader(bundle))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			return out
		}
		b, _ := io.ReadAll(r)
		out[h.Name] = string(b)
	}
}

func TestAssets(t *testing.T) {
	s, data := newServer(t), t.TempDir()
	run(t, agent.Config{Data: data, URLs: []string{s.URL + "/efm/api"}, Class: "C"})
	asset := func(name string) string {
		b, err := os.ReadFile(filepath.Join(data, "assets", name))
		if err != nil {
			return "-"
		}
		return string(b)
	}
	s.files["/efm/api/a"], s.files["/efm/api/b"] = "A", "B"
	want(t, "asset", s.order("1", "UPDATE", "asset", map[string]any{"file": "x/a.txt", "relativeUrl": "/a"}), "FULLY_APPLIED", "")
	want(t, "asset again", s.order("2", "UPDATE", "asset", map[string]any{"file": "x/a.txt", "relativeUrl": "/b"}), "NO_OPERATION", "")
	want(t, "asset by force", s.order("3", "UPDATE", "asset", map[string]any{"file": "x/a.txt", "url": s.URL + "/efm/api/b", "forceDownload": "true"}), "FULLY_APPLIED", "")
	if got := asset("x/a.txt"); got != "B" {
		t.Errorf("asset %q", got)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(data, "assets", "out")); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"../evil", "/etc/evil", "", "a/../../evil", ".", "out/evil"} {
		want(t, name, s.order(fmt.Sprint("t", i), "UPDATE", "asset", map[string]any{"file": name, "relativeUrl": "/a", "forceDownload": "true"}), "NOT_APPLIED", "")
	}

	item := func(name, url, content string) map[string]any {
		sum := sha256.Sum256([]byte(content))
		return map[string]any{"resourceId": name, "resourceName": name, "resourceType": "ASSET", "resourcePath": "r", "digest": hex.EncodeToString(sum[:]), "hashType": "SHA-256", "url": url}
	}
	sync := func(id, hash string, items ...any) map[string]any {
		return s.order(id, "SYNC", "resource", map[string]any{"globalHash": map[string]any{"digest": hash, "hashType": "MD5"}, "resourceList": items})
	}
	want(t, "sync", sync("10", "h1", item("a", "/a", "A"), item("b", "/b", "B")), "FULLY_APPLIED", "")
	want(t, "sync again", sync("11", "h1", item("a", "/a", "A"), item("b", "/b", "B")), "NO_OPERATION", "")
	if asset("r/a") != "A" || asset("r/b") != "B" {
		t.Errorf("%q, %q", asset("r/a"), asset("r/b"))
	}
	want(t, "sync of one", sync("12", "h2", item("a", "/a", "A")), "FULLY_APPLIED", "")
	if asset("r/b") != "-" || asset("x/a.txt") != "B" {
		t.Errorf("b %q, the other asset %q", asset("r/b"), asset("x/a.txt"))
	}
	eventually(t, "the hash is not reported", func() bool { return s.beat()["resourceInfo"].(map[string]any)["hash"] == "h2" })
	want(t, "a wrong digest", sync("13", "h3", item("a", "/a", "A"), item("c", "/b", "C")), "PARTIALLY_APPLIED", "digest")
	if asset("r/c") != "-" {
		t.Errorf("c %q", asset("r/c"))
	}
	eventually(t, "the hash stays", func() bool { return s.beat()["resourceInfo"].(map[string]any)["hash"] == nil })
	want(t, "traversal", sync("14", "h4", item("../evil", "/a", "A")), "NOT_APPLIED", "not a name")
	want(t, "an extension", sync("15", "h5", map[string]any{"resourceName": "x", "resourceType": "EXTENSION", "url": "/a"}), "NOT_APPLIED", "EXTENSION")
	want(t, "garbage", s.order("16", "SYNC", "resource", map[string]any{"globalHash": "x", "resourceList": 7}), "NOT_APPLIED", "globalHash")
}

func TestServersThatMisbehave(t *testing.T) {
	a, b := newServer(t), newServer(t)
	a.set("down")
	run(t, agent.Config{Data: t.TempDir(), URLs: []string{a.URL + "/efm/api", b.URL + "/efm/api"}, Class: "C"})
	want(t, "by the other server", b.order("1", "DESCRIBE", "manifest", nil), "FULLY_APPLIED", "")
	for _, mode := range []string{"garbage", "huge", "many", "down"} {
		b.set(mode)
		b.beat()
		b.beat()
		b.set("")
		want(t, "after "+mode, b.order(mode, "DESCRIBE", "manifest", nil), "FULLY_APPLIED", "")
	}
	a.set("")
	b.Close()
	want(t, "by the first server", a.order("2", "STOP", "flow", nil), "FULLY_APPLIED", "")
}

func TestConfiguration(t *testing.T) {
	for want, c := range map[string]agent.Config{
		"--url is needed":      {Class: "C"},
		"--class is needed":    {URLs: []string{"http://127.0.0.1:1/efm/api"}},
		"is not a URL":         {Class: "C", URLs: []string{"ftp://x"}},
		"cannot be read":       {Class: "C", URLs: []string{"http://127.0.0.1:1"}, Trust: trust("/nowhere", "")},
		"not a SHA-256 in hex": {Class: "C", URLs: []string{"http://127.0.0.1:1"}, Trust: trust("", "abc")},
	} {
		c.Data = t.TempDir()
		if err := agent.Run(context.Background(), c, io.Discard, func() {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
