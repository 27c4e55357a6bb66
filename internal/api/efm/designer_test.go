package efm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/edge/edgetest"
)

// component is what an answer says of one.
type component struct {
	b        *bench
	flow     string
	noun, id string
	version  string
}

func (b *bench) flowOf(class string) string {
	b.t.Helper()
	list := b.get("/designer/flows?agentClass=" + class)[""].([]any)
	return list[0].(map[string]any)["id"].(string)
}

// add makes a component in the root group.
func (b *bench) add(flow, noun, configuration string) *component {
	b.t.Helper()
	path, args := "/designer/flows/{id}/process-groups/{pg}/"+noun, []string{flow, "root"}
	if noun == "parameter-contexts" {
		path, args = "/designer/flows/{id}/"+noun, args[:1]
	}
	got := b.json(201, "POST", path, `{"revision":{"version":0,"clientId":"me"},"componentConfiguration":`+configuration+`}`, args...)
	c := &component{b: b, flow: flow, noun: noun}
	c.take(got)
	if list := b.get(path, args...)["components"].([]any); len(list) == 0 {
		b.t.Error("not listed:", c)
	}
	return c
}

func (c *component) take(got map[string]any) map[string]any {
	conf := got["componentConfiguration"].(map[string]any)
	c.id, c.version = conf["identifier"].(string), jsonText(got["revision"].(map[string]any)["version"])
	return conf
}

func (c *component) path() string { return "/designer/flows/{id}/" + c.noun + "/{componentId}" }

func (c *component) get() map[string]any {
	c.b.t.Helper()
	return c.take(c.b.get(c.path(), c.flow, c.id))
}

func (c *component) put(configuration string) map[string]any {
	c.b.t.Helper()
	return c.take(c.b.json(200, "PUT", c.path(), `{"revision":{"version":`+c.version+`,"clientId":"me"},"componentConfiguration":`+configuration+`}`, c.flow, c.id))
}

func (c *component) remove(query string) {
	c.b.t.Helper()
	c.b.call(204, "DELETE", c.path(), []string{c.flow, c.id}, "?clientId=me&version="+c.version+query, "", "")
}

const (
	makes = `{"type":"org.apache.nifi.processors.standard.GenerateFlowFile","name":"makes","schedulingPeriod":"1 sec"}`
	logs  = `{"type":"org.apache.nifi.processors.standard.LogAttribute","name":"logs","autoTerminatedRelationships":["success"]}`
)

