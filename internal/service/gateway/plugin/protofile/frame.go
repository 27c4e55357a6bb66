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
