package manifest

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/agent/engine"
)

// The bundle that every component of the agent is in.
const (
	Group    = "dev.sluice"
	Artifact = "sluice-agent"
)

// AgentType is the dialect the agent speaks.
const AgentType = "minifi-java"

// Operation is one that the agent obeys, with its operands in order.
type Operation struct {
	Type       string                    `json:"type"`
	Properties map[string]map[string]any `json:"properties"`
}

// Build names the program.
type Build struct {
	Version    string `json:"version"`
	Revision   string `json:"revision,omitempty"`
	TargetArch string `json:"targetArch,omitempty"`
	Compiler   string `json:"compiler,omitempty"`
}

type document struct {
	Identifier string         `json:"identifier"`
	AgentType  string         `json:"agentType"`
	Version    string         `json:"version"`
	BuildInfo  Build          `json:"buildInfo"`
	Bundles    []bundle       `json:"bundles"`
	Scheduling map[string]any `json:"schedulingDefaults"`
	Operations []Operation    `json:"supportedOperations"`
}

type bundle struct {
	Group      string     `json:"group"`
	Artifact   string     `json:"artifact"`
	Version    string     `json:"version"`
	Components components `json:"componentManifest"`
}

type components struct {
	APIs       []api       `json:"apis"`
	Services   []component `json:"controllerServices"`
	Processors []component `json:"processors"`
	Reporting  []component `json:"reportingTasks"`
}

type api struct {
	Group    string `json:"group"`
	Artifact string `json:"artifact"`
	Version  string `json:"version"`
	Type     string `json:"type"`
}

type component struct {
	api
	Description   string                `json:"typeDescription"`
	Provides      []api                 `json:"providedApiImplementations,omitempty"`
	Properties    map[string]descriptor `json:"propertyDescriptors,omitempty"`
	Dynamic       bool                  `json:"supportsDynamicProperties"`
	DynamicList   []dynamic             `json:"dynamicProperties,omitempty"`
	Input         string                `json:"inputRequirement,omitempty"`
	Relationships []relationship        `json:"supportedRelationships,omitempty"`
	Routes        bool                  `json:"supportsDynamicRelationships"`
	WhenEmpty     bool                  `json:"triggerWhenEmpty"`
	Strategies    []string              `json:"supportedSchedulingStrategies,omitempty"`
	Strategy      string                `json:"defaultSchedulingStrategy,omitempty"`
	Tasks         map[string]int        `json:"defaultConcurrentTasksBySchedulingStrategy,omitempty"`
	Periods       map[string]string     `json:"defaultSchedulingPeriodBySchedulingStrategy,omitempty"`
	Penalty       string                `json:"defaultPenaltyDuration,omitempty"`
	Yield         string                `json:"defaultYieldDuration,omitempty"`
	Bulletins     string                `json:"defaultBulletinLevel,omitempty"`
}

type descriptor struct {
	Name        string    `json:"name"`
	DisplayName string    `json:"displayName"`
	Description string    `json:"description"`
	Allowed     []allowed `json:"allowableValues,omitempty"`
	Default     string    `json:"defaultValue,omitempty"`
	Required    bool      `json:"required"`
	Sensitive   bool      `json:"sensitive"`
	Scope       string    `json:"expressionLanguageScope"`
	Service     *api      `json:"typeProvidedByValue,omitempty"`
	Dynamic     bool      `json:"dynamic"`
}

type allowed struct {
	Value       string `json:"value"`
	DisplayName string `json:"displayName"`
}

type dynamic struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	Description string `json:"description"`
	Scope       string `json:"expressionLanguageScope"`
}

type relationship struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Manifest is a manifest's text and its hash, which names it.
type Manifest struct {
	Text json.RawMessage
	Hash string
}

