package awswire

import (
	"net/http"
	"reflect"
	"strings"
)

// jsonCodec is the protocols json 1.0 and 1.1: a header names the operation, JSON is the body.
type jsonCodec struct{ version string }

func (c jsonCodec) contentType() string { return "application/x-amz-json-" + c.version }

func (c jsonCodec) writeRequest(a *API, op *Op, in reflect.Value, m *message) error {
	m.method, m.path = http.MethodPost, "/"
	m.header.Set("X-Amz-Target", a.Target+"."+op.Name)
	m.header.Set("Content-Type", c.contentType())
	m.body = appendJSON(nil, planOf(in.Type()), in, false)
	return nil
}

func (c jsonCodec) readRequest(_ *API, _ *Op, m *message, in reflect.Value) error {
	return readJSON(m.body, planOf(in.Type()), in)
}

func (c jsonCodec) writeAnswer(_ *API, _ *Op, out reflect.Value, m *message) error {
	m.header.Set("X-Amzn-Requestid", m.requestID)
	m.header.Set("Content-Type", c.contentType())
	if out.NumField() > 0 { // an operation without an answer has no body
		m.body = appendJSON(nil, planOf(out.Type()), out, false)
	}
	return nil
}

func (c jsonCodec) readAnswer(_ *API, _ *Op, m *message, out reflect.Value) error {
	if out.NumField() == 0 {
		return nil // whatever it is, nobody asked for it
	}
	return readJSON(m.body, planOf(out.Type()), out)
}

func (c jsonCodec) writeError(a *API, e *Error, m *message) {
	m.header.Set("X-Amzn-Requestid", m.requestID)
	m.header.Set("Content-Type", c.contentType())
	if a != nil && a.QueryCompatible {
		side := "Sender"
		if e.Status >= 500 {
			side = "Receiver"
		}
		m.header.Set("X-Amzn-Query-Error", orElse(e.Query, e.Code)+";"+side)
	}
	m.body = jsonError(e)
}

func (c jsonCodec) readError(m *message) *Error { return readJSONError(m) }

func jsonError(e *Error) []byte {
	b := append([]byte(`{"__type":`), appendJSONString(nil, e.Code)...)
	b = append(b, `,"message":`...)
	return append(appendJSONString(b, e.Message), '}')
}

// readJSONError reads what json and rest-json services answer. The code may come with a
// namespace before # and a URL behind a colon, in the body or in a header.
func readJSONError(m *message) *Error {
	var body struct {
		Type    *string `aws:"__type"`
		Code    *string `aws:"code"`
		Message *string `aws:"message"`
		Capital *string `aws:"Message"`
	}
	// A proxy may have answered something that is no JSON; the header and the status still tell.
	_ = readJSON(m.body, planOf(reflect.TypeOf(body)), reflect.ValueOf(&body).Elem())
	e := &Error{Status: m.status, Code: m.header.Get("X-Amzn-Errortype")}
	for _, code := range []*string{body.Type, body.Code} {
		if e.Code == "" && code != nil {
			e.Code = *code
		}
	}
	_, e.Code, _ = cutLast(e.Code, "#")
	e.Code, _, _ = strings.Cut(e.Code, ":")
	for _, text := range []*string{body.Message, body.Capital} {
		if e.Message == "" && text != nil {
			e.Message = *text
		}
	}
	return e
}

// cutLast cuts s behind the last sep; without one, all of s is the second part.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}
