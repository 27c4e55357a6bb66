package efm

import (
	"io"
	"time"

	"sluice.dev/sluice/internal/service/edge"
)

// newOrder is an operation that is to be carried out.
type newOrder struct {
	Operation string            `json:"operation" required:"true"`
	Operand   string            `json:"operand"`
	Args      map[string]string `json:"args"`
	Class     string            `json:"agentClass"` // all agents of it, unless Agent says one
	Agent     string            `json:"agentId"`
	// ExpiresIn is in seconds; a day if it is not said.
	ExpiresIn int64 `json:"expiresIn"`
}

// seconds are a duration from a request.
func seconds(field string, n int64) (time.Duration, error) {
	if n < 0 || n > 366*24*3600 {
		return 0, badRequest.Field(field, "%s is a number of seconds, up to a year", field)
	}
	return time.Duration(n) * time.Second, nil
}

func (f *front) orders() []operation {
	const tag = "operations"
	s := f.deps.Edge
	class := parameter{name: "agentClass", about: "The class", required: true}
	return []operation{
		on("GET", "/operations", "List the operations of a class, the newest first", tag, func(c *call, _ none) ([]edge.OrderStatus, error) {
			return s.Orders(c.Context(), c.values.Get("agentClass"))
		}, class),
		on("POST", "/operations", "Order an operation of an agent, or of a class", tag, func(c *call, in newOrder) (edge.Order, error) {
			if in.Class == "" && in.Agent == "" {
				return edge.Order{}, badRequest.Field("agentClass", "agentClass or agentId is missing")
			}
			life, err := seconds("expiresIn", in.ExpiresIn)
			if err != nil {
				return edge.Order{}, err
			}
			return s.Order(c.Context(), edge.Request{Operation: in.Operation, Operand: in.Operand, Args: in.Args, Class: in.Class, Agent: in.Agent, Life: life})
		}).created(),
		on("GET", "/operations/{id}", "Describe an operation, and how far agents have come with it", tag, func(c *call, _ none) (edge.OrderStatus, error) {
			n, err := c.pathNumber("id")
			if err != nil {
				return edge.OrderStatus{}, err
			}
			return s.OrderOf(c.Context(), n)
		}),
		on("DELETE", "/operations/{id}", "Take an operation back; agents that have got it carry it out", tag, func(c *call, _ none) (none, error) {
			n, err := c.pathNumber("id")
			if err != nil {
				return none{}, err
			}
			return none{}, s.Cancel(c.Context(), n)
		}),
		on("GET", "/operations/{id}/debug/{agent}", "Return the bundle that an agent has sent for TRANSFER debug", tag, func(c *call, _ none) (content, error) {
			n, err := c.pathNumber("id")
			return content{media: "application/octet-stream", file: "debug.tar.gz", write: func(w io.Writer) error {
				return s.ReadDebug(c.Context(), n, c.PathValue("agent"), w)
			}}, err
		}).gives("application/octet-stream"),
		on("GET", "/operations/{id}/answer/{agent}", "Return what an agent has said to DESCRIBE: its whole acknowledgement", tag, func(c *call, _ none) (content, error) {
			n, err := c.pathNumber("id")
			return content{media: "application/octet-stream", file: "answer.json", write: func(w io.Writer) error { return s.ReadDebug(c.Context(), n, c.PathValue("agent"), w) }}, err
		}).gives("application/octet-stream"),
		on("GET", "/events", "List the events of a class, the newest first", tag, func(c *call, _ none) ([]edge.Event, error) {
			return s.Events(c.Context(), c.values.Get("agentClass"), c.values.Get("agentId"), c.count("hours", 24), c.count("limit", 0))
		}, class, parameter{name: "agentId", about: "One agent's alone"},
			parameter{name: "hours", about: "How far back, a day unless it is said", whole: true},
			parameter{name: "limit", about: "How many events at most", whole: true}),
	}
}
