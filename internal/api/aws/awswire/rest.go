package awswire

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
)

// restCodec is the protocols rest-json and rest-xml: members travel in the path, the query,
// headers and the body; they differ in the body alone.
type restCodec struct{ body restBody }

// restBody is what rest-json and rest-xml do differently.
type restBody interface {
	// write makes the body of the members that travel there, or of the payload where it is a
	// structure, and names its type. root and namespace are those of the operation.
	write(s *shape, v reflect.Value, root, namespace string, m *message)
	writePayload(f *field, v reflect.Value, namespace string, m *message)
	read(s *shape, v reflect.Value, root string, m *message) error
	// readPayload is strict about the root element of a request and takes any of an answer.
	readPayload(f *field, v reflect.Value, m *message, request bool) error
	// writeNothing makes the body in place of an absent payload.
	writeNothing(m *message)
	writeError(a *API, e *Error, m *message)
	readError(m *message) *Error
}

func (c restCodec) writeRequest(a *API, op *Op, in reflect.Value, m *message) error {
	m.method = op.method()
	path, literal, _ := strings.Cut(op.uri(), "?")
	for part := range strings.SplitSeq(literal, "&") {
		if k, v, _ := strings.Cut(part, "="); k != "" {
			m.query.Set(k, v)
		}
	}
	s := planOf(in.Type())
	for i := range s.fields {
		f := &s.fields[i]
		fv, ok := present(in.Field(f.index))
		if f.loc == inURI {
			if !ok || f.shape.kind == text && fv.Len() == 0 {
				return failf(unsatisfied, "Value null at '%s' failed to satisfy constraint: Member must not be null", lowerFirst(f.name))
			}
			value := scalarText(f.shape, fv, iso8601)
			path = strings.ReplaceAll(path, "{"+f.wire+"}", uriEscape(value, false))
			path = strings.ReplaceAll(path, "{"+f.wire+"+}", uriEscape(value, true))
		} else if ok {
			writeBinding(f, fv, m)
		}
	}
	m.path = path
	c.writeBody(s, in, orElse(op.In, op.Name+"Request"), op.InNS, m)
	return nil
}

// writeBinding puts a member that travels outside the body into query, header or status.
func writeBinding(f *field, v reflect.Value, m *message) {
	switch f.loc {
	case inQuery:
		writeQuery(f, v, m.query)
	case inHeader:
		if f.shape.kind == list {
			var items []string
			for i := range v.Len() {
				items = append(items, quoteComma(scalarText(f.shape.item, v.Index(i), httpDate)))
			}
			m.header.Set(f.wire, strings.Join(items, ","))
			return
		}
		if s := strings.TrimSpace(scalarText(f.shape, v, httpDate)); s != "" { // an empty header is no header
			m.header.Set(f.wire, s)
		}
	case inPrefix:
		for _, k := range sortedKeys(v) {
			m.setEntry(f.wire+strings.TrimSpace(k), strings.TrimSpace(v.MapIndex(reflect.ValueOf(k)).String()))
		}
	case inStatus:
		m.status = int(v.Int())
	}
}

// quoteComma quotes an item of a header list that would otherwise fall apart.
func quoteComma(s string) string {
	if !strings.ContainsAny(s, `",`) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func writeQuery(f *field, v reflect.Value, q url.Values) {
	switch f.shape.kind {
	case list:
		for i := range v.Len() {
			q.Add(f.wire, scalarText(f.shape.item, v.Index(i), iso8601))
		}
	case mapping:
		for _, k := range sortedKeys(v) {
			e := v.MapIndex(reflect.ValueOf(k))
			if f.shape.value.kind == list {
				for i := range e.Len() {
					q.Add(k, scalarText(f.shape.value.item, e.Index(i), iso8601))
				}
			} else {
				q.Set(k, scalarText(f.shape.value, e, iso8601))
			}
		}
	default:
		q.Set(f.wire, scalarText(f.shape, v, iso8601))
	}
}

// writeBody makes the body: the payload member alone, or all members that travel in it.
func (c restCodec) writeBody(s *shape, v reflect.Value, root, namespace string, m *message) {
	if s.payload < 0 {
		for i := range s.fields {
			f := &s.fields[i]
			if f.loc == inBody {
				c.body.write(s, v, root, namespace, m)
				return
			}
		}
		return // no member belongs into the body
	}
	f := &s.fields[s.payload]
	fv, ok := present(v.Field(f.index))
	if !ok {
		if f.shape.kind == structure {
			c.body.writeNothing(m)
		}
		return
	}
	switch f.shape.kind {
	case upload:
		m.stream = fv.Interface().(*Body)
	case download:
		m.stream = fv.Interface().(io.Reader)
	case blob:
		m.body = fv.Bytes()
	case text:
		m.body = []byte(fv.String())
	default:
		c.body.writePayload(f, fv, namespace, m)
		return
	}
	if m.header.Get("Content-Type") == "" && f.shape.kind != text {
		m.header.Set("Content-Type", "application/octet-stream")
	}
}

func (c restCodec) readRequest(_ *API, op *Op, m *message, in reflect.Value) error {
	s := planOf(in.Type())
	_, literal, _ := strings.Cut(op.uri(), "?")
	fixed := map[string]bool{}
	for part := range strings.SplitSeq(literal, "&") {
		k, _, _ := strings.Cut(part, "=")
		fixed[k] = true
	}
	for i := range s.fields {
		if f := &s.fields[i]; f.loc == inQuery {
			fixed[f.wire] = true
		}
	}
	var at path
	for i := range s.fields {
		f := &s.fields[i]
		at.member(f.name)
		if err := readBinding(f, in.Field(f.index), m, fixed, at); err != nil {
			return err
		}
		at.pop()
	}
	return c.readBody(s, in, op.In, m, true)
}

// readBinding reads a member that travels outside the body. fixed are the names in the query that belong
// to somebody, for the map that takes the others.
func readBinding(f *field, v reflect.Value, m *message, fixed map[string]bool, at path) error {
	switch f.loc {
	case inURI:
		if value, ok := m.labels[f.wire]; ok {
			return setScalar(f.shape, place(v), value, at)
		}
	case inQuery:
		return readQuery(f, v, m.query, fixed, at)
	case inHeader:
		return readHeader(f, v, m.header, at)
	case inPrefix:
		found := reflect.MakeMap(v.Type())
		prefix := strings.ToLower(f.wire)
		for k, values := range m.header {
			if name, ok := strings.CutPrefix(strings.ToLower(k), prefix); ok && len(values) > 0 {
				found.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(strings.Join(values, ",")))
			}
		}
		if found.Len() > 0 {
			v.Set(found)
		}
	case inStatus:
		place(v).SetInt(int64(m.status))
	}
	return nil
}

