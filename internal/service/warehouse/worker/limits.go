package worker

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Limits is what one worker process may use. The node passes it as the last argument.
type Limits struct {
	Memory  int64 `json:"memory"`  // bytes the engine may hold
	Threads int   `json:"threads"` // of the engine
	Files   int   `json:"files"`   // open descriptors
	Rejects int   `json:"rejects"` // malformed rows remembered per table; 0 is no limit
	UID     int   `json:"uid"`     // to become when started by root; 0 leaves it
}

// hardMemory is the private memory that the process may map at all. The engine does not
// count everything it allocates: the strings that functions make are not in its limit.
// Beside the engine's share there is room for the program itself and its threads' stacks.
func (l Limits) hardMemory() uint64 {
	const program, stack = 384 << 20, 8 << 20
	return uint64(l.Memory) + uint64(l.Memory)/4 + program + uint64(l.Threads)*2*stack
}

// Argument returns the limits in the form Main reads.
func (l Limits) Argument() string {
	b, _ := json.Marshal(l) // integers only: cannot fail
	return string(b)
}

func readLimits(args []string) (Limits, error) {
	if len(args) == 0 {
		return Limits{}, errors.New("the limits are missing from the arguments")
	}
	var l Limits
	if err := json.Unmarshal([]byte(args[len(args)-1]), &l); err != nil {
		return l, fmt.Errorf("the last argument is not the limits: %w", err)
	}
	if l.Memory <= 0 || l.Threads <= 0 || l.Files <= 0 {
		return l, errors.New("memory, threads and files must be positive")
	}
	return l, nil
}
