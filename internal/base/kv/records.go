package kv

import (
	"encoding/binary"
	"hash/crc32"
)

// The record format of Pebble's logs and manifests, as far as telling a torn end from
// damage needs it. A file is blocks of 32 KiB, a block is chunks, and no chunk crosses the
// end of its block:
//
//	chunk = crc(4) length(2) type(1) [log number(4) [synced(8)]] payload
//
// Types 1 to 4 have the short header, 5 to 8 the log number too, and 9 to 12 all of it; of
// each four, the first is a whole record, the second begins one and the last ends one.
// synced is a promise: that many bytes of the log were durable when the chunk was made.
const (
	blockSize   = 32 << 10
	shortHeader = 7
	logHeader   = shortHeader + 4
	syncHeader  = logHeader + 8
)

// chunk is one valid chunk of a log.
type chunk struct {
	at, end int // of the whole chunk
	payload []byte
	first   bool // it begins a record
	last    bool // it ends one
	synced  uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// chunkAt reads the chunk at a position. log is the number that the chunks of a log carry.
func chunkAt(b []byte, at int, log uint32) (c chunk, ok bool) {
	room := min(len(b), (at/blockSize+1)*blockSize) - at
	if room < shortHeader {
		return c, false
	}
	kind, header := b[at+6], shortHeader
	switch {
	case kind == 0 || kind > 12:
		return c, false
	case kind > 8:
		header = syncHeader
	case kind > 4:
		header = logHeader
	}
	length := header + int(binary.LittleEndian.Uint16(b[at+4:]))
	if length > room || kind > 4 && binary.LittleEndian.Uint32(b[at+7:]) != log {
		return c, false
	}
	if checksum(b[at+6:at+length]) != binary.LittleEndian.Uint32(b[at:]) {
		return c, false
	}
	place := (kind - 1) % 4
	c = chunk{at: at, end: at + length, payload: b[at+header : at+length], first: place < 2, last: place == 0 || place == 3}
	if header == syncHeader {
		c.synced = binary.LittleEndian.Uint64(b[at+11:])
	}
	return c, true
}

// ended reports whether the trailer that closes a log is at a position: a header of the
// log number after its own.
func ended(b []byte, at int, log uint32) bool {
	return at+logHeader <= len(b) && b[at+6] > 4 && b[at+6] <= 12 && binary.LittleEndian.Uint32(b[at+7:]) == log+1
}

// reading is what a log or a manifest holds.
type reading struct {
	records [][]byte // only if they were asked for
	good    int      // where the last whole record ends
	bad     int      // where what is not a chunk begins; -1 if the file ends as it was closed
	proof   int      // a chunk behind bad that was written when bad was durable; -1 if there is none
}

// read goes through a file. A write that a crash tore is the last thing in it; so what is
// bad and was durable once, as a chunk behind it proves, is damage.
func read(b []byte, log uint32, keep bool) reading {
	r := reading{bad: -1, proof: -1}
	var record []byte
	at, within := 0, false
	for at < len(b) {
		if rest := blockSize - at%blockSize; rest < syncHeader && zero(b[at:min(at+rest, len(b))]) {
			at += rest // too little for a chunk
			continue
		}
		c, ok := chunkAt(b, at, log)
		if !ok || c.first == within {
			if !within && log != 0 && ended(b, at, log) {
				return r
			}
			r.bad = at
			break
		}
		if keep {
			record = append(record, c.payload...)
		}
		at, within = c.end, !c.last
		if c.last {
			r.good = at
			if keep {
				r.records, record = append(r.records, record), nil
			}
		}
	}
	if r.bad < 0 && within {
		r.bad = at
	}
	if r.bad < 0 {
		return r
	}
	for at := r.bad + 1; at+shortHeader <= len(b); at++ {
		// A log tells what was durable; each record of a manifest is durable before the next.
		if c, ok := chunkAt(b, at, log); ok && (log != 0 && c.synced > uint64(r.bad) || log == 0 && c.first) {
			r.proof = at
			break
		}
	}
	return r
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// minLog returns the number of the oldest log that a manifest's records need, which each
// record that changes it has among its first fields.
func minLog(records [][]byte) (n uint64) {
	const comparer, logNumber, nextFile, lastSequence, previousLog = 1, 2, 3, 4, 9
	for _, r := range records {
		for {
			tag, size := binary.Uvarint(r)
			if size <= 0 {
				break
			}
			value, wide := binary.Uvarint(r[size:])
			if wide <= 0 {
				break
			}
			rest := r[size+wide:]
			switch tag {
			case comparer: // value is the length of its name
				if value > uint64(len(rest)) {
					return n
				}
				rest = rest[value:]
			case logNumber:
				n = value
			case nextFile, lastSequence, previousLog:
			default:
				rest = nil // files: what is asked for comes before them
			}
			r = rest
		}
	}
	return n
}
