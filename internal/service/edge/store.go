package edge

import (
	"slices"
	"time"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// collections are where the service keeps what.
type collections struct {
	classes   *store.Collection[Class]
	manifests *store.Collection[manifestDoc]
	flows     *store.Collection[flowDoc]
	rollouts  *store.Collection[Rollout]
	orders    *store.Collection[Order]
	resources *store.Collection[Resource]
	params    *store.Collection[agentParameters]
	tokens    *store.Collection[tokenDoc]

	agents   *store.Rows[Agent]
	progress *store.Rows[Progress]
	events   *store.Rows[Event]
	versions *store.Rows[versionRow]
	contents *store.Rows[manifestRow]
	chunks   chunks
	claims   *store.Rows[claimRow]
	debug    chunks
}

// agentParameters are the parameters of one agent.
type agentParameters struct {
	Class      string
	Parameters []flow.Parameter
}

// versionRow is a version of a flow, as it was published.
type versionRow struct {
	Class string
	Flow  []byte // flow.Marshal
}

// manifestRow is a manifest as an agent sent it, compressed.
type manifestRow struct {
	Agent string // who sent it
	Gzip  []byte
}

// claimRow says who asks an agent for a manifest.
type claimRow struct{ Node string }

func openCollections(s *store.Store) *collections {
	owner := func(c *chunkRow) string { return c.Owner }
	by := func(class string) []string {
		if class == "" {
			return nil
		}
		return []string{class}
	}
	return &collections{
		classes:   store.Register[Class](s, "edge.classes"),
		manifests: store.Register[manifestDoc](s, "edge.manifests"),
		flows:     store.Register(s, "edge.flows", store.Index("class", func(f *flowDoc) []string { return by(f.Class) })),
		rollouts:  store.Register(s, "edge.rollouts", store.Index("class", func(r *Rollout) []string { return by(r.Class) })),
		// Those of one agent are not in the index that each heartbeat of the class reads.
		orders: store.Register(s, "edge.orders", store.Index("class", func(o *Order) []string { return by(o.Class) }),
			store.Index("agent", func(o *Order) []string { return by(o.Agent) }),
			store.Index("all of class", func(o *Order) []string {
				if o.Agent != "" {
					return nil
				}
				return by(o.Class)
			})),
		resources: store.Register(s, "edge.resources", store.Unique("name", func(r *Resource) []string { return []string{string(r.Type) + "/" + r.Path + "/" + r.Name} })),
		params:    store.Register[agentParameters](s, "edge.parameters"),
		tokens:    store.Register[tokenDoc](s, "edge.tokens"),

		agents:   store.OpenRows(s, "edge.agents", func(a *Agent) string { return a.Class }),
		progress: store.OpenRows(s, "edge.progress", func(p *Progress) string { return progressGroup(p.Order, p.State) }),
		events:   store.OpenRows(s, "edge.events", func(e *Event) string { return eventGroup(e.Class, e.Created) }),
		versions: store.OpenRows(s, "edge.versions", func(v *versionRow) string { return v.Class }),
		contents: store.OpenRows(s, "edge.manifests", func(*manifestRow) string { return "" }),
		chunks:   chunks{store.OpenRows(s, "edge.chunks", owner), "resource"},
		claims:   store.OpenRows(s, "edge.claims", func(*claimRow) string { return "" }),
		debug:    chunks{store.OpenRows(s, "edge.debug", owner), "bundle"},
	}
}

func newestFirst(events []Event) {
	slices.SortFunc(events, func(a, b Event) int { return b.Created.Compare(a.Created) })
}

// age is how long ago a moment was; very long for the zero time.
func age(now, then time.Time) time.Duration {
	if then.IsZero() {
		return 1 << 62
	}
	return now.Sub(then)
}
