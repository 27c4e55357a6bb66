package protofile

import (
	"encoding/binary"
	"errors"
)

// ErrFrame says that bytes are no frame, or one that cannot be read here: it is compressed
// or too large.
var ErrFrame = errors.New("protofile: not a frame, or one that is compressed or too large")

const frameHead = 5

// AppendFrame appends a message as a frame.
func AppendFrame(dst []byte, flags byte, message []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, flags), uint32(len(message)))
	return append(dst, message...)
}

// CutFrame cuts the first frame off. ok is false where it is not whole yet.
func CutFrame(b []byte, limit int) (message, rest []byte, ok bool, err error) {
	if len(b) < frameHead {
		return nil, b, false, nil
	}
	n := binary.BigEndian.Uint32(b[1:])
	switch {
	case b[0] != 0 || uint64(n) > uint64(limit):
		return nil, b, false, ErrFrame
	case uint64(len(b)-frameHead) < uint64(n):
		return nil, b, false, nil
	}
	return b[frameHead : frameHead+n], b[frameHead+n:], true, nil
}

// Frames cuts an answer, which comes in chunks, into its messages. Its zero value is ready.
type Frames struct {
	rest   []byte // what is no whole frame yet
	broken bool
}

// Add calls do for the messages that end in a chunk; they are good until the next Add. Of
// what is behind something that cannot be read nothing is passed on.
func (f *Frames) Add(chunk []byte, limit int, do func(message []byte)) {
	if f.broken {
		return
	}
	f.rest = append(f.rest, chunk...)
	for {
		message, rest, whole, err := CutFrame(f.rest, limit)
		if err != nil {
			f.rest, f.broken = nil, true
		}
		if err != nil || !whole {
			return
		}
		do(message)
		f.rest = rest
	}
}
