package warehouse

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/warehouse/pgtext"
)

// jsonValues checks the members of JSON objects against a table's columns: the engine
// fails a whole statement over one value that a column cannot hold.
type jsonValues map[string]Column

func newJSONValues(columns []Column) jsonValues {
	out := jsonValues{}
	for _, c := range columns {
		if c.Engine != "VARCHAR" && c.Engine != "JSON" { // these take anything
			out[c.Name] = c
		}
	}
	return out
}

// object returns a valid JSON object with its values in the engine's form, or the column
// that cannot hold its value.
func (v jsonValues) object(text []byte) (row []byte, column Column, ok bool) {
	if len(v) == 0 {
		return text, column, true
	}
	row = text
	shift := 0 // how much longer row is than text, so far
	for at := 1; ; {
		at = skipSpace(text, at)
		if text[at] == '}' {
			return row, column, true
		}
		if text[at] == ',' {
			at = skipSpace(text, at+1)
		}
		end := valueEnd(text, at)
		name := memberName(text[at:end])
		at = skipSpace(text, skipSpace(text, end)+1) // behind the colon
		end = valueEnd(text, at)
		if column, known := v[name]; known {
			value, ok := column.jsonValue(text[at:end])
			if !ok {
				return nil, column, false
			}
			if value != nil {
				row = append(append(bytes.Clone(row[:at+shift]), value...), row[end+shift:]...)
				shift += len(value) - (end - at)
			}
		}
		at = end
	}
}

func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n' {
		i++
	}
	return i
}

// valueEnd returns where the value at i of valid JSON ends.
func valueEnd(b []byte, i int) int {
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

func memberName(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	return strings.ToLower(jsonString(quoted))
}

func jsonString(quoted []byte) string {
	var s string
	_ = json.Unmarshal(quoted, &s) // it is valid
	return s
}

// jsonValue brings a value to the form in which the engine reads it for the column; nil
// leaves it as it is.
func (c Column) jsonValue(raw []byte) (value []byte, ok bool) {
	switch raw[0] {
	case 'n':
		return nil, true
	case '{', '[':
		return nil, false
	}
	text, isString := string(raw), raw[0] == '"'
	if isString {
		if text = strings.TrimSpace(jsonString(raw)); text == "" {
			return []byte("null"), true // as an empty field of text is
		}
	}
	engine, arguments, _ := strings.Cut(c.Engine, "(")
	switch engine {
	case "BOOLEAN":
		b, err := pgtext.Boolean(text)
		return strconv.AppendBool(nil, b), err == nil
	case "SMALLINT":
		return jsonInteger(text, math.MinInt16, math.MaxInt16)
	case "INTEGER":
		return jsonInteger(text, math.MinInt32, math.MaxInt32)
	case "BIGINT":
		return jsonInteger(text, math.MinInt64, math.MaxInt64)
	case "FLOAT", "DOUBLE":
		bits := 64
		if engine == "FLOAT" {
			bits = 32
		}
		f, err := strconv.ParseFloat(text, bits)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, false // JSON has no such number
		}
		return strconv.AppendFloat(nil, f, 'g', -1, 64), true
	case "DECIMAL":
		width, scale, _ := strings.Cut(strings.Trim(arguments, ")"), ",")
		w, _ := strconv.Atoi(strings.TrimSpace(width))
		s, _ := strconv.Atoi(strings.TrimSpace(scale))
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || !(math.Abs(f) < math.Pow10(w-s)-math.Pow10(-s)) || !json.Valid([]byte(text)) {
			return nil, false
		}
		return []byte(text), true
	}
	if !isString {
		return nil, false
	}
	in := pgtext.Reader{Zone: time.UTC, Now: time.Now}
	switch engine {
	case "DATE":
		v, err := in.Timestamp(text)
		return quoteJSON(engineDate(v)), err == nil
	case "TIMESTAMP":
		v, err := in.Timestamp(text)
		return quoteJSON(engineInstant(v)), err == nil
	case "TIMESTAMPTZ":
		v, err := in.TimestampTZ(text)
		return quoteJSON(instantText(v)), err == nil
	case "TIME":
		v, err := in.Time(text)
		return quoteJSON(string(pgtext.AppendTime(nil, v))), err == nil
	case "INTERVAL":
		_, err := pgtext.ParseInterval(text)
		return nil, err == nil
	case "UUID":
		digits := strings.ReplaceAll(strings.Trim(text, "{}"), "-", "")
		return nil, len(digits) == 32 && strings.Trim(strings.ToLower(digits), "0123456789abcdef") == ""
	}
	return nil, true
}

func quoteJSON(s string) []byte { return []byte(`"` + s + `"`) }

// jsonInteger takes whole numbers also where they are written with a point or an exponent.
func jsonInteger(text string, least, most int64) ([]byte, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
			return nil, false
		}
		n = int64(f)
	}
	return strconv.AppendInt(nil, n, 10), n >= least && n <= most
}
