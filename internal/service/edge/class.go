package edge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// Strategy says which manifest a class takes when its agents bring several.
type Strategy string

// The strategies, as efm.manifest.strategy names them.
const (
	FirstIn Strategy = "first-in"
	LastIn  Strategy = "last-in"
	Static  Strategy = "static"
)

// FlowFormat is the form in which agents get flows.
type FlowFormat string

// The formats: NiFi's flow.json, and MiNiFi's config.yml of version 3.
const (
	JSONFormat FlowFormat = "json"
	YAMLFormat FlowFormat = "yaml"
)

// Class is a class of agents.
type Class struct {
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Created     time.Time `json:"created"`
	// Manifest is the hash of the manifest that flows are designed against.
	Manifest string   `json:"manifest"`
	Strategy Strategy `json:"strategy,omitempty"` // the platform's where it is empty
	// FlowFormat is the form of flows for all its agents; that which each one's manifest asks for where it is empty.
	FlowFormat FlowFormat `json:"flowFormat,omitempty"`
	// Version is the version of its flow that agents are to run, and Order the number of
	// what brought it to them; none if Version is empty.
	Version string `json:"version,omitempty"`
	Order   int64  `json:"order,omitempty"`
	// Rollout is the order of the rollout under way, or 0.
	Rollout int64 `json:"rollout,omitempty"`
	// Parameters are those of the class.
	Parameters []flow.Parameter `json:"parameters,omitempty"`
	// Resources are the ids of the resources its agents have, in order, and ResourceHash
	// their digest.
	Resources     []string `json:"resources,omitempty"`
	ResourceHash  string   `json:"resource_hash,omitempty"`
	ResourceOrder int64    `json:"resource_order,omitempty"`
}

// maxName bounds ids and names that agents and operators bring.
const maxName = 200

// checkName refuses what could not be a path's part.
func checkName(field, s string) error {
	switch {
	case s == "":
		return Invalid.Field(field, "%s is empty", field)
	case len(s) > maxName:
		return Invalid.Field(field, "%s is longer than %d bytes", field, maxName)
	case s == "." || s == ".." || s == "*" || strings.ContainsAny(s, "/\\\x00") || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		return Invalid.Field(field, "%s has characters that it may not have: slashes, control characters, an asterisk alone", field)
	}
	return nil
}

// Actions that callers need, on a class.
const (
	Fetch   name.Action = "edge:Fetch"   // get flows with their secrets, and resources, as an agent does
	View    name.Action = "edge:View"    // see agents, flows and operations
	Design  name.Action = "edge:Design"  // edit flows and parameters
	Operate name.Action = "edge:Operate" // publish, order operations, assign resources
	Admin   name.Action = "edge:Admin"   // make and delete classes, agents, resources, tokens
)

func (s *Service) arn(class string) name.ARN {
	return name.ARN{Service: "edge", Region: s.cfg.Region, Account: s.cfg.Account, Resource: "class/" + class}
}

// may asks the authoriser for an action on a class.
func (s *Service) may(ctx context.Context, action name.Action, class string) error {
	return s.deps.Auth.Authorize(ctx, action, s.arn(class))
}

// Classes lists the classes that the caller may see, by name.
func (s *Service) Classes(ctx context.Context) ([]Class, error) {
	out := []Class{}
	for _, c := range s.store.classes.All(s.deps.Store.Snapshot(), "") {
		if s.may(ctx, View, c.Name) == nil {
			out = append(out, *c)
		}
	}
	return out, nil
}

// Class returns one class.
func (s *Service) Class(ctx context.Context, class string) (Class, error) {
	if err := s.may(ctx, View, class); err != nil {
		return Class{}, err
	}
	c, ok := s.store.classes.Get(s.deps.Store.Snapshot(), class)
	if !ok {
		return Class{}, NoSuchClass.Field("agentClass", "there is no agent class %q", class)
	}
	return *c, nil
}

// CreateClass makes a class.
func (s *Service) CreateClass(ctx context.Context, class, description string) (Class, error) {
	if err := s.may(ctx, Admin, class); err != nil {
		return Class{}, err
	}
	if err := checkName("name", class); err != nil {
		return Class{}, err
	}
	c := &Class{Name: class, Description: description}
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if s.store.classes.Has(tx, class) {
			return ClassExists.Field("name", "there is an agent class %q", class)
		}
		c.Created = tx.Now()
		return s.store.classes.Put(tx, class, c)
	})
	if err == nil {
		s.changed(ctx, class, "", "class created", "an operator made the class")
	}
	return *c, err
}

// ClassChange is what to change of a class; nil leaves what there is.
type ClassChange struct {
	Description *string
	Strategy    *Strategy
	Manifest    *string // with the strategy static
	Parameters  *[]flow.Parameter
	Resources   *[]string
	FlowFormat  *FlowFormat
}

