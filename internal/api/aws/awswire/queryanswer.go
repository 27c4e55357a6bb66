package awswire

import (
	"reflect"
	"strings"
)

// Answers of query and ec2 are XML:
//
//	<CreateUserResponse xmlns="…"><CreateUserResult>…</CreateUserResult>
//	  <ResponseMetadata><RequestId>…</RequestId></ResponseMetadata></CreateUserResponse>
//
//	<CreateVolumeResponse xmlns="…"><requestId>…</requestId>…</CreateVolumeResponse>

func (c queryCodec) writeAnswer(a *API, op *Op, out reflect.Value, m *message) error {
	m.header.Set("Content-Type", "text/xml")
	m.header.Set("X-Amzn-Requestid", m.requestID)
	w := newXMLWriter()
	w.query = true
	w.open(op.Name+"Response", a.Namespace)
	s := planOf(out.Type())
	if c.ec2 {
		w.element("requestId", m.requestID)
		w.members(s, out)
	} else {
		if op.Out != "" {
			w.open(op.Out, "")
		}
		w.members(s, out)
		if op.Out != "" {
			w.close(op.Out)
		}
		w.open("ResponseMetadata", "")
		w.element("RequestId", m.requestID)
		w.close("ResponseMetadata")
	}
	w.close(op.Name + "Response")
	m.body = w.b
	return nil
}

func (c queryCodec) readAnswer(_ *API, op *Op, m *message, out reflect.Value) error {
	root, err := parseXML(m.body)
	if err != nil {
		return err
	}
	if result := root.child(orElse(op.Out, op.Name+"Result")); result != nil {
		root = result
	}
	r := xmlReader{}
	return r.members(planOf(out.Type()), out, root)
}

func (c queryCodec) writeError(a *API, e *Error, m *message) {
	m.header.Set("Content-Type", "text/xml")
	m.header.Set("X-Amzn-Requestid", m.requestID)
	w := newXMLWriter()
	code := orElse(e.Query, e.Code)
	if c.ec2 {
		w.open("Response", "")
		w.open("Errors", "")
		w.open("Error", "")
		w.element("Code", code)
		w.element("Message", e.Message)
		w.close("Error")
		w.close("Errors")
		w.element("RequestID", m.requestID)
		w.close("Response")
		m.body = w.b
		return
	}
	namespace := ""
	if a != nil {
		namespace = a.Namespace
	}
	writeErrorResponse(w, namespace, code, e, m.requestID)
	m.body = w.b
}

// writeErrorResponse writes the error of query and rest-xml.
func writeErrorResponse(w *xmlWriter, namespace, code string, e *Error, requestID string) {
	w.open("ErrorResponse", namespace)
	w.open("Error", "")
	side := "Sender"
	if e.Status >= 500 {
		side = "Receiver"
	}
	w.element("Type", side)
	w.element("Code", code)
	w.element("Message", e.Message)
	w.close("Error")
	w.element("RequestId", requestID)
	w.close("ErrorResponse")
}

func (c queryCodec) readError(m *message) *Error { return readXMLError(m) }

// readXMLError reads the error of query, ec2, rest-xml and S3: wherever it is nested, it
// has a Code and a Message.
func readXMLError(m *message) *Error {
	e := &Error{Status: m.status}
	root, err := parseXML(m.body)
	if err != nil {
		return e // a HEAD, or a proxy's page; the status tells
	}
	for _, step := range []string{"Errors", "Error"} {
		if n := root.child(step); n != nil {
			root = n
		}
	}
	if n := root.child("Code"); n != nil {
		e.Code = strings.TrimSpace(n.text)
	}
	if n := root.child("Message"); n != nil {
		e.Message = n.text
	}
	return e
}
