package efm

import (
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/flow"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// flowView is a flow with its text, without its secrets.
type flowView struct {
	edge.FlowInfo
	Flow *flow.Flow `json:"flow"`
}

type clientIdentifier struct {
	ClientID string `json:"clientId"`
}

type validation struct {
	Errors []flow.Problem `json:"validationErrors"`
}

type imported struct {
	flowView
	Problems []flow.Problem `json:"problems"`
}

type differences struct {
	Differences []flow.Difference `json:"differences"`
}

// componentType is a type that flows of a class can have components of.
type componentType struct {
	Type              string               `json:"type"`
	Bundle            manifest.Coordinates `json:"bundle"`
	Properties        []propertyType       `json:"properties"`
	Relationships     []string             `json:"relationships"`
	DynamicProperties bool                 `json:"dynamicProperties"`
	Deprecated        bool                 `json:"deprecated,omitempty"`
}

type propertyType struct {
	Name        string   `json:"name"`
	DisplayName string   `json:"displayName,omitempty"`
	Default     string   `json:"defaultValue,omitempty"`
	Required    bool     `json:"required"`
	Sensitive   bool     `json:"sensitive"`
	Allowed     []string `json:"allowableValues,omitempty"`
}

func typesOf(m *manifest.Manifest, kind manifest.Kind) []componentType {
	out := []componentType{}
	for _, b := range m.Bundles {
		for _, c := range b.Components {
			if c.Kind != kind {
				continue
			}
			t := componentType{Type: c.Type, Bundle: b.Coordinates, Relationships: c.Relationships, DynamicProperties: c.DynamicProperties, Deprecated: c.Deprecated}
			for _, p := range c.Properties {
				of := propertyType{Name: p.Name, DisplayName: p.DisplayName, Default: p.Default, Required: p.Required, Sensitive: p.Sensitive}
				for _, a := range p.Allowed {
					of.Allowed = append(of.Allowed, a.Value)
				}
				t.Properties = append(t.Properties, of)
			}
			out = append(out, t)
		}
	}
	return out
}

func (f *front) designer() []operation {
	const tag = "designer"
	s := f.deps.Edge
	types := func(noun string, kind manifest.Kind) operation {
		return on("GET", "/designer/flows/{id}/types/"+noun, "List the types of "+noun+" that agents of the class have", tag, func(c *call, _ none) ([]componentType, error) {
			info, _, err := s.Flow(c.Context(), c.PathValue("id"))
			if err != nil {
				return nil, err
			}
			m, err := s.Manifest(c.Context(), info.Class)
			if err != nil {
				return nil, err
			}
			return typesOf(m, kind), nil
		})
	}
	return append(f.componentOperations(),
		on("GET", "/designer/client-identifier", "Make an identifier for a client's revisions", tag, func(*call, none) (clientIdentifier, error) {
			return clientIdentifier{uuid.NewString()}, nil
		}),
		on("GET", "/designer/flows/summaries", "List the flows", tag, func(c *call, _ none) ([]edge.FlowInfo, error) { return s.Flows(c.Context()) }),
		on("GET", "/designer/flows", "List the flows, or that of one class, which is made when it is first asked for", tag, func(c *call, _ none) ([]edge.FlowInfo, error) {
			class := c.values.Get("agentClass")
			if class == "" {
				return s.Flows(c.Context())
			}
			info, err := s.FlowOf(c.Context(), class)
			return []edge.FlowInfo{info}, err
		}, parameter{name: "agentClass", about: "The class"}),
		on("GET", "/designer/flows/{id}", "Return a flow as it is edited", tag, func(c *call, _ none) (flowView, error) {
			info, m, err := f.designed(c)
			if err != nil {
				return flowView{}, err
			}
			_, draft, err := s.Flow(c.Context(), info.ID)
			if err != nil {
				return flowView{}, err
			}
			return flowView{info, flow.Redact(draft, m)}, nil
		}),
		on("GET", "/designer/flows/{id}/validate", "Find what is wrong with a flow as it is edited", tag, func(c *call, _ none) (validation, error) {
			problems, err := s.Validate(c.Context(), c.PathValue("id"))
			if problems == nil {
				problems = []flow.Problem{}
			}
			return validation{problems}, err
		}),
		types("processors", manifest.Processor),
		types("controller-services", manifest.ControllerService),
		on("GET", "/designer/{agentClass}/flows/export", "Write a class's flow without its secrets and revisions, fit for git", tag, f.export,
			parameter{name: "format", about: "The platform's own JSON unless it is said; nifi is NiFi's JSON, yaml MiNiFi's", values: []string{"json", "yaml", "nifi"}},
			parameter{name: "version", about: "A version's number or id; what is edited if it is not said"}).gives("application/octet-stream"),
		on("POST", "/designer/{agentClass}/flows/import", "Put a whole flow in the place of the one that is edited", tag, f.imports).created().
			accepts(maxFlow, nil, jsonType, "application/yaml", "text/yaml", "text/yml"),
		on("GET", "/designer/flows/{id}/diff", "Tell how two versions differ", tag, func(c *call, _ none) (differences, error) {
			info, m, err := f.designed(c)
			if err != nil {
				return differences{}, err
			}
			from, err := f.version(c, info, "from", c.values.Get("from"))
			if err != nil {
				return differences{}, err
			}
			to, err := f.version(c, info, "to", c.values.Get("to"))
			if err != nil {
				return differences{}, err
			}
			out := flow.Diff(from, to, m)
			if out == nil {
				out = []flow.Difference{}
			}
			return differences{out}, nil
		}, parameter{name: "from", about: "A version's number or id", required: true}, parameter{name: "to", about: "The other; what is edited if it is not said"}))
}

// version is a version of a flow by its number or id, or what is edited if it is not said.
func (f *front) version(c *call, info edge.FlowInfo, field, which string) (*flow.Flow, error) {
	if which == "" {
		_, draft, err := f.deps.Edge.Flow(c.Context(), info.ID)
		return draft, err
	}
	v, err := versionID(info, field, which)
	if err != nil {
		return nil, err
	}
	return f.deps.Edge.Version(c.Context(), info.ID, v)
}

func versionID(info edge.FlowInfo, field, which string) (string, error) {
	i := slices.IndexFunc(info.Versions, func(v edge.FlowVersion) bool { return v.ID == which || strconv.Itoa(v.Number) == which })
	if i < 0 {
		return "", edge.NoSuchFlow.Field(field, "the flow has no version %q", clip(which))
	}
	return info.Versions[i].ID, nil
}

func (f *front) export(c *call, _ none) (content, error) {
	info, err := f.deps.Edge.FlowOf(c.Context(), c.PathValue("agentClass"))
	if err != nil {
		return content{}, err
	}
	m, err := f.manifestOf(c, info.Class)
	if err != nil {
		return content{}, err
	}
	v, err := f.version(c, info, "version", c.values.Get("version"))
	if err != nil {
		return content{}, err
	}
	v = flow.WithoutRevisions(flow.Redact(v, m))
	out := content{media: "application/octet-stream", file: info.Class + ".json"}
	switch c.values.Get("format") {
	case "nifi":
		out.text, err = flow.ExportJSON(v, m)
	case "yaml":
		out.file = info.Class + ".yml"
		out.text, err = flow.ExportYAML(v, m)
	default:
		out.text, err = flow.Marshal(v)
	}
	return out, err
}

func (f *front) imports(c *call, _ none) (imported, error) {
	text, err := c.text()
	if err != nil {
		return imported{}, err
	}
	var read *flow.Flow
	problems := []flow.Problem{}
	switch {
	case !strings.HasPrefix(c.Header.Get("Content-Type"), jsonType):
		read, problems, err = flow.ParseYAML(text)
	case gjson.GetBytes(text, "format").Exists():
		read, err = flow.Unmarshal(text)
	default:
		read, problems, err = flow.ParseJSON(text)
	}
	if err != nil {
		return imported{}, err
	}
	info, err := f.deps.Edge.FlowOf(c.Context(), c.PathValue("agentClass"))
	if err != nil {
		return imported{}, err
	}
	if read, err = read.For(info.ID, info.Class); err != nil {
		return imported{}, err
	}
	m, err := f.manifestOf(c, info.Class)
	if err != nil {
		return imported{}, err
	}
	draft, err := f.deps.Edge.EditFlow(c.Context(), info.ID, func(*flow.Flow) (*flow.Flow, error) { return read, nil })
	if err != nil {
		return imported{}, err
	}
	info, _, err = f.deps.Edge.Flow(c.Context(), info.ID)
	return imported{flowView{info, flow.Redact(draft, m)}, problems}, err
}
