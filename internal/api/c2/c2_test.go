package c2_test

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/c2"
	"sluice.dev/sluice/internal/base/store/dbtest"
	"sluice.dev/sluice/internal/service/edge"
)

// An agent of each dialect reports to two nodes over one database by turns: what one gives, the
// other is told of, and either has what the agent fetches.
func TestDialects(t *testing.T) {
	url := dbtest.Postgres(t).URL
	one, other := start(t, url, "one", false, edge.Config{}, c2.Config{}), start(t, url, "other", false, edge.Config{}, c2.Config{})
	root := as(t, "root")
	file, err := one.edge.AddResource(root, edge.Resource{Name: "größe 1.bin", Type: edge.Asset, Path: "models"}, strings.NewReader("the weights"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			one.TB, other.TB = t, t
			m := machine{id: "agent of " + d.name, class: d.name, hash: d.name + "-hash"}
			get := func(n *node, path string) reply {
				t.Helper()
				r := n.send(n.Client(), "GET", path, nil)
				if r.status != 200 {
					t.Fatalf("%s: %d %s", path, r.status, r.body)
				}
				return r
			}
			acknowledged := func(n *node, op, state, info string) {
				t.Helper()
				if r := n.post("/acknowledge", d.ack(op, state, info)); r.status != 200 || !json.Valid(r.body) {
					t.Fatalf("%d %s", r.status, r.body)
				}
			}

			// A light heartbeat, compressed, of an unknown manifest.
			got := one.taken(one.send(one.Client(), "POST", "/c2/config/heartbeat", packed(d.beat(m)), "Content-Type", "application/json", "Content-Encoding", "gzip")).Requested
			if len(got) != 1 || got[0].Operation != "DESCRIBE" || got[0].Operand != "manifest" || len(got[0].Args) != 0 {
				t.Fatalf("%+v", got)
			}
			full := m
			full.manifest = d.manifest
			acknowledged(other, got[0].Identifier, "FULLY_APPLIED", full.agentInfo())
			until(t, "the class has a manifest on both nodes", func() bool {
				a, err := one.edge.Class(root, d.name)
				b, err2 := other.edge.Class(root, d.name)
				return err == nil && err2 == nil && a.Manifest == m.hash && b.Manifest == m.hash
			})
			if got := other.beat(d.beat(m)).Requested; len(got) != 0 {
				t.Errorf("%+v", got)
			}

			// A flow.
			info, err := one.edge.FlowOf(root, d.name)
			if err != nil {
				t.Fatal(err)
			}
			v, ro, err := one.edge.Publish(root, info.ID, "", edge.Plan{})
			if err != nil {
				t.Fatal(err)
			}
			until(t, "the agent is admitted", func() bool {
				got = one.beat(d.beat(m)).Requested
				return len(got) > 0
			})
			args := got[0].Args
			relative, _ := args["relativeFlowUrl"].(string)
			if len(got) != 1 || got[0].Operation != "UPDATE" || got[0].Operand != "configuration" || args["flowId"] != v.ID || args["persist"] != "true" ||
				!strings.HasPrefix(relative, "/c2-protocol/flows/"+v.ID+"?aid=") || args["location"] != one.URL+"/efm/api"+relative || args["flowUrl"] != args["location"] {
				t.Fatalf("%+v", got)
			}
			for _, path := range []string{args["location"].(string), other.URL + "/efm/api" + relative, other.URL + "/c2/api/" + relative,
				other.URL + "/efm/api/c2-protocol/flows/" + v.ID + "/content?aid=" + strings.ReplaceAll(m.id, " ", "+")} {
				r := get(other, path)
				if r.header.Get("Content-Type") != d.flow || r.header.Get("ETag") == "" ||
					json.Valid(r.body) != (d.name == "java") || (d.name == "cpp") != strings.Contains(string(r.body), "MiNiFi Config Version: 3") {
					t.Errorf("%s: %s\n%s", path, r.header, r.body)
				}
			}
			acknowledged(other, got[0].Identifier, "FULLY_APPLIED", "")
			m.flow = v.ID
			for _, n := range []*node{one, other} {
				if got := n.beat(d.beat(m)).Requested; len(got) != 0 {
					t.Errorf("it has the flow and gets %+v", got)
				}
			}
			until(t, "the rollout ends", func() bool {
				st, err := one.edge.RolloutOf(root, ro.Number)
				return err == nil && st.State == edge.Completed && st.States[edge.Done] == 1
			})

			// Resources.
			if _, err := one.edge.UpdateClass(root, d.name, edge.ClassChange{Resources: &[]string{file.ID}}); err != nil {
				t.Fatal(err)
			}
			got = one.beat(d.beat(m)).Requested
			if len(got) != 1 || got[0].Operation != "SYNC" || got[0].Operand != "resource" {
				t.Fatalf("%+v", got)
			}
			list := got[0].Args["resourceList"].([]any)
			item := list[0].(map[string]any)
			if len(list) != 1 || item["resourceName"] != "größe 1.bin" || item["resourcePath"] != "models" || item["digest"] != file.Digest || item["hashType"] != "SHA-256" ||
				!strings.HasPrefix(item["url"].(string), "/c2-protocol/resources/"+file.ID) {
				t.Fatalf("%+v", item)
			}
			for _, n := range []*node{one, other} { // also that which was not there when it was made
				if r := n.send(n.Client(), "GET", "/efm/api"+item["url"].(string), nil); r.status != 401 {
					t.Errorf("a file without a certificate: %d %q", r.status, r.body)
				}
				r := n.send(n.Client(), "GET", "/efm/api"+item["url"].(string), nil, provedHeader, "yes")
				if string(r.body) != "the weights" || r.header.Get("Content-Disposition") == "" || r.header.Get("Content-Length") != "11" {
					t.Errorf("%s: %s %q", n.URL, r.header, r.body)
				}
			}
			acknowledged(other, got[0].Identifier, "FULLY_APPLIED", "")
			m.resources = got[0].Args["globalHash"].(map[string]any)["digest"].(string)
			if got := other.beat(d.beat(m)).Requested; len(got) != 0 {
				t.Errorf("it has the resources and gets %+v", got)
			}

			// One asset, and the agent's own files.
			order := func(operation, operand string, args map[string]string) (int64, map[string]any) {
				t.Helper()
				o, err := one.edge.Order(root, edge.Request{Operation: operation, Operand: operand, Args: args, Agent: m.id})
				if err != nil {
					t.Fatal(err)
				}
				got = one.beat(d.beat(m)).Requested
				if len(got) != 1 || got[0].Operation != operation || got[0].Operand != operand {
					t.Fatalf("%+v", got)
				}
				return o.Number, got[0].Args
			}
			n, args := order("UPDATE", "asset", map[string]string{"resource": file.ID})
			if r := other.send(other.Client(), "GET", strings.TrimPrefix(args["url"].(string), one.URL), nil, provedHeader, "yes"); string(r.body) != "the weights" || args["url"] != one.URL+"/efm/api"+args["relativeUrl"].(string) || args["file"] != file.Name || args["forceDownload"] != "false" {
				t.Errorf("%q %+v", r.body, args)
			}
			acknowledged(other, got[0].Identifier, "NO_OPERATION", "")
			states(t, one, n, edge.Done)
			n, args = order("TRANSFER", "debug", nil)
			if args["target"] != one.URL+"/efm/api"+args["relativeTarget"].(string) {
				t.Errorf("%+v", args)
			}
			target := other.URL + "/efm/api" + args["relativeTarget"].(string)
			if r := other.send(other.Client(), "POST", target, form("a bundle"), "Content-Type", "multipart/form-data; boundary=b"); r.status != 200 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			broken := form(strings.Repeat("x", 1<<20+5))
			broken.Truncate(broken.Len() - 8)
			if r := other.send(other.Client(), "POST", target, broken, "Content-Type", "multipart/form-data; boundary=b"); r.status != 400 {
				t.Errorf("%d %s", r.status, r.body)
			}
			acknowledged(other, got[0].Identifier, "PARTIALLY_APPLIED", "")
			states(t, one, n, edge.Failed)
			var bundle bytes.Buffer
			if err := one.edge.ReadDebug(root, n, m.id, &bundle); err != nil || bundle.String() != "a bundle" {
				t.Errorf("%.40q, %v", bundle.String(), err)
			}
		})
	}
}

