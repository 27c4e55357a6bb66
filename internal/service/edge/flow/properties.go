package flow

import (
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/edge/manifest"
)

// properties checks a component's properties against their descriptions.
func (v *validator) properties(c *manifest.Component, id string, g *Group, set map[string]string) {
	mattering := map[string]bool{}
	for name, value := range set {
		d, described := c.Property(name)
		field := "properties." + name
		if !described {
			if !c.DynamicProperties {
				v.add(id, field, "%s has no property %q", c.Type, name)
				continue
			}
			d = &manifest.Property{Name: name, Dynamic: true, Expression: "FLOWFILE_ATTRIBUTES"}
		}
		literal, ok := v.resolve(id, field, g, d, c, value)
		if !ok {
			continue
		}
		if described && v.matters(c, d, set, g, mattering) {
			v.value(id, field, g, d, literal)
		}
	}
	for _, d := range c.Properties {
		if _, given := set[d.Name]; !given && d.Required && !d.HasDefault && v.matters(c, d, set, g, mattering) {
			v.add(id, "properties."+d.Name, "the property is required")
		}
	}
}

// resolve returns a value with its parameters put in, after a check of what it refers to.
// It is not known where a parameter is missing or has no value yet, or is another agent's.
func (v *validator) resolve(id, field string, g *Group, d *manifest.Property, c *manifest.Component, value string) (string, bool) {
	known, found := true, 0
	for _, t := range tokens(value) {
		if !t.reference() {
			continue
		}
		found++
		known = v.parameter(id, field, g, d, c, t.name) && known
	}
	if d.Sensitive && found > 0 {
		if t := tokens(value); len(t) != 1 || t[0].start != 0 || t[0].end != len(value) || t[0].hashes != 1 {
			v.add(id, field, "a sensitive property refers to one parameter and holds nothing else")
		}
	}
	if !known {
		return "", false
	}
	literal, err := v.look.expand(g, value)
	return literal, err == nil
}

// parameter checks one reference and reports whether it is good.
func (v *validator) parameter(id, field string, g *Group, d *manifest.Property, c *manifest.Component, name string) bool {
	if !parameterName.MatchString(name) {
		v.add(id, field, "#{%s} is no reference: a parameter's name has letters, digits, -, _, . and spaces", name)
		return false
	}
	p, ok := v.look.find(g, name)
	switch {
	case !ok:
		v.add(id, field, "there is no parameter %q", name)
	case d.Sensitive && !p.Sensitive:
		v.add(id, field, "the property is sensitive and the parameter %q is not", name)
	case !d.Sensitive && p.Sensitive && !(d.Dynamic && c.SensitiveDynamicProperties):
		v.add(id, field, "the parameter %q is sensitive and the property is not", name)
	default:
		return true
	}
	return false // nor is the value looked at: a problem's text must not tell a secret
}

// matters reports whether the properties that a property depends on make it mean something.
// What is known of a component's properties is kept in known, so that none is looked at
// twice, were a manifest to let them depend on each other.
func (v *validator) matters(c *manifest.Component, d *manifest.Property, set map[string]string, g *Group, known map[string]bool) bool {
	if answer, ok := known[d.Name]; ok {
		return answer
	}
	known[d.Name] = true
	known[d.Name] = v.dependencies(c, d, set, g, known)
	return known[d.Name]
}

func (v *validator) dependencies(c *manifest.Component, d *manifest.Property, set map[string]string, g *Group, known map[string]bool) bool {
	for _, dep := range d.Dependencies {
		other, ok := c.Property(dep.Property)
		if !ok {
			continue
		}
		if !v.matters(c, other, set, g, known) {
			return false
		}
		value, given := set[dep.Property]
		if !given {
			value, given = other.Default, other.HasDefault
		} else if literal, err := v.look.expand(g, value); err == nil {
			value = literal
		}
		if !given || len(dep.Values) > 0 && !slices.Contains(dep.Values, value) {
			return false
		}
	}
	return true
}

// value checks a literal value. Expressions are for the agent to judge.
func (v *validator) value(id, field string, g *Group, d *manifest.Property, value string) {
	switch {
	case len(d.Service) > 0:
		v.reference(id, field, g, d, value)
	case d.Expressions() && strings.Contains(value, "${"):
	case !d.Allows(value):
		v.add(id, field, "the value is not one of those allowed: %s", allowed(d))
	case value == "" && d.Required:
		v.add(id, field, "the property is required and its value empty")
	default:
		if want := breach(d.Validator, value); want != "" {
			v.add(id, field, "the value must be %s", want)
		}
	}
}

// allowed lists a property's values, not too many of them.
func allowed(d *manifest.Property) string {
	var out []string
	for i, a := range d.Allowed {
		if i == 20 {
			out = append(out, "…")
			break
		}
		out = append(out, a.Value)
	}
	return strings.Join(out, ", ")
}

// reference checks the choice of a controller service: its id, or for C++ agents its name.
func (v *validator) reference(id, field string, g *Group, d *manifest.Property, value string) {
	s, ok := v.services[value]
	if !ok && v.cpp() {
		for _, o := range v.services {
			if o.Name == value && within(g, o.group) {
				s, ok = o, true
			}
		}
	}
	switch {
	case !ok:
		v.add(id, field, "there is no controller service %q", value)
	case !within(g, s.group):
		v.add(id, field, "the controller service %s belongs to the group %s and cannot be used here", value, s.group.ID)
	case s.Disabled:
		v.add(id, field, "the controller service %s is disabled", value)
	default:
		c, ok := v.m.Find(manifest.ControllerService, s.Type, s.Bundle.coordinates())
		if ok && !c.Is(d.Service, v.m.AgentType) {
			v.add(id, field, "the controller service %s is a %s, not a %s", value, s.Type, d.Service[0].Type)
		}
	}
}

// breach says what a validator of NiFi wants of a value that it does not take; empty where
// the value is good, or the validator is none of those that can be told without the agent.
func breach(validator, value string) string {
	number := func(low, high int64, want string) string {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < low || n > high {
			return want
		}
		return ""
	}
	const most32, most64 = 1<<31 - 1, 1<<63 - 1
	switch validator {
	case "POSITIVE_INTEGER_VALIDATOR":
		return number(1, most32, "a whole number above 0")
	case "POSITIVE_LONG_VALIDATOR":
		return number(1, most64, "a whole number above 0")
	case "NON_NEGATIVE_INTEGER_VALIDATOR":
		return number(0, most32, "a whole number from 0")
	case "INTEGER_VALIDATOR":
		return number(-1<<31, most32, "a whole number")
	case "LONG_VALIDATOR":
		return number(-1<<63, most64, "a whole number")
	case "UNSIGNED_INTEGER_VALIDATOR", "UNSIGNED_LONG_VALIDATOR":
		return number(0, most64, "a whole number from 0")
	case "PORT_VALIDATOR":
		return number(0, 65535, "a port")
	case "BOOLEAN_VALIDATOR":
		if !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
			return "true or false"
		}
	case "TIME_PERIOD_VALIDATOR":
		if !isDuration(value) {
			return "a duration such as 30 sec"
		}
	case "DATA_SIZE_VALIDATOR":
		if !isSize(value) {
			return "a size such as 1 MB"
		}
	case "NON_BLANK_VALIDATOR":
		if strings.TrimSpace(value) == "" {
			return "more than spaces"
		}
	case "NON_EMPTY_VALIDATOR":
		if value == "" {
			return "not empty"
		}
	}
	return ""
}
