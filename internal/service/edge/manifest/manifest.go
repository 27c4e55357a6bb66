package manifest

import (
	"slices"
	"strings"
)

// AgentType is the dialect an agent speaks.
type AgentType string

// The agent types there are.
const (
	Java AgentType = "minifi-java"
	CPP  AgentType = "cpp"
)

// Manifest is what an agent says it is made of.
type Manifest struct {
	ID         string
	AgentType  AgentType
	Version    string // of the agent; of its build where the manifest has none of its own
	Build      Build
	Bundles    []*Bundle
	Scheduling Scheduling

	// Updatable are the agent's properties that UPDATE properties may set, by name.
	Updatable []UpdatableProperty
	// ResourceTypes are the kinds of resources that SYNC resource may bring, in upper case.
	ResourceTypes []string

	operations map[string]map[string]bool // operation → operands, in lower case
	listed     bool                       // the agent lists its operations
	index      map[typeName][]*Component
	short      map[typeName][]*Component // by the class alone
}

// Build tells how an agent was built.
type Build struct {
	Version, Revision, TargetArch, Compiler string
}

// Coordinates name a bundle.
type Coordinates struct {
	Group    string `json:"group"`
	Artifact string `json:"artifact"`
	Version  string `json:"version"`
}

// String returns group:artifact:version, as NiFi prints it.
func (c Coordinates) String() string { return c.Group + ":" + c.Artifact + ":" + c.Version }

// Zero reports whether nothing is said of the bundle.
func (c Coordinates) Zero() bool { return c == Coordinates{} }

// Bundle is a versioned set of components.
type Bundle struct {
	Coordinates
	Components []*Component
}

// Kind is what a component is.
type Kind string

// The kinds of components, as their lists are named in a manifest.
const (
	Processor          Kind = "processors"
	ControllerService  Kind = "controllerServices"
	ReportingTask      Kind = "reportingTasks"
	ParameterProvider  Kind = "parameterProviders"
	FlowAnalysisRule   Kind = "flowAnalysisRules"
	FlowRegistryClient Kind = "flowRegistryClients"
)

var kinds = []Kind{Processor, ControllerService, ReportingTask, ParameterProvider, FlowAnalysisRule, FlowRegistryClient}

// InputRequirement says whether a processor takes flow files from connections.
type InputRequirement string

// The input requirements. An agent that says nothing of it allows input.
const (
	InputAllowed   InputRequirement = "INPUT_ALLOWED"
	InputRequired  InputRequirement = "INPUT_REQUIRED"
	InputForbidden InputRequirement = "INPUT_FORBIDDEN"
)

// Component is a type that flows can have instances of.
type Component struct {
	Kind          Kind
	Type          string
	Bundle        *Bundle
	Properties    []*Property // in the agent's order
	Relationships []string    // of a processor, in the agent's order

	DynamicProperties          bool // properties beyond Properties are allowed
	SensitiveDynamicProperties bool
	DynamicRelationships       bool // relationships may come of properties

	Input      InputRequirement
	Serial     bool     // never more than one task at a time
	Strategies []string // scheduling strategies; empty where the agent does not say
	Defaults   Defaults
	Provides   []API // of a controller service: what it may be used as
	Deprecated bool
	Restricted bool

	byName map[string]*Property
}

// Defaults are a processor's own settings where a flow has none; empty means the agent's.
type Defaults struct {
	Strategy, Penalty, Yield, Bulletins string
	Period                              map[string]string // by scheduling strategy
	Tasks                               map[string]int    // by scheduling strategy
}

// API is an interface of controller services.
type API struct {
	Type, Group, Artifact, Version string
}

// Property describes a property of a component.
type Property struct {
	Name, DisplayName string
	Default           string
	HasDefault        bool
	Required          bool
	Sensitive         bool
	Dynamic           bool
	Expression        string // the scope of the expression language; NONE without
	Validator         string
	Pattern           string // a regular expression, as Java has them
	Allowed           []Allowed
	Service           []API // of what kind a controller service must be; empty for no reference
	Dependencies      []Dependency
}

// Allowed is one of the values a property may have.
type Allowed struct {
	Value, DisplayName string
}

// Dependency is a condition under which a property means something: another property has a
// value, or one of those named.
type Dependency struct {
	Property string
	Values   []string
}

// UpdatableProperty is a property of the agent itself.
type UpdatableProperty struct {
	Name, Value, Validator string
}

