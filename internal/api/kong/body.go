package kong

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// maxArgs is how many form fields are read; further ones are dropped, as Kong does.
const maxArgs = 1000

// readBody fills the request's body. The answer has a status where it cannot be read.
// raw leaves the body to the handler.
func (r *request) readBody(raw bool) answer {
	if raw {
		return answer{}
	}
	if len(r.Header.Values("Content-Type")) > 1 {
		return message(http.StatusBadRequest, "repeated Content-Type")
	}
	r.body = schema.Record{}
	kind := r.Header.Get("Content-Type")
	if kind == "" {
		if r.ContentLength == 0 {
			return answer{}
		}
		kind = "application/x-www-form-urlencoded"
		if r.ContentLength < 0 {
			kind = "application/json"
		}
	}
	media, params, err := mime.ParseMediaType(kind)
	if err != nil {
		return answer{status: http.StatusUnsupportedMediaType}
	}
	switch media {
	case "application/json":
		err = r.readJSON()
	case "application/x-www-form-urlencoded":
		err = r.readForm()
	case "multipart/form-data":
		err = r.readMultipart(params["boundary"])
	default:
		return answer{status: http.StatusUnsupportedMediaType}
	}
	switch {
	case err == nil:
		return answer{}
	case errors.As(err, new(*http.MaxBytesError)):
		return message(http.StatusRequestEntityTooLarge, "request body too large")
	case media == "application/json":
		return message(http.StatusBadRequest, "Cannot parse JSON body")
	}
	return message(http.StatusBadRequest, "Cannot parse the form")
}

func (r *request) readJSON() error {
	raw, err := io.ReadAll(r.Body)
	if err != nil || len(raw) == 0 {
		return err
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	body, ok := v.(map[string]any)
	if !ok {
		if list, isList := v.([]any); isList && len(list) == 0 {
			return nil // an empty table of Lua reads as either
		}
		return errors.New("the body is not an object")
	}
	r.body = body
	return nil
}

func (r *request) readForm() error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var pairs [][2]string
	for part := range strings.SplitSeq(string(raw), "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		k, err1 := url.QueryUnescape(k)
		v, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil {
			return errors.New("bad escape")
		}
		if pairs = append(pairs, [2]string{k, v}); len(pairs) == maxArgs {
			break
		}
	}
	r.body, r.form = schema.Nest(pairs), true
	return nil
}

func (r *request) readMultipart(boundary string) error {
	m := multipart.NewReader(r.Body, boundary)
	var pairs [][2]string
	for len(pairs) < maxArgs {
		part, err := m.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		v, err := io.ReadAll(part)
		if err != nil {
			return err
		}
		pairs = append(pairs, [2]string{part.FormName(), string(v)})
	}
	r.body, r.form = schema.Nest(pairs), true
	return nil
}

// recordFor returns the body as input for an entity, form values coerced by its schema.
func (a *api) recordFor(r *request, e *schema.Entity) schema.Record {
	if !r.form {
		return r.body
	}
	record := e.Record
	if e.Variant != nil {
		if variant, _, wrong := e.Variant(r.body); wrong == "" {
			record = variant
		}
	}
	out := record.CoerceRecord(r.body)
	if v, ok := out["ttl"]; ok && e.Expires {
		out["ttl"] = (&schema.Field{Kind: schema.Integer}).Coerce(v)
	}
	if l := e.Labels; l != nil {
		if v, ok := out[l.Field.Name]; ok {
			out[l.Field.Name] = l.Field.Coerce(v)
		}
	}
	return out
}
