package gateway

import (
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// takeLabels takes the labels out of an input. nil means that they stay as they are.
func (g *Gateway) takeLabels(r store.Reader, e *schema.Entity, in schema.Record, id string) ([]string, error) {
	if e.Labels == nil {
		return nil, nil
	}
	f := e.Labels.Field
	v, given := in[f.Name]
	delete(in, f.Name)
	if !given {
		return nil, nil
	}
	holder := &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{f}}
	if bad := holder.Validate(schema.Record{f.Name: v}); bad != nil {
		return nil, violated(bad)
	}
	labels := append([]string{}, list(v)...) // not nil: none is a value too
	slices.Sort(labels)
	of := g.entities[e.Labels.Entity]
	for i, label := range labels {
		if i > 0 && labels[i-1] == label {
			return nil, violated(schema.Violations{f.Name: label + " is duplicated"})
		}
		if _, held, ok := g.lookup(r, of, of.EndpointKey, label); ok {
			if holder := refID((*held)[e.Labels.Foreign]); holder != id {
				return nil, violated(schema.Violations{f.Name: label + " already associated with existing certificate '" + holder + "'"})
			}
		}
	}
	return labels, nil
}

// relabel makes labels those of the record under id; nil leaves them.
func (g *Gateway) relabel(tx *store.Tx, e *schema.Entity, id string, labels []string) error {
	if labels == nil {
		return nil
	}
	of := g.entities[e.Labels.Entity]
	have := g.labels(tx, e, id)
	for _, label := range have {
		if !slices.Contains(labels, label) {
			labelID, _, _ := g.lookup(tx, of, of.EndpointKey, label)
			if _, err := g.collection(of.Name).Delete(tx, labelID); err != nil {
				return err
			}
		}
	}
	for _, label := range labels {
		if slices.Contains(have, label) {
			continue
		}
		full, err := g.complete(tx, of, schema.Record{of.EndpointKey: label, e.Labels.Foreign: schema.Record{"id": id}}, nil)
		if err != nil {
			return err
		}
		if err := g.write(tx, of, full, true); err != nil {
			return err
		}
	}
	return nil
}

// labels returns the labels of the record under id, sorted.
func (g *Gateway) labels(r store.Reader, e *schema.Entity, id string) []string {
	of := g.entities[e.Labels.Entity]
	out := []string{}
	for _, doc := range g.collection(of.Name).Find(r, e.Labels.Foreign, id) {
		out = append(out, str((*doc)[of.EndpointKey]))
	}
	slices.Sort(out)
	return out
}

// labelled returns the id of the record a label belongs to.
func (g *Gateway) labelled(r store.Reader, e *schema.Entity, label string) (id string, ok bool) {
	if e.Labels == nil {
		return "", false
	}
	of := g.entities[e.Labels.Entity]
	_, doc, ok := g.lookup(r, of, of.EndpointKey, label)
	if !ok {
		return "", false
	}
	return strings.ToLower(refID((*doc)[e.Labels.Foreign])), true
}
