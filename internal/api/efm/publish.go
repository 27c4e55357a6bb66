package efm

import (
	"cmp"

	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// publication is a version that is to come to its class.
type publication struct {
	Comments string    `json:"comments"`
	Plan     edge.Plan `json:"plan"`
}

// published is a version and the rollout that brings it.
type published struct {
	Version edge.FlowVersion `json:"version"`
	Rollout edge.Rollout     `json:"rollout"`
}

// again is how an earlier version is to come to its class.
type again struct {
	Plan edge.Plan `json:"plan"`
}

// reversion says which version is to be edited; the published one unless it does.
type reversion struct {
	Version string `json:"version"` // number or id
}

// publicRollout leaves out which part of the order of agents is admitted: how many those are is what it means.
func publicRollout(r edge.Rollout) edge.Rollout {
	r.Admitted = 0
	return r
}

func (f *front) publishing() []operation {
	const tag = "versions and rollouts"
	s := f.deps.Edge
	steer := func(verb, summary string, do func(c *call, n int64) error) operation {
		return on("POST", "/rollouts/{n}/"+verb, summary, tag, func(c *call, _ none) (edge.RolloutStatus, error) {
			n, err := c.pathNumber("n")
			if err != nil {
				return edge.RolloutStatus{}, err
			}
			if err := do(c, n); err != nil {
				return edge.RolloutStatus{}, err
			}
			out, err := s.RolloutOf(c.Context(), n)
			out.Rollout = publicRollout(out.Rollout)
			return out, err
		})
	}
	return []operation{
		on("POST", "/designer/flows/{id}/publish", "Make a version of a flow and begin to bring it to its class", tag, func(c *call, in publication) (published, error) {
			v, r, err := s.Publish(c.Context(), c.PathValue("id"), in.Comments, in.Plan)
			return published{v, publicRollout(r)}, err
		}),
		on("GET", "/designer/flows/{id}/versions", "List the versions of a flow, the oldest first", tag, func(c *call, _ none) ([]edge.FlowVersion, error) {
			info, _, err := s.Flow(c.Context(), c.PathValue("id"))
			return info.Versions, err
		}),
		on("GET", "/designer/flows/{id}/versions/{v}", "Return a version of a flow, by its number or id", tag, func(c *call, _ none) (*flow.Flow, error) {
			info, m, err := f.designed(c)
			if err != nil {
				return nil, err
			}
			v, err := f.version(c, info, "v", c.PathValue("v"))
			if err != nil {
				return nil, err
			}
			return flow.Redact(v, m), nil
		}),
		on("POST", "/designer/flows/{id}/versions/{v}/publish", "Bring an earlier version to its class again, as a version of its own", tag, func(c *call, in again) (published, error) {
			info, _, err := s.Flow(c.Context(), c.PathValue("id"))
			if err != nil {
				return published{}, err
			}
			id, err := versionID(info, "v", c.PathValue("v"))
			if err != nil {
				return published{}, err
			}
			v, r, err := s.Republish(c.Context(), info.ID, id, in.Plan)
			return published{v, publicRollout(r)}, err
		}),
		on("POST", "/designer/flows/{id}/revert", "Edit an earlier version, the published one unless another is said", tag, func(c *call, in reversion) (flowView, error) {
			info, m, err := f.designed(c)
			if err != nil {
				return flowView{}, err
			}
			id, err := versionID(info, "version", cmp.Or(in.Version, info.Published))
			if err != nil {
				return flowView{}, err
			}
			draft, err := s.Revert(c.Context(), info.ID, id)
			if err != nil {
				return flowView{}, err
			}
			info, _, err = s.Flow(c.Context(), info.ID)
			return flowView{info, flow.Redact(draft, m)}, err
		}),
		on("GET", "/rollouts", "List the rollouts of a class, the newest first", tag, func(c *call, _ none) ([]edge.Rollout, error) {
			list, err := s.Rollouts(c.Context(), c.values.Get("agentClass"))
			for i := range list {
				list[i] = publicRollout(list[i])
			}
			return list, err
		}, parameter{name: "agentClass", about: "The class", required: true}),
		on("GET", "/rollouts/{n}", "Describe a rollout, and how far agents have come with it", tag, func(c *call, _ none) (edge.RolloutStatus, error) {
			n, err := c.pathNumber("n")
			if err != nil {
				return edge.RolloutStatus{}, err
			}
			out, err := s.RolloutOf(c.Context(), n)
			out.Rollout = publicRollout(out.Rollout)
			return out, err
		}),
		steer("pause", "Admit no more agents to a rollout", func(c *call, n int64) error { return s.Pause(c.Context(), n, true) }),
		steer("resume", "Go on with a rollout", func(c *call, n int64) error { return s.Pause(c.Context(), n, false) }),
		steer("cancel", "End a rollout: all agents get the version before again", func(c *call, n int64) error { return s.CancelRollout(c.Context(), n) }),
	}
}