func callDesigner(b *bench) {
	t := b.t
	b.get("/designer/client-identifier")
	id := b.flowOf("pumps")
	b.get("/designer/flows/summaries")
	if types := b.get("/designer/flows/{id}/types/processors", id)[""].([]any); len(types) == 0 {
		t.Error("no types")
	}
	b.get("/designer/flows/{id}/types/controller-services", id)
	for noun, configuration := range map[string]string{
		"funnels": `{}`, "input-ports": `{"name":"in"}`, "output-ports": `{"name":"out"}`, "process-groups": `{"name":"inner"}`,
		"remote-process-groups": `{"name":"there","targetUris":"https://nifi:8443/nifi","proxyPassword":"pr0xy"}`,
		"controller-services":   `{"type":"org.apache.nifi.ssl.StandardSSLContextService","properties":{"Keystore Password":"k3y","Keystore Type":"PKCS12"}}`,
		"parameter-contexts":    `{"name":"all","parameters":[{"name":"p","sensitive":true,"value":"p4r"}]}`,
	} {
		c := b.add(id, noun, configuration)
		old := c.version
		c.put(`{"comments":"seen"}`)
		if got := c.get(); got["comments"] != "seen" {
			t.Error(noun, got)
		}
		// Secrets stay, and are told nobody.
		_, text, err := b.edge.Flow(rootContext(t), id)
		if err != nil {
			t.Fatal(err)
		}
		kept, shown := jsonText(text), jsonText(b.get("/designer/flows/{id}", id))+jsonText(c.get())
		for n, secret := range map[string]string{"remote-process-groups": "pr0xy", "controller-services": "k3y", "parameter-contexts": "p4r"} {
			if n == noun && !strings.Contains(kept, secret) || strings.Contains(shown, secret) {
				t.Errorf("%s: %s: kept %s, shown %s", noun, secret, kept, shown)
			}
		}
		wrong := b.json(409, "PUT", c.path(), `{"revision":{"version":`+old+`},"componentConfiguration":{"comments":"late"}}`, id, c.id)
		if e := wrong["error"].(map[string]any); e["reason"] != "WrongRevision" || !strings.Contains(e["message"].(string), c.version) {
			t.Error(noun, e)
		}
		c.remove("")
		b.call(404, "GET", c.path(), []string{id, c.id}, "", "", "")
	}
	from, to := b.add(id, "processors", makes), b.add(id, "processors", logs)
	// A request that is sent again makes nothing more.
	again := `{"revision":{"version":0,"clientId":"me"},"requestId":"r1","componentConfiguration":` + logs + `}`
	var extra component
	for range 2 {
		extra = component{b: b, flow: id, noun: "processors"}
		extra.take(b.json(201, "POST", "/designer/flows/{id}/process-groups/{pg}/processors", again, id, "root"))
	}
	if n := len(b.get("/designer/flows/{id}/process-groups/{pg}/processors", id, "root")["components"].([]any)); n != 3 {
		t.Error(n, "processors")
	}
	extra.remove("")
	link := b.add(id, "connections", fmt.Sprintf(`{"source":{"id":%q},"destination":{"id":%q},"selectedRelationships":["success"]}`, from.id, to.id))
	link.put(`{"backPressureObjectThreshold":5}`)
	if got := link.get(); got["backPressureDataSizeThreshold"] != "1 GB" || jsonText(got["backPressureObjectThreshold"]) != "5" {
		t.Error(got)
	}
	link.remove("")
	b.add(id, "connections", fmt.Sprintf(`{"source":{"id":%q},"destination":{"id":%q},"selectedRelationships":["success"]}`, from.id, to.id))
	to.put(`{"properties":{"Log Level":"info","Log Payload":"true"}}`)
	if got := to.put(`{"properties":{"Log Payload":null}}`)["properties"].(map[string]any); len(got) != 1 || got["Log Level"] != "info" {
		t.Error(got)
	}
	from.get()
	if got := b.get("/designer/flows/{id}/validate", id); jsonText(got) != `{"validationErrors":[]}` {
		t.Error(got)
	}
	for _, c := range []struct{ noun, configuration, field string }{
		{"processors", `{"type":"no.such.Type"}`, "componentConfiguration.type"},
		{"processors", `{"type":"a","colour":"red"}`, "componentConfiguration.colour"},
		{"process-groups", `{"name":"g","processors":[` + makes + `]}`, "componentConfiguration.processors"},
		{"input-ports", `{"name":"p","type":"OUTPUT_PORT"}`, "componentConfiguration.type"},
	} {
		got := b.json(400, "POST", "/designer/flows/{id}/process-groups/{pg}/"+c.noun, `{"revision":{"version":0},"componentConfiguration":`+c.configuration+`}`, id, "root")
		if got["error"].(map[string]any)["field"] != c.field {
			t.Error(c, got)
		}
	}
}

