//go:build cgo && linux

package worker

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"strconv"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// encoder writes row i of a vector's data as one cell.
type encoder func(out *wire.Encoder, data unsafe.Pointer, i int)

func at[T any](data unsafe.Pointer, i int) T {
	return *(*T)(unsafe.Add(data, uintptr(i)*unsafe.Sizeof(*new(T))))
}

// huge is the engine's layout of a 128-bit integer.
type huge struct {
	lower uint64
	upper int64
}

func (h huge) big() *big.Int {
	v := new(big.Int).SetInt64(h.upper)
	return v.Or(v.Lsh(v, 64), new(big.Int).SetUint64(h.lower))
}

// columnType brings an engine type to a wire type and the encoder of its values. ok is
// false for a type that must be cast to text in the query.
func columnType(t duckdb.LogicalType) (c wire.Column, e encoder, ok bool) {
	switch id := duckdb.GetTypeId(t); id {
	case duckdb.TypeBoolean:
		return wire.Column{Type: wire.Bool}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Bool(at[bool](d, i)) }, true
	case duckdb.TypeTinyInt:
		return wire.Column{Type: wire.Int16}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int16(int16(at[int8](d, i))) }, true
	case duckdb.TypeSmallInt:
		return wire.Column{Type: wire.Int16}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int16(at[int16](d, i)) }, true
	case duckdb.TypeInteger:
		return wire.Column{Type: wire.Int32}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int32(at[int32](d, i)) }, true
	case duckdb.TypeBigInt:
		return wire.Column{Type: wire.Int64}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int64(at[int64](d, i)) }, true
	case duckdb.TypeUTinyInt:
		return wire.Column{Type: wire.Int16}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int16(int16(at[uint8](d, i))) }, true
	case duckdb.TypeUSmallInt:
		return wire.Column{Type: wire.Int32}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int32(int32(at[uint16](d, i))) }, true
	case duckdb.TypeUInteger:
		return wire.Column{Type: wire.Int64}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int64(int64(at[uint32](d, i))) }, true
	case duckdb.TypeUBigInt:
		return wire.Column{Type: wire.Numeric}, func(o *wire.Encoder, d unsafe.Pointer, i int) {
			o.String(strconv.FormatUint(at[uint64](d, i), 10))
		}, true
	case duckdb.TypeHugeInt:
		return wire.Column{Type: wire.Numeric}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.String(decimal(at[huge](d, i), 0)) }, true
	case duckdb.TypeUHugeInt:
		return wire.Column{Type: wire.Numeric}, func(o *wire.Encoder, d unsafe.Pointer, i int) {
			h := at[huge](d, i)
			v := new(big.Int).SetUint64(uint64(h.upper))
			o.String(v.Or(v.Lsh(v, 64), new(big.Int).SetUint64(h.lower)).String())
		}, true
	case duckdb.TypeDecimal:
		scale := int(duckdb.DecimalScale(t))
		return wire.Column{Type: wire.Numeric, Width: int(duckdb.DecimalWidth(t)), Scale: scale},
			decimalEncoder(duckdb.DecimalInternalType(t), scale), true
	case duckdb.TypeFloat:
		return wire.Column{Type: wire.Float32}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Float32(at[float32](d, i)) }, true
	case duckdb.TypeDouble:
		return wire.Column{Type: wire.Float64}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Float64(at[float64](d, i)) }, true
	case duckdb.TypeVarchar:
		if duckdb.LogicalTypeGetAlias(t) == "JSON" {
			return wire.Column{Type: wire.JSON}, text, true
		}
		return wire.Column{Type: wire.Text}, text, true
	case duckdb.TypeBlob:
		return wire.Column{Type: wire.Bytes}, text, true
	case duckdb.TypeDate:
		return wire.Column{Type: wire.Date}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int32(at[int32](d, i)) }, true
	case duckdb.TypeTime:
		return wire.Column{Type: wire.Time}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int64(at[int64](d, i)) }, true
	case duckdb.TypeTimestamp:
		return wire.Column{Type: wire.Timestamp}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int64(at[int64](d, i)) }, true
	case duckdb.TypeTimestampTZ:
		return wire.Column{Type: wire.TimestampTZ}, func(o *wire.Encoder, d unsafe.Pointer, i int) { o.Int64(at[int64](d, i)) }, true
	case duckdb.TypeTimestampS:
		return wire.Column{Type: wire.Timestamp}, instant(1_000_000, 1), true
	case duckdb.TypeTimestampMS:
		return wire.Column{Type: wire.Timestamp}, instant(1000, 1), true
	case duckdb.TypeTimestampNS:
		return wire.Column{Type: wire.Timestamp}, instant(1, 1000), true
	case duckdb.TypeInterval:
		return wire.Column{Type: wire.Interval}, func(o *wire.Encoder, d unsafe.Pointer, i int) {
			v := at[struct {
				months, days int32
				micros       int64
			}](d, i)
			o.Interval(v.months, v.days, v.micros)
		}, true
	case duckdb.TypeUUID:
		return wire.Column{Type: wire.UUID}, func(o *wire.Encoder, d unsafe.Pointer, i int) {
			h := at[huge](d, i)
			var b [16]byte // the engine flips the top bit so that UUIDs sort as integers
			binary.BigEndian.PutUint64(b[:8], uint64(h.upper)^(1<<63))
			binary.BigEndian.PutUint64(b[8:], h.lower)
			o.Raw(b[:])
		}, true
	case duckdb.TypeSQLNull:
		return wire.Column{Type: wire.Text}, func(o *wire.Encoder, _ unsafe.Pointer, _ int) { o.Null() }, true
	case duckdb.TypeInvalid, duckdb.TypeAny:
		return wire.Column{Type: wire.Unknown}, text, true
	}
	return wire.Column{}, nil, false
}

