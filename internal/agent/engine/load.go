package engine

import (
	"strings"

	"sluice.dev/sluice/internal/service/edge/flow"
)

// MaxFlow bounds a flow as it is read, in bytes.
const MaxFlow = 32 << 20

// ParseFlow reads a flow in NiFi's JSON and puts parameters into the properties that name
// them, which an agent's own file may leave to it. What does no work, such as labels, is
// passed over; what the agent would have to do and cannot is an error.
func ParseFlow(raw []byte) (*flow.Flow, error) {
	if len(raw) > MaxFlow {
		return nil, InvalidFlow.New("a flow may have %d bytes, not %d", MaxFlow, len(raw))
	}
	f, left, err := flow.ParseJSON(raw)
	if err != nil {
		return nil, InvalidFlow.Wrap(err, "the flow is not NiFi's JSON: %v", err)
	}
	var wrong problems
	for _, p := range left {
		switch {
		case p.Field == "reportingTasks":
			wrong.add("reporting tasks are not supported")
		case strings.HasPrefix(p.Field, "properties."):
			wrong.add("%s: %s: the value is encrypted", p.ComponentID, p.Field)
		}
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if f, err = flow.Literal(f); err != nil {
		return nil, InvalidFlow.Wrap(err, "the flow is not valid: %v", err)
	}
	return f, nil
}
