package flow_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// words are what is hard to write and read again.
var words = []string{"", " ", "plain", "two words", " edge ", "true", "No", "null", "~", "0x1F", "1e3", "007", "-1", "1_000", "2024-01-02", "12:30", "- a", "a: b", "a #b", "#c",
	"'", `"`, `\`, "\\n", "line\nline\n", "tab\t", "\r\n", "\x01\x7f", "\u0085\u2028\ufeff", "ü€😀", "{a}", "[a]", "&a", "*a", "!!a", "%a", "@a", "`a", "|", ">", "?", ":", "<<", "=", ".",
	"#{a}", "##{a}", "###{a}", "#{", "##{ab", "${x:equals('#{y}')}", "<&>"}

// random makes flows from a seed, of everything that both kinds of agents know.
func random(t *testing.T, seed uint64, java bool) *flow.Flow {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	next := 100
	fresh := func() int { next++; return next }
	word := func() string {
		s := words[r.IntN(len(words))]
		if r.IntN(3) == 0 {
			s += words[r.IntN(len(words))]
		}
		return s
	}
	f := empty(t)
	var changes []flow.Change
	values := []flow.Parameter{{Name: "a", Value: text(word())}, {Name: "y", Value: text(word()), Description: word()}}
	changes = append(changes, create("", &flow.ParameterContext{Head: flow.Head{ID: id(2), Name: "P" + word(), Comments: word()}, Parameters: values}))
	root := *f.Root
	root.Context = changes[0].Component.Meta().Name
	changes = append(changes, flow.Change{Action: flow.Update, Component: &root, Revision: one})
	groups := []string{f.Root.ID}
	for range r.IntN(3) {
		n := fresh()
		changes = append(changes, create(groups[r.IntN(len(groups))], group(n, "g"+word())))
		groups = append(groups, id(n))
	}
	for _, g := range groups {
		var ends []int
		for range r.IntN(4) {
			n := fresh()
			p := processor(n, "a.Type"+fmt.Sprint(r.IntN(3)), map[string]string{})
			for range r.IntN(5) {
				p.Properties["k"+word()] = word()
			}
			p.Name, p.RunMillis, p.Tasks = "p"+word(), r.Int64N(100), 1+r.IntN(4)
			p.AutoTerminated = []string{"r" + word()}
			if java {
				p.Comments, p.Annotation, p.Disabled = word(), word(), r.IntN(2) == 0
				p.Position = flow.Position{X: r.Float64() * 1000, Y: -r.Float64()}
				p.Bundle = flow.Bundle{Group: "g", Artifact: "a" + word(), Version: "1"}
				if r.IntN(2) == 0 {
					p.Retry = &flow.Retry{Count: 2, Relationships: []string{"x" + word()}, Backoff: "YIELD_PROCESSOR", MaxBackoff: "1 min"}
				}
			}
			changes = append(changes, create(g, p))
			ends = append(ends, n)
		}
		for range r.IntN(3) {
			n := fresh()
			changes = append(changes, create(g, &flow.Funnel{Head: flow.Head{ID: id(n)}}))
			ends = append(ends, n)
		}
		n := fresh()
		remote := &flow.RemoteGroup{Head: flow.Head{ID: id(n), Name: "r" + word()}, Targets: "http://x" + word(), Timeout: "1 sec", Yield: "2 sec", Transport: "RAW", ProxyHost: word(), ProxyPort: r.IntN(3),
			Inputs: []*flow.RemotePort{{ID: id(fresh()), Name: "i" + word(), Tasks: 2, BatchCount: r.IntN(2), Compression: r.IntN(2) == 0, TargetID: id(7)}}, Outputs: []*flow.RemotePort{{ID: id(fresh()), Name: "o", Tasks: 1}}}
		if !java {
			remote.Inputs[0].Compression = true
		}
		changes = append(changes, create(g, remote),
			create(g, &flow.ControllerService{Head: flow.Head{ID: id(fresh()), Name: "s" + word()}, Type: "a.Service", Properties: map[string]string{"k" + word(): word()}, Bulletins: "WARN"}))
		for range r.IntN(6) {
			if len(ends) == 0 {
				break
			}
			c := connection(fresh(), ends[r.IntN(len(ends))], ends[r.IntN(len(ends))], "s"+word(), "t")
			c.MaxObjects, c.Name = r.Int64N(10), word()
			if java {
				c.Bends, c.Prioritizers = []flow.Position{{X: 1.5}}, []string{"b", "a"}
			}
			changes = append(changes, create(g, c))
		}
	}
	return apply(t, f, changes...)
}

