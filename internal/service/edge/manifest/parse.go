package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unique"

	"github.com/tidwall/gjson"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge/jsontext"
)

// Invalid is the reason of a manifest that cannot be read.
var Invalid = &fault.Reason{Kind: fault.Invalid, Name: "InvalidManifest"}

// What a manifest may hold. NiFi's whole distribution has about 700 components in 120 bundles.
const (
	maxDepth      = 24
	maxBundles    = 2_000
	maxComponents = 10_000
	maxProperties = 200_000 // of all components
	maxValues     = 500_000 // of all lists
	maxName       = 1_024   // bytes of a name, a type or a version
	maxText       = 64 << 10
)

// Parse reads a manifest. An error is of the reason Invalid and names the member at fault by
// its path, as in bundles[3].componentManifest.processors[0].type.
func Parse(raw []byte) (*Manifest, error) {
	if err := jsontext.Check(raw, maxDepth); err != nil {
		return nil, Invalid.New("the manifest is %v", err)
	}
	root := gjson.ParseBytes(raw)
	if !root.IsObject() {
		return nil, Invalid.New("a manifest is a JSON object")
	}
	p := &parser{m: &Manifest{
		operations: map[string]map[string]bool{},
		index:      map[typeName][]*Component{},
		short:      map[typeName][]*Component{},
	}}
	p.manifest(root)
	if p.err != nil {
		return nil, p.err
	}
	return p.m, nil
}

// parser gathers a manifest; the first error stays.
type parser struct {
	m   *Manifest
	err error

	components, properties, values int
}

func (p *parser) fail(path, format string, args ...any) {
	if p.err == nil {
		p.err = Invalid.Field(path, "%s: %s", path, fmt.Sprintf(format, args...))
	}
}

// text returns a scalar as text. Null is no text.
func (p *parser) text(v gjson.Result, path string, limit int) string {
	switch v.Type {
	case gjson.Null:
		return ""
	case gjson.JSON:
		p.fail(path, "expected a text")
		return ""
	}
	s := v.Str
	if v.Type != gjson.String {
		s = v.Raw // numbers as they are written
	}
	if len(s) > limit {
		p.fail(path, "longer than %d bytes", limit)
		return ""
	}
	return keep(s)
}

// keep returns a text that does not hold the manifest's, and is one for all manifests.
func keep(s string) string { return unique.Make(s).Value() }

func (p *parser) name(v gjson.Result, path string) string { return p.text(v, path, maxName) }

// flag returns a truth value, which C++ agents may write as a text.
func (p *parser) flag(v gjson.Result, path string) bool {
	switch {
	case v.Type == gjson.True, v.Type == gjson.False, v.Type == gjson.Null:
		return v.Type == gjson.True
	case v.Type == gjson.String && (v.Str == "true" || v.Str == "false"):
		return v.Str == "true"
	}
	p.fail(path, "expected true or false")
	return false
}

// number returns a whole number, which agents may write as a text.
func (p *parser) number(v gjson.Result, path string) int64 {
	if v.Type == gjson.Null {
		return 0
	}
	n, err := strconv.ParseInt(p.name(v, path), 10, 64)
	if err != nil || n < 0 {
		p.fail(path, "expected a whole number")
	}
	return n
}

// each calls do for the elements of a list, with their paths.
func (p *parser) each(v gjson.Result, path string, limit int, do func(gjson.Result, string)) {
	if v.Type == gjson.Null {
		return
	}
	if !v.IsArray() {
		p.fail(path, "expected a list")
		return
	}
	i := 0
	v.ForEach(func(_, e gjson.Result) bool {
		if p.values++; i == limit || p.values > maxValues {
			p.fail(path, "too many elements")
			return false
		}
		do(e, path+"["+strconv.Itoa(i)+"]")
		i++
		return p.err == nil
	})
}

// members calls do for the members of an object, with their paths.
func (p *parser) members(v gjson.Result, path string, do func(key string, v gjson.Result, path string)) {
	if v.Type == gjson.Null {
		return
	}
	if !v.IsObject() {
		p.fail(path, "expected an object")
		return
	}
	v.ForEach(func(k, e gjson.Result) bool {
		if len(k.Str) > maxName {
			p.fail(path, "a member's name is longer than %d bytes", maxName)
			return false
		}
		at := k.Str
		if path != "" {
			at = path + "." + k.Str
		}
		do(k.Str, e, at)
		return p.err == nil
	})
}

