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
static bool sluice_register_cast(void *connection, void *from, void *to, uintptr_t handle) {
	void *f = duckdb_create_cast_function();
	duckdb_cast_function_set_source_type(f, from);
	duckdb_cast_function_set_target_type(f, to);
	duckdb_cast_function_set_implicit_cast_cost(f, 149); // the engine's own for text
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
	"errors"
	"runtime/cgo"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"sluice.dev/sluice/internal/service/warehouse/pginput"
)

// cast reads one text into a cell of the engine's layout.
type cast func(s string, cell unsafe.Pointer) error

// casts are the conversions from text in which PostgreSQL takes other forms than the
// engine: the engine uses these for each cast, explicit or not, of a literal, a parameter
// or a column.
func casts(in pginput.Reader) map[duckdb.Type]cast {
	return map[duckdb.Type]cast{
		duckdb.TypeBoolean: func(s string, cell unsafe.Pointer) error {
			return store(cell, s, pginput.Boolean)
		},
		duckdb.TypeDate:        func(s string, cell unsafe.Pointer) error { return store(cell, s, in.Date) },
		duckdb.TypeTime:        func(s string, cell unsafe.Pointer) error { return store(cell, s, in.Time) },
		duckdb.TypeTimestamp:   func(s string, cell unsafe.Pointer) error { return store(cell, s, in.Timestamp) },
		duckdb.TypeTimestampTZ: func(s string, cell unsafe.Pointer) error { return store(cell, s, in.TimestampTZ) },
		// The engine's layout of an interval is the same.
		duckdb.TypeInterval: func(s string, cell unsafe.Pointer) error { return store(cell, s, pginput.ParseInterval) },
	}
}

func store[T any](cell unsafe.Pointer, s string, read func(string) (T, error)) error {
	v, err := read(s)
	*(*T)(cell) = v
	return err
}

// cellSizes are the bytes of one value in a vector.
var cellSizes = map[duckdb.Type]uintptr{
	duckdb.TypeBoolean: 1, duckdb.TypeDate: 4, duckdb.TypeTime: 8, duckdb.TypeTimestamp: 8, duckdb.TypeTimestampTZ: 8, duckdb.TypeInterval: 16,
}

// registered is a cast as its callback finds it.
type registered struct {
	read cast
	size uintptr
}

// registerCasts gives the engine PostgreSQL's conversions from text. The handles live as
// long as the engine.
func (e *engine) registerCasts(in pginput.Reader) error {
	text := duckdb.CreateLogicalType(duckdb.TypeVarchar)
	defer duckdb.DestroyLogicalType(&text)
	for kind, read := range casts(in) {
		h := cgo.NewHandle(registered{read, cellSizes[kind]})
		e.handles = append(e.handles, h)
		to := duckdb.CreateLogicalType(kind)
		ok := C.sluice_register_cast(e.conn.Ptr, text.Ptr, to.Ptr, C.uintptr_t(h))
		duckdb.DestroyLogicalType(&to)
		if !ok {
			return errors.New("register a cast")
		}
	}
	return nil
}

//export sluiceCast
func sluiceCast(info unsafe.Pointer, count C.uint64_t, input, output unsafe.Pointer) C.bool {
	f := cgo.Handle(C.sluice_cast_handle(info)).Value().(registered)
	in, out := duckdb.Vector{Ptr: input}, duckdb.Vector{Ptr: output}
	from, valid, to := duckdb.VectorGetData(in), duckdb.VectorGetValidity(in), duckdb.VectorGetData(out)
	done := true
	for i := range int(count) {
		if valid != nil && at[uint64](valid, i/64)>>(i%64)&1 == 0 {
			duckdb.VectorEnsureValidityWritable(out)
			duckdb.ValiditySetRowInvalid(duckdb.VectorGetValidity(out), duckdb.IdxT(i))
			continue
		}
		if err := f.read(string(textAt(from, i)), unsafe.Add(to, uintptr(i)*f.size)); err != nil {
			message := C.CString(err.Error())
			C.duckdb_cast_function_set_row_error(info, message, C.uint64_t(i), output)
			C.free(unsafe.Pointer(message))
			done = false
		}
	}
	return C.bool(done)
}