// names are what is to be changed.
func (c ClassChange) names() (out []string) {
	for name, given := range map[string]bool{"description": c.Description != nil, "strategy": c.Strategy != nil, "manifest": c.Manifest != nil,
		"parameters": c.Parameters != nil, "resources": c.Resources != nil, "flowFormat": c.FlowFormat != nil} {
		if given {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// maxParameters bounds the parameters of a class, an agent or a flow.
const maxParameters = 1000

// UpdateClass changes a class. Its agents get new resources with their next heartbeats;
// new parameters are in what is published next.
func (s *Service) UpdateClass(ctx context.Context, class string, change ClassChange) (Class, error) {
	action := Design
	if change.Resources != nil || change.Manifest != nil || change.Strategy != nil || change.FlowFormat != nil {
		action = Operate
	}
	if err := s.may(ctx, action, class); err != nil {
		return Class{}, err
	}
	if change.Parameters != nil {
		if err := checkParameters(*change.Parameters); err != nil {
			return Class{}, err
		}
	}
	var c Class
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		old, ok := s.store.classes.Get(tx, class)
		if !ok {
			return NoSuchClass.Field("agentClass", "there is no agent class %q", class)
		}
		c = *old
		if change.Description != nil {
			c.Description = *change.Description
		}
		if change.Parameters != nil {
			c.Parameters = *change.Parameters
		}
		if change.Strategy != nil {
			if !slices.Contains([]Strategy{"", FirstIn, LastIn, Static}, *change.Strategy) {
				return Invalid.Field("strategy", "the strategy is %s, %s or %s, not %q", FirstIn, LastIn, Static, *change.Strategy)
			}
			c.Strategy = *change.Strategy
		}
		if change.FlowFormat != nil {
			if !slices.Contains([]FlowFormat{"", JSONFormat, YAMLFormat}, *change.FlowFormat) {
				return Invalid.Field("flowFormat", "the flow format is %s, %s or empty, not %q", JSONFormat, YAMLFormat, *change.FlowFormat)
			}
			c.FlowFormat = *change.FlowFormat
		}
		if change.Manifest != nil {
			if _, ok := s.store.manifests.Get(tx, *change.Manifest); !ok {
				return NoSuchManifest.Field("manifest", "there is no manifest %q", *change.Manifest)
			}
			c.Manifest = *change.Manifest
		}
		if change.Resources != nil {
			if err := s.assign(tx, &c, *change.Resources); err != nil {
				return err
			}
		}
		return s.store.classes.Put(tx, class, &c)
	})
	if err == nil {
		s.changed(ctx, class, "", "class changed", "changed: %s", strings.Join(change.names(), ", "))
	}
	return c, err
}

func checkParameters(params []flow.Parameter) error {
	if len(params) > maxParameters {
		return TooMany.Field("parameters", "there are more than %d parameters", maxParameters)
	}
	seen := map[string]bool{}
	for i, p := range params {
		field := fmt.Sprintf("parameters[%d]", i)
		if err := checkName(field+".name", p.Name); err != nil {
			return err
		}
		if seen[p.Name] {
			return Invalid.Field(field+".name", "parameter %q is given twice", p.Name)
		}
		seen[p.Name] = true
		if p.Value != nil && len(*p.Value) > 64<<10 {
			return TooLarge.Field(field+".value", "the value of parameter %q is longer than 64 KiB", p.Name)
		}
	}
	return nil
}

// DeleteClass removes a class that has no agents, with its flow.
func (s *Service) DeleteClass(ctx context.Context, class string) error {
	if err := s.may(ctx, Admin, class); err != nil {
		return err
	}
	if err := s.written(ctx); err != nil { // what a node has not written yet counts too
		return err
	}
	n, err := s.store.agents.Count(ctx, class)
	if err != nil {
		return err
	}
	if n > 0 {
		return ClassInUse.Field("agentClass", "agent class %q has %d agents", class, n)
	}
	err = s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		for key, f := range s.store.flows.Find(tx, "class", class) {
			_ = f
			if _, err := s.store.flows.Delete(tx, key); err != nil {
				return err
			}
		}
		ok, err := s.store.classes.Delete(tx, class)
		if err == nil && !ok {
			return NoSuchClass.Field("agentClass", "there is no agent class %q", class)
		}
		if err != nil {
			return err
		}
		// A class that is made again under the name has nothing to do with it.
		for key := range s.store.rollouts.Find(tx, "class", class) {
			if _, err := s.store.rollouts.Delete(tx, key); err != nil {
				return err
			}
		}
		for key := range s.store.orders.Find(tx, "class", class) {
			if _, err := s.store.orders.Delete(tx, key); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.changed(ctx, class, "", "class deleted", "an operator removed the class and its flow")
	}
	return err
}

// ensureClass makes a class that an agent has named for the first time.
func (s *Service) ensureClass(ctx context.Context, class string) error {
	if s.store.classes.Has(s.deps.Store.Snapshot(), class) {
		return nil
	}
	made := false
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if made = !s.store.classes.Has(tx, class); !made {
			return nil
		}
		if s.store.classes.Len(tx) >= s.cfg.MaxClasses {
			return TooMany.Field("agentInfo.agentClass", "there are %d agent classes, and no more are made by agents", s.cfg.MaxClasses)
		}
		return s.store.classes.Put(tx, class, &Class{Name: class, Created: tx.Now()})
	})
	if err == nil && made {
		s.event(Event{Level: "INFO", Class: class, Type: "class created", Message: "an agent named the class for the first time"})
	}
	return err
}
