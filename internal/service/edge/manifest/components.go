package manifest

import (
	"slices"

	"github.com/tidwall/gjson"
)

func (p *parser) bundle(v gjson.Result, path string) {
	b := &Bundle{}
	type list struct {
		kind Kind
		v    gjson.Result
		path string
	}
	var lists []list
	p.members(v, path, func(key string, v gjson.Result, path string) {
		switch key {
		case "group":
			b.Group = p.name(v, path)
		case "artifact":
			b.Artifact = p.name(v, path)
		case "version":
			b.Version = p.name(v, path)
		case "componentManifest":
			p.members(v, path, func(key string, v gjson.Result, path string) {
				if i := slices.Index(kinds, Kind(key)); i >= 0 {
					lists = append(lists, list{kinds[i], v, path}) // not key, which would hold the whole text
				}
			})
		}
	})
	if p.err == nil && b.Artifact == "" {
		p.fail(path+".artifact", "missing")
	}
	for _, known := range p.m.Bundles {
		if known.Coordinates == b.Coordinates {
			b = known // an agent may tell of one bundle in pieces
		}
	}
	for _, l := range lists {
		p.each(l.v, l.path, maxComponents, func(v gjson.Result, path string) { p.component(b, l.kind, v, path) })
	}
	if len(b.Components) > 0 && !slices.Contains(p.m.Bundles, b) {
		p.m.Bundles = append(p.m.Bundles, b)
	}
}

func (p *parser) component(b *Bundle, kind Kind, v gjson.Result, path string) {
	c := &Component{Kind: kind, Bundle: b, Input: InputAllowed, byName: map[string]*Property{}}
	p.members(v, path, func(key string, v gjson.Result, path string) {
		switch key {
		case "type":
			c.Type = p.name(v, path)
		case "propertyDescriptors":
			p.members(v, path, func(name string, v gjson.Result, path string) { p.property(c, name, v, path) })
		case "supportedRelationships":
			p.each(v, path, maxName, func(v gjson.Result, path string) {
				name := p.name(v.Get("name"), path+".name")
				if name == "" {
					p.fail(path+".name", "missing")
				}
				c.Relationships = append(c.Relationships, name)
			})
		case "supportsDynamicProperties":
			c.DynamicProperties = p.flag(v, path)
		case "supportsSensitiveDynamicProperties":
			c.SensitiveDynamicProperties = p.flag(v, path)
		case "supportsDynamicRelationships":
			c.DynamicRelationships = p.flag(v, path)
		case "inputRequirement":
			p.input(c, v, path)
		case "triggerSerially", "isSingleThreaded":
			c.Serial = p.flag(v, path)
		case "providedApiImplementations":
			p.each(v, path, maxName, func(v gjson.Result, path string) { c.Provides = append(c.Provides, p.apis(v, path)...) })
		case "deprecated":
			c.Deprecated = p.flag(v, path)
		case "restricted":
			c.Restricted = p.flag(v, path)
		default:
			p.defaults(c, key, v, path)
		}
	})
	if p.err != nil {
		return
	}
	if c.Type == "" {
		p.fail(path+".type", "missing")
		return
	}
	if p.components++; p.components > maxComponents {
		p.fail(path, "more than %d components", maxComponents)
		return
	}
	key := typeName{kind, c.Type}
	for _, known := range p.m.index[key] {
		if known.Bundle == b {
			p.fail(path+".type", "%s is twice in the bundle %s", c.Type, b.Coordinates)
			return
		}
	}
	b.Components = append(b.Components, c)
	p.m.index[key] = append(p.m.index[key], c)
	brief := typeName{kind, class(c.Type)}
	p.m.short[brief] = append(p.m.short[brief], c)
}

// input reads an input requirement; an empty one is none.
func (p *parser) input(c *Component, v gjson.Result, path string) {
	switch in := InputRequirement(p.name(v, path)); in {
	case "":
	case InputAllowed, InputRequired, InputForbidden:
		c.Input = in
	default:
		p.fail(path, "%q is no input requirement", in)
	}
}

