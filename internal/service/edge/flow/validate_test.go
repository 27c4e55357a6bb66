package flow_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/edge/flow"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

func TestSamplesAreValid(t *testing.T) {
	for _, dialect := range []string{"java", "cpp"} {
		for _, p := range flow.Validate(sample(t, dialect), parseManifest(t, dialect)) {
			t.Errorf("%s: %+v", dialect, p)
		}
	}
	if p := flow.Validate(sample(t, "java"), nil); len(p) > 0 {
		t.Errorf("without a manifest: %+v", p)
	}
}

// edit returns a change that puts something else into a component of a flow.
func edit[C flow.Component](t *testing.T, f *flow.Flow, n int, with func(C)) flow.Change {
	t.Helper()
	back, err := flow.Unmarshal(marshal(t, f)) // components that are nobody else's
	if err != nil {
		t.Fatal(err)
	}
	c, _, ok := back.Find(id(n))
	if !ok {
		t.Fatalf("no component %d", n)
	}
	with(c.(C))
	return flow.Change{Action: flow.Update, Component: c, Revision: c.Meta().Revision}
}

func TestValidate(t *testing.T) {
	type p = *flow.Processor
	for _, c := range []struct {
		name    string
		dialect string
		n       int
		with    any // func(component)
		want    string
	}{
		{"unknown type", "java", 10, func(p p) { p.Type = "GetFile" }, "10 type: the agents of this class have no processor GetFile"},
		{"a bundle of another version", "java", 10, func(p p) {
			p.Bundle = flow.Bundle{Group: "org.apache.nifi.minifi", Artifact: "minifi-standard-nar", Version: "9"}
		}, ""},
		{"unknown bundle", "java", 10, func(p p) { p.Bundle = flow.Bundle{Group: "x", Artifact: "y", Version: "1"} }, "10 bundle: the processor org.apache.nifi.processors.standard.TailFile is not in the agents' bundle x:y:1"},
		{"bare class", "cpp", 10, func(p p) { p.Type = "TailFile" }, ""},
		{"unknown property", "java", 10, func(p p) { p.Properties["Colour"] = "red" }, `10 properties.Colour: org.apache.nifi.processors.standard.TailFile has no property "Colour"`},
		{"dynamic property", "java", 11, func(p p) { p.Properties["X-Colour"] = "red" }, ""},
		{"required", "java", 10, func(p p) { delete(p.Properties, "File to Tail") }, "10 properties.File to Tail: the property is required"},
		{"required and empty", "java", 10, func(p p) { p.Properties["File to Tail"] = "" }, "10 properties.File to Tail: the property is required and its value empty"},
		{"not allowed", "java", 10, func(p p) { p.Properties["tail-mode"] = "All" }, "10 properties.tail-mode: the value is not one of those allowed: Single file, Multiple files"},
		{"allowed", "java", 10, func(p p) { p.Properties["tail-mode"] = "Multiple files" }, ""},
		{"not looked at", "java", 11, func(p p) { p.Properties["Request Body Enabled"] = "perhaps" }, ""},
		{"depended on", "java", 11, func(p p) { p.Properties["HTTP Method"] = "POST"; p.Properties["Request Body Enabled"] = "perhaps" }, "11 properties.Request Body Enabled: the value is not one of those allowed: true, false"},
		{"duration", "java", 11, func(p p) { p.Properties["Connection Timeout"] = "soon" }, "11 properties.Connection Timeout: the value must be a duration such as 30 sec"},
		{"no service", "java", 11, func(p p) { p.Properties["SSL Context Service"] = id(98) }, `11 properties.SSL Context Service: there is no controller service "` + id(98) + `"`},
		{"not a service", "java", 11, func(p p) { p.Properties["SSL Context Service"] = "TLS" }, `11 properties.SSL Context Service: there is no controller service "TLS"`},
		{"a service by its name", "cpp", 11, func(p p) { p.Properties["SSL Context Service"] = "TLS" }, ""},
		{"a disabled service", "java", 60, func(s *flow.ControllerService) { s.Disabled = true }, "11 properties.SSL Context Service: the controller service " + id(60) + " is disabled"},
		{"a service of another type", "java", 60, func(s *flow.ControllerService) {
			s.Type, s.Properties = "org.apache.nifi.kafka.service.Kafka3ConnectionService", map[string]string{"Bootstrap Servers": "k:9092"}
		}, "11 properties.SSL Context Service: the controller service " + id(60) + " is a org.apache.nifi.kafka.service.Kafka3ConnectionService, not a org.apache.nifi.ssl.SSLContextService"},
		{"no parameter", "java", 10, func(p p) { p.Properties["File to Tail"] = "#{dir}" }, `10 properties.File to Tail: there is no parameter "dir"`},
		{"no name of one", "java", 10, func(p p) { p.Properties["File to Tail"] = "#{a/b}" }, "10 properties.File to Tail: #{a/b} is no reference: a parameter's name has letters, digits, -, _, . and spaces"},
		{"escaped", "java", 10, func(p p) { p.Properties["File to Tail"] = "##{dir}" }, ""},
		{"sensitive in the open", "java", 10, func(p p) { p.Properties["File to Tail"] = "#{password}" }, `10 properties.File to Tail: the parameter "password" is sensitive and the property is not`},
		{"sensitive for a service", "java", 11, func(p p) { p.Properties["SSL Context Service"] = "#{password}" }, `11 properties.SSL Context Service: the parameter "password" is sensitive and the property is not`},
		{"open in a secret", "java", 60, func(s *flow.ControllerService) { s.Properties["Truststore Password"] = "#{host}" }, `60 properties.Truststore Password: the property is sensitive and the parameter "host" is not`},
		{"more than a secret", "java", 60, func(s *flow.ControllerService) { s.Properties["Truststore Password"] = "x#{password}" }, "60 properties.Truststore Password: a sensitive property refers to one parameter and holds nothing else"},
		{"secret as such", "java", 60, func(s *flow.ControllerService) { s.Properties["Truststore Password"] = "changeit" }, ""},
		{"in the value of a parameter", "java", 50, func(c *flow.ParameterContext) { c.Parameters = c.Parameters[1:] }, ""},
		{"without a context", "java", 50, func(c *flow.ParameterContext) { c.Parameters = c.Parameters[:1] }, `60 properties.Truststore Password: there is no parameter "password"`},
		{"left open", "java", 11, func(p p) { p.AutoTerminated = []string{"Original", "Response"} }, `11 relationships: the relationship "No Retry" is neither connected nor ended`},
		{"ended twice", "java", 11, func(p p) { p.AutoTerminated = append(p.AutoTerminated, "Retry") }, `11 autoTerminatedRelationships: the relationship "Retry" is connected and ended as well (warning)`},
		{"ended and unknown", "java", 11, func(p p) { p.AutoTerminated = append(p.AutoTerminated, "Lost") }, `11 autoTerminatedRelationships: the processor org.apache.nifi.processors.standard.InvokeHTTP has no relationship "Lost"`},
		{"unknown relationship", "java", 70, func(c *flow.Connection) { c.Relationships = []string{"success", "failure"} }, `70 selectedRelationships: the processor org.apache.nifi.processors.standard.TailFile has no relationship "failure"`},
		{"dynamic and left open", "java", 32, func(p p) { p.Properties["mild"] = "${temperature:lt(90)}" }, `32 relationships: the relationship "mild" that the property makes is neither connected nor ended (warning)`},
		{"strategy", "java", 10, func(p p) { p.Strategy = "EVENT_DRIVEN" }, `10 schedulingStrategy: "EVENT_DRIVEN" is not one of TIMER_DRIVEN, CRON_DRIVEN`},
		{"events in C++", "cpp", 11, func(p p) { p.Strategy, p.Period = "EVENT_DRIVEN", "" }, ""},
		{"period", "java", 11, func(p p) { p.Period = "often" }, `11 schedulingPeriod: "often" is not a duration such as 30 sec`},
		{"cron", "java", 10, func(p p) { p.Period = "0 61 * * * ?" }, `10 schedulingPeriod: "0 61 * * * ?" is no schedule such as 0 */5 * * * ?: "61" is wrong for the minutes`},
		{"penalty", "java", 10, func(p p) { p.Penalty = "" }, `10 penaltyDuration: "" is not a duration such as 30 sec`},
		{"bulletins", "java", 10, func(p p) { p.Bulletins = "LOUD" }, `10 bulletinLevel: "LOUD" is not one of DEBUG, INFO, WARN, ERROR, NONE`},
		{"no task", "java", 11, func(p p) { p.Tasks = 0 }, "11 concurrentlySchedulableTaskCount: at least one task is needed, not 0"},
		{"too many tasks", "java", 11, func(p p) { p.Tasks = 300 }, "11 concurrentlySchedulableTaskCount: at most 255 tasks are possible, not 300"},
		{"tasks of one that has one", "java", 10, func(p p) { p.Tasks = 2 }, "10 concurrentlySchedulableTaskCount: the processor never runs more than one task (warning)"},
		{"size of a queue", "java", 70, func(c *flow.Connection) { c.MaxSize = "much" }, `70 backPressureDataSizeThreshold: "much" is not a size such as 1 GB`},
		{"expiry", "java", 70, func(c *flow.Connection) { c.Expiration = "0" }, `70 flowFileExpiration: "0" is not a duration such as 30 sec`},
		{"prioritizers of C++", "cpp", 70, func(c *flow.Connection) { c.Prioritizers = []string{"x"} }, "70 prioritizers: a C++ agent has no prioritizers"},
		{"disabled in C++", "cpp", 10, func(p p) { p.Disabled = true }, "10 disabled: a C++ agent runs every processor"},
		{"address", "java", 40, func(r *flow.RemoteGroup) { r.Targets = "nifi:8443" }, `40 targetUris: "nifi:8443" is not an address such as https://nifi:8443/nifi`},
		{"transport", "java", 40, func(r *flow.RemoteGroup) { r.Transport = "UDP" }, `40 transportProtocol: "UDP" is not one of RAW, HTTP`},
	} {
		f := sample(t, c.dialect)
		var change flow.Change
		switch with := c.with.(type) {
		case func(*flow.Processor):
			change = edit(t, f, c.n, with)
		case func(*flow.ControllerService):
			change = edit(t, f, c.n, with)
		case func(*flow.Connection):
			change = edit(t, f, c.n, with)
		case func(*flow.RemoteGroup):
			change = edit(t, f, c.n, with)
		case func(*flow.ParameterContext):
			change = edit(t, f, c.n, with)
		default:
			t.Fatalf("%s: %T", c.name, with)
		}
		if got := strings.Join(found(apply(t, f, change), parseManifest(t, c.dialect)), "\n"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// found lists problems with the numbers of components.
func found(f *flow.Flow, m *manifest.Manifest, params ...flow.Params) []string {
	var out []string
	for _, p := range flow.Validate(f, m, params...) {
		line := strings.TrimLeft(strings.TrimPrefix(p.ComponentID, "00000000-0000-4000-8000-"), "0") + " " + p.Field + ": " + p.Message
		if p.Warning {
			line += " (warning)"
		}
		out = append(out, line)
	}
	return out
}

func TestInputs(t *testing.T) {
	m := parseManifest(t, "java")
	log := processor(12, javaTypes+"LogAttribute", nil)
	log.AutoTerminated = []string{"success"}
	f := apply(t, sample(t, "java"), create("", log), create("", connection(80, 20, 10)))
	want := []string{
		"10 connections: flow files go round", // see TestCycles
		"10 inputRequirement: the processor org.apache.nifi.processors.standard.TailFile takes no flow files, and a connection brings some",
		"12 inputRequirement: the processor org.apache.nifi.processors.standard.LogAttribute works on flow files, and no connection brings any",
	}
	got := found(f, m)
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %s, want %s", got[i], want[i])
		}
	}
	if !flow.Errors(flow.Validate(f, m)) || flow.Errors([]flow.Problem{{Warning: true}}) {
		t.Error("Errors")
	}
	loop := processor(13, javaTypes+"LogAttribute", nil)
	f = apply(t, empty(t), create("", loop), create("", connection(80, 13, 13, "success")))
	if got := found(f, m); len(got) != 1 || !strings.Contains(got[0], "no connection brings any") {
		t.Errorf("what a processor gives itself is input: %v", got)
	}
}

func TestCycles(t *testing.T) {
	m := parseManifest(t, "java")
	ring := func(feed bool) *flow.Flow {
		a, b := processor(12, javaTypes+"UpdateX", nil), processor(13, javaTypes+"LogAttribute", nil)
		a.Type = "org.apache.nifi.processors.attributes.UpdateAttribute"
		f := apply(t, empty(t), create("", a), create("", b), create("", &flow.Funnel{Head: flow.Head{ID: id(14)}}),
			create("", connection(80, 12, 13, "success")), create("", connection(81, 13, 14, "success")), create("", connection(82, 14, 12)))
		if feed {
			f = apply(t, f, create("", processor(15, javaTypes+"GenerateFlowFile", nil)), create("", connection(83, 15, 14, "success")))
		}
		return f
	}
	names := id(12) + ", " + id(13) + ", " + id(14)
	if got := found(ring(true), m); !slices.Equal(got, []string{"12 connections: flow files can go round through " + names + ": it stands still once the queues of the cycle are full (warning)"}) {
		t.Errorf("%q", got)
	}
	if got := found(ring(false), m); !slices.Equal(got, []string{"12 connections: flow files go round through " + names + ", and nothing brings any in: it never starts"}) {
		t.Errorf("%q", got)
	}
	var chain []flow.Change // deep recursion would be seen
	for n := range 3000 {
		chain = append(chain, create("", &flow.Funnel{Head: flow.Head{ID: id(1000 + n)}}))
		if n > 0 {
			chain = append(chain, create("", connection(10_000+n, 1000+n-1, 1000+n)))
		}
	}
	if got := found(apply(t, empty(t), chain...), m); len(got) != 1 || !strings.Contains(got[0], "leads nowhere") {
		t.Errorf("%q", got)
	}
}

func TestParametersOfTheClass(t *testing.T) {
	m := parseManifest(t, "java")
	f := sample(t, "java")
	f = apply(t, f, edit(t, f, 10, func(p *flow.Processor) { p.Properties["File to Tail"] = "#{site}/#{host}" }))
	if got := found(f, m); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if got := found(f, m, flow.Params{Class: []flow.Parameter{{Name: "site"}}}); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if got := found(f, m, flow.Params{Class: []flow.Parameter{{Name: "site", Sensitive: true}}}); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestSchedules(t *testing.T) {
	for schedule, good := range map[string]bool{
		"* * * * * ?": true, "0 0 12 ? * MON-FRI": true, "0 0/5 14,18 * * ?": true, "0 15 10 L * ? 2030-2040": true, "0 15 10 L-2 * ?": true,
		"0 15 10 ? * 6#3": true, "0 15 10 ? * FRIL": true, "0 0 0 15W * ?": true, "0 0 22-2 * JAN,jul ?": true, "0 0 0 LW * ?": true,
		"": false, "* * * * *": false, "60 * * * * ?": false, "0 0 24 * * ?": false, "? * * * * ?": false, "0 0 0 32 * ?": false, "0 */0 * * * ?": false,
		"0 0 0 ? * 6#6": false, "0 0 0 ? FOO *": false, "0 1- * * * ?": false, "0 ,1 * * * ?": false, "0 0 0 ? * MON 1900": false, "a b c d e f": false, "0 +1 * * * ?": false,
	} {
		p := processor(10, javaTypes+"GenerateFlowFile", nil)
		p.AutoTerminated, p.Strategy, p.Period = []string{"success"}, "CRON_DRIVEN", schedule
		if got := found(apply(t, empty(t), create("", p)), parseManifest(t, "java")); (len(got) == 0) != good {
			t.Errorf("%q: %v", schedule, got)
		}
	}
	for period, good := range map[string]bool{"0 sec": true, "1s": true, "1.5 mins": true, "500 ms": true, "2 WEEKS": true, "1": false, "-1 sec": false, "1 fortnight": false, "": false} {
		p := processor(10, javaTypes+"GenerateFlowFile", nil)
		p.AutoTerminated, p.Period = []string{"success"}, period
		if got := found(apply(t, empty(t), create("", p)), parseManifest(t, "java")); (len(got) == 0) != good {
			t.Errorf("%q: %v", period, got)
		}
	}
}

func ExampleValidate() {
	f, _ := flow.New("6d2bb8e0-6d1a-4f7c-9c58-2f6f1a4f0a11", "pumps", "Pumps")
	f, _ = flow.Apply(f, flow.Change{Action: flow.Create, Component: &flow.Port{Head: flow.Head{ID: "3f0c5a58-1f0e-4f5d-8a53-6b8b6f7f2f10", Name: "in"}, Type: flow.KindInput}})
	for _, p := range flow.Validate(f, nil) {
		fmt.Println(p.Warning, p.Field, p.Message)
	}
	// Output:
	// true  nothing leads from the input port "in" into its group
	// false concurrentlySchedulableTaskCount at least one task is needed, not 0
}
