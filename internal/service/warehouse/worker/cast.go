//go:build cgo && linux

package worker

/*
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

// The part of DuckDB's C interface that its Go bindings leave out.
typedef bool (*sluice_cast)(void *info, uint64_t count, void *input, void *output);
extern void *duckdb_create_cast_function(void);
extern void duckdb_cast_function_set_source_type(void *f, void *type);
extern void duckdb_cast_function_set_target_type(void *f, void *type);
extern void duckdb_cast_function_set_implicit_cast_cost(void *f, int64_t cost);
extern void duckdb_cast_function_set_function(void *f, sluice_cast fn);
extern void duckdb_cast_function_set_extra_info(void *f, void *info, void *destroy);
extern void *duckdb_cast_function_get_extra_info(void *info);
extern void duckdb_cast_function_set_row_error(void *info, const char *error, uint64_t row, void *output);
extern int duckdb_register_cast_function(void *connection, void *f);
extern void duckdb_destroy_cast_function(void **f);

extern bool sluiceCast(void *info, uint64_t count, void *input, void *output);
static bool sluice_register_cast(void *connection, void *from, void *to, int64_t cost, uintptr_t handle) {
	void *f = duckdb_create_cast_function();
	duckdb_cast_function_set_source_type(f, from);
	duckdb_cast_function_set_target_type(f, to);
	duckdb_cast_function_set_implicit_cast_cost(f, cost);
	duckdb_cast_function_set_function(f, sluiceCast);
	duckdb_cast_function_set_extra_info(f, (void *)handle, NULL);
	int state = duckdb_register_cast_function(connection, f);
	duckdb_destroy_cast_function(&f);
	return state == 0;
}
static uintptr_t sluice_cast_handle(void *info) { return (uintptr_t)duckdb_cast_function_get_extra_info(info); }
*/
import "C"

import (
	"encoding/hex"
	"errors"
	"runtime/cgo"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"sluice.dev/sluice/internal/service/warehouse/pgtext"
)

// cast brings row i of a vector's data into another vector, whose cell of that row this is.
type cast func(from unsafe.Pointer, out duckdb.Vector, cell unsafe.Pointer, i int) error

// conversion is a cast with its types.
type conversion struct {
	from, to duckdb.Type
	size     uintptr // of a cell
	explicit bool    // only where a cast is written
	read     cast
}

// conversions are those in which PostgreSQL takes or makes other text than the engine: the
// engine uses these for each cast, explicit or not, of a literal, a parameter or a column.
func conversions(in pgtext.Reader) []conversion {
	return []conversion{
		reading(duckdb.TypeBoolean, pgtext.Boolean),
		reading(duckdb.TypeSmallInt, pgtext.Integer[int16]),
		reading(duckdb.TypeInteger, pgtext.Integer[int32]),
		reading(duckdb.TypeBigInt, pgtext.Integer[int64]),
		reading(duckdb.TypeDate, in.Date),
		reading(duckdb.TypeTime, in.Time),
		reading(duckdb.TypeTimestamp, in.Timestamp),
		reading(duckdb.TypeInterval, pgtext.ParseInterval), // the engine's layout is the same
		{duckdb.TypeVarchar, duckdb.TypeBlob, 16, false, func(from unsafe.Pointer, out duckdb.Vector, _ unsafe.Pointer, i int) error {
			b, err := pgtext.Bytes(textAt(from, i))
			duckdb.VectorAssignStringElementLen(out, duckdb.IdxT(i), b)
			return err
		}},
		writing(duckdb.TypeDouble, func(b []byte, v float64) []byte { return pgtext.AppendFloat(b, v, 64) }),
		writing(duckdb.TypeFloat, func(b []byte, v float32) []byte { return pgtext.AppendFloat(b, float64(v), 32) }),
		writing(duckdb.TypeDate, pgtext.AppendDate),
		writing(duckdb.TypeTimestamp, func(b []byte, v int64) []byte { return pgtext.AppendTimestamp(b, v, nil) }),
		writing(duckdb.TypeInterval, func(b []byte, v pgtext.Interval) []byte { return pgtext.AppendInterval(b, v.Months, v.Days, v.Micros) }),
		{duckdb.TypeBlob, duckdb.TypeVarchar, 16, true, func(from unsafe.Pointer, out duckdb.Vector, _ unsafe.Pointer, i int) error {
			duckdb.VectorAssignStringElementLen(out, duckdb.IdxT(i), hex.AppendEncode([]byte(`\x`), textAt(from, i)))
			return nil
		}},
	}
}

// reading is the conversion from text to a type whose cells are T.
func reading[T any](to duckdb.Type, read func(string) (T, error)) conversion {
	return conversion{duckdb.TypeVarchar, to, unsafe.Sizeof(*new(T)), false, func(from unsafe.Pointer, _ duckdb.Vector, cell unsafe.Pointer, i int) error {
		v, err := read(string(textAt(from, i)))
		*(*T)(cell) = v
		return err
	}}
}

// writing is the conversion to text of a type whose cells are T.
func writing[T any](from duckdb.Type, write func([]byte, T) []byte) conversion {
	return conversion{from, duckdb.TypeVarchar, 16, false, func(data unsafe.Pointer, out duckdb.Vector, _ unsafe.Pointer, i int) error {
		duckdb.VectorAssignStringElementLen(out, duckdb.IdxT(i), write(nil, at[T](data, i)))
		return nil
	}}
}

// registerCasts gives the engine PostgreSQL's conversions. The handles live as
// long as the engine.
func (e *engine) registerCasts(in pgtext.Reader) error {
	for _, c := range conversions(in) {
		h := cgo.NewHandle(c)
		e.handles = append(e.handles, h)
		from, to := duckdb.CreateLogicalType(c.from), duckdb.CreateLogicalType(c.to)
		cost := C.int64_t(149) // the engine's own from text
		if c.explicit {
			cost = -1
		}
		ok := C.sluice_register_cast(e.conn.Ptr, from.Ptr, to.Ptr, cost, C.uintptr_t(h))
		duckdb.DestroyLogicalType(&from)
		duckdb.DestroyLogicalType(&to)
		if !ok {
			return errors.New("register a cast")
		}
	}
	return nil
}

//export sluiceCast
func sluiceCast(info unsafe.Pointer, count C.uint64_t, input, output unsafe.Pointer) C.bool {
	f := cgo.Handle(C.sluice_cast_handle(info)).Value().(conversion)
	in, out := duckdb.Vector{Ptr: input}, duckdb.Vector{Ptr: output}
	from, valid, to := duckdb.VectorGetData(in), duckdb.VectorGetValidity(in), duckdb.VectorGetData(out)
	done := true
	for i := range int(count) {
		if valid != nil && at[uint64](valid, i/64)>>(i%64)&1 == 0 {
			duckdb.VectorEnsureValidityWritable(out)
			duckdb.ValiditySetRowInvalid(duckdb.VectorGetValidity(out), duckdb.IdxT(i))
			continue
		}
		if err := f.read(from, out, unsafe.Add(to, uintptr(i)*f.size), i); err != nil {
			message := C.CString(err.Error())
			C.duckdb_cast_function_set_row_error(info, message, C.uint64_t(i), output)
			C.free(unsafe.Pointer(message))
			done = false
		}
	}
	return C.bool(done)
}
