package lua

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"

	glua "github.com/yuin/gopher-lua"
)

// maxJSONDepth bounds the nesting of what is encoded.
const maxJSONDepth = 100

// openCJSON makes the module: the plain one raises errors, the safe one returns them.
func (s *state) openCJSON(safe bool) glua.LValue {
	ignored := func(*glua.LState) int { return 0 } // settings whose values are fixed to Kong's
	t := s.functions(map[string]glua.LGFunction{
		"encode": func(L *glua.LState) int {
			out, err := s.encode(nil, L.CheckAny(1), 0)
			return jsonResult(L, glua.LString(out), err, safe)
		},
		"decode": func(L *glua.LState) int {
			v, err := s.decode([]byte(L.CheckString(1)))
			return jsonResult(L, v, err, safe)
		},
		"new":                        func(L *glua.LState) int { L.Push(s.openCJSON(safe)); return 1 },
		"decode_array_with_array_mt": ignored, "encode_empty_table_as_object": ignored, "encode_sparse_array": ignored,
		"encode_max_depth": ignored, "decode_max_depth": ignored, "encode_number_precision": ignored, "encode_keep_buffer": ignored,
		"encode_invalid_numbers": ignored, "decode_invalid_numbers": ignored, "encode_escape_forward_slash": ignored,
	})
	t.RawSetString("null", s.null)
	t.RawSetString("empty_array", s.emptyArray)
	t.RawSetString("array_mt", s.arrayMeta)
	t.RawSetString("empty_array_mt", s.emptyMeta)
	t.RawSetString("_NAME", glua.LString("cjson"))
	return s.seal(t)
}

func jsonResult(L *glua.LState, v glua.LValue, err error, safe bool) int {
	switch {
	case err == nil:
		L.Push(v)
		return 1
	case safe:
		return fail(L, err)
	}
	L.RaiseError("%s", err.Error())
	return 0
}

func (s *state) decode(raw []byte) (glua.LValue, error) {
	if len(raw) > maxString {
		return nil, errors.New("the JSON is too long")
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, errors.New("Expected value but found invalid token: " + err.Error())
	}
	return s.lua(v), nil
}

func (s *state) encode(dst []byte, v glua.LValue, depth int) (_ []byte, err error) {
	if depth > maxJSONDepth {
		return nil, errors.New("Cannot serialise, excessive depth (" + strconv.Itoa(depth) + ")")
	}
	if len(dst) > maxString {
		return nil, errors.New("the JSON is too long")
	}
	switch v := v.(type) {
	case *glua.LNilType:
		return append(dst, "null"...), nil
	case glua.LBool:
		return strconv.AppendBool(dst, bool(v)), nil
	case glua.LNumber:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, errNumber
		}
		return appendNumber(dst, float64(v)), nil
	case glua.LString:
		return appendString(dst, string(v)), nil
	case *glua.LUserData:
		switch v {
		case s.null:
			return append(dst, "null"...), nil
		case s.emptyArray:
			return append(dst, "[]"...), nil
		}
	case *glua.LTable:
		isArray, err := s.isArray(v)
		if err != nil {
			return nil, err
		}
		if isArray {
			dst = append(dst, '[')
			for i := 1; i <= v.MaxN(); i++ {
				if i > 1 {
					dst = append(dst, ',')
				}
				if dst, err = s.encode(dst, v.RawGetInt(i), depth+1); err != nil {
					return nil, err
				}
			}
			return append(dst, ']'), nil
		}
		dst = append(dst, '{')
		for k, e := v.Next(glua.LNil); k != glua.LNil; k, e = v.Next(k) {
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, glua.LVAsString(k)), ':')
			if dst, err = s.encode(dst, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	}
	return nil, errors.New("Cannot serialise " + v.Type().String() + ": type not supported")
}

// appendNumber prints a number with 14 digits, as cjson does.
func appendNumber(dst []byte, f float64) []byte {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.AppendInt(dst, int64(f), 10)
	}
	return strconv.AppendFloat(dst, f, 'g', 14, 64)
}

// appendString prints a string as cjson does, which escapes slashes.
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\', '/':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			if c < 0x20 || c == 0x7f {
				dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			} else {
				dst = append(dst, c)
			}
		}
	}
	return append(dst, '"')
}