// defaults reads how a processor is scheduled unless a flow says otherwise.
func (p *parser) defaults(c *Component, key string, v gjson.Result, path string) {
	switch key {
	case "supportedSchedulingStrategies":
		c.Strategies = p.names(v, path)
	case "defaultSchedulingStrategy":
		c.Defaults.Strategy = p.name(v, path)
	case "defaultPenaltyDuration":
		c.Defaults.Penalty = p.name(v, path)
	case "defaultYieldDuration":
		c.Defaults.Yield = p.name(v, path)
	case "defaultBulletinLevel":
		c.Defaults.Bulletins = p.name(v, path)
	case "defaultSchedulingPeriodBySchedulingStrategy":
		c.Defaults.Period = map[string]string{}
		p.members(v, path, func(strategy string, v gjson.Result, path string) {
			c.Defaults.Period[keep(strategy)] = p.name(v, path)
		})
	case "defaultConcurrentTasksBySchedulingStrategy":
		c.Defaults.Tasks = map[string]int{}
		p.members(v, path, func(strategy string, v gjson.Result, path string) {
			c.Defaults.Tasks[keep(strategy)] = int(p.number(v, path))
		})
	}
}

func (p *parser) property(c *Component, key string, v gjson.Result, path string) {
	d := &Property{}
	p.members(v, path, func(key string, v gjson.Result, path string) {
		switch key {
		case "name":
			d.Name = p.name(v, path)
		case "displayName":
			d.DisplayName = p.name(v, path)
		case "defaultValue":
			d.Default, d.HasDefault = p.text(v, path, maxText), v.Type != gjson.Null
		case "required":
			d.Required = p.flag(v, path)
		case "sensitive":
			d.Sensitive = p.flag(v, path)
		case "dynamic":
			d.Dynamic = p.flag(v, path)
		case "expressionLanguageScope":
			d.Expression = p.name(v, path)
		case "validator":
			d.Validator = p.name(v, path)
		case "validRegex":
			d.Pattern = p.text(v, path, maxText)
		case "allowableValues":
			p.each(v, path, maxComponents, func(v gjson.Result, path string) { d.Allowed = append(d.Allowed, p.allowed(v, path)) })
		case "typeProvidedByValue":
			d.Service = p.apis(v, path)
		case "dependencies":
			p.each(v, path, maxName, func(v gjson.Result, path string) {
				d.Dependencies = append(d.Dependencies, Dependency{
					Property: p.name(v.Get("propertyName"), path+".propertyName"),
					Values:   p.names(v.Get("dependentValues"), path+".dependentValues"),
				})
			})
		}
	})
	if d.Name == "" {
		d.Name = keep(key)
	}
	if c.byName[d.Name] != nil {
		p.fail(path, "the property is described twice")
		return
	}
	if p.properties++; p.properties > maxProperties {
		p.fail(path, "more than %d properties", maxProperties)
		return
	}
	c.byName[d.Name] = d
	c.Properties = append(c.Properties, d)
}

// allowed reads an allowable value: an object, or in older C++ agents the value itself.
func (p *parser) allowed(v gjson.Result, path string) Allowed {
	if !v.IsObject() {
		s := p.text(v, path, maxText)
		return Allowed{Value: s, DisplayName: s}
	}
	a := Allowed{
		Value:       p.text(v.Get("value"), path+".value", maxText),
		DisplayName: p.text(v.Get("displayName"), path+".displayName", maxText),
	}
	if a.DisplayName == "" {
		a.DisplayName = a.Value
	}
	return a
}

// apis reads the type of a controller service. A C++ agent writes several into one object,
// whose members then repeat: each type begins another.
func (p *parser) apis(v gjson.Result, path string) []API {
	var out []API
	var pending API // what stands before the type it belongs to
	p.members(v, path, func(key string, v gjson.Result, path string) {
		at := &pending
		if len(out) > 0 {
			at = &out[len(out)-1]
		}
		switch key {
		case "type":
			out = append(out, pending)
			pending = API{}
			out[len(out)-1].Type = p.name(v, path)
			if len(out) > maxName {
				p.fail(path, "too many types")
			}
		case "group":
			at.Group = p.name(v, path)
		case "artifact":
			at.Artifact = p.name(v, path)
		case "version":
			at.Version = p.name(v, path)
		}
	})
	return out
}
