package collector

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// maxMembers bounds the members of one event.
const maxMembers = 512

// fieldError is what is wrong with one event.
type fieldError struct {
	event  int
	field  string
	reason string
}

// wholeBody stands for an event's index where the body is wrong as a whole.
const wholeBody = -1

func (e *fieldError) Error() string {
	if e.event == wholeBody {
		return e.reason
	}
	where := "event " + strconv.Itoa(e.event)
	if e.field != "" {
		where += ", field '" + e.field + "'"
	}
	return where + ": " + e.reason
}

// value is one member of an event: its JSON as it stands in the record, and as text.
type value struct {
	set  bool
	raw  string // JSON
	text string
}

// event is one event while it is read. It is reused from event to event.
type event struct {
	values []value        // by field of the configuration
	id     string         // given by the client, else ""
	extra  []gjson.Result // name and value by turns, of members that are not configured
	names  []string
}

func (ev *event) reset(fields int) {
	if cap(ev.values) < fields {
		ev.values = make([]value, fields)
	}
	ev.values = ev.values[:fields]
	clear(ev.values)
	ev.id, ev.extra, ev.names = "", ev.extra[:0], ev.names[:0]
}

// readJSON fills the event from a JSON object that is known to be valid JSON.
func (in *instance) readJSON(ev *event, index int, object gjson.Result) *fieldError {
	ev.reset(len(in.fields))
	if !object.IsObject() {
		return &fieldError{index, "", "an event must be a JSON object"}
	}
	var bad *fieldError
	members := 0
	object.ForEach(func(k, v gjson.Result) bool {
		name := k.Str
		if members++; members > maxMembers {
			bad = &fieldError{index, "", "too many members"}
			return false
		}
		if halfPair(k.Raw) || halfPair(v.Raw) {
			bad = &fieldError{index, name, "half of a surrogate pair"}
			return false
		}
		if strings.IndexByte(v.Str, 0) >= 0 {
			bad = &fieldError{index, name, noNUL}
			return false
		}
		i := in.index(name)
		switch {
		case i >= 0:
			if ev.values[i].set {
				bad = &fieldError{index, name, "given twice"}
				return false
			}
			if v.Type == gjson.Null {
				return true
			}
			reason := in.fields[i].accept(v)
			if reason == "" && v.Type == gjson.String {
				reason = in.holds(v.Str)
			}
			if reason != "" {
				bad = &fieldError{index, name, reason}
				return false
			}
			ev.values[i] = value{true, v.Raw, v.Str}
			if v.Type != gjson.String {
				ev.values[i].text = v.Raw
			}
			if name == "event_id" {
				ev.id = ev.values[i].text
			}
		case name == "event_id":
			if ev.id != "" {
				bad = &fieldError{index, name, "given twice"}
				return false
			}
			if v.Type != gjson.String || v.Str == "" || len(v.Str) > 128 {
				bad = &fieldError{index, name, "must be a string of 1 to 128 bytes"}
				return false
			}
			if reason := in.holds(v.Str); reason != "" {
				bad = &fieldError{index, name, reason}
				return false
			}
			ev.id = v.Str
		case isAdded(name):
			// The collector fills these; what a client puts there is not believed.
		case in.unknown == "refuse":
			bad = &fieldError{index, name, "not a field of this collector"}
			return false
		case in.unknown == "keep":
			for _, seen := range ev.names {
				if seen == name {
					bad = &fieldError{index, name, "given twice"}
					return false
				}
			}
			ev.names = append(ev.names, name)
			ev.extra = append(ev.extra, k, v)
		}
		return true
	})
	if bad != nil {
		return bad
	}
	return in.complete(ev, index)
}

// complete checks that required fields are there.
func (in *instance) complete(ev *event, index int) *fieldError {
	for i := range in.fields {
		if in.fields[i].required && !ev.values[i].set && !(in.fields[i].name == "event_id") {
			return &fieldError{index, in.fields[i].name, "required field missing"}
		}
	}
	return nil
}

func (in *instance) index(name string) int {
	for i := range in.fields {
		if in.fields[i].name == name {
			return i
		}
	}
	return -1
}

func isAdded(name string) bool {
	switch name {
	case "received_at", "client_ip", "user_agent", "request_id":
		return true
	}
	return false
}

// accept says what is wrong with a JSON value for the field, or "".
func (f *field) accept(v gjson.Result) string {
	switch f.kind {
	case kindString:
		if v.Type == gjson.String {
			return f.length(v.Str)
		}
	case kindInteger:
		if v.Type == gjson.Number && isInteger(v.Raw) {
			return ""
		}
	case kindNumber:
		if v.Type == gjson.Number && !math.IsInf(v.Num, 0) {
			return ""
		}
	case kindBoolean:
		if v.Type == gjson.True || v.Type == gjson.False {
			return ""
		}
	case kindTimestamp:
		if v.Type == gjson.Number && isInteger(v.Raw) || v.Type == gjson.String && isTime(v.Str) {
			return ""
		}
	}
	return "expected " + kindNames[f.kind]
}

// parse makes a value of a parameter's text, or says what is wrong with it.
func (f *field) parse(s string) (value, string) {
	switch f.kind {
	case kindString:
		if !utf8.ValidString(s) {
			return value{}, "expected valid UTF-8"
		}
		return value{true, "", s}, f.length(s)
	case kindInteger:
		if isInteger(s) {
			return value{true, s, s}, ""
		}
	case kindNumber:
		if isNumber(s) {
			return value{true, s, s}, ""
		}
	case kindBoolean:
		switch s {
		case "true", "1":
			return value{true, "true", "true"}, ""
		case "false", "0":
			return value{true, "false", "false"}, ""
		}
	case kindTimestamp:
		if isInteger(s) {
			return value{true, s, s}, ""
		}
		if isTime(s) {
			return value{true, "", s}, ""
		}
	}
	return value{}, "expected " + kindNames[f.kind]
}

func (f *field) length(s string) string {
	if len(s) > f.maxLength {
		return "longer than " + strconv.Itoa(f.maxLength) + " bytes"
	}
	if f.required && s == "" {
		return "required field is empty"
	}
	return ""
}

// isInteger reports whether s is an integer of 64 bits as JSON writes it.
func isInteger(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > 19 || len(digits) > 1 && digits[0] == '0' {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	if len(digits) < 19 {
		return true
	}
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

// isNumber reports whether s is a number as JSON writes it, within the range of a double.
func isNumber(s string) bool {
	if s == "" || s[0] <= ' ' || s[len(s)-1] <= ' ' || !gjson.Valid(s) {
		return false
	}
	v := gjson.Parse(s)
	return v.Type == gjson.Number && !math.IsInf(v.Num, 0)
}

// isTime reports whether s is a time of RFC 3339. Go takes a little more: hours of one
// digit, and a comma before the fraction, neither of which other readers know.
func isTime(s string) bool {
	_, err := time.Parse(time.RFC3339Nano, s)
	return err == nil && s[13] == ':' && !strings.Contains(s, ",")
}

// noNUL: text of SQL has no NUL, and clients would show what is before it.
const noNUL = "NUL cannot stand in text"

// holds says what of a configured field's text the record's format cannot hold, or "". A
// backslash before a line end would not keep readers of lines from ending the record there.
func (in *instance) holds(s string) string {
	if in.delimited && strings.ContainsAny(s, "\n\r") {
		return "a line end cannot stand in the delimited format"
	}
	return ""
}
