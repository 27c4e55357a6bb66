package engine

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/fault"
)

// maxRecord bounds a flow file's attributes, as they are stored.
const maxRecord = 1 << 20

// The core attributes, by NiFi's names.
const (
	AttrUUID     = "uuid"
	AttrFilename = "filename"
	AttrPath     = "path"
	AttrMime     = "mime.type"
)

// Faults of the engine.
var (
	Full        = &fault.Reason{Kind: fault.Exhausted, Name: "RepositoryFull"}
	TooLarge    = &fault.Reason{Kind: fault.TooLarge, Name: "FlowFileTooLarge"}
	InvalidFlow = &fault.Reason{Kind: fault.Invalid, Name: "InvalidFlow"}
	NotStarted  = &fault.Reason{Kind: fault.Unavailable, Name: "FlowNotStarted"}
	NotFound    = &fault.Reason{Kind: fault.NotFound, Name: "ComponentNotFound"}
	Ended       = &fault.Reason{Kind: fault.Canceled, Name: "SessionEnded"}
)

// FlowFile is one event as a session sees it. Attributes may be changed in place.
type FlowFile struct {
	Attributes map[string]string
	Entered    time.Time // when it, or the first it was made of, came to the agent

	content *content
	from    *queue // nil if this session made it
	item    item
	origin  uint64 // the claim of the record it was read from
	fate    fate
	rel     string
	penalty bool
}

type fate uint8

const (
	undecided fate = iota
	transferred
	removed
)

// content is bytes that flow files may share. What was written goes to the repository in
// chunks as it grows; the rest waits in tail for the commit.
type content struct {
	claim uint64 // 0 while nothing is in the repository
	size  int64
	fresh int    // chunks that this session wrote
	tail  []byte // behind them
}

// record is a flow file at rest.
type record struct {
	Attributes map[string]string `json:"a"`
	Entered    int64             `json:"t"` // ms
	Claim      uint64            `json:"c,omitempty"`
	Size       int64             `json:"n,omitempty"`
	Due        int64             `json:"d,omitempty"` // penalised until, ms
}

func (r *record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err == nil && len(b) > maxRecord {
		err = TooLarge.New("the attributes of a flow file may have %d bytes, not %d", maxRecord, len(b))
	}
	return b, err
}

// ID is the flow file's uuid.
func (f *FlowFile) ID() string { return f.Attributes[AttrUUID] }

// Size is the length of the content in bytes.
func (f *FlowFile) Size() int64 { return f.content.size }

func newFlowFile(now time.Time) *FlowFile {
	id := uuid.NewString()
	return &FlowFile{Attributes: map[string]string{AttrUUID: id, AttrFilename: id, AttrPath: "./"}, Entered: now, content: &content{}}
}

// inherit takes over what the parents have in common.
func (f *FlowFile) inherit(parents []*FlowFile) {
	if len(parents) == 0 {
		return
	}
	id := f.ID()
	attributes := maps.Clone(parents[0].Attributes)
	f.Entered = parents[0].Entered
	for _, p := range parents[1:] {
		maps.DeleteFunc(attributes, func(k, v string) bool { return p.Attributes[k] != v })
		if p.Entered.Before(f.Entered) {
			f.Entered = p.Entered
		}
	}
	maps.Copy(f.Attributes, attributes)
	f.Attributes[AttrUUID] = id
}
