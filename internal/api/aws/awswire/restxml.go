package awswire

import "reflect"

// restXML is the bodies of rest-xml, and S3's errors.
type restXML struct{ s3 bool }

const xmlType = "application/xml"

func (x restXML) write(s *shape, v reflect.Value, root, namespace string, m *message) {
	setDefault(m, xmlType)
	w := newXMLWriter()
	if f := bare(s, root); f != nil {
		if fv, ok := present(v.Field(f.index)); ok {
			w.value(root, namespace, f.shape, fv, false)
		} else {
			w.open(root, namespace)
			w.close(root)
		}
	} else {
		w.open(root, namespace)
		w.members(s, v)
		w.close(root)
	}
	m.body = w.b
}

// bare returns the only member of a body whose root element is that member itself; S3's
// GetBucketLocation answers so.
func bare(s *shape, root string) *field {
	var only *field
	for i := range s.fields {
		if f := &s.fields[i]; f.loc == inBody {
			if only != nil || f.wire != root || f.shape.kind == structure {
				return nil
			}
			only = f
		}
	}
	return only
}

func (x restXML) writePayload(f *field, v reflect.Value, namespace string, m *message) {
	setDefault(m, xmlType)
	w := newXMLWriter()
	w.value(f.wire, orElse(f.ns, namespace), f.shape, v, false)
	m.body = w.b
}

func (x restXML) read(s *shape, v reflect.Value, root string, m *message) error {
	needed := false
	for i := range s.fields {
		needed = needed || s.fields[i].loc == inBody
	}
	if !needed || len(m.body) == 0 {
		return nil
	}
	n, err := parseXML(m.body)
	if err != nil {
		return err
	}
	r := xmlReader{}
	if f := bare(s, root); f != nil {
		r.path.member(f.name)
		if n.text == "" && f.shape.kind == text {
			return nil
		}
		return r.value(f.shape, place(v.Field(f.index)), n)
	}
	return r.members(s, v, n)
}

func (x restXML) readPayload(f *field, v reflect.Value, m *message, request bool) error {
	n, err := parseXML(m.body)
	if err != nil {
		return err
	}
	if request && n.name != f.wire {
		return failf(unreadable, "The XML you provided was not well-formed or did not validate against our published schema: "+
			"the root element is %s, %s is due", clip(n.name), f.wire)
	}
	r := xmlReader{}
	r.path.member(f.name)
	return r.value(f.shape, v, n)
}

func (x restXML) writeNothing(*message) {}

func (x restXML) writeError(a *API, e *Error, m *message) {
	setDefault(m, xmlType)
	w := newXMLWriter()
	if !x.s3 {
		m.header.Set("X-Amzn-Requestid", m.requestID)
		namespace := ""
		if a != nil {
			namespace = a.Namespace
		}
		writeErrorResponse(w, namespace, e.Code, e, m.requestID)
		m.body = w.b
		return
	}
	w.open("Error", "")
	w.element("Code", e.Code)
	w.element("Message", e.Message)
	if e.Field != "" && e.Code == "InvalidArgument" {
		w.element("ArgumentName", e.Field)
	}
	for _, x := range e.Elements {
		w.element(x[0], x[1])
	}
	w.element("Resource", m.resource)
	w.element("RequestId", m.requestID)
	w.element("HostId", hostID(m.requestID))
	w.close("Error")
	m.body = w.b
}

func (x restXML) readError(m *message) *Error { return readXMLError(m) }
