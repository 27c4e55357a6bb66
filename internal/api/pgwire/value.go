package pgwire

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"sluice.dev/sluice/internal/service/warehouse/pgtext"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// typeInfo is what a client is told of a type.
type typeInfo struct {
	oid  uint32
	size int16
}

var types = map[wire.Type]typeInfo{
	wire.Unknown:     {pgtype.TextOID, -1},
	wire.Bool:        {pgtype.BoolOID, 1},
	wire.Int16:       {pgtype.Int2OID, 2},
	wire.Int32:       {pgtype.Int4OID, 4},
	wire.Int64:       {pgtype.Int8OID, 8},
	wire.Numeric:     {pgtype.NumericOID, -1},
	wire.Float32:     {pgtype.Float4OID, 4},
	wire.Float64:     {pgtype.Float8OID, 8},
	wire.Text:        {pgtype.TextOID, -1},
	wire.Bytes:       {pgtype.ByteaOID, -1},
	wire.Date:        {pgtype.DateOID, 4},
	wire.Time:        {pgtype.TimeOID, 8},
	wire.Timestamp:   {pgtype.TimestampOID, 8},
	wire.TimestampTZ: {pgtype.TimestamptzOID, 8},
	wire.Interval:    {pgtype.IntervalOID, 16},
	wire.UUID:        {pgtype.UUIDOID, 16},
	wire.JSON:        {pgtype.JSONOID, -1},
}

// typeOf returns the type a client means by an OID; 0 and unknown leave it open.
func typeOf(oid uint32) (wire.Type, bool) {
	switch oid {
	case 0, pgtype.UnknownOID:
		return wire.Unknown, true
	case pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.QCharOID:
		return wire.Text, true
	case pgtype.JSONBOID:
		return wire.JSON, true
	case pgtype.OIDOID:
		return wire.Int64, true
	}
	for t, info := range types {
		if info.oid == oid && t != wire.Unknown {
			return t, true
		}
	}
	return 0, false
}

// modifier tells a numeric's precision as PostgreSQL does.
func modifier(c wire.Column) int32 {
	if c.Type == wire.Numeric && c.Width > 0 {
		return int32(c.Width<<16|c.Scale) + 4
	}
	return -1
}

// format returns the format of value i: none given is text, one given is for all.
func format(formats []int16, i int) int16 {
	switch {
	case len(formats) == 0:
		return 0
	case len(formats) == 1:
		return formats[0]
	case i < len(formats):
		return formats[i]
	}
	return 0
}

// The protocol counts days and microseconds from 2000-01-01.
const (
	epochDays   = 10957
	epochMicros = epochDays * 86400 * 1_000_000
)

// encoder turns rows into DataRow messages.
type encoder struct {
	columns []wire.Column
	formats []int16
	zone    *time.Location
	buf     []byte
	ends    []int
	message pgproto3.DataRow
}

func newEncoder(columns []wire.Column, formats []int16, zone string) *encoder {
	// A slice of no buffer at all is nil, which is NULL: an empty value needs one.
	e := &encoder{columns: columns, buf: make([]byte, 0, 512), ends: make([]int, len(columns))}
	for i := range columns {
		e.formats = append(e.formats, format(formats, i))
	}
	var err error
	if e.zone, err = time.LoadLocation(zone); err != nil {
		e.zone = time.UTC
	}
	e.message.Values = make([][]byte, len(columns))
	return e
}

// row encodes one row. The message is valid until the next call.
func (e *encoder) row(cells []wire.Cell) (message *pgproto3.DataRow, size int) {
	e.buf = e.buf[:0]
	for i, c := range cells {
		if c != nil {
			if e.formats[i] == 1 {
				e.binary(c, e.columns[i].Type)
			} else {
				e.text(c, e.columns[i].Type)
			}
		}
		e.ends[i] = len(e.buf)
	}
	start := 0
	for i, c := range cells {
		if e.message.Values[i] = nil; c != nil {
			e.message.Values[i] = e.buf[start:e.ends[i]:e.ends[i]]
		}
		start = e.ends[i]
	}
	return &e.message, len(e.buf) + 4*len(cells) + 7
}

func (e *encoder) text(c wire.Cell, t wire.Type) {
	switch t {
	case wire.Bool:
		if c.Bool() {
			e.buf = append(e.buf, 't')
		} else {
			e.buf = append(e.buf, 'f')
		}
	case wire.Int16:
		e.buf = strconv.AppendInt(e.buf, int64(c.Int16()), 10)
	case wire.Int32:
		e.buf = strconv.AppendInt(e.buf, int64(c.Int32()), 10)
	case wire.Int64:
		e.buf = strconv.AppendInt(e.buf, c.Int64(), 10)
	case wire.Float32:
		e.buf = pgtext.AppendFloat(e.buf, float64(c.Float32()), 32)
	case wire.Float64:
		e.buf = pgtext.AppendFloat(e.buf, c.Float64(), 64)
	case wire.Bytes:
		e.buf = append(e.buf, `\x`...)
		e.buf = hex.AppendEncode(e.buf, c)
	case wire.Date:
		e.buf = pgtext.AppendDate(e.buf, c.Int32())
	case wire.Time:
		e.buf = pgtext.AppendTime(e.buf, c.Int64())
	case wire.Timestamp:
		e.buf = pgtext.AppendTimestamp(e.buf, c.Int64(), nil)
	case wire.TimestampTZ:
		e.buf = pgtext.AppendTimestamp(e.buf, c.Int64(), e.zone)
	case wire.Interval:
		months, days, micros := c.Interval()
		e.buf = pgtext.AppendInterval(e.buf, months, days, micros)
	case wire.UUID:
		h := hex.EncodeToString(c)
		e.buf = append(e.buf, h[:8]+"-"+h[8:12]+"-"+h[12:16]+"-"+h[16:20]+"-"+h[20:]...)
	default:
		e.buf = append(e.buf, c...)
	}
}

