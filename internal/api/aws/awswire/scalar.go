package awswire

import (
	"encoding/base64"
	"math"
	"reflect"
	"strconv"
	"time"
)

// appendScalar writes a value that is not composed, as text: the form of queries, headers,
// paths and XML. usual is the time format of the place.
func appendScalar(b []byte, s *shape, v reflect.Value, usual timeFormat) []byte {
	switch s.kind {
	case boolean:
		return strconv.AppendBool(b, v.Bool())
	case integer:
		return strconv.AppendInt(b, v.Int(), 10)
	case float:
		switch f := v.Float(); {
		case math.IsInf(f, 1):
			return append(b, "Infinity"...)
		case math.IsInf(f, -1):
			return append(b, "-Infinity"...)
		default:
			return strconv.AppendFloat(b, f, 'g', -1, 64)
		}
	case blob:
		return base64.StdEncoding.AppendEncode(b, v.Bytes())
	case timestamp:
		return appendTime(b, v.Interface().(time.Time), s.time.or(usual))
	default:
		return append(b, v.String()...)
	}
}

func scalarText(s *shape, v reflect.Value, usual timeFormat) string {
	return string(appendScalar(nil, s, v, usual))
}

// typeNames are how messages call the kinds.
var typeNames = [...]string{"a structure", "a list", "a map", "a String", "a Boolean", "an Integer", "a Double", "a Blob (base64)", "a Timestamp", "a stream", "a stream"}

// setScalar reads text into v; at says where the text stands.
func setScalar(s *shape, v reflect.Value, str string, at path) error {
	var err error
	switch s.kind {
	case text:
		v.SetString(str)
	case boolean:
		var b bool
		if str == "true" || str == "True" || str == "false" || str == "False" {
			b = str[0]|0x20 == 't'
		} else {
			err = strconv.ErrSyntax
		}
		v.SetBool(b)
	case integer:
		var n int64
		n, err = strconv.ParseInt(str, 10, 64)
		v.SetInt(n)
	case float:
		var f float64
		f, err = strconv.ParseFloat(str, 64)
		v.SetFloat(f)
	case blob:
		var b []byte
		b, err = base64.StdEncoding.DecodeString(str)
		v.SetBytes(b)
	case timestamp:
		var t time.Time
		t, err = parseTime(str)
		v.Set(reflect.ValueOf(t))
	default:
		err = strconv.ErrSyntax
	}
	if err != nil {
		return notA(s, str, at)
	}
	return nil
}

// notA is the failure of a value that is not of its member's type.
func notA(s *shape, str string, at path) error {
	f := failf(mistyped, "Value '%s' at '%s' failed to satisfy constraint: Member must be %s", clip(str), at, typeNames[s.kind])
	f.field = at.String()
	return f
}
