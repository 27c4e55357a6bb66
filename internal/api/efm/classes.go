package efm

import (
	"encoding/json"

	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/flow"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// newClass is a class that is to be made.
type newClass struct {
	Name        string `json:"name" required:"true"`
	Description string `json:"description"`
}

// classChange is what to change of a class; what is not said stays.
type classChange struct {
	Description *string           `json:"description"`
	Strategy    *edge.Strategy    `json:"strategy"`
	Manifest    *string           `json:"manifest"`
	Parameters  *[]flow.Parameter `json:"parameters"`
	Resources   *[]string         `json:"resources"`
	FlowFormat  *edge.FlowFormat  `json:"flowFormat"`
}

// parameters are those of a class or an agent.
type parameters struct {
	Parameters []flow.Parameter `json:"parameters"`
}

// manifestConfig binds a class to a manifest, whatever its agents bring.
type manifestConfig struct {
	Class    string `json:"agentClass" required:"true"`
	Manifest string `json:"agentManifestId" required:"true"`
}

func (f *front) classes() []operation {
	const tag = "agent classes"
	s := f.deps.Edge
	class := func(c *call) string { return c.PathValue("class") }
	return []operation{
		on("GET", "/agent-classes", "List the agent classes", tag, func(c *call, _ none) ([]edge.Class, error) {
			list, err := s.Classes(c.Context())
			for i := range list {
				list[i] = shown(list[i])
			}
			return list, err
		}),
		on("POST", "/agent-classes", "Make an agent class", tag, func(c *call, in newClass) (edge.Class, error) {
			return s.CreateClass(c.Context(), in.Name, in.Description)
		}).created(),
		on("GET", "/agent-classes/{class}", "Describe an agent class", tag, func(c *call, _ none) (edge.Class, error) {
			out, err := s.Class(c.Context(), class(c))
			return shown(out), err
		}),
		on("PUT", "/agent-classes/{class}", "Change an agent class: what is not said stays", tag, func(c *call, in classChange) (edge.Class, error) {
			if in.Parameters != nil {
				if err := f.keepClassSecrets(c, class(c), *in.Parameters); err != nil {
					return edge.Class{}, err
				}
			}
			out, err := s.UpdateClass(c.Context(), class(c), edge.ClassChange(in))
			return shown(out), err
		}),
		on("DELETE", "/agent-classes/{class}", "Delete an agent class that has no agents, and its flow", tag, func(c *call, _ none) (none, error) {
			return none{}, s.DeleteClass(c.Context(), class(c))
		}),
		on("GET", "/agent-classes/{class}/manifest-diff", "Tell how another manifest differs from the class's", tag, func(c *call, _ none) (manifest.Changes, error) {
			return s.ManifestDiff(c.Context(), class(c), c.values.Get("manifest"))
		}, parameter{name: "manifest", about: "The hash of the other manifest", required: true}),
		on("GET", "/agent-classes/{class}/parameters", "List the parameters of an agent class", tag, func(c *call, _ none) (parameters, error) {
			out, err := s.Class(c.Context(), class(c))
			return parameters{hidden(out.Parameters)}, err
		}),
		on("PUT", "/agent-classes/{class}/parameters", "Set the parameters of an agent class, all of them; a sensitive one without a value keeps its own", tag, func(c *call, in parameters) (parameters, error) {
			if err := f.keepClassSecrets(c, class(c), in.Parameters); err != nil {
				return parameters{}, err
			}
			out, err := s.UpdateClass(c.Context(), class(c), edge.ClassChange{Parameters: &in.Parameters})
			return parameters{hidden(out.Parameters)}, err
		}),
		on("GET", "/agent-manifests", "List the manifests of agents", tag, func(c *call, _ none) ([]edge.ManifestInfo, error) {
			return s.Manifests(c.Context())
		}),
		on("GET", "/agent-manifests/{id}", "Return a manifest as its agent sent it, by hash or identifier", tag, func(c *call, _ none) (any, error) {
			text, err := s.ManifestText(c.Context(), c.PathValue("id"))
			return json.RawMessage(text), err
		}),
		on("POST", "/agent-class-manifest-config", "Bind an agent class to a manifest, for good", tag, func(c *call, in manifestConfig) (edge.Class, error) {
			static := edge.Static
			out, err := s.UpdateClass(c.Context(), in.Class, edge.ClassChange{Strategy: &static, Manifest: &in.Manifest})
			return shown(out), err
		}),
		on("DELETE", "/agent-class-manifest-config", "Let an agent class take its manifest from its agents again", tag, func(c *call, _ none) (edge.Class, error) {
			own := edge.Strategy("")
			out, err := s.UpdateClass(c.Context(), c.values.Get("agentClass"), edge.ClassChange{Strategy: &own})
			return shown(out), err
		}, parameter{name: "agentClass", about: "The class", required: true}),
	}
}

// shown is a class as it may be shown.
func shown(c edge.Class) edge.Class {
	c.Parameters = hidden(c.Parameters)
	return c
}

// hidden are parameters without the values of the sensitive ones.
func hidden(list []flow.Parameter) []flow.Parameter {
	out := make([]flow.Parameter, len(list))
	for i, p := range list {
		if p.Sensitive {
			p.Value = nil
		}
		out[i] = p
	}
	return out
}

// keepSecrets gives sensitive parameters without a value the one that they have had, as
// answers do not tell it.
func keepSecrets(list, had []flow.Parameter) {
	for i := range list {
		for _, old := range had {
			if list[i].Sensitive && list[i].Value == nil && old.Sensitive && old.Name == list[i].Name {
				list[i].Value = old.Value
			}
		}
	}
}

func (f *front) keepClassSecrets(c *call, class string, list []flow.Parameter) error {
	had, err := f.deps.Edge.Class(c.Context(), class)
	if err != nil {
		return err
	}
	keepSecrets(list, had.Parameters)
	return nil
}