// form is a bundle of TRANSFER debug as agents send it.
func form(content string) *bytes.Buffer {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.SetBoundary("b")
	part, _ := w.CreateFormFile("file", "debug.tar.gz")
	_, _ = part.Write([]byte(content)) // to memory
	_ = w.Close()
	return &b
}

func states(t testing.TB, n *node, order int64, want edge.State) {
	t.Helper()
	st, err := n.edge.OrderOf(as(t, "root"), order)
	if err != nil || st.States[want] != 1 || len(st.States) != 1 {
		t.Errorf("%+v, %v, want %s", st.States, err, want)
	}
}

// What a proxy or a load balancer adds, and URLs that were put together with a slash too many.
func TestPaths(t *testing.T) {
	n := alone(t)
	beat := dialects[0].beat(machine{id: "a", class: "c", hash: "h"})
	for _, path := range []string{"/efm/api/c2-protocol/heartbeat", "/efm/api//c2-protocol/heartbeat", "/c2/api/c2-protocol/heartbeat", "/c2/config/heartbeat"} {
		if r := n.send(n.Client(), "POST", path, strings.NewReader(beat), "Content-Type", "application/json; charset=UTF-8"); r.status != 200 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/efm/api/c2-protocol/heartbeat", 405, "POST"}, {"PUT", "/c2/config/acknowledge", 405, "POST"}, {"POST", "/efm/api/c2-protocol/flows/x", 405, "GET"},
		{"DELETE", "/efm/api/c2-protocol/resources/x", 405, "GET"}, {"POST", "/efm/api/c2-protocol/nothing", 404, ""}, {"GET", "/c2/", 404, ""},
	} {
		r := n.send(n.Client(), c.method, c.path, http.NoBody)
		if r.status != c.status || r.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %v", c.method, c.path, r.status, r.header)
		}
		r.failure(t)
	}
}