// names reads a list of names.
func (p *parser) names(v gjson.Result, path string) []string {
	var out []string
	p.each(v, path, maxValues, func(e gjson.Result, path string) { out = append(out, p.name(e, path)) })
	return out
}

func (p *parser) manifest(root gjson.Result) {
	m := p.m
	p.members(root, "", func(key string, v gjson.Result, path string) {
		switch key {
		case "identifier":
			m.ID = p.name(v, path)
		case "agentType":
			m.AgentType = AgentType(p.name(v, path))
			if m.AgentType != Java && m.AgentType != CPP {
				p.fail(path, "%q is no type of agents; there are %s and %s", m.AgentType, Java, CPP)
			}
		case "version":
			m.Version = p.name(v, path)
		case "buildInfo":
			p.build(v, path)
		case "bundles":
			p.each(v, path, maxBundles, p.bundle)
		case "schedulingDefaults":
			p.scheduling(v, path)
		case "supportedOperations":
			m.listed = v.Type != gjson.Null
			p.each(v, path, maxName, p.operation)
		}
	})
	if p.err == nil && m.AgentType == "" {
		p.fail("agentType", "missing")
	}
	if m.Version == "" {
		m.Version = m.Build.Version
	}
	if m.ResourceTypes == nil && m.Supports("SYNC", "resource") {
		m.ResourceTypes = []string{"ASSET"} // what every agent that synchronises takes
		if m.AgentType == Java {
			m.ResourceTypes = append(m.ResourceTypes, "EXTENSION")
		}
	}
	slices.SortFunc(m.Updatable, func(a, b UpdatableProperty) int { return strings.Compare(a.Name, b.Name) })
}

func (p *parser) build(v gjson.Result, path string) {
	b := &p.m.Build
	p.members(v, path, func(key string, v gjson.Result, path string) {
		switch key {
		case "version":
			b.Version = p.name(v, path)
		case "revision":
			b.Revision = p.name(v, path)
		case "targetArch":
			b.TargetArch = p.name(v, path)
		case "compiler":
			b.Compiler = p.name(v, path)
		}
	})
}

func (p *parser) scheduling(v gjson.Result, path string) {
	s := &p.m.Scheduling
	p.members(v, path, func(key string, v gjson.Result, path string) {
		switch key {
		case "defaultSchedulingStrategy":
			s.Strategy = p.name(v, path)
		case "defaultSchedulingPeriodMillis":
			s.PeriodMillis = p.number(v, path)
		case "penalizationPeriodMillis":
			s.PenaltyMillis = p.number(v, path)
		case "yieldDurationMillis":
			s.YieldMillis = p.number(v, path)
		case "defaultRunDurationNanos":
			s.RunDurationNanos = p.number(v, path)
		case "defaultMaxConcurrentTasks":
			s.MaxConcurrentTasks = int(p.number(v, path))
		}
	})
}

func (p *parser) operation(v gjson.Result, path string) {
	name, operands := "", map[string]bool{}
	p.members(v, path, func(key string, v gjson.Result, path string) {
		switch key {
		case "type":
			name = strings.ToLower(p.name(v, path))
		case "properties":
			p.members(v, path, func(operand string, v gjson.Result, path string) {
				operands[keep(strings.ToLower(operand))] = true
				if len(operands) > maxComponents {
					p.fail(path, "too many operands")
				}
				p.operand(v, path)
			})
		}
	})
	if name == "" {
		p.fail(path+".type", "missing")
		return
	}
	p.m.operations[name] = operands
}

// operand reads what an operand says of itself; which operand it is the members tell.
func (p *parser) operand(v gjson.Result, path string) {
	if !v.IsObject() {
		return
	}
	p.members(v, path, func(key string, v gjson.Result, path string) {
		switch {
		case key == "availableProperties":
			p.each(v, path, maxComponents, func(v gjson.Result, path string) {
				var u UpdatableProperty
				p.members(v, path, func(key string, v gjson.Result, path string) {
					switch key {
					case "propertyName":
						u.Name = p.name(v, path)
					case "propertyValue":
						u.Value = p.text(v, path, maxText)
					case "validator":
						u.Validator = p.name(v, path)
					}
				})
				if u.Name == "" {
					p.fail(path+".propertyName", "missing")
				}
				p.m.Updatable = append(p.m.Updatable, u)
			})
		case strings.Contains(strings.ToLower(key), "resourcetypes") && v.IsArray():
			for _, t := range p.names(v, path) {
				p.m.ResourceTypes = append(p.m.ResourceTypes, strings.ToUpper(t))
			}
		}
	})
}
