package flow_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/edge/flow"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// What is new must be valid, but for what only people can know.
func TestNewComponents(t *testing.T) {
	for _, dialect := range []string{"java", "cpp"} {
		m := parseManifest(t, dialect)
		f := empty(t)
		n := 100
		for _, b := range m.Bundles {
			for _, c := range b.Components {
				n++
				if c.Kind == manifest.ControllerService {
					f = apply(t, f, create("", flow.NewService(c, id(n), "service")))
					continue
				}
				p := flow.NewProcessor(m, c, id(n))
				p.AutoTerminated = c.Relationships
				f = apply(t, f, create("", p))
				if c.Input != manifest.InputForbidden {
					n++
					f = apply(t, f, create("", &flow.Funnel{Head: flow.Head{ID: id(n)}}), create("", flow.NewConnection(id(n+1000), id(n), id(n-1))))
				}
			}
		}
		for _, p := range flow.Validate(f, m) {
			if p.Message != "the property is required" {
				t.Errorf("%s: %+v", dialect, p)
			}
		}
	}
	m := parseManifest(t, "cpp")
	c, _ := m.Find(manifest.Processor, "GetFile", manifest.Coordinates{})
	p := flow.NewProcessor(m, c, id(1))
	if p.Period != "1 sec" || p.Penalty != "30 sec" || p.Tasks != 1 || p.Strategy != "TIMER_DRIVEN" {
		t.Errorf("%+v", p)
	}
}