func readHeader(f *field, v reflect.Value, h http.Header, at path) error {
	values := h.Values(f.wire)
	if len(values) == 0 {
		return nil
	}
	if f.shape.kind != list {
		return setScalar(f.shape, place(v), strings.TrimSpace(values[0]), at)
	}
	var items []string
	for _, value := range values {
		items = append(items, splitList(value)...)
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		if err := setScalar(f.shape.item, v.Index(i), item, at); err != nil {
			return err
		}
	}
	return nil
}

// splitList splits a header at its commas, those in quotes excepted.
func splitList(s string) []string {
	var items []string
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			items = append(items, strings.TrimSpace(b.String()))
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return append(items, strings.TrimSpace(b.String()))
}

func readQuery(f *field, v reflect.Value, q url.Values, fixed map[string]bool, at path) error {
	switch f.shape.kind {
	case list:
		values := q[f.wire]
		if len(values) == 0 {
			return nil
		}
		return setList(f.shape, v, values, at)
	case mapping:
		for k, values := range q {
			if fixed[k] || len(values) == 0 {
				continue
			}
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			elem := reflect.New(v.Type().Elem()).Elem()
			var err error
			if f.shape.value.kind == list {
				err = setList(f.shape.value, elem, values, at)
			} else {
				err = setScalar(f.shape.value, elem, values[0], at)
			}
			if err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(k), elem)
		}
		return nil
	}
	if values := q[f.wire]; len(values) > 0 {
		if values[0] == "" && f.shape.kind != text {
			return nil // ?max-keys= says nothing
		}
		return setScalar(f.shape, place(v), values[0], at)
	}
	return nil
}

func setList(s *shape, v reflect.Value, values []string, at path) error {
	v.Set(reflect.MakeSlice(v.Type(), len(values), len(values)))
	for i, value := range values {
		if err := setScalar(s.item, v.Index(i), value, at); err != nil {
			return err
		}
	}
	return nil
}

func (c restCodec) readBody(s *shape, v reflect.Value, root string, m *message, request bool) error {
	if s.payload < 0 {
		return c.body.read(s, v, root, m)
	}
	f := &s.fields[s.payload]
	fv := v.Field(f.index)
	switch f.shape.kind {
	case upload, download:
		if m.stream != nil {
			fv.Set(reflect.ValueOf(m.stream))
		}
	case blob:
		if len(m.body) > 0 {
			fv.SetBytes(m.body)
		}
	case text:
		if len(m.body) > 0 {
			place(fv).SetString(string(m.body))
		}
	default:
		if len(m.body) > 0 {
			return c.body.readPayload(f, place(fv), m, request)
		}
	}
	return nil
}

func (c restCodec) writeAnswer(a *API, op *Op, out reflect.Value, m *message) error {
	m.status = op.Status
	if m.status == 0 {
		m.status = http.StatusOK
	}
	s := planOf(out.Type())
	for i := range s.fields {
		f := &s.fields[i]
		if fv, ok := present(out.Field(f.index)); ok {
			writeBinding(f, fv, m)
		}
	}
	c.writeBody(s, out, orElse(op.Out, op.Name+"Response"), a.Namespace, m)
	return nil
}

func (c restCodec) readAnswer(_ *API, op *Op, m *message, out reflect.Value) error {
	s := planOf(out.Type())
	var at path
	for i := range s.fields {
		f := &s.fields[i]
		at.member(f.name)
		if err := readBinding(f, out.Field(f.index), m, nil, at); err != nil {
			return err
		}
		at.pop()
	}
	return c.readBody(s, out, op.Out, m, false)
}

func (c restCodec) writeError(a *API, e *Error, m *message) { c.body.writeError(a, e, m) }
func (c restCodec) readError(m *message) *Error             { return c.body.readError(m) }
