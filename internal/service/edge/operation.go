package edge

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/store"
)

// Operation is what an agent is to do, as it is sent.
type Operation struct {
	ID        string
	Operation string // UPDATE, DESCRIBE, START, …
	Operand   string // configuration, manifest, flow, …
	// Args are the arguments, by name: text, or for SYNC resource values of JSON.
	Args map[string]any
}

// State is how far an agent has come with an order.
type State string

// The states of progress, in their order.
const (
	Queued    State = "QUEUED"   // the agent is to get it
	Deployed  State = "DEPLOYED" // the agent has got it
	Done      State = "DONE"
	Failed    State = "FAILED"
	Cancelled State = "CANCELLED"
)

// ended reports whether nothing follows.
func (s State) ended() bool { return s == Done || s == Failed || s == Cancelled }

// Progress is how far one agent has come with one order.
type Progress struct {
	Order    int64     `json:"order"`
	Agent    string    `json:"agent"`
	State    State     `json:"state"`
	Attempt  int       `json:"attempt"`
	Details  string    `json:"details,omitempty"`
	Deployed time.Time `json:"deployed,omitzero"` // the last time
	Updated  time.Time `json:"updated,omitzero"`
}

// progressKey is the row of an agent's progress.
func progressKey(order int64, agent string) string { return fmt.Sprintf("%d/%s", order, agent) }

// progressGroup gathers the progress of an order by state, to be counted.
func progressGroup(order int64, s State) string { return fmt.Sprintf("%d/%s", order, s) }

// MaxAttempts is how often an agent is sent an operation that it does not answer.
const MaxAttempts = 5

// operationID makes the id of an attempt: a UUID of version 8 (RFC 9562) that begins with the
// beginning of the agent's place, and tells attempt and order.
func operationID(order int64, attempt int, place store.Place) string {
	var u uuid.UUID
	copy(u[:6], place[:6])
	u[6], u[7] = 0x80|byte(attempt>>8)&0x0f, byte(attempt)
	binary.BigEndian.PutUint64(u[8:], 1<<63|uint64(order))
	return u.String()
}

// parseOperationID takes an id apart; after is the place just before the first that begins
// as the agent's does.
func parseOperationID(id string) (order int64, attempt int, after store.Place, ok bool) {
	u, err := uuid.Parse(id)
	if err != nil || u[6]>>4 != 8 || u[8]>>6 != 2 {
		return 0, 0, after, false
	}
	var head [8]byte
	copy(head[2:], u[:6])
	if n := binary.BigEndian.Uint64(head[:]); n > 0 {
		binary.BigEndian.PutUint64(head[:], n-1)
		copy(after[:6], head[2:])
		for i := 6; i < len(after); i++ {
			after[i] = 0xff
		}
	}
	return int64(binary.BigEndian.Uint64(u[8:]) &^ (3 << 62)), int(u[6]&0x0f)<<8 | int(u[7]), after, true
}

// Result is what an agent says of an operation.
type Result struct {
	Operation string // its id
	State     string // FULLY_APPLIED, …
	Details   string
	// Agent is who says so, if it tells.
	Agent string
	// Peer is how the agent was authenticated.
	Peer Peer
	// Report is a heartbeat that came with it; nil if none did.
	Report *Heartbeat
	// Body is the whole message, in JSON, without the manifest: what DESCRIBE asks for is in it.
	Body []byte
}

// outcomes are the states that agents acknowledge with.
var outcomes = map[string]State{
	"FULLY_APPLIED": Done, "NO_OPERATION": Done,
	"PARTIALLY_APPLIED": Failed, "NOT_APPLIED": Failed, "OPERATION_NOT_UNDERSTOOD": Failed,
}

// Kind is a kind of operation that operators may order.
type Kind struct {
	Operation, Operand string
	// Args are the names of arguments, and whether one must be given. nil: any.
	Args map[string]bool
	// Silent says that agents do not acknowledge it: it is done when it was sent.
	Silent bool
}

// kinds are the operations that operators may order; UPDATE configuration and SYNC resource
// follow from what is published and assigned.
var kinds = []Kind{
	{Operation: "UPDATE", Operand: "asset", Args: map[string]bool{"resource": true, "file": false, "forceDownload": false}},
	{Operation: "UPDATE", Operand: "properties"},
	{Operation: "DESCRIBE", Operand: "manifest", Args: map[string]bool{}},
	{Operation: "DESCRIBE", Operand: "metrics", Args: map[string]bool{"metricsClass": false}},
	{Operation: "DESCRIBE", Operand: "configuration", Args: map[string]bool{}},
	{Operation: "DESCRIBE", Operand: "jstack", Args: map[string]bool{}},
	{Operation: "DESCRIBE", Operand: "corecomponentstate", Args: map[string]bool{}},
	{Operation: "START", Operand: "flow", Args: map[string]bool{}},
	{Operation: "STOP", Operand: "flow", Args: map[string]bool{}},
	{Operation: "START", Operand: "processor", Args: map[string]bool{"processorId": true}},
	{Operation: "STOP", Operand: "processor", Args: map[string]bool{"processorId": true}},
	{Operation: "CLEAR", Operand: "connection"},
	{Operation: "CLEAR", Operand: "repositories", Args: map[string]bool{}},
	{Operation: "CLEAR", Operand: "corecomponentstate"},
	{Operation: "RESTART", Args: map[string]bool{}},
	{Operation: "PAUSE", Operand: "flow", Args: map[string]bool{}, Silent: true},
	{Operation: "RESUME", Operand: "flow", Args: map[string]bool{}, Silent: true},
	{Operation: "TRANSFER", Operand: "debug", Args: map[string]bool{}},
}

// kindOf finds the kind of an operation. START and STOP take the name of a component as their operand too, as
// agents of C++ do; "c2" among them would end the agent's own reports.
func kindOf(operation, operand string) (Kind, bool) {
	for _, k := range kinds {
		if k.Operation == operation && k.Operand == operand {
			return k, true
		}
	}
	if (operation == "START" || operation == "STOP") && operand != "" && !strings.EqualFold(operand, "c2") {
		return Kind{Operation: operation, Operand: operand, Args: map[string]bool{}}, true
	}
	return Kind{}, false
}

// Order is what is wanted of an agent or a class.
type Order struct {
	Number    int64             `json:"number"` // the revision that made it
	Operation string            `json:"operation"`
	Operand   string            `json:"operand"`
	Args      map[string]string `json:"args,omitempty"`
	Class     string            `json:"class"`
	Agent     string            `json:"agent,omitempty"` // empty: all of the class
	By        string            `json:"created_by"`
	Created   time.Time         `json:"created,omitzero"`
	// Expires is when agents that have not got it do not get it any more.
	Expires   time.Time `json:"expires,omitzero"`
	Cancelled bool      `json:"cancelled"`
}

// orderKey is the document of an order; keys sort by number.
func orderKey(n int64) string { return fmt.Sprintf("%016x", n) }

// detail is JSON that is kept as it came.
type detail = json.RawMessage
