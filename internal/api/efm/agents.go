package efm

import (
	"sluice.dev/sluice/internal/service/edge"
)

func (f *front) agents() []operation {
	const tag = "agents"
	s := f.deps.Edge
	id := func(c *call) string { return c.PathValue("id") }
	return []operation{
		on("GET", "/agents", "List the agents of a class, page by page", tag, func(c *call, _ none) (edge.AgentPage, error) {
			return s.Agents(c.Context(), c.values.Get("agentClass"), c.values.Get("after"), c.count("limit", 0))
		}, parameter{name: "agentClass", about: "The class", required: true},
			parameter{name: "after", about: "The next of the page before"},
			parameter{name: "limit", about: "How many agents a page has at most", whole: true}),
		on("GET", "/agents/{id}", "Describe an agent, with its last report", tag, func(c *call, _ none) (edge.Report, error) {
			return s.LastReport(c.Context(), id(c))
		}),
		on("DELETE", "/agents/{id}", "Remove an agent; one that lives comes back with its next heartbeat", tag, func(c *call, _ none) (none, error) {
			return none{}, s.DeleteAgent(c.Context(), id(c))
		}),
		on("GET", "/agents/{id}/operations", "List how far an agent has come with its operations, the newest first", tag, func(c *call, _ none) ([]edge.Progress, error) {
			return s.History(c.Context(), id(c))
		}),
		on("GET", "/agents/{id}/parameters", "List the parameters of an agent", tag, func(c *call, _ none) (parameters, error) {
			list, err := s.AgentParameters(c.Context(), id(c))
			return parameters{hidden(list)}, err
		}),
		on("PUT", "/agents/{id}/parameters", "Set the parameters of an agent, all of them; a sensitive one without a value keeps its own", tag, func(c *call, in parameters) (parameters, error) {
			had, err := s.AgentParameters(c.Context(), id(c))
			if err != nil {
				return parameters{}, err
			}
			keepSecrets(in.Parameters, had)
			return parameters{hidden(in.Parameters)}, s.SetAgentParameters(c.Context(), id(c), in.Parameters)
		}),
	}
}