func (e *encoder) binary(c wire.Cell, t wire.Type) {
	put64 := func(v int64) { e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(v)) }
	put32 := func(v int32) { e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(v)) }
	switch t {
	case wire.Int16:
		e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(c.Int16()))
	case wire.Int32, wire.Float32:
		put32(c.Int32())
	case wire.Int64, wire.Float64, wire.Time:
		put64(c.Int64())
	case wire.Date:
		switch d := c.Int32(); d {
		case wire.DateInfinity:
			put32(math.MaxInt32)
		case wire.DateMinusInfinity:
			put32(math.MinInt32)
		default:
			put32(d - epochDays)
		}
	case wire.Timestamp, wire.TimestampTZ:
		switch v := c.Int64(); v {
		case wire.InstantInfinity:
			put64(math.MaxInt64)
		case wire.InstantMinusInfinity:
			put64(math.MinInt64)
		default:
			put64(v - epochMicros)
		}
	case wire.Interval:
		months, days, micros := c.Interval()
		put64(micros)
		put32(days)
		put32(months)
	case wire.Numeric:
		e.buf = appendNumeric(e.buf, string(c))
	default:
		e.buf = append(e.buf, c...)
	}
}

// decodeParameter turns a client's value into one for the engine. Values in text stay
// text: the statement casts them, and the engine's own error tells what is wrong.
func decodeParameter(v []byte, t wire.Type, format int16) (wire.Parameter, error) {
	if v == nil {
		return wire.Parameter{Type: t}, nil
	}
	if format == 0 {
		if t == wire.Bytes {
			if raw, ok := strings.CutPrefix(string(v), `\x`); ok {
				b, err := hex.DecodeString(raw)
				return wire.Parameter{Type: wire.Bytes, Value: b}, err
			}
		}
		return wire.Parameter{Type: wire.Text, Value: append(wire.Cell{}, v...)}, nil
	}
	if format != 1 {
		return wire.Parameter{}, fmt.Errorf("format %d is neither text nor binary", format)
	}
	if size := types[t].size; size > 0 && len(v) != int(size) {
		return wire.Parameter{}, fmt.Errorf("a binary %s has %d bytes, not %d", t, size, len(v))
	}
	var e wire.Encoder
	switch t {
	case wire.Bool:
		e.Bool(v[0] != 0)
	case wire.Int16:
		e.Int16(int16(binary.BigEndian.Uint16(v)))
	case wire.Int32, wire.Float32:
		e.Int32(int32(binary.BigEndian.Uint32(v)))
	case wire.Int64, wire.Float64, wire.Time:
		e.Int64(int64(binary.BigEndian.Uint64(v)))
	case wire.Date:
		switch d := int32(binary.BigEndian.Uint32(v)); d {
		case math.MaxInt32:
			e.Int32(wire.DateInfinity)
		case math.MinInt32:
			e.Int32(wire.DateMinusInfinity)
		default:
			e.Int32(d + epochDays)
		}
	case wire.Timestamp, wire.TimestampTZ:
		switch d := int64(binary.BigEndian.Uint64(v)); d {
		case math.MaxInt64:
			e.Int64(wire.InstantInfinity)
		case math.MinInt64:
			e.Int64(wire.InstantMinusInfinity)
		default:
			e.Int64(d + epochMicros)
		}
	case wire.Interval:
		e.Interval(int32(binary.BigEndian.Uint32(v[12:])), int32(binary.BigEndian.Uint32(v[8:])), int64(binary.BigEndian.Uint64(v)))
	case wire.UUID:
		h := hex.EncodeToString(v)
		return wire.Parameter{Type: wire.Text, Value: wire.Cell(h)}, nil
	case wire.Numeric:
		digits, err := readNumeric(v)
		return wire.Parameter{Type: wire.Text, Value: wire.Cell(digits)}, err
	case wire.Bytes:
		return wire.Parameter{Type: wire.Bytes, Value: append(wire.Cell{}, v...)}, nil
	case wire.JSON:
		if len(v) > 0 && v[0] == 1 { // jsonb puts its version in front
			v = v[1:]
		}
		return wire.Parameter{Type: wire.Text, Value: append(wire.Cell{}, v...)}, nil
	default:
		return wire.Parameter{Type: wire.Text, Value: append(wire.Cell{}, v...)}, nil
	}
	return wire.Parameter{Type: t, Value: append(wire.Cell{}, e.Bytes()[1:]...)}, nil
}
