package gateway

import (
	"cmp"
	"iter"
	"slices"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// ListQuery narrows a listing.
type ListQuery struct {
	Size     int      // at most so many records
	After    string   // id of the last record of the page before
	Tags     []string // every one of them, or any with AnyTag
	AnyTag   bool
	Parent   string // foreign field that must point at ParentID
	ParentID string
}

// List returns records in order of id, and whether there are more.
func (g *Gateway) List(e *schema.Entity, q ListQuery) (page []schema.Record, more bool) {
	view := g.deps.Store.Snapshot()
	c := g.collection(e.Name)
	var all iter.Seq2[string, *schema.Record]
	switch {
	case q.Parent != "":
		all = c.Find(view, q.Parent, q.ParentID)
	case len(q.Tags) == 1:
		all = c.Find(view, tagRule, q.Tags[0])
	default:
		all = c.All(view, q.After)
	}
	for id, doc := range all {
		if id <= q.After || !q.tagged(*doc) || g.expired(*doc) {
			continue
		}
		if len(page) == q.Size {
			return page, true
		}
		page = append(page, g.present(e, *doc))
	}
	return page, false
}

func (q *ListQuery) tagged(r schema.Record) bool {
	if len(q.Tags) == 0 {
		return true
	}
	has := list(r["tags"])
	if q.AnyTag {
		return slices.ContainsFunc(q.Tags, func(t string) bool { return slices.Contains(has, t) })
	}
	return !slices.ContainsFunc(q.Tags, func(t string) bool { return !slices.Contains(has, t) })
}

// Tagged is one tag of one entity.
type Tagged struct {
	Tag        string `json:"tag"`
	EntityName string `json:"entity_name"`
	EntityID   string `json:"entity_id"`
}

// TagRecord describes what Tags lists, which Kong takes for an entity.
func TagRecord() *schema.Field {
	return &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fieldTags.Elements.With("tag"),
		{Name: "entity_name", Kind: schema.String, Required: true},
		fieldID.With("entity_id", schema.Required),
	}}
}

// Tags returns the tags in use, in order of tag, entity and id; of one tag where only is
// not empty.
func (g *Gateway) Tags(only string) []Tagged {
	view := g.deps.Store.Snapshot()
	out := []Tagged{}
	for _, e := range g.Entities() {
		c := g.collection(e.Name)
		all := c.All(view, "")
		if only != "" {
			all = c.Find(view, tagRule, only)
		}
		for id, doc := range all {
			for _, t := range list((*doc)["tags"]) {
				if only == "" || t == only {
					out = append(out, Tagged{t, e.Name, id})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Tagged) int {
		return cmp.Or(cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.EntityName, b.EntityName), cmp.Compare(a.EntityID, b.EntityID))
	})
	return out
}
