package auth

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"

	"sluice.dev/sluice/internal/service/gateway"
)

// MaxBody is the largest body that is searched for credentials, in bytes.
const MaxBody = 1 << 20

// BodyValue returns the first value under a name in a body, and how many there are: in a
// form, a multipart form, or a JSON object. A body of another kind, or one that does not
// parse or is too large, holds none.
func BodyValue(x *gateway.Exchange, name string) (value string, n int) {
	body, media, boundary := readBody(x)
	switch media {
	case "application/x-www-form-urlencoded":
		return gateway.QueryValue(string(body), name)
	case "application/json":
		var members map[string]json.RawMessage
		if json.Unmarshal(body, &members) != nil || json.Unmarshal(members[name], &value) != nil {
			return "", 0
		}
		return value, 1
	case "multipart/form-data":
		eachPart(body, boundary, func(p *multipart.Part, content []byte) {
			if p.FormName() == name {
				if n++; n == 1 {
					value = string(content)
				}
			}
		})
	}
	return value, n
}

// RemoveFromBody takes the values under a name out of such a body.
func RemoveFromBody(x *gateway.Exchange, name string) {
	body, media, boundary := readBody(x)
	switch media {
	case "application/x-www-form-urlencoded":
		if rest, removed := gateway.WithoutArg(string(body), name); removed {
			x.SetBody([]byte(rest))
		}
	case "application/json":
		var members map[string]json.RawMessage
		if json.Unmarshal(body, &members) != nil || members[name] == nil {
			return
		}
		delete(members, name)
		if out, err := gateway.EncodeJSON(members); err == nil {
			x.SetBody(out)
		}
	case "multipart/form-data":
		var out bytes.Buffer
		w := multipart.NewWriter(&out)
		removed := false
		if w.SetBoundary(boundary) != nil {
			return
		}
		eachPart(body, boundary, func(p *multipart.Part, content []byte) {
			if p.FormName() == name {
				removed = true
				return
			}
			if part, err := w.CreatePart(p.Header); err == nil {
				part.Write(content)
			}
		})
		if w.Close() == nil && removed {
			x.SetBody(out.Bytes())
		}
	}
}

func readBody(x *gateway.Exchange) (body []byte, media, boundary string) {
	media, params, err := mime.ParseMediaType(x.Request.Header.Get("Content-Type"))
	if err != nil {
		return nil, "", ""
	}
	body, err = x.Body(MaxBody)
	if err != nil {
		return nil, "", ""
	}
	return body, media, params["boundary"]
}

func eachPart(body []byte, boundary string, f func(*multipart.Part, []byte)) {
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		p, err := r.NextRawPart()
		if err != nil {
			return
		}
		content, err := io.ReadAll(p)
		if err != nil {
			return
		}
		f(p, content)
	}
}