// New writes the manifest of a catalogue.
func New(build Build, defs []engine.Definition, operations []Operation) (*Manifest, error) {
	b := bundle{Group: Group, Artifact: Artifact, Version: build.Version,
		Components: components{APIs: []api{}, Services: []component{}, Processors: []component{}, Reporting: []component{}}}
	for i := range defs {
		d := &defs[i]
		if d.New != nil {
			b.Components.Processors = append(b.Components.Processors, processor(d, build.Version))
			continue
		}
		c := shared(d, build.Version)
		for _, p := range d.Provides {
			c.Provides = append(c.Provides, named(p, build.Version))
		}
		b.Components.Services = append(b.Components.Services, c)
	}
	hash, err := hashOf(b, operations)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(document{Identifier: "sluice-agent-" + build.Version + "-" + hash[:12], AgentType: AgentType, Version: "1", BuildInfo: build, Bundles: []bundle{b},
		Scheduling: map[string]any{"defaultSchedulingStrategy": "TIMER_DRIVEN", "defaultSchedulingPeriodMillis": 0, "penalizationPeriodMillis": 30000,
			"yieldDurationMillis": 1000, "defaultRunDurationNanos": 0, "defaultMaxConcurrentTasks": "1"},
		Operations: operations})
	return &Manifest{Text: text, Hash: hash}, err
}

// hashOf is SHA-512 over the sorted components, with their descriptors, and the operations: a
// changed descriptor is another manifest, which Java's own hash does not see.
func hashOf(b bundle, operations []Operation) (string, error) {
	var lines []string
	for _, list := range [][]component{b.Components.Processors, b.Components.Services} {
		for _, c := range list {
			text, err := json.Marshal(c)
			if err != nil {
				return "", err
			}
			lines = append(lines, b.Group+b.Artifact+b.Version+c.Type+string(text))
		}
	}
	slices.Sort(lines)
	text, err := json.Marshal(operations)
	sum := sha512.Sum512([]byte(strings.Join(lines, ",") + string(text)))
	return hex.EncodeToString(sum[:]), err
}

func named(t, version string) api {
	return api{Group: Group, Artifact: Artifact, Version: version, Type: t}
}

// shared is what processors and services have in common.
func shared(d *engine.Definition, version string) component {
	c := component{api: named(d.Type, version), Description: d.Description, Properties: map[string]descriptor{}, Dynamic: d.Dynamic != nil}
	for _, p := range d.Properties {
		out := descriptor{Name: p.Name, DisplayName: p.DisplayName, Description: p.Description, Default: p.Default, Required: p.Required,
			Sensitive: p.Sensitive, Scope: scope(p.Expression)}
		if out.DisplayName == "" {
			out.DisplayName = p.Name
		}
		for _, v := range p.Allowed {
			out.Allowed = append(out.Allowed, allowed{v, v})
		}
		if p.Service != "" {
			s := named(p.Service, version)
			out.Service = &s
		}
		c.Properties[p.Name] = out
	}
	if d.Dynamic != nil {
		c.DynamicList = []dynamic{{d.Dynamic.Name, d.Dynamic.Value, d.Dynamic.Description, scope(d.Dynamic.Expression)}}
	}
	return c
}

func scope(expression bool) string {
	if expression {
		return "FLOWFILE_ATTRIBUTES"
	}
	return "NONE"
}

func processor(d *engine.Definition, version string) component {
	c := shared(d, version)
	c.Input, c.WhenEmpty = string(d.Input), d.WhenEmpty
	for _, r := range d.Relationships {
		c.Relationships = append(c.Relationships, relationship(r))
	}
	c.Routes = d.Dynamic != nil && d.Dynamic.Relationship
	c.Strategies, c.Strategy = []string{"TIMER_DRIVEN", "CRON_DRIVEN"}, "TIMER_DRIVEN"
	c.Tasks = map[string]int{"TIMER_DRIVEN": 1, "CRON_DRIVEN": 1}
	c.Periods = map[string]string{"TIMER_DRIVEN": "0 sec", "CRON_DRIVEN": "* * * * * ?"}
	c.Penalty, c.Yield, c.Bulletins = "30 sec", "1 sec", "WARN"
	return c
}