// text encodes the engine's strings and blobs.
func text(o *wire.Encoder, d unsafe.Pointer, i int) { o.Raw(textAt(d, i)) }

// textAt returns the engine's string: up to twelve bytes inline, longer ones behind a pointer.
func textAt(d unsafe.Pointer, i int) []byte {
	p := unsafe.Add(d, i*16)
	n := *(*uint32)(p)
	if n <= 12 {
		return unsafe.Slice((*byte)(unsafe.Add(p, 4)), n)
	}
	return unsafe.Slice(*(**byte)(unsafe.Add(p, 8)), n)
}

// instant scales the engine's coarser and finer timestamps to microseconds and keeps
// the infinities.
func instant(mul, div int64) encoder {
	return func(o *wire.Encoder, d unsafe.Pointer, i int) {
		v := at[int64](d, i)
		if v != wire.InstantInfinity && v != wire.InstantMinusInfinity {
			v = v * mul / div
		}
		o.Int64(v)
	}
}

func decimalEncoder(internal duckdb.Type, scale int) encoder {
	switch internal {
	case duckdb.TypeSmallInt:
		return func(o *wire.Encoder, d unsafe.Pointer, i int) {
			o.String(point(strconv.Itoa(int(at[int16](d, i))), scale))
		}
	case duckdb.TypeInteger:
		return func(o *wire.Encoder, d unsafe.Pointer, i int) {
			o.String(point(strconv.Itoa(int(at[int32](d, i))), scale))
		}
	case duckdb.TypeBigInt:
		return func(o *wire.Encoder, d unsafe.Pointer, i int) {
			o.String(point(strconv.FormatInt(at[int64](d, i), 10), scale))
		}
	}
	return func(o *wire.Encoder, d unsafe.Pointer, i int) { o.String(decimal(at[huge](d, i), scale)) }
}

func decimal(h huge, scale int) string {
	if h.upper == int64(h.lower)>>63 { // fits 64 bits
		return point(strconv.FormatInt(int64(h.lower), 10), scale)
	}
	return point(h.big().String(), scale)
}

// point puts the decimal point scale digits from the right.
func point(digits string, scale int) string {
	if scale == 0 {
		return digits
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for len(digits) <= scale {
		digits = "000000000000000000000000000000000000000"[:scale+1-len(digits)] + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

// resultColumns describes a result and how to encode it. A result with a type that
// needs a cast is an error here; plan sees to it that none arrives.
func resultColumns(r *duckdb.Result) ([]wire.Column, []encoder, error) {
	n := int(duckdb.ColumnCount(r))
	columns, encode := make([]wire.Column, n), make([]encoder, n)
	for i := range n {
		t := duckdb.ColumnLogicalType(r, duckdb.IdxT(i))
		c, e, ok := columnType(t)
		duckdb.DestroyLogicalType(&t)
		if !ok {
			return nil, nil, fmt.Errorf("column %d has a type that was not cast", i+1)
		}
		c.Name = duckdb.ColumnName(r, duckdb.IdxT(i))
		columns[i], encode[i] = c, e
	}
	return columns, encode, nil
}

// encodeChunk appends all rows of chunk.
func encodeChunk(out *wire.Encoder, chunk duckdb.DataChunk, encode []encoder) {
	type column struct {
		data, valid unsafe.Pointer
	}
	columns := make([]column, len(encode))
	for i := range encode {
		v := duckdb.DataChunkGetVector(chunk, duckdb.IdxT(i))
		columns[i] = column{duckdb.VectorGetData(v), duckdb.VectorGetValidity(v)}
	}
	for row := range int(duckdb.DataChunkGetSize(chunk)) {
		for i, c := range columns {
			if c.valid != nil && at[uint64](c.valid, row/64)>>(row%64)&1 == 0 {
				out.Null()
				continue
			}
			encode[i](out, c.data, row)
		}
		out.EndRow()
	}
}
