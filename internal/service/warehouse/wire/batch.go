package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrMalformed reports a batch that does not hold what its columns promise.
var ErrMalformed = errors.New("malformed row batch")

// Cell is one value. A nil Cell is NULL; an empty value is not nil.
type Cell []byte

// The readers below take a cell whose length Batch.Next has checked.

// Bool reads a Bool cell.
func (c Cell) Bool() bool { return c[0] != 0 }

// Int16 reads an Int16 cell.
func (c Cell) Int16() int16 { return int16(binary.LittleEndian.Uint16(c)) }

// Int32 reads an Int32 or Date cell.
func (c Cell) Int32() int32 { return int32(binary.LittleEndian.Uint32(c)) }

// Int64 reads an Int64, Time, Timestamp or TimestampTZ cell.
func (c Cell) Int64() int64 { return int64(binary.LittleEndian.Uint64(c)) }

// Float32 reads a Float32 cell.
func (c Cell) Float32() float32 { return math.Float32frombits(binary.LittleEndian.Uint32(c)) }

// Float64 reads a Float64 cell.
func (c Cell) Float64() float64 { return math.Float64frombits(binary.LittleEndian.Uint64(c)) }

// Interval reads an Interval cell.
func (c Cell) Interval() (months, days int32, micros int64) {
	return int32(binary.LittleEndian.Uint32(c)), int32(binary.LittleEndian.Uint32(c[4:])), int64(binary.LittleEndian.Uint64(c[8:]))
}

// Check reports whether the cell has the length its type needs.
func (c Cell) Check(t Type) error {
	if n := t.size(); c != nil && n >= 0 && len(c) != n {
		return fmt.Errorf("%w: a %s of %d bytes", ErrMalformed, t, len(c))
	}
	return nil
}

// Encoder builds batches. The zero Encoder is empty and ready.
type Encoder struct {
	buf  []byte
	rows int
}

// Len returns the bytes in the batch under construction.
func (e *Encoder) Len() int { return len(e.buf) }

// Rows returns the rows ended so far.
func (e *Encoder) Rows() int { return e.rows }

// Bytes returns the batch. It is valid until Reset.
func (e *Encoder) Bytes() []byte { return e.buf }

// Reset empties the batch and keeps its memory.
func (e *Encoder) Reset() { e.buf, e.rows = e.buf[:0], 0 }

// EndRow notes that a row is complete.
func (e *Encoder) EndRow() { e.rows++ }

// Null appends a NULL.
func (e *Encoder) Null() { e.buf = append(e.buf, 0) }

// Bytes and text share a layout; so do the other pairs of one width.

// Raw appends a cell of variable length.
func (e *Encoder) Raw(b []byte) {
	e.buf = binary.AppendUvarint(e.buf, uint64(len(b))+1)
	e.buf = append(e.buf, b...)
}

// String appends a cell of variable length.
func (e *Encoder) String(s string) {
	e.buf = binary.AppendUvarint(e.buf, uint64(len(s))+1)
	e.buf = append(e.buf, s...)
}

// Bool appends a Bool.
func (e *Encoder) Bool(v bool) {
	if v {
		e.buf = append(e.buf, 2, 1)
	} else {
		e.buf = append(e.buf, 2, 0)
	}
}

// Int16 appends an Int16.
func (e *Encoder) Int16(v int16) {
	e.buf = binary.LittleEndian.AppendUint16(append(e.buf, 3), uint16(v))
}

// Int32 appends an Int32 or a Date.
func (e *Encoder) Int32(v int32) {
	e.buf = binary.LittleEndian.AppendUint32(append(e.buf, 5), uint32(v))
}

// Int64 appends an Int64, Time, Timestamp or TimestampTZ.
func (e *Encoder) Int64(v int64) {
	e.buf = binary.LittleEndian.AppendUint64(append(e.buf, 9), uint64(v))
}

// Float32 appends a Float32.
func (e *Encoder) Float32(v float32) { e.Int32(int32(math.Float32bits(v))) }

// Float64 appends a Float64.
func (e *Encoder) Float64(v float64) { e.Int64(int64(math.Float64bits(v))) }

// Interval appends an Interval.
func (e *Encoder) Interval(months, days int32, micros int64) {
	e.buf = binary.LittleEndian.AppendUint32(append(e.buf, 17), uint32(months))
	e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(days))
	e.buf = binary.LittleEndian.AppendUint64(e.buf, uint64(micros))
}

// Decoder reads the rows of one batch. Cells point into the batch.
type Decoder struct {
	columns []Column
	buf     []byte
	row     []Cell
}

// NewDecoder returns a decoder of batches with these columns.
func NewDecoder(columns []Column) *Decoder {
	return &Decoder{columns: columns, row: make([]Cell, len(columns))}
}

// Load makes batch the one that Next reads.
func (d *Decoder) Load(batch []byte) { d.buf = batch }

// Next returns the next row, or nil when the batch is used up. The slice is reused by
// the following call. A batch of a result without columns holds no rows.
func (d *Decoder) Next() ([]Cell, error) {
	if len(d.buf) == 0 {
		return nil, nil
	}
	if len(d.columns) == 0 {
		return nil, fmt.Errorf("%w: bytes in a result without columns", ErrMalformed)
	}
	for i := range d.columns {
		n, w := binary.Uvarint(d.buf)
		if w <= 0 {
			return nil, fmt.Errorf("%w: truncated in column %d", ErrMalformed, i+1)
		}
		d.buf = d.buf[w:]
		if n == 0 {
			d.row[i] = nil
			continue
		}
		if n--; n > uint64(len(d.buf)) {
			return nil, fmt.Errorf("%w: column %d runs over the end", ErrMalformed, i+1)
		}
		d.row[i], d.buf = Cell(d.buf[:n:n]), d.buf[n:]
		if err := d.row[i].Check(d.columns[i].Type); err != nil {
			return nil, err
		}
	}
	return d.row, nil
}
