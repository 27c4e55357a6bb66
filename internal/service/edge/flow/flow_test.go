package flow_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge/edgetest"
	"sluice.dev/sluice/internal/service/edge/flow"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// id returns a UUID that can be told from others by its number.
func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func text(s string) *string { return &s }

// one is the revision of what was just created.
var one = flow.Revision{Version: 1}

func processor(n int, typ string, props map[string]string) *flow.Processor {
	return &flow.Processor{Head: flow.Head{ID: id(n), Position: flow.Position{X: float64(n)}}, Type: typ, Properties: props,
		Strategy: "TIMER_DRIVEN", Period: "1 sec", Tasks: 1, Penalty: "30 sec", Yield: "1 sec", Bulletins: "WARN"}
}

func connection(n, from, to int, relationships ...string) *flow.Connection {
	return &flow.Connection{Head: flow.Head{ID: id(n)}, Source: flow.End{ID: id(from)}, Destination: flow.End{ID: id(to)},
		Relationships: relationships, MaxObjects: 10000, MaxSize: "1 GB", Expiration: "0 sec"}
}

func port(n int, kind flow.Kind, name string) *flow.Port {
	return &flow.Port{Head: flow.Head{ID: id(n), Name: name}, Type: kind, Tasks: 1}
}

func group(n int, name string) *flow.Group {
	return &flow.Group{Head: flow.Head{ID: id(n), Name: name}}
}

func create(group string, c flow.Component) flow.Change {
	return flow.Change{Action: flow.Create, Group: group, Component: c}
}

