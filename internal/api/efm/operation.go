package efm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"sluice.dev/sluice/internal/service/edge/jsontext"
)

// operation is a line of the table.
type operation struct {
	method, path, summary, tag string
	// query are the parameters that there are beside those of the path.
	query []parameter
	// in and out are the types of the bodies; nil for none.
	in, out reflect.Type
	// takes are the media types of the body, and media that of the answer.
	takes  []string
	media  string
	status int
	limit  int64 // bytes of the body
	serve  func(*call) (any, error)
}

// parameter is one of the query.
type parameter struct {
	name, about string
	whole       bool // it is a whole number
	required    bool
	values      []string // that it may have; any if empty
}

// none stands for no body.
type none struct{}

// Bounds of bodies.
const (
	maxBody   = 1 << 20
	maxFlow   = 8 << 20
	maxUpload = 520 << 20 // the service's bound of a file, and some for the form
	maxDepth  = 64        // of JSON
)

const jsonType = "application/json"

// on makes an operation of a function with typed bodies. It answers 200, or 204 without a body.
func on[In, Out any](method, path, summary, tag string, do func(*call, In) (Out, error), query ...parameter) operation {
	o := operation{method: method, path: path, summary: summary, tag: tag, query: query, media: jsonType, status: http.StatusOK, limit: maxBody}
	if t := reflect.TypeFor[In](); t != reflect.TypeFor[none]() {
		o.in, o.takes = t, []string{jsonType}
	}
	if t := reflect.TypeFor[Out](); t == reflect.TypeFor[none]() {
		o.status = http.StatusNoContent
	} else {
		o.out = t
	}
	o.serve = func(c *call) (any, error) {
		var in In
		if reflect.TypeFor[In]() != reflect.TypeFor[none]() && slices.Equal(c.op.takes, []string{jsonType}) {
			if err := c.read(&in); err != nil {
				return nil, err
			}
		}
		return do(c, in)
	}
	return o
}

// created says that the operation answers 201.
func (o operation) created() operation { o.status = http.StatusCreated; return o }

// gives says that the operation answers with another media type than JSON, or with JSON of
// any shape.
func (o operation) gives(media string) operation { o.media = media; return o }

// accepts says which media types the operation's body has, which it reads itself.
func (o operation) accepts(limit int64, in reflect.Type, media ...string) operation {
	o.limit, o.in, o.takes = limit, in, media
	return o
}

// id is the operation's name in the document: its method and the words of its path.
func (o operation) id() string {
	words := strings.FieldsFunc(o.path, func(r rune) bool { return strings.ContainsRune("/{}-.", r) })
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.ToLower(o.method) + strings.Join(words, "")
}

// pathParameters are the names in the path.
func (o operation) pathParameters() []string {
	var out []string
	for part := range strings.SplitSeq(o.path, "/") {
		if strings.HasPrefix(part, "{") {
			out = append(out, strings.Trim(part, "{}"))
		}
	}
	return out
}

// call is an operation that is being served.
type call struct {
	*http.Request
	op     *operation
	values url.Values
	body   []byte // of JSON, once it was read
}

// readQuery takes the parameters of the query, and refuses those that there are not.
func (c *call) readQuery() (err error) {
	if c.values, err = url.ParseQuery(c.URL.RawQuery); err != nil {
		return badRequest.New("the query cannot be read")
	}
	for name, v := range c.values {
		i := slices.IndexFunc(c.op.query, func(p parameter) bool { return p.name == name })
		switch {
		case i < 0:
			return badRequest.Field(clip(name), "there is no parameter %q here", clip(name))
		case len(v) > 1:
			return badRequest.Field(name, "%s is given twice", name)
		case len(c.op.query[i].values) > 0 && !slices.Contains(c.op.query[i].values, v[0]):
			return badRequest.Field(name, "%s is one of %s", name, strings.Join(c.op.query[i].values, ", "))
		}
		if c.op.query[i].whole {
			if _, err := strconv.ParseInt(v[0], 10, 64); err != nil {
				return badRequest.Field(name, "%s is a whole number", name)
			}
		}
	}
	for _, p := range c.op.query {
		if p.required && c.values.Get(p.name) == "" {
			return badRequest.Field(p.name, "the parameter %s is missing", p.name)
		}
	}
	return nil
}

