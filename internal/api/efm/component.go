package efm

import (
	"encoding/json"
	"strings"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/flow"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// edit is what a component is to be, as EFM's designer sends it. A request to make one that
// has a requestId can be sent again: it makes one component.
type edit[C any] struct {
	Revision      flow.Revision `json:"revision"`
	Configuration C             `json:"componentConfiguration" required:"true"`
	RequestID     string        `json:"requestId"`
}

// edited is a component as it is.
type edited[C any] struct {
	RequestID     string        `json:"requestId,omitempty"`
	URI           string        `json:"uri"`
	Revision      flow.Revision `json:"revision"`
	Configuration C             `json:"componentConfiguration"`
}

// listed are the components of a kind in a group.
type listed[C any] struct {
	Components []edited[C] `json:"components"`
}

// components are the operations on components of a kind. fresh makes one with the settings of
// new ones.
func components[C any, P interface {
	*C
	flow.Component
}](f *front, noun string, kind flow.Kind, fresh func(m *manifest.Manifest, in C, id string) (P, error)) []operation {
	const tag = "designer"
	s := f.deps.Edge
	show := func(info edge.FlowInfo, m *manifest.Manifest, draft *flow.Flow, id, request string) (edited[C], error) {
		c, _, ok := flow.Redact(draft, m).Find(id)
		if !ok || c.Kind() != kind {
			return edited[C]{}, flow.NoSuchComponent.Field("componentId", "the flow has no %s %q", kind, clip(id))
		}
		return edited[C]{RequestID: request, URI: f.cfg.Context + "/api/designer/flows/" + info.ID + "/" + noun + "/" + id,
			Revision: c.Meta().Revision, Configuration: *c.(P)}, nil
	}
	made := func(c *call, in edit[C]) (edited[C], error) {
		info, m, err := f.designed(c)
		if err != nil {
			return edited[C]{}, err
		}
		patch := gjson.GetBytes(c.body, "componentConfiguration")
		id := patch.Get("identifier").Str
		repeatable := id == "" && in.RequestID != ""
		switch {
		case repeatable:
			id = uuid.NewSHA1(uuid.NameSpaceOID, []byte(info.ID+"/"+noun+"/"+in.Revision.ClientID+"/"+in.RequestID)).String()
		case id == "":
			id = uuid.NewString()
		}
		start, err := fresh(m, in.Configuration, id)
		if err != nil {
			return edited[C]{}, err
		}
		next, err := merged[C, P](start, patch, kind)
		if err != nil {
			return edited[C]{}, err
		}
		next.Meta().ID = id
		draft, err := s.EditFlow(c.Context(), info.ID, func(old *flow.Flow) (*flow.Flow, error) {
			if had, _, ok := old.Find(id); ok && repeatable && had.Kind() == kind {
				return old, nil
			}
			group := c.PathValue("pg")
			if group == "root" {
				group = old.Root.ID
			}
			return flow.Apply(old, flow.Change{Action: flow.Create, Component: next, Group: group, Revision: in.Revision})
		})
		if err != nil {
			return edited[C]{}, err
		}
		return show(info, m, draft, id, in.RequestID)
	}
	list := func(c *call, _ none) (listed[C], error) {
		info, m, err := f.designed(c)
		if err != nil {
			return listed[C]{}, err
		}
		_, draft, err := s.Flow(c.Context(), info.ID)
		if err != nil {
			return listed[C]{}, err
		}
		group := c.PathValue("pg")
		if group == "root" {
			group = draft.Root.ID
		}
		if g, _, ok := draft.Find(group); group != "" && (!ok || g.Kind() != flow.KindGroup) {
			return listed[C]{}, flow.NoSuchComponent.Field("pg", "the flow has no process group %q", clip(group))
		}
		out := listed[C]{[]edited[C]{}}
		for comp, in := range draft.All() {
			if comp.Kind() == kind && (group == "" || in != nil && in.ID == group) {
				one, err := show(info, m, draft, comp.Meta().ID, "")
				if err != nil {
					return out, err
				}
				out.Components = append(out.Components, one)
			}
		}
		return out, nil
	}
	change := func(c *call, in edit[C]) (edited[C], error) {
		info, m, err := f.designed(c)
		if err != nil {
			return edited[C]{}, err
		}
		id := c.PathValue("componentId")
		draft, err := s.EditFlow(c.Context(), info.ID, func(old *flow.Flow) (*flow.Flow, error) {
			had, _, ok := old.Find(id)
			if !ok || had.Kind() != kind {
				return nil, flow.NoSuchComponent.Field("componentId", "the flow has no %s %q", kind, clip(id))
			}
			next, err := merged[C, P](had.(P), gjson.GetBytes(c.body, "componentConfiguration"), kind)
			if err != nil {
				return nil, err
			}
			if next.Meta().ID != id {
				return nil, badRequest.Field("componentConfiguration.identifier", "the component's identifier cannot change")
			}
			return flow.Apply(old, flow.Change{Action: flow.Update, Component: next, Revision: in.Revision})
		})
		if err != nil {
			return edited[C]{}, err
		}
		return show(info, m, draft, id, in.RequestID)
	}
	where := "/designer/flows/{id}/process-groups/{pg}/" + noun
	if kind == flow.KindContext {
		where = "/designer/flows/{id}/" + noun
	}
	one := "/designer/flows/{id}/" + noun + "/{componentId}"
	what := strings.ToLower(strings.ReplaceAll(string(kind), "_", " "))
	return []operation{
		on("GET", where, "List what there is of the kind "+what, tag, list),
		on("POST", where, "Make a "+what+"; the group may be called root", tag, made).created(),
		on("GET", one, "Describe a "+what, tag, func(c *call, _ none) (edited[C], error) {
			info, m, err := f.designed(c)
			if err != nil {
				return edited[C]{}, err
			}
			_, draft, err := s.Flow(c.Context(), info.ID)
			if err != nil {
				return edited[C]{}, err
			}
			return show(info, m, draft, c.PathValue("componentId"), "")
		}),
		on("PUT", one, "Change a "+what+": what is not said stays, null takes away", tag, change),
		on("DELETE", one, "Delete a "+what, tag, func(c *call, _ none) (none, error) {
			id := c.PathValue("componentId")
			_, err := s.EditFlow(c.Context(), c.PathValue("id"), func(old *flow.Flow) (*flow.Flow, error) {
				if had, _, ok := old.Find(id); !ok || had.Kind() != kind {
					return nil, flow.NoSuchComponent.Field("componentId", "the flow has no %s %q", kind, clip(id))
				}
				return flow.Apply(old, flow.Change{Action: flow.Delete, ID: id, Connections: c.values.Get("connections") == "true",
					Revision: flow.Revision{Version: c.number("version", 0), ClientID: c.values.Get("clientId")}})
			})
			return none{}, err
		}, parameter{name: "version", about: "The revision that is to be deleted", whole: true, required: true},
			parameter{name: "clientId", about: "Who deletes it"},
			parameter{name: "connections", about: "Whether connections to it and from it go too", values: []string{"true", "false"}}),
	}
}

// merged is a component with what a request says of it. Properties are merged one by one; a
// sensitive parameter without a value keeps its own.
func merged[C any, P interface {
	*C
	flow.Component
}](base P, patch gjson.Result, kind flow.Kind) (P, error) {
	text, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	patch.ForEach(func(k, v gjson.Result) bool {
		switch name := k.Str; {
		case name == "revision": // it is the request's that counts
		case kind == flow.KindGroup && v.IsArray():
			err = badRequest.Field("componentConfiguration."+name, "what is in a group is changed by itself")
		case v.Type == gjson.Null:
			delete(members, name)
		case name == "properties":
			members[name], err = mergedProperties(members[name], v)
		default:
			members[name] = json.RawMessage(v.Raw)
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	if text, err = json.Marshal(members); err != nil {
		return nil, err
	}
	out := P(new(C))
	if err := json.Unmarshal(text, out); err != nil {
		return nil, badRequest.Field("componentConfiguration", "a number is too large, or a value is none of its member's")
	}
	switch c := any(out).(type) {
	case *flow.ParameterContext:
		keepSecrets(c.Parameters, any(base).(*flow.ParameterContext).Parameters)
	case *flow.Port:
		if c.Type != kind {
			return nil, badRequest.Field("componentConfiguration.type", "the type is %s here, not %q", kind, clip(string(c.Type)))
		}
	}
	return out, nil
}

func mergedProperties(old json.RawMessage, patch gjson.Result) (json.RawMessage, error) {
	all := map[string]string{}
	if len(old) > 0 {
		if err := json.Unmarshal(old, &all); err != nil {
			return nil, err
		}
	}
	patch.ForEach(func(k, v gjson.Result) bool {
		if v.Type == gjson.Null {
			delete(all, k.Str)
		} else {
			all[k.Str] = v.Str
		}
		return true
	})
	return json.Marshal(all)
}

// designed is the flow that a call is about, and the manifest of its class; nil if it has none.
func (f *front) designed(c *call) (edge.FlowInfo, *manifest.Manifest, error) {
	info, _, err := f.deps.Edge.Flow(c.Context(), c.PathValue("id"))
	if err != nil {
		return info, nil, err
	}
	m, err := f.manifestOf(c, info.Class)
	return info, m, err
}

// manifestOf is the manifest of a class; nil if it has none yet.
func (f *front) manifestOf(c *call, class string) (*manifest.Manifest, error) {
	m, err := f.deps.Edge.Manifest(c.Context(), class)
	if edge.NoSuchManifest.Is(err) {
		return nil, nil
	}
	return m, err
}

// typeOf is what the manifest says of a type.
func typeOf(m *manifest.Manifest, kind manifest.Kind, name string, b flow.Bundle) (*manifest.Component, error) {
	if m == nil {
		return nil, edge.NoSuchManifest.New("no agent of the class has sent its manifest yet")
	}
	c, ok := m.Find(kind, name, manifest.Coordinates(b))
	if !ok {
		return nil, badRequest.Field("componentConfiguration.type", "the manifest of the class has no %q, or several: then say the bundle", clip(name))
	}
	return c, nil
}

// componentOperations are the operations on components of all kinds.
func (f *front) componentOperations() []operation {
	port := func(kind flow.Kind) func(*manifest.Manifest, flow.Port, string) (*flow.Port, error) {
		return func(_ *manifest.Manifest, _ flow.Port, id string) (*flow.Port, error) {
			return &flow.Port{Head: flow.Head{ID: id}, Type: kind, Tasks: 1}, nil
		}
	}
	var all []operation
	for _, part := range [][]operation{
		components(f, "processors", flow.KindProcessor, func(m *manifest.Manifest, in flow.Processor, id string) (*flow.Processor, error) {
			t, err := typeOf(m, manifest.Processor, in.Type, in.Bundle)
			if err != nil {
				return nil, err
			}
			return flow.NewProcessor(m, t, id), nil
		}),
		components(f, "controller-services", flow.KindService, func(m *manifest.Manifest, in flow.ControllerService, id string) (*flow.ControllerService, error) {
			t, err := typeOf(m, manifest.ControllerService, in.Type, in.Bundle)
			if err != nil {
				return nil, err
			}
			return flow.NewService(t, id, in.Type[strings.LastIndexByte(in.Type, '.')+1:]), nil
		}),
		components(f, "connections", flow.KindConnection, func(_ *manifest.Manifest, _ flow.Connection, id string) (*flow.Connection, error) {
			return flow.NewConnection(id, "", ""), nil
		}),
		components(f, "funnels", flow.KindFunnel, func(_ *manifest.Manifest, _ flow.Funnel, id string) (*flow.Funnel, error) {
			return &flow.Funnel{Head: flow.Head{ID: id}}, nil
		}),
		components(f, "input-ports", flow.KindInput, port(flow.KindInput)),
		components(f, "output-ports", flow.KindOutput, port(flow.KindOutput)),
		components(f, "remote-process-groups", flow.KindRemote, func(_ *manifest.Manifest, _ flow.RemoteGroup, id string) (*flow.RemoteGroup, error) {
			return &flow.RemoteGroup{Head: flow.Head{ID: id}, Timeout: "30 sec", Yield: "10 sec", Transport: "RAW"}, nil
		}),
		components(f, "process-groups", flow.KindGroup, func(_ *manifest.Manifest, _ flow.Group, id string) (*flow.Group, error) {
			return &flow.Group{Head: flow.Head{ID: id}}, nil
		}),
		components(f, "parameter-contexts", flow.KindContext, func(_ *manifest.Manifest, _ flow.ParameterContext, id string) (*flow.ParameterContext, error) {
			return &flow.ParameterContext{Head: flow.Head{ID: id}}, nil
		}),
	} {
		all = append(all, part...)
	}
	return all
}
