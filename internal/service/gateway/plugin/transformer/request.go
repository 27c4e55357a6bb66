package transformer

import (
	"bytes"
	"context"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// maxBody is the largest body that is changed.
const maxBody = 8 << 20

// NewRequest returns the kind request-transformer.
func NewRequest(e *lua.Engine) gateway.Plugin {
	template := func(check func(string) string) func(string) string {
		return func(v string) string {
			if bad := check(v); bad != "" {
				return bad
			}
			_, text := cut(v)
			if _, err := parse(e, text); err != nil {
				return "value '" + v + "' is not in supported format, error: " + err.Error()
			}
			return ""
		}
	}
	pairs := func(name string) *schema.Field { return list(name, template(checkPair)) }
	parts := func(name string) *schema.Field {
		return action(name, pairs("body"), list("headers", template(checkHeader)), pairs("querystring"))
	}
	replace := parts("replace")
	replace.Fields = append(replace.Fields, &schema.Field{Name: "uri", Kind: schema.String, Check: func(v any) string {
		if _, err := parse(e, v.(string)); err != nil {
			return "value '" + v.(string) + "' is not in supported format, error: " + err.Error()
		}
		return ""
	}})
	return gateway.Plugin{
		Name: "request-transformer", Version: gateway.Version, Priority: 801,
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "http_method", Kind: schema.String, Check: func(v any) string {
				if m := v.(string); !gateway.ValidName(m) || m != strings.ToUpper(m) {
					return "invalid value: " + m
				}
				return ""
			}},
			action("remove", list("body", nil), list("headers", nil), list("querystring", nil)),
			action("rename", pairs("body"), list("headers", template(checkRename)), pairs("querystring")),
			replace, parts("add"), parts("append"),
		}},
		New: func(c schema.Record, env gateway.Env) (any, error) { return newRequest(e, c, env) },
	}
}

// request is one configuration.
type request struct {
	engine              *lua.Engine
	unit                *lua.Unit
	method              string
	uri                 *template // nil: stays
	header, query, body *plan
}

func newRequest(e *lua.Engine, c schema.Record, env gateway.Env) (any, error) {
	in := &request{engine: e, unit: &lua.Unit{Env: env, Name: "request-transformer", Config: c}}
	in.method, _ = c["http_method"].(string)
	var err error
	if uri, _ := schema.At(c, "replace.uri").(string); uri != "" {
		if in.uri, err = parse(e, uri); err != nil {
			return nil, err
		}
	}
	for part, to := range map[string]**plan{"headers": &in.header, "querystring": &in.query, "body": &in.body} {
		if *to, err = newPlan(e, c, part); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// Close implements gateway.Closer.
func (in *request) Close(context.Context) error {
	for _, p := range []*plan{in.header, in.query, in.body} {
		p.close()
	}
	if in.uri != nil {
		in.uri.close()
	}
	return nil
}

// Access implements gateway.Accessor. Everything is rendered before anything is changed.
func (in *request) Access(x *gateway.Exchange) {
	render := func(t *template) (string, error) { return t.render(in.engine, in.unit, x) }
	header, err := in.header.render(render)
	var query, body *changes
	if err == nil {
		query, err = in.query.render(render)
	}
	if err == nil {
		body, err = in.body.render(render)
	}
	uri := ""
	if err == nil && in.uri != nil {
		uri, err = render(in.uri)
	}
	if err != nil {
		in.unit.Env.Log.Error("a template cannot be rendered", "err", err, "request_id", x.ID())
		x.Fail(500, "An unexpected error occurred")
		return
	}
	if uri != "" {
		x.Upstream.Path = uri
	}
	if in.method != "" {
		in.setMethod(x)
	}
	for _, p := range header.replace {
		if gateway.EqualFold(p.name, "host") && p.text != "" {
			x.Upstream.HostHeader = p.text
		}
	}
	kind := x.Request.Header.Get("Content-Type")
	header.applyHeader(&x.Request.Header)
	x.Request.Header.Del("Host") // it is not a line of its own here
	if !body.empty() {
		in.changeBody(x, kind, body)
	}
	if !query.empty() {
		if args := parseArgs(x.Request.RawQuery); args.apply(query) {
			setQuery(x, args)
		}
	}
}

func setQuery(x *gateway.Exchange, args values) {
	x.Request.RawQuery, x.Request.HasQuery = args.encode(), len(args) > 0
}

// setMethod changes the method; a form goes into the query of a method that has no body.
func (in *request) setMethod(x *gateway.Exchange) {
	x.Request.Method = in.method
	if in.method != "GET" && in.method != "HEAD" && in.method != "TRACE" || form(x.Request.Header.Get("Content-Type")) != urlencoded {
		return
	}
	if body, err := x.Body(maxBody); err == nil && len(body) > 0 {
		setQuery(x, append(parseArgs(x.Request.RawQuery), parseArgs(string(body))...))
	}
}

const (
	jsonType   = "application/json"
	multiType  = "multipart/form-data"
	urlencoded = "application/x-www-form-urlencoded"
)

// form tells which kind of body that can be changed a content type is; "" for none.
func form(contentType string) string {
	lower := strings.ToLower(contentType)
	for _, known := range []string{jsonType, multiType, urlencoded} {
		if strings.Contains(lower, known) {
			return known
		}
	}
	return ""
}

func (in *request) changeBody(x *gateway.Exchange, contentType string, c *changes) {
	kind := form(contentType)
	if kind == "" {
		return
	}
	body, err := x.Body(maxBody)
	if err != nil {
		in.unit.Env.Log.Warn("a body cannot be changed", "err", err, "request_id", x.ID())
		return
	}
	switch kind {
	case jsonType:
		if out, changed := c.applyJSON(body); changed {
			x.SetBody(out)
		}
	case urlencoded:
		if args := parseArgs(string(body)); args.apply(c) {
			x.SetBody([]byte(args.encode()))
		}
	case multiType:
		if out, changed := c.applyMultipart(body, contentType); changed {
			x.SetBody(out)
		}
	}
}

// applyMultipart makes the changes to a form in parts. Parts that stay, stay as they are.
func (c *changes) applyMultipart(body []byte, contentType string) ([]byte, bool) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return nil, false
	}
	var parts []*multipart.Part
	contents := map[*multipart.Part][]byte{}
	var fields values
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for len(body) > 0 {
		p, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false
		}
		if contents[p], err = io.ReadAll(p); err != nil {
			return nil, false
		}
		parts = append(parts, p)
		fields = append(fields, value{name: p.FormName(), text: string(contents[p])})
	}
	if c2 := (&changes{c.remove, c.rename, c.replace, c.add, nil}); !fields.apply(c2) {
		return nil, false
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if w.SetBoundary(params["boundary"]) != nil {
		return nil, false
	}
	for _, f := range fields { // a part whose field did not change keeps its head
		at := -1
		for i, p := range parts {
			if p != nil && p.FormName() == f.name && string(contents[p]) == f.text {
				at = i
				break
			}
		}
		// Writing to a buffer does not fail.
		if at < 0 {
			_ = w.WriteField(f.name, f.text)
			continue
		}
		if part, err := w.CreatePart(parts[at].Header); err == nil {
			_, _ = part.Write(contents[parts[at]])
		}
		parts[at] = nil
	}
	_ = w.Close()
	return b.Bytes(), true
}
