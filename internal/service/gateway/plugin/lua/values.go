package lua

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// lua makes a value of Lua from one of JSON. Null becomes cjson.null.
func (s *state) lua(v any) glua.LValue {
	switch v := v.(type) {
	case nil:
		return s.null
	case bool:
		return glua.LBool(v)
	case string:
		return glua.LString(v)
	case float64:
		return glua.LNumber(v)
	case int:
		return glua.LNumber(v)
	case int64:
		return glua.LNumber(v)
	case []any:
		t := s.L.CreateTable(len(v), 0)
		for _, e := range v {
			t.Append(s.lua(e))
		}
		t.Metatable = s.arrayMeta
		return t
	case []string:
		t := s.L.CreateTable(len(v), 0)
		for _, e := range v {
			t.Append(glua.LString(e))
		}
		return t
	case map[string]any:
		t := s.L.CreateTable(0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			t.RawSetString(k, s.lua(v[k]))
		}
		return t
	}
	return glua.LNil
}

// record makes a table of a record in which what is null is unset.
func (s *state) record(r map[string]any) *glua.LTable {
	t := s.L.CreateTable(0, len(r))
	for _, k := range slices.Sorted(maps.Keys(r)) {
		switch v := r[k].(type) {
		case nil:
		case map[string]any:
			t.RawSetString(k, s.record(v))
		case []any:
			list := s.L.CreateTable(len(v), 0)
			for _, e := range v {
				if inner, ok := e.(map[string]any); ok {
					list.Append(s.record(inner))
				} else {
					list.Append(s.lua(e))
				}
			}
			t.RawSetString(k, list)
		default:
			t.RawSetString(k, s.lua(v))
		}
	}
	return t
}

// maxNesting bounds how deep values may nest that leave Lua.
const maxNesting = 100

var (
	errNesting = errors.New("a table nests too deeply, or within itself")
	errFuncs   = errors.New("a function or thread cannot be encoded")
	//lint:ignore ST1005 these are the words of lua-cjson
	errSparse = errors.New("Cannot serialise table: excessively sparse array")
	//lint:ignore ST1005 these are the words of lua-cjson
	errKeys = errors.New("Cannot serialise table: table key must be a number or string")
	//lint:ignore ST1005 these are the words of lua-cjson
	errNumber = errors.New("Cannot serialise number: must not be NaN or Inf")
)

// plain makes a value of JSON from one of Lua. A table with keys 1 to n alone is an array.
func (s *state) plain(v glua.LValue) (any, error) { return s.plainAt(v, 0) }

func (s *state) plainAt(v glua.LValue, depth int) (any, error) {
	if depth > maxNesting {
		return nil, errNesting
	}
	switch v := v.(type) {
	case *glua.LNilType:
		return nil, nil
	case glua.LBool:
		return bool(v), nil
	case glua.LNumber:
		if f := float64(v); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f, nil
		}
		return nil, errNumber
	case glua.LString:
		return strings.ToValidUTF8(string(v), "\uFFFD"), nil
	case *glua.LUserData:
		switch v {
		case s.null:
			return nil, nil
		case s.emptyArray:
			return []any{}, nil
		}
	case *glua.LTable:
		isArray, err := s.isArray(v)
		if err != nil {
			return nil, err
		}
		if isArray {
			out := make([]any, 0, v.Len())
			for i := 1; i <= v.MaxN(); i++ {
				e, err := s.plainAt(v.RawGetInt(i), depth+1)
				if err != nil {
					return nil, err
				}
				out = append(out, e)
			}
			return out, nil
		}
		out := map[string]any{}
		v.ForEach(func(k, e glua.LValue) {
			if err != nil {
				return
			}
			var inner any
			inner, err = s.plainAt(e, depth+1)
			out[glua.LVAsString(k)] = inner
		})
		return out, err
	}
	return nil, errFuncs
}

// isArray tells arrays from objects as cjson does.
func (s *state) isArray(t *glua.LTable) (bool, error) {
	n, top, others := 0, 0, false
	var bad error
	t.ForEach(func(k, _ glua.LValue) {
		switch k := k.(type) {
		case glua.LNumber:
			if i := int(k); float64(i) == float64(k) && i > 0 {
				n, top = n+1, max(top, i)
				return
			}
			others = true
		case glua.LString:
			others = true
		default:
			bad = errKeys
		}
	})
	if bad != nil || others {
		return false, bad
	}
	if n == 0 {
		return t.Metatable == s.arrayMeta || t.Metatable == s.emptyMeta, nil
	}
	if top > 10 && top > n*2 {
		return false, errSparse
	}
	return true, nil
}

// text makes a string of what may stand where a string is wanted.
func text(v glua.LValue) (string, bool) {
	switch v := v.(type) {
	case glua.LString:
		return string(v), true
	case glua.LNumber, glua.LBool:
		return v.String(), true
	}
	return "", false
}

// field returns a string among a table's fields, "" where there is none.
func field(t *glua.LTable, name string) string {
	s, _ := t.RawGetString(name).(glua.LString)
	return string(s)
}

// own is a string that outlives the exchange it is from.
func own(s string) glua.LString { return glua.LString(strings.Clone(s)) }

// orNil is own, nil where there is nothing.
func orNil(s string) glua.LValue {
	if s == "" {
		return glua.LNil
	}
	return own(s)
}

// fail returns nil and a message, as libraries of Lua tell of errors.
func fail(L *glua.LState, err error) int {
	L.Push(glua.LNil)
	L.Push(glua.LString(err.Error()))
	return 2
}