// checkType refuses bodies of other media types than the operation's. What changes something
// says its type even without a body: a form of another site cannot say application/json.
func (c *call) checkType() error {
	if c.Method == http.MethodGet || c.Method == http.MethodDelete && len(c.op.takes) == 0 {
		return nil
	}
	takes := c.op.takes
	if len(takes) == 0 {
		takes = []string{jsonType}
	}
	t, _, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(takes, t) {
		return badType.Field("Content-Type", "the Content-Type is %s, not %q", strings.Join(takes, " or "), clip(t))
	}
	return nil
}

// number is a parameter of the query that is a whole number, or otherwise.
func (c *call) number(name string, otherwise int64) int64 {
	n, err := strconv.ParseInt(c.values.Get(name), 10, 64)
	if err != nil {
		return otherwise // it is not given: readQuery has looked at it
	}
	return n
}

// count is number within what a list may be asked for; the service has its own bound.
func (c *call) count(name string, otherwise int) int {
	return int(min(max(c.number(name, int64(otherwise)), 0), 1_000_000))
}

// pathNumber is a part of the path that is a number.
func (c *call) pathNumber(name string) (int64, error) {
	n, err := strconv.ParseInt(c.PathValue(name), 10, 64)
	if err != nil {
		return 0, badRequest.Field(name, "%s is a number, not %q", name, clip(c.PathValue(name)))
	}
	return n, nil
}

// text is the body, whole.
func (c *call) text() ([]byte, error) {
	body, err := io.ReadAll(c.Body)
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		return nil, tooLarge.New("the body is larger than %d bytes", tooLong.Limit)
	}
	if err != nil {
		return nil, badRequest.Wrap(err, "the body broke off")
	}
	return body, nil
}

// read reads a body of JSON, to the letter.
func (c *call) read(v any) error {
	body, err := c.text()
	if err != nil {
		return err
	}
	c.body = body
	return decode(body, v)
}

// decode reads JSON into v, a pointer, and refuses members that v has not, and those that
// must be there (`required:"true"`) and are not.
func decode(text []byte, v any) error {
	if err := jsontext.Check(text, maxDepth); err != nil {
		return badRequest.New("the body is %v", err)
	}
	t := reflect.TypeOf(v).Elem()
	if m := (*jsontext.Misfit)(nil); errors.As(jsontext.Fit(text, t), &m) {
		return badRequest.Field(m.Path, "%v", m)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return badRequest.New("the body cannot be read: a number is too large, or a value is none of the member's")
	}
	for i := range t.NumField() {
		name := memberName(t.Field(i))
		if given := gjson.GetBytes(text, name); t.Field(i).Tag.Get("required") != "" && (given.Type == gjson.Null || given.Raw == `""`) {
			return badRequest.Field(name, "%s is missing", name)
		}
	}
	return nil
}

func memberName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// clip shortens what is shown of a request.
func clip(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

// content is an answer that is not made of a Go type.
type content struct {
	media string
	file  string // under which name it is to be saved; "" for none
	text  []byte
	// write writes what is too much to hold, instead of text.
	write func(io.Writer) error
}

func (c content) send(w http.ResponseWriter) error {
	first := &headed{w: w, head: func() {
		w.Header().Set("Content-Type", c.media)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if c.file != "" {
			w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": c.file}))
		}
	}}
	if c.write == nil {
		c.write = func(to io.Writer) error { _, err := to.Write(c.text); return err }
	}
	err := c.write(first)
	if err != nil && first.begun {
		panic(http.ErrAbortHandler) // the client must not take the part for the whole
	}
	if err == nil && !first.begun {
		first.head()
	}
	return err
}

// headed sets the headers with the first byte: until then an error can be told.
type headed struct {
	w     http.ResponseWriter
	head  func()
	begun bool
}

func (h *headed) Write(p []byte) (int, error) {
	if !h.begun {
		h.begun = true
		h.head()
	}
	n, err := h.w.Write(p)
	if err != nil {
		return n, fmt.Errorf("the client is gone: %w", err)
	}
	return n, nil
}
