package wire

import "fmt"

// Type is the type of a result column or a parameter as both sides understand it.
// Engine types without a counterpart here are brought to the nearest one by the worker:
// unsigned integers to the next wider signed one, lists, structs and maps to text.
type Type uint8

// The column types, with the layout of a cell.
const (
	Unknown     Type = iota // no type could be inferred; treated as Text
	Bool                    // 1 byte, 0 or 1
	Int16                   // 2 bytes
	Int32                   // 4 bytes
	Int64                   // 8 bytes
	Numeric                 // decimal digits as text, for example "-12.50"
	Float32                 // IEEE 754 bits, 4 bytes
	Float64                 // IEEE 754 bits, 8 bytes
	Text                    // UTF-8
	Bytes                   // any bytes
	Date                    // int32 days since 1970-01-01
	Time                    // int64 microseconds since midnight
	Timestamp               // int64 microseconds since 1970-01-01 00:00:00, no zone
	TimestampTZ             // int64 microseconds since 1970-01-01 00:00:00 UTC
	Interval                // int32 months, int32 days, int64 microseconds
	UUID                    // 16 bytes, big-endian as printed
	JSON                    // a JSON text
)

// The values of Date, Timestamp and TimestampTZ that stand for the infinities.
const (
	DateInfinity         = 1<<31 - 1
	DateMinusInfinity    = -DateInfinity
	InstantInfinity      = 1<<63 - 1
	InstantMinusInfinity = -InstantInfinity
)

var typeNames = [...]string{
	"unknown", "boolean", "smallint", "integer", "bigint", "numeric", "real", "double precision", "text", "bytea",
	"date", "time", "timestamp", "timestamp with time zone", "interval", "uuid", "json",
}

// String returns the type's SQL name.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// size returns the fixed length of a cell in bytes, or -1 where it varies.
func (t Type) size() int {
	switch t {
	case Bool:
		return 1
	case Int16:
		return 2
	case Int32, Float32, Date:
		return 4
	case Int64, Float64, Time, Timestamp, TimestampTZ:
		return 8
	case Interval, UUID:
		return 16
	}
	return -1
}

// Column describes one column of a result.
type Column struct {
	Name  string `json:"name"`
	Type  Type   `json:"type"`
	Width int    `json:"width,omitempty"` // of a Numeric: digits in all; 0 when unlimited
	Scale int    `json:"scale,omitempty"` // of a Numeric: digits behind the point
}