func callVersions(b *bench) {
	t := b.t
	id := b.flowOf("pumps")
	got := b.json(200, "POST", "/designer/flows/{id}/publish", `{"comments":"the first","plan":{"waves":[{"agents":1}],"max_failed_percent":0}}`, id)
	version, rollout := got["version"].(map[string]any), jsonText(got["rollout"].(map[string]any)["number"])
	b.json(409, "POST", "/designer/flows/{id}/publish", `{}`, id)
	b.get("/rollouts?agentClass=pumps")
	if r := b.json(200, "POST", "/rollouts/{n}/pause", "", rollout); r["state"] != "PAUSED" {
		t.Error(r)
	}
	if r := b.json(200, "POST", "/rollouts/{n}/resume", "", rollout); r["state"] != "RUNNING" {
		t.Error(r)
	}
	if r := b.json(200, "POST", "/rollouts/{n}/cancel", "", rollout); r["state"] != "ROLLED_BACK" {
		t.Error(r)
	}
	b.get("/rollouts/{n}", rollout)
	b.json(409, "POST", "/rollouts/{n}/pause", "", rollout)
	if list := b.get("/designer/flows/{id}/versions", id)[""].([]any); len(list) != 1 {
		t.Error(list)
	}
	b.get("/designer/flows/{id}/versions/{v}", id, "1")
	b.get("/designer/flows/{id}/versions/{v}", id, version["id"].(string))
	b.call(404, "GET", "/designer/flows/{id}/versions/{v}", []string{id, "9"}, "", "", "")
	b.add(id, "funnels", `{}`)
	if d := b.get("/designer/flows/{id}/diff?from=1", id)["differences"].([]any); len(d) != 1 || d[0].(map[string]any)["what"] != "added" {
		t.Error(d)
	}
	b.json(200, "POST", "/designer/flows/{id}/revert", `{"version":"1"}`, id)
	if d := b.get("/designer/flows/{id}/diff?from=1", id)["differences"].([]any); len(d) != 0 {
		t.Error(d)
	}
	b.json(200, "POST", "/designer/flows/{id}/versions/{v}/publish", `{}`, id, "1")
	// What is exported, in whichever form, can be taken in, here by another class.
	b.beat("agent-3", "ships", "java-hash", nil)
	for format, media := range map[string]string{"json": "application/json", "nifi": "application/json", "yaml": "application/yaml"} {
		text := b.get("/designer/{agentClass}/flows/export?format="+format, "pumps")
		raw := b.send(request("GET", "/designer/pumps/flows/export?format="+format, "", "")).Body.String()
		in := b.call(201, "POST", "/designer/{agentClass}/flows/import", []string{"ships"}, "", media, raw)
		if in["agentClass"] != "ships" || len(in["flow"].(map[string]any)["rootGroup"].(map[string]any)["processors"].([]any)) != 2 {
			t.Error(format, in, text)
		}
	}
	b.json(400, "POST", "/designer/{agentClass}/flows/import", `{"format":1,"colour":"red"}`, "ships")
}

func callResources(b *bench) {
	t := b.t
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	_ = w.WriteField("resourcePath", "models")
	part, _ := w.CreateFormFile("file", "model.bin")
	_, _ = part.Write([]byte("weights"))
	_ = w.Close()
	r := b.call(201, "POST", "/resource-manager/resources/file", nil, "", w.FormDataContentType(), form.String())
	id := r["resourceId"].(string)
	if r["resourceName"] != "model.bin" || r["resourceType"] != "ASSET" || r["resourcePath"] != "models" {
		t.Error(r)
	}
	b.call(409, "POST", "/resource-manager/resources/file", nil, "", w.FormDataContentType(), form.String())
	b.get("/resource-manager/resources")
	b.get("/resource-manager/resources/{id}", id)
	if got := b.get("/resource-manager/resources/{id}/content", id)["text"]; got != "weights" {
		t.Error(got)
	}
	b.call(404, "GET", "/resource-manager/resources/{id}/content", []string{"none"}, "", "", "")
	b.json(200, "PUT", "/agent-class-resource-manager/{class}/save", `{"resources":["`+id+`"]}`, "pumps")
	b.call(409, "DELETE", "/resource-manager/resources/{id}", []string{id}, "", "", "")
	b.json(200, "PUT", "/agent-class-resource-manager/{class}/save", `{"resources":[]}`, "pumps")
	b.call(204, "DELETE", "/resource-manager/resources/{id}", []string{id}, "", "", "")
	c := b.json(200, "POST", "/agent-deployer/generateCommand", `{"agentClass":"pumps","agentId":"new","expiresIn":600}`)
	if want := "sluice agent enroll --url 'http://node/efm/api' --token '" + c["token"].(string) + "'"; c["command"] != want || c["agentId"] != "new" {
		t.Error(c)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"revision":{"version":1},"componentConfiguration":{"properties":{"a":null}}}`)
	f.Add(`{"componentConfiguration":{"position":{"x":1e999}}}`)
	b := open(f)
	if _, err := b.edge.CreateClass(rootContext(f), "pumps", ""); err != nil {
		f.Fatal(err)
	}
	b.beat("agent-1", "pumps", "java-hash", edgetest.Manifest("java"))
	id := b.flowOf("pumps")
	f.Fuzz(func(t *testing.T, body string) {
		w := b.send(request("POST", "/designer/flows/"+id+"/process-groups/root/funnels", "application/json", body))
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
