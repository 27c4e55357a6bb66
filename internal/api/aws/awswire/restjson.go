package awswire

import "reflect"

// restJSON is the bodies of rest-json.
type restJSON struct{}

func (restJSON) write(s *shape, v reflect.Value, _, _ string, m *message) {
	setDefault(m, "application/json")
	m.body = appendJSON(nil, s, v, true)
}

func (restJSON) writePayload(f *field, v reflect.Value, _ string, m *message) {
	setDefault(m, "application/json")
	m.body = appendJSON(nil, f.shape, v, false)
}

func (restJSON) read(s *shape, v reflect.Value, _ string, m *message) error {
	for i := range s.fields {
		if s.fields[i].loc == inBody {
			return readJSON(m.body, s, v)
		}
	}
	return nil // no member is in the body, so nobody asked what is
}

func (restJSON) readPayload(f *field, v reflect.Value, m *message, _ bool) error {
	return readJSON(m.body, f.shape, v)
}

func (restJSON) writeNothing(m *message) {
	setDefault(m, "application/json")
	m.body = []byte("{}")
}

func (restJSON) writeError(_ *API, e *Error, m *message) {
	m.header.Set("X-Amzn-Errortype", e.Code)
	m.header.Set("X-Amzn-Requestid", m.requestID)
	m.header.Set("Content-Type", "application/json")
	m.body = jsonError(e)
}

func (restJSON) readError(m *message) *Error { return readJSONError(m) }

func setDefault(m *message, contentType string) {
	if m.header.Get("Content-Type") == "" {
		m.header.Set("Content-Type", contentType)
	}
}