func TestRandomFlowsRoundTrip(t *testing.T) {
	for seed := range uint64(150) {
		java, cpp := random(t, seed, true), random(t, seed, false)
		text := marshal(t, java)
		back, err := flow.Unmarshal(text)
		if err != nil {
			t.Fatalf("%d: %v\n%s", seed, err, text)
		}
		if !bytes.Equal(marshal(t, back), text) {
			t.Fatalf("%d: another text", seed)
		}
		text, err = flow.ExportJSON(java, nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, _, err = flow.ParseJSON(text); err != nil {
			t.Fatalf("%d: %v\n%s", seed, err, text)
		}
		if again, _ := flow.ExportJSON(back, nil); !bytes.Equal(again, text) {
			t.Fatalf("%d: another flow.json\n%s\n%s", seed, text, again)
		}
		// Java's text holds everything but what an importer is told: id and class, and each group's own context.
		if back, err = back.For(java.ID, java.Class); err != nil {
			t.Fatal(err)
		}
		for _, d := range flow.Diff(java, back, nil) {
			for _, field := range d.Fields {
				if field.Name != "parameterContextName" {
					t.Fatalf("%d: %s %+v", seed, d.ComponentID, field)
				}
			}
		}
		text, err = flow.ExportYAML(cpp, nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, _, err = flow.ParseYAML(text); err != nil {
			t.Fatalf("%d: %v\n%s", seed, err, text)
		}
		if again, _ := flow.ExportYAML(back, nil); !bytes.Equal(again, text) {
			t.Fatalf("%d: another YAML\n%s\n%s", seed, text, again)
		}
		for _, p := range cpp.Root.Processors {
			c, _, _ := back.Find(p.ID)
			for name, want := range p.Properties {
				if got := c.(*flow.Processor).Properties[name]; got != want {
					t.Fatalf("%d: %q is %q, was %q", seed, name, got, want)
				}
			}
		}
	}
}

// What Resolve puts in must mean to an agent, which looks for references once more, the very
// text that people meant.
func FuzzEscape(f *testing.F) {
	for _, w := range words {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, literal string) {
		escaped := flow.Escape(literal)
		if refs := flow.References(escaped); len(refs) > 0 {
			t.Fatalf("%q escaped is %q, which refers to %q", literal, escaped, refs)
		}
		fl, err := flow.New(id(1), "c", "n")
		if err != nil {
			t.Fatal(err)
		}
		if strings.ToValidUTF8(literal, "") != literal || len(literal) > 1<<19 {
			return
		}
		fl = apply(t, fl, create("", processor(2, "T", map[string]string{"p": escaped})))
		fl, err = flow.Resolve(fl, nil, flow.Params{})
		if err != nil {
			t.Fatal(err)
		}
		if got := fl.Root.Processors[0].Properties["p"]; got != escaped {
			t.Fatalf("%q: resolved to %q, want %q", literal, got, escaped)
		}
	})
}

func refused(t *testing.T, err error) {
	t.Helper()
	if k := fault.KindOf(err); k != fault.Invalid && k != fault.Exists {
		t.Fatalf("%v is %s", err, k)
	}
}

func FuzzUnmarshal(f *testing.F) {
	base, err := flow.New(id(1), "c", "n")
	if err != nil {
		f.Fatal(err)
	}
	text, err := flow.Marshal(base)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(marshal(f, sample(f, "java")))
	f.Fuzz(func(t *testing.T, text []byte) {
		fl, err := flow.Unmarshal(text)
		if err != nil {
			refused(t, err)
			return
		}
		once := marshal(t, fl)
		back, err := flow.Unmarshal(once)
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if !bytes.Equal(marshal(t, back), once) {
			t.Fatal("another text")
		}
		flow.Validate(fl, nil)
	})
}

func FuzzParseJSON(f *testing.F) {
	f.Add(exported(f, "java", sample(f, "java")))
	f.Add([]byte(`{"flowContents":{"identifier":"` + id(1) + `","name":"n","remoteProcessGroups":[{"identifier":"` + id(2) + `","inputPorts":[{"identifier":"` + id(3) + `"}]}]},"parameterContexts":{"a":{"name":"a"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		fl, _, err := flow.ParseJSON(text)
		if err != nil {
			refused(t, err)
			return
		}
		once, err := flow.ExportJSON(fl, nil)
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := flow.ParseJSON(once)
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if again, _ := flow.ExportJSON(back, nil); !bytes.Equal(again, once) {
			t.Fatalf("another text:\n%s\n%s", once, again)
		}
	})
}

func FuzzParseYAML(f *testing.F) {
	f.Add(exported(f, "cpp", sample(f, "cpp")))
	f.Add([]byte("Flow Controller: {name: x}\nProcessors:\n- {id: " + id(1) + ", name: |\n   a\n   b, class: X}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		fl, _, err := flow.ParseYAML(text)
		if err != nil {
			refused(t, err)
			return
		}
		once, err := flow.ExportYAML(fl, nil)
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := flow.ParseYAML(once)
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if again, _ := flow.ExportYAML(back, nil); !bytes.Equal(again, once) {
			t.Fatalf("another text:\n%s\n%s", once, again)
		}
	})
}
