package manifest

import (
	"cmp"
	"slices"
)

// Changes is how one manifest differs from another.
type Changes struct {
	Added   []ComponentName   `json:"added"`
	Removed []ComponentName   `json:"removed"`
	Changed []ComponentChange `json:"changed"`
}

// Empty reports whether nothing differs.
func (c Changes) Empty() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// ComponentName tells a component from all others of a manifest.
type ComponentName struct {
	Kind   Kind        `json:"kind"`
	Type   string      `json:"type"`
	Bundle Coordinates `json:"bundle"`
}

// ComponentChange is a component that both manifests have and do not describe alike. The
// lists are names in order.
type ComponentChange struct {
	ComponentName                    // as the new manifest has it
	OldBundle            Coordinates `json:"oldBundle"` // another than Bundle where the bundle's version changed
	AddedProperties      []string    `json:"addedProperties,omitempty"`
	RemovedProperties    []string    `json:"removedProperties,omitempty"`
	ChangedProperties    []string    `json:"changedProperties,omitempty"`
	AddedRelationships   []string    `json:"addedRelationships,omitempty"`
	RemovedRelationships []string    `json:"removedRelationships,omitempty"`
	Settings             []string    `json:"settings,omitempty"` // what else is another: dynamicProperties, input, …
}

// Diff tells how new differs from old. A component is the same one where kind, type, group
// and artifact are, so that an agent's update changes components and does not replace all.
// A component of which only the bundle's version changed is not listed.
func Diff(old, new *Manifest) Changes {
	var out Changes
	was := components(old)
	is := components(new)
	for key, c := range is {
		o, ok := was[key]
		if !ok {
			out.Added = append(out.Added, c.name())
			continue
		}
		if change := compare(o, c); change != nil {
			out.Changed = append(out.Changed, *change)
		}
	}
	for key, c := range was {
		if is[key] == nil {
			out.Removed = append(out.Removed, c.name())
		}
	}
	slices.SortFunc(out.Added, ComponentName.compare)
	slices.SortFunc(out.Removed, ComponentName.compare)
	slices.SortFunc(out.Changed, func(a, b ComponentChange) int { return a.ComponentName.compare(b.ComponentName) })
	return out
}

func (n ComponentName) compare(o ComponentName) int {
	return cmp.Or(cmp.Compare(n.Kind, o.Kind), cmp.Compare(n.Type, o.Type), cmp.Compare(n.Bundle.String(), o.Bundle.String()))
}

func (c *Component) name() ComponentName {
	return ComponentName{Kind: c.Kind, Type: c.Type, Bundle: c.Bundle.Coordinates}
}

// components returns the components by what stays the same over versions. Two versions of
// one bundle in one manifest are told apart.
func components(m *Manifest) map[ComponentName]*Component {
	out := map[ComponentName]*Component{}
	for _, b := range m.Bundles {
		for _, c := range b.Components {
			key := c.name()
			key.Bundle.Version = ""
			if out[key] != nil {
				key = c.name()
			}
			out[key] = c
		}
	}
	return out
}

func compare(old, new *Component) *ComponentChange {
	ch := ComponentChange{ComponentName: new.name(), OldBundle: old.Bundle.Coordinates}
	for name, p := range new.byName {
		o, ok := old.byName[name]
		switch {
		case !ok:
			ch.AddedProperties = append(ch.AddedProperties, name)
		case !p.equal(o):
			ch.ChangedProperties = append(ch.ChangedProperties, name)
		}
	}
	for name := range old.byName {
		if new.byName[name] == nil {
			ch.RemovedProperties = append(ch.RemovedProperties, name)
		}
	}
	ch.AddedRelationships = missing(new.Relationships, old.Relationships)
	ch.RemovedRelationships = missing(old.Relationships, new.Relationships)
	for _, s := range []struct {
		name string
		same bool
	}{
		{"dynamicProperties", new.DynamicProperties == old.DynamicProperties && new.SensitiveDynamicProperties == old.SensitiveDynamicProperties},
		{"dynamicRelationships", new.DynamicRelationships == old.DynamicRelationships},
		{"input", new.Input == old.Input},
		{"serial", new.Serial == old.Serial},
		{"strategies", slices.Equal(new.Strategies, old.Strategies)},
		{"provides", slices.EqualFunc(new.Provides, old.Provides, API.same)},
		{"deprecated", new.Deprecated == old.Deprecated},
		{"restricted", new.Restricted == old.Restricted},
	} {
		if !s.same {
			ch.Settings = append(ch.Settings, s.name)
		}
	}
	slices.Sort(ch.AddedProperties)
	slices.Sort(ch.RemovedProperties)
	slices.Sort(ch.ChangedProperties)
	if len(ch.AddedProperties)+len(ch.RemovedProperties)+len(ch.ChangedProperties)+
		len(ch.AddedRelationships)+len(ch.RemovedRelationships)+len(ch.Settings) == 0 {
		return nil
	}
	return &ch
}

// missing returns what of a is not in b, in order.
func missing(a, b []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

// same reports whether two APIs are one, whatever their version.
func (a API) same(b API) bool {
	a.Version, b.Version = "", ""
	return a == b
}

func (p *Property) equal(o *Property) bool {
	return p.DisplayName == o.DisplayName && p.Default == o.Default && p.HasDefault == o.HasDefault &&
		p.Required == o.Required && p.Sensitive == o.Sensitive && p.Expression == o.Expression &&
		p.Validator == o.Validator && p.Pattern == o.Pattern &&
		slices.Equal(p.Allowed, o.Allowed) && slices.EqualFunc(p.Service, o.Service, API.same) &&
		slices.EqualFunc(p.Dependencies, o.Dependencies, func(a, b Dependency) bool {
			return a.Property == b.Property && slices.Equal(a.Values, b.Values)
		})
}
