//go:build cgo && linux

package worker

/*
#include <stdint.h>

extern void duckdb_scalar_function_set_extra_info(void *f, void *info, void *destroy);
extern void *duckdb_scalar_function_get_extra_info(void *info);

extern void sluiceScalar(void *info, void *input, void *output);
static void *sluice_scalar_pointer(void) { return (void *)sluiceScalar; }
static void sluice_scalar_set(void *f, uintptr_t handle) { duckdb_scalar_function_set_extra_info(f, (void *)handle, 0); }
static uintptr_t sluice_scalar_handle(void *info) { return (uintptr_t)duckdb_scalar_function_get_extra_info(info); }
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"runtime/cgo"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// scalar computes row i of a function from its arguments' vectors.
type scalar func(out unsafe.Pointer, args []unsafe.Pointer, i int) error

// overload is one form of a function in which PostgreSQL's answer is another than the
// engine's. It takes the place of the engine's own form of the same types.
type overload struct {
	name    string
	types   []duckdb.Type // of the arguments
	returns duckdb.Type
	compute scalar
}

var errDivision = errors.New("division by zero")

// quotientScale is how many digits behind the point a quotient of numerics has.
const quotientScale = 16

// overloads lists division, which fails on zero and is exact between numerics, and the
// rounding of floats to even. The engine calls its division // where integers are divided
// as integers are.
func overloads() []overload {
	two := func(t duckdb.Type) []duckdb.Type { return []duckdb.Type{t, t} }
	out := []overload{
		{"//", two(duckdb.TypeDecimal), duckdb.TypeDecimal, divideNumeric},
		{"//", []duckdb.Type{duckdb.TypeInterval, duckdb.TypeDouble}, duckdb.TypeInterval, divideInterval},
		{"//", two(duckdb.TypeHugeInt), duckdb.TypeHugeInt, divideHuge},
		{"//", two(duckdb.TypeDouble), duckdb.TypeDouble, divideFloat[float64]},
		{"//", two(duckdb.TypeFloat), duckdb.TypeFloat, divideFloat[float32]},
		{"//", two(duckdb.TypeSmallInt), duckdb.TypeSmallInt, integer(func(a, b int16) int16 { return a / b })},
		{"//", two(duckdb.TypeInteger), duckdb.TypeInteger, integer(func(a, b int32) int32 { return a / b })},
		{"//", two(duckdb.TypeBigInt), duckdb.TypeBigInt, integer(func(a, b int64) int64 { return a / b })},
		{"round", []duckdb.Type{duckdb.TypeDouble}, duckdb.TypeDouble, func(out unsafe.Pointer, args []unsafe.Pointer, i int) error {
			put(out, i, math.RoundToEven(at[float64](args[0], i)))
			return nil
		}},
	}
	for _, name := range []string{"%", "mod"} {
		out = append(out,
			overload{name, two(duckdb.TypeSmallInt), duckdb.TypeSmallInt, integer(func(a, b int16) int16 { return a % b })},
			overload{name, two(duckdb.TypeInteger), duckdb.TypeInteger, integer(func(a, b int32) int32 { return a % b })},
			overload{name, two(duckdb.TypeBigInt), duckdb.TypeBigInt, integer(func(a, b int64) int64 { return a % b })},
		)
	}
	return out
}

func put[T any](data unsafe.Pointer, i int, v T) {
	*(*T)(unsafe.Add(data, uintptr(i)*unsafe.Sizeof(v))) = v
}

// rangeError begins the engine's own errors of values that are out of range, which become SQLSTATE 22003.
const rangeError = "Out of Range:"

func integer[T int16 | int32 | int64](of func(a, b T) T) scalar {
	least := T(-1) << (unsafe.Sizeof(T(0))*8 - 1)
	return func(out unsafe.Pointer, args []unsafe.Pointer, i int) error {
		a, b := at[T](args[0], i), at[T](args[1], i)
		switch {
		case b == 0:
			return errDivision
		case b == -1 && a == least && of(6, 4) == 1:
			return fmt.Errorf("%s the quotient is out of range", rangeError)
		}
		put(out, i, of(a, b))
		return nil
	}
}

func divideFloat[T float32 | float64](out unsafe.Pointer, args []unsafe.Pointer, i int) error {
	a, b := at[T](args[0], i), at[T](args[1], i)
	if b == 0 {
		return errDivision
	}
	put(out, i, a/b)
	return nil
}

// hugeOf brings a quotient to the engine's layout; ok is false where it has more digits
// than a numeric can.
func hugeOf(v *big.Int) (h huge, ok bool) {
	if v.CmpAbs(new(big.Int).Exp(big.NewInt(10), big.NewInt(38), nil)) >= 0 {
		return h, false
	}
	low := new(big.Int).And(v, new(big.Int).SetUint64(math.MaxUint64))
	return huge{low.Uint64(), new(big.Int).Rsh(v, 64).Int64()}, true
}

func divideHuge(out unsafe.Pointer, args []unsafe.Pointer, i int) error {
	a, b := at[huge](args[0], i).big(), at[huge](args[1], i).big()
	if b.Sign() == 0 {
		return errDivision
	}
	h, _ := hugeOf(a.Quo(a, b))
	put(out, i, h)
	return nil
}

// divideNumeric rounds half away from zero, as numerics do.
func divideNumeric(out unsafe.Pointer, args []unsafe.Pointer, i int) error {
	a, b := at[huge](args[0], i).big(), at[huge](args[1], i).big()
	if b.Sign() == 0 {
		return errDivision
	}
	shift := new(big.Int).Exp(big.NewInt(10), big.NewInt(quotientScale), nil)
	q, rest := new(big.Int).QuoRem(a.Mul(a, shift), b, new(big.Int))
	if rest.Lsh(rest.Abs(rest), 1).CmpAbs(b) >= 0 {
		step := int64(1)
		if a.Sign()*b.Sign() < 0 {
			step = -1
		}
		q.Add(q, big.NewInt(step))
	}
	h, ok := hugeOf(q)
	if !ok {
		return errors.New("numeric field overflow: the quotient is out of range")
	}
	put(out, i, h)
	return nil
}

// interval is the engine's layout.
type interval struct {
	months, days int32
	micros       int64
}

// divideInterval lets a fraction of a month go into days and one of a day into time.
func divideInterval(out unsafe.Pointer, args []unsafe.Pointer, i int) error {
	v, by := at[interval](args[0], i), at[float64](args[1], i)
	if by == 0 {
		return errDivision
	}
	const daySeconds = 86400
	micro := func(f float64) float64 { return math.RoundToEven(f*1e6) / 1e6 }
	months, monthRest := math.Modf(float64(v.months) / by)
	days, dayRest := math.Modf(float64(v.days) / by)
	wholeDays, monthDays := math.Modf(micro(monthRest * 30))
	seconds := micro((dayRest + monthDays) * daySeconds)
	if math.Abs(seconds) >= daySeconds {
		carry := math.Trunc(seconds / daySeconds)
		days += carry
		seconds -= carry * daySeconds
	}
	put(out, i, interval{int32(months), int32(days + wholeDays), int64(math.RoundToEven(float64(v.micros)/by + seconds*1e6))})
	return nil
}

// registerOverloads gives the engine PostgreSQL's arithmetic.
func (e *engine) registerOverloads() error {
	sets := map[string]duckdb.ScalarFunctionSet{}
	for _, o := range overloads() {
		set, ok := sets[o.name]
		if !ok {
			set = duckdb.CreateScalarFunctionSet(o.name)
			sets[o.name] = set
		}
		if err := e.addOverload(set, o); err != nil {
			return err
		}
	}
	for _, set := range sets {
		state := duckdb.RegisterScalarFunctionSet(e.conn, set)
		duckdb.DestroyScalarFunctionSet(&set)
		if state != duckdb.StateSuccess {
			return errors.New("register functions")
		}
	}
	return nil
}

func (e *engine) addOverload(set duckdb.ScalarFunctionSet, o overload) error {
	f := duckdb.CreateScalarFunction()
	defer duckdb.DestroyScalarFunction(&f)
	duckdb.ScalarFunctionSetName(f, o.name)
	logical := func(t duckdb.Type, use func(duckdb.LogicalType)) {
		l := duckdb.CreateLogicalType(t)
		if t == duckdb.TypeDecimal {
			duckdb.DestroyLogicalType(&l)
			l = duckdb.CreateDecimalType(38, quotientScale)
		}
		use(l)
		duckdb.DestroyLogicalType(&l)
	}
	for _, t := range o.types {
		logical(t, func(l duckdb.LogicalType) { duckdb.ScalarFunctionAddParameter(f, l) })
	}
	logical(o.returns, func(l duckdb.LogicalType) { duckdb.ScalarFunctionSetReturnType(f, l) })
	h := cgo.NewHandle(o)
	e.handles = append(e.handles, h)
	C.sluice_scalar_set(f.Ptr, C.uintptr_t(h))
	duckdb.ScalarFunctionSetFunction(f, C.sluice_scalar_pointer())
	if duckdb.AddScalarFunctionToSet(set, f) != duckdb.StateSuccess {
		return errors.New("add a function")
	}
	return nil
}

//export sluiceScalar
func sluiceScalar(info, input, output unsafe.Pointer) {
	o := cgo.Handle(C.sluice_scalar_handle(info)).Value().(overload)
	chunk, out := duckdb.DataChunk{Ptr: input}, duckdb.Vector{Ptr: output}
	args, valid := make([]unsafe.Pointer, len(o.types)), make([]unsafe.Pointer, len(o.types))
	for i := range args {
		v := duckdb.DataChunkGetVector(chunk, duckdb.IdxT(i))
		args[i], valid[i] = duckdb.VectorGetData(v), duckdb.VectorGetValidity(v)
	}
	to := duckdb.VectorGetData(out)
rows:
	for i := range int(duckdb.DataChunkGetSize(chunk)) {
		for _, v := range valid {
			if v != nil && at[uint64](v, i/64)>>(i%64)&1 == 0 {
				duckdb.VectorEnsureValidityWritable(out)
				duckdb.ValiditySetRowInvalid(duckdb.VectorGetValidity(out), duckdb.IdxT(i))
				continue rows
			}
		}
		if err := o.compute(to, args, i); err != nil {
			duckdb.ScalarFunctionSetError(duckdb.FunctionInfo{Ptr: info}, err.Error())
			return
		}
	}
}