// apply makes changes that must succeed.
func apply(t testing.TB, f *flow.Flow, changes ...flow.Change) *flow.Flow {
	t.Helper()
	out, err := flow.Apply(f, changes...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func empty(t testing.TB) *flow.Flow {
	t.Helper()
	f, err := flow.New(id(1), "pumps", "Pumps")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func marshal(t testing.TB, f *flow.Flow) []byte {
	t.Helper()
	out, err := flow.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func parseManifest(t testing.TB, dialect string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse(edgetest.Manifest(dialect))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const (
	javaTypes = "org.apache.nifi.processors.standard."
	javaSSL   = "org.apache.nifi.ssl.StandardSSLContextService"
	cppTypes  = "org.apache.nifi.minifi.processors."
	cppSSL    = "org.apache.nifi.minifi.controllers.SSLContextService"
)

// sample is a flow with something of every kind, which is valid for the dialect:
//
//	TailFile(10) → [group 30: in(31) → RouteOnAttribute(32) → out(33)] → funnel(20) → InvokeHTTP(11)
//	                                      unmatched → remote port(41)   InvokeHTTP's failures → itself
func sample(t testing.TB, dialect string) *flow.Flow {
	t.Helper()
	f := empty(t)
	root := f.Root.ID
	types, ssl, url := javaTypes, javaSSL, "HTTP URL"
	failed := []string{"Failure", "Retry"}
	done := []string{"No Retry", "Original", "Response"}
	secret := "Truststore Password"
	if dialect == "cpp" {
		types, ssl, url = cppTypes, cppSSL, "Remote URL"
		failed, done = []string{"failure", "retry"}, []string{"no retry", "response", "success"}
		secret = "Passphrase"
	}
	context := &flow.ParameterContext{Head: flow.Head{ID: id(50), Name: "Plant"}, Inherits: []string{"Base"}, Parameters: []flow.Parameter{
		{Name: "host", Value: text("collector.example")},
		{Name: "password", Sensitive: true, Value: text("geheim#{1}")},
	}}
	base := &flow.ParameterContext{Head: flow.Head{ID: id(51), Name: "Base", Comments: "for all plants"}, Parameters: []flow.Parameter{
		{Name: "host", Value: text("nowhere")}, {Name: "log dir", Value: text("/var/log")},
	}}
	pumps := *f.Root
	pumps.Context = "Plant"
	route := processor(32, types+"RouteOnAttribute", map[string]string{"hot": "${temperature:gt(90)}"})
	invoke := processor(11, types+"InvokeHTTP", map[string]string{url: "https://#{host}:8443/in", "SSL Context Service": id(60), "X-Note": "not ##{a parameter}"})
	invoke.AutoTerminated = done
	invoke.Name = "Send"
	if dialect == "java" {
		route.AutoTerminated = nil
		invoke.Retry = &flow.Retry{Count: 3, Relationships: []string{"Retry"}, Backoff: "PENALIZE_FLOWFILE", MaxBackoff: "10 mins"}
	} else {
		route.AutoTerminated = []string{"failure"}
	}
	send := &flow.RemoteGroup{Head: flow.Head{ID: id(40), Name: "NiFi"}, Targets: "https://nifi.example:8443/nifi", Timeout: "30 sec", Yield: "10 sec", Transport: "HTTP",
		Inputs: []*flow.RemotePort{{ID: id(41), Name: "cold", Tasks: 1}}}
	tail := processor(10, types+"TailFile", map[string]string{"File to Tail": "#{log dir}/pump.log"})
	tail.Strategy, tail.Period = "CRON_DRIVEN", "0 */5 * * * ?"
	tail.Comments = "every five minutes\n\"quoted\" and <tagged>"
	return apply(t, f,
		create("", base), create("", context),
		flow.Change{Action: flow.Update, Component: &pumps, Revision: one},
		create(root, &flow.ControllerService{Head: flow.Head{ID: id(60), Name: "TLS"}, Type: ssl, Properties: map[string]string{secret: "#{password}"}}),
		create(root, tail), create(root, invoke),
		create(root, &flow.Funnel{Head: flow.Head{ID: id(20)}}),
		create(root, group(30, "Sort")),
		create(id(30), port(31, flow.KindInput, "in")), create(id(30), port(33, flow.KindOutput, "out")),
		create(id(30), route), create(id(30), send),
		create(root, connection(70, 10, 31, "success")),
		create(id(30), connection(71, 31, 32)), create(id(30), connection(72, 32, 33, "hot")), create(id(30), connection(73, 32, 41, "unmatched")),
		create(root, connection(74, 33, 20)), create(root, connection(75, 20, 11)),
		create(root, connection(76, 11, 11, failed...)),
	)
}

func TestMarshalIsOneTextForOneFlow(t *testing.T) {
	f := sample(t, "java")
	want := marshal(t, f)
	back, err := flow.Unmarshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got := marshal(t, back); !bytes.Equal(got, want) {
		t.Errorf("the text of what was read is another:\n%s", got)
	}
	slices.Reverse(back.Root.Processors)
	slices.Reverse(back.Root.Connections)
	slices.Reverse(back.Contexts[0].Parameters)
	if got := marshal(t, back); !bytes.Equal(got, want) {
		t.Error("the text depends on the order of lists")
	}
	if !bytes.Contains(want, []byte("<tagged>")) {
		t.Error("the text is escaped for HTML")
	}
}

func TestUnmarshalIsStrict(t *testing.T) {
	good := string(marshal(t, sample(t, "java")))
	for name, c := range map[string]struct{ old, new, field, message string }{
		"unknown":           {`"agentClass"`, `"agentKlass"`, "agentKlass", "no such member"},
		"case":              {`"schedulingPeriod"`, `"SchedulingPeriod"`, "rootGroup.processors[0].SchedulingPeriod", "no such member"},
		"twice":             {`"schedulingPeriod": "0 */5 * * * ?"`, `"schedulingPeriod": "1 sec", "schedulingPeriod": "2 sec"`, "rootGroup.processors[0].schedulingPeriod", "twice"},
		"number for a text": {`"penaltyDuration": "30 sec"`, `"penaltyDuration": 30`, "rootGroup.processors[0].penaltyDuration", "a text"},
		"text for a number": {`"concurrentlySchedulableTaskCount": 1`, `"concurrentlySchedulableTaskCount": "1"`, "rootGroup.processors[0].concurrentlySchedulableTaskCount", "whole number"},
		"format":            {`"format": 1`, `"format": 2`, "format", "format 1"},
		"no UUID":           {`"identifier": "` + id(10), `"identifier": "x`, "x.identifier", "not a UUID"},
		"no such end":       {`"id": "` + id(10), `"id": "` + id(99), id(70) + ".source.id", "does not exist"},
		"no such context":   {`"parameterContextName": "Plant"`, `"parameterContextName": "Field"`, "", "no parameter context"},
		"circle":            {`"name": "Base",`, `"name": "Base", "inheritedParameterContexts": ["Plant"],`, "", "inherits from itself"},
		"null":              {`"funnels": [`, `"funnels": [null,`, "", "null"},
		"not JSON":          {`"rootGroup": {`, `"rootGroup": `, "", "not JSON"},
	} {
		if !strings.Contains(good, c.old) {
			t.Fatalf("%s: no %s in\n%s", name, c.old, good)
		}
		_, err := flow.Unmarshal([]byte(strings.Replace(good, c.old, c.new, 1)))
		if err == nil || !strings.Contains(fault.MessageOf(err), c.message) || c.field != "" && fault.FieldOf(err) != c.field {
			t.Errorf("%s: field %q, %v", name, fault.FieldOf(err), err)
		}
	}
	deep := strings.Repeat(`{"processGroups":[`, 1_000_000)
	if _, err := flow.Unmarshal([]byte(`{"format":1,"rootGroup":` + deep)); !flow.Invalid.Is(err) {
		t.Error(err)
	}
}

func TestFlowsDoNotChange(t *testing.T) {
	f := sample(t, "java")
	before := marshal(t, f)
	p := processor(10, javaTypes+"TailFile", map[string]string{"File to Tail": "/other"})
	g := apply(t, f,
		flow.Change{Action: flow.Update, Component: p, Revision: one},
		flow.Change{Action: flow.Delete, ID: id(30), Revision: one, Connections: true},
		flow.Change{Action: flow.Update, Component: &flow.ParameterContext{Head: flow.Head{ID: id(51), Name: "All"}}, Revision: one},
		create("", processor(99, "x", nil)))
	if !bytes.Equal(marshal(t, f), before) {
		t.Error("Apply changed the flow it was given")
	}
	after := marshal(t, g)
	p.Properties["File to Tail"] = "/changed later"
	if !bytes.Equal(marshal(t, g), after) {
		t.Error("the flow holds the caller's map")
	}
}

func TestApply(t *testing.T) {
	f := sample(t, "java")
	renamed := func(c flow.Component, name string) flow.Component { c.Meta().Name = name; return c }
	for name, c := range map[string]struct {
		changes []flow.Change
		reason  *fault.Reason
		message string
	}{
		"create twice":            {[]flow.Change{create("", processor(10, "x", nil))}, flow.ComponentExists, id(10)},
		"create without an id":    {[]flow.Change{create("", &flow.Funnel{})}, flow.Invalid, "needs an identifier"},
		"create a remote's id":    {[]flow.Change{create("", processor(41, "x", nil))}, flow.ComponentExists, "twice"},
		"create in no group":      {[]flow.Change{create(id(99), processor(99, "x", nil))}, flow.NoSuchComponent, "process group"},
		"create without a type":   {[]flow.Change{create("", processor(99, "", nil))}, flow.Invalid, "type"},
		"two ports of a name":     {[]flow.Change{create(id(30), port(99, flow.KindInput, "in"))}, flow.ComponentExists, "two ports"},
		"port without a side":     {[]flow.Change{create("", port(99, "PORT", "p"))}, flow.Invalid, "neither"},
		"connection from nothing": {[]flow.Change{create("", connection(99, 98, 11, "success"))}, flow.Invalid, "does not exist"},
		"connection into a group": {[]flow.Change{create("", connection(99, 10, 32, "success"))}, flow.Invalid, "not in the group"},
		"connection to an output": {[]flow.Change{create("", connection(99, 10, 33, "success"))}, flow.Invalid, "not in the group"},
		"connection to a group":   {[]flow.Change{create("", connection(99, 10, 30, "success"))}, flow.Invalid, "cannot be one"},
		"from an input outside":   {[]flow.Change{create("", connection(99, 31, 11))}, flow.Invalid, "not in the group"},
		"without a relationship":  {[]flow.Change{create("", connection(99, 10, 11))}, flow.Invalid, "no relationship"},
		"wrong revision":          {[]flow.Change{{Action: flow.Update, Component: processor(10, "x", nil), Revision: flow.Revision{Version: 3}}}, flow.WrongRevision, "has the revision 1"},
		"old revision":            {[]flow.Change{{Action: flow.Update, Component: processor(10, "x", nil), Revision: flow.Revision{Version: 1, ClientID: "me"}}, {Action: flow.Delete, ID: id(10), Revision: one}}, flow.WrongRevision, "has the revision 2 and was last changed by me"},
		"another kind":            {[]flow.Change{{Action: flow.Update, Component: group(10, "g"), Revision: one}}, flow.Invalid, "cannot become"},
		"update nothing":          {[]flow.Change{{Action: flow.Update, Component: group(99, "g"), Revision: one}}, flow.NoSuchComponent, id(99)},
		"delete what's connected": {[]flow.Change{{Action: flow.Delete, ID: id(10), Revision: one}}, flow.InUse, "connected by " + id(70)},
		"delete a group so":       {[]flow.Change{{Action: flow.Delete, ID: id(30), Revision: one}}, flow.InUse, "connected by"},
		"delete a remote so":      {[]flow.Change{{Action: flow.Delete, ID: id(40), Revision: one}}, flow.InUse, "connected by " + id(73)},
		"delete a service in use": {[]flow.Change{{Action: flow.Delete, ID: id(60), Revision: one}}, flow.InUse, "SSL Context Service"},
		"delete a context in use": {[]flow.Change{{Action: flow.Delete, ID: id(50), Revision: one}}, flow.InUse, "group"},
		"delete what's inherited": {[]flow.Change{{Action: flow.Delete, ID: id(51), Revision: one}}, flow.InUse, "inherits"},
		"delete the root":         {[]flow.Change{{Action: flow.Delete, ID: f.Root.ID, Revision: flow.Revision{Version: 2}}}, flow.InUse, "root"},
		"drop a port in use":      {[]flow.Change{{Action: flow.Update, Component: &flow.RemoteGroup{Head: flow.Head{ID: id(40)}}, Revision: one}}, flow.Invalid, "does not exist"},
		"move what's connected":   {[]flow.Change{{Action: flow.Move, ID: id(10), Group: id(30), Revision: one}}, flow.InUse, "connected"},
		"move into itself":        {[]flow.Change{{Action: flow.Move, ID: id(30), Group: id(30), Revision: one}}, flow.Invalid, "itself"},
		"name a parameter badly":  {[]flow.Change{{Action: flow.Update, Component: &flow.ParameterContext{Head: flow.Head{ID: id(51), Name: "Base"}, Parameters: []flow.Parameter{{Name: "a}b"}}}, Revision: one}}, flow.Invalid, "no name of a parameter"},
		"two parameters":          {[]flow.Change{{Action: flow.Update, Component: &flow.ParameterContext{Head: flow.Head{ID: id(51), Name: "Base"}, Parameters: []flow.Parameter{{Name: "a"}, {Name: "a"}}}, Revision: one}}, flow.ComponentExists, "two parameters"},
		"two contexts":            {[]flow.Change{create("", renamed(&flow.ParameterContext{Head: flow.Head{ID: id(99)}}, "Base"))}, flow.ComponentExists, "two parameter contexts"},
		"nothing":                 {[]flow.Change{{}}, flow.Invalid, "no action"},

		"delete with connections": {[]flow.Change{{Action: flow.Delete, ID: id(10), Revision: one, Connections: true}}, nil, ""},
		"delete a whole group":    {[]flow.Change{{Action: flow.Delete, ID: id(30), Revision: one, Connections: true}}, nil, ""},
		"delete user and service": {[]flow.Change{{Action: flow.Delete, ID: id(11), Revision: one, Connections: true}, {Action: flow.Delete, ID: id(60), Revision: one}}, nil, ""},
		"move a service":          {[]flow.Change{{Action: flow.Move, ID: id(60), Group: id(30), Revision: one}}, nil, ""},
		"move a group":            {[]flow.Change{create("", group(90, "new")), {Action: flow.Move, ID: id(30), Group: id(90), Revision: one, Connections: true}}, nil, ""},
		"a loop of its own":       {[]flow.Change{create("", connection(99, 10, 10, "success"))}, nil, ""},
	} {
		got, err := flow.Apply(f, c.changes...)
		if c.reason == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if _, err := flow.Unmarshal(marshal(t, got)); err != nil {
				t.Errorf("%s: cannot be read again: %v", name, err)
			}
			continue
		}
		if !c.reason.Is(err) || !strings.Contains(fault.MessageOf(err), c.message) || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatUpdatesLeave(t *testing.T) {
	f := sample(t, "java")
	f = apply(t, f, flow.Change{Action: flow.Update, Component: group(30, "Renamed"), Revision: flow.Revision{Version: 1, ClientID: "ana"}},
		flow.Change{Action: flow.Update, Component: &flow.ParameterContext{Head: flow.Head{ID: id(51), Name: "All"}, Parameters: []flow.Parameter{{Name: "log dir", Value: text("/log")}}}, Revision: one})
	c, _, _ := f.Find(id(30))
	g := c.(*flow.Group)
	if g.Name != "Renamed" || len(g.Processors) != 1 || len(g.Connections) != 3 || g.Revision != (flow.Revision{Version: 2, ClientID: "ana"}) {
		t.Errorf("%+v", g)
	}
	c, _, _ = f.Find(id(50))
	if got := c.(*flow.ParameterContext).Inherits; !slices.Equal(got, []string{"All"}) {
		t.Errorf("who inherits did not follow the new name: %v", got)
	}
	c, in, _ := f.Find(id(74))
	if conn := c.(*flow.Connection); in != f.Root || conn.Source != (flow.End{ID: id(33), Type: flow.KindOutput, Group: id(30)}) {
		t.Errorf("%+v in %s", c, in.ID)
	}
}

func TestEscape(t *testing.T) {
	for literal, want := range map[string]string{
		"":           "",
		"plain # {":  "plain # {",
		"#{a}":       "##{a}",
		"##{a}":      "####{a}",
		"#{open":     "#{open",
		"x#{a}#{b}y": "x##{a}##{b}y",
		"#{a#{b}":    "##{a#{b}",
	} {
		if got := flow.Escape(literal); got != want {
			t.Errorf("%s: %s, want %s", literal, got, want)
		}
	}
	for value, want := range map[string]string{
		"#{a}": "a", "##{a}": "", "###{a}": "a", "####{a}": "", "#{a b}/#{c.d-e_f}": "a b,c.d-e_f", "${x:append('#{y}')}": "y", "#{": "", "#}{a}": "", "# {a}": "",
	} {
		if got := strings.Join(flow.References(value), ","); got != want {
			t.Errorf("%s refers to %s, want %s", value, got, want)
		}
	}
}