// Scheduling are the agent's defaults.
type Scheduling struct {
	Strategy           string
	PeriodMillis       int64
	PenaltyMillis      int64
	YieldMillis        int64
	RunDurationNanos   int64
	MaxConcurrentTasks int
}

type typeName struct {
	kind Kind
	name string
}

// Find returns the component of a type. The bundle chooses where several have the type: one
// of the same coordinates, else of another version, if there is just one. Without a bundle
// the type must be in one bundle alone. For C++ agents a type is told by its class, as the
// agent itself does: the package is not looked at where no type matches with it.
func (m *Manifest) Find(kind Kind, typ string, bundle Coordinates) (*Component, bool) {
	found := m.index[typeName{kind, typ}]
	if len(found) == 0 && m.AgentType == CPP {
		found = m.short[typeName{kind, class(typ)}]
		bundle = Coordinates{}
	}
	if bundle.Zero() || m.AgentType == CPP {
		if len(found) == 1 {
			return found[0], true
		}
		return nil, false
	}
	var other *Component
	others := 0
	for _, c := range found {
		if c.Bundle.Coordinates == bundle {
			return c, true
		}
		if c.Bundle.Group == bundle.Group && c.Bundle.Artifact == bundle.Artifact {
			other = c
			others++
		}
	}
	return other, others == 1
}

// Has reports whether some bundle has a component of the type.
func (m *Manifest) Has(kind Kind, typ string) bool {
	return len(m.index[typeName{kind, typ}]) > 0 ||
		m.AgentType == CPP && len(m.short[typeName{kind, class(typ)}]) > 0
}

// class returns a type without its package.
func class(typ string) string { return typ[strings.LastIndexByte(typ, '.')+1:] }

// Supports reports whether the agent obeys an operation with an operand; an empty operand
// asks for the operation alone. Case does not matter. An operation that is listed without
// operands takes any. An agent that lists no operations at all, as those of before there was
// such a list, takes UPDATE configuration and DESCRIBE manifest.
func (m *Manifest) Supports(operation, operand string) bool {
	operation, operand = strings.ToLower(operation), strings.ToLower(operand)
	if !m.listed {
		return operation == "update" && (operand == "configuration" || operand == "") ||
			operation == "describe" && (operand == "manifest" || operand == "")
	}
	operands, ok := m.operations[operation]
	return ok && (operand == "" || len(operands) == 0 || operands[operand])
}

// Operations returns the operations that are listed, in order and upper case.
func (m *Manifest) Operations() []string {
	out := make([]string, 0, len(m.operations))
	for op := range m.operations {
		out = append(out, strings.ToUpper(op))
	}
	slices.Sort(out)
	return out
}

// CanSync reports whether SYNC resource may bring resources of a type.
func (m *Manifest) CanSync(resourceType string) bool {
	return m.Supports("SYNC", "resource") && slices.Contains(m.ResourceTypes, strings.ToUpper(resourceType))
}

// CanUpdate reports whether UPDATE properties may set a property of the agent.
func (m *Manifest) CanUpdate(property string) bool {
	_, ok := slices.BinarySearchFunc(m.Updatable, property, func(p UpdatableProperty, name string) int {
		return strings.Compare(p.Name, name)
	})
	return ok && m.Supports("UPDATE", "properties")
}

// Property returns a property's description by its name.
func (c *Component) Property(name string) (*Property, bool) {
	p, ok := c.byName[name]
	return p, ok
}

// HasRelationship reports whether a processor declares a relationship.
func (c *Component) HasRelationship(name string) bool { return slices.Contains(c.Relationships, name) }

// Is reports whether a controller service can be used where one of the APIs is asked for. A
// type asked for is matched by the APIs provided and by the service's own type. Versions do
// not matter, and in C++, where a name of an API may have a package or none, neither does the package.
func (c *Component) Is(asked []API, dialect AgentType) bool {
	match := func(a, b string) bool {
		return a == b || dialect == CPP && class(a) == class(b)
	}
	return slices.ContainsFunc(asked, func(a API) bool {
		return match(a.Type, c.Type) || slices.ContainsFunc(c.Provides, func(p API) bool { return match(a.Type, p.Type) })
	})
}

// Allows reports whether a literal value is among those a property may have.
func (p *Property) Allows(value string) bool {
	return len(p.Allowed) == 0 || slices.ContainsFunc(p.Allowed, func(a Allowed) bool { return a.Value == value })
}

// Expressions reports whether the property's value may be an expression.
func (p *Property) Expressions() bool { return p.Expression != "" && p.Expression != "NONE" }
