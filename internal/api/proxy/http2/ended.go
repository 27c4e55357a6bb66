package http2

import wire "golang.org/x/net/http2"

// maxEnded is how many of the streams that have ended a connection remembers.
const maxEnded = 256

// ended are the peer's streams that have ended last. Frames on them mean different things: what
// comes after this side gave a stream up was on its way, and is passed over; what comes after
// the peer itself ended it is an error (RFC 9113 section 5.1).
type ended struct {
	ids  [maxEnded]uint32 // a ring; 0 where there is none yet
	next int
	gave map[uint32]bool // of ids, those that this side gave up
}

// add remembers a stream. gave says that this side gave it up before the peer had ended it.
func (e *ended) add(id uint32, gave bool) {
	if old := e.ids[e.next]; old != 0 && e.gave != nil {
		delete(e.gave, old)
	}
	e.ids[e.next] = id
	e.next = (e.next + 1) % maxEnded
	if gave {
		if e.gave == nil {
			e.gave = map[uint32]bool{}
		}
		e.gave[id] = true
	}
}

// violation is what a frame with a body or a head is on a stream that is not open and not idle:
// nil where it was on its way.
func (e *ended) violation(id uint32, head bool) error {
	if e.gave[id] {
		return nil
	}
	oldest, known := uint32(0), false
	for _, other := range e.ids {
		known = known || other == id
		if other != 0 && (oldest == 0 || other < oldest) {
			oldest = other
		}
	}
	switch {
	case !head || !known && id < oldest && e.ids[e.next] != 0: // ended too long ago to know how
		return wire.StreamError{StreamID: id, Code: wire.ErrCodeStreamClosed}
	case known:
		return wire.ConnectionError(wire.ErrCodeStreamClosed)
	}
	return wire.ConnectionError(wire.ErrCodeProtocol) // it never was: its id is lower than that of one that is
}
