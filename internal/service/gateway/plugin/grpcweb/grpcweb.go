package grpcweb

import (
	"encoding/base64"
	"errors"
	"strconv"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/protofile"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// The largest body of a request, and message of an answer that is transcoded.
const (
	maxBody    = 8 << 20
	maxMessage = 8 << 20
)

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "grpc-web", Version: gateway.Version, Priority: 3,
		Config: &schema.Field{Fields: []*schema.Field{
			protofile.Field(),
			{Name: "pass_stripped_path", Kind: schema.Boolean, Description: "The upstream gets the path that the route makes of the request's."},
			{Name: "allow_origin_header", Kind: schema.String, Default: "*", Description: "Value of Access-Control-Allow-Origin."},
		}},
		New: func(c schema.Record, env gateway.Env) (any, error) {
			in := &instance{origin: fields.String(c, "allow_origin_header"), stripped: fields.Bool(c, "pass_stripped_path")}
			var err error
			in.file, err = protofile.Of(c)
			return in, err
		},
	}
}

type instance struct {
	file     *protofile.File
	origin   string
	stripped bool
}

// form is how a media type writes messages.
type form struct{ text, framed, json bool }

var forms = map[string]form{
	"application/grpc-web":            {framed: true},
	"application/grpc-web-text":       {framed: true, text: true},
	"application/grpc-web+proto":      {framed: true},
	"application/grpc-web-text+proto": {framed: true, text: true},
	"application/grpc-web+json":       {framed: true, json: true},
	"application/grpc-web-text+json":  {framed: true, text: true, json: true},
	"application/json":                {json: true},
}

// call is a request on its way.
type call struct {
	form
	sent   bool // it was forwarded
	kind   string
	method *protofile.Method // where messages are JSON
	answer protofile.Frames
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	c := &call{kind: x.Request.Header.Get("Content-Type")}
	x.Put(in, c)
	if x.Request.Method == "OPTIONS" {
		x.Respond(200, []byte("OK"), gateway.Field{Name: "Content-Type", Value: "application/grpc-web-text+proto"},
			gateway.Field{Name: "Access-Control-Allow-Methods", Value: "POST"},
			gateway.Field{Name: "Access-Control-Allow-Headers", Value: "content-type,x-grpc-web,x-user-agent"})
		return
	}
	path := x.Request.Path
	if in.stripped {
		path = x.Upstream.Path
	}
	var known bool
	if c.form, known = forms[c.kind]; !known || c.json {
		if in.file == nil || !known {
			refuse(x, "transcoding requests require a .proto file defining the service")
			return
		}
		if c.method, known = in.file.Method(path); !known {
			refuse(x, "Unkown path "+strconv.Quote(path))
			return
		}
	}
	body, err := x.Body(maxBody)
	if errors.Is(err, gateway.ErrBodyTooLarge) {
		x.Fail(413, gateway.TooLargeMessage)
		return
	}
	if err == nil {
		body, err = c.request(body)
	}
	if err != nil {
		refuse(x, "the request cannot be read: "+err.Error())
		return
	}
	c.sent = true
	x.CallGRPC(path, body)
}

func refuse(x *gateway.Exchange, message string) {
	x.Respond(400, []byte(message), gateway.Field{Name: "Content-Type", Value: "text/plain; charset=utf-8"})
}

// request turns a request's body into frames of gRPC.
func (c *call) request(body []byte) ([]byte, error) {
	var err error
	if c.text {
		if body, err = decodePieces(body); err != nil {
			return nil, errors.New("not base64")
		}
	}
	if !c.json {
		return body, nil
	}
	if c.framed {
		message, _, whole, err := protofile.CutFrame(body, maxBody)
		if err != nil || !whole {
			return nil, protofile.ErrFrame
		}
		body = message
	}
	if body, err = c.method.Encode(body); err != nil {
		return nil, errors.New("not a " + string(c.method.In.FullName()))
	}
	return protofile.AppendFrame(nil, 0, body), nil
}

// decodePieces decodes base64 that may be several texts one behind the other, each with a
// padding of its own.
func decodePieces(s []byte) ([]byte, error) {
	out := make([]byte, 0, base64.StdEncoding.DecodedLen(len(s)))
	for len(s) > 0 {
		end := 0 // of the first piece
		for end < len(s) && s[end] != '=' {
			end++
		}
		end = min((end+3)/4*4, len(s))
		var err error
		if out, err = base64.StdEncoding.AppendDecode(out, s[:end]); err != nil {
			return nil, err
		}
		s = s[end:]
	}
	return out, nil
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	c, ok := x.Value(in).(*call)
	if !ok {
		return
	}
	x.Response.Header.Set("Access-Control-Allow-Origin", in.origin)
	if c.sent && x.FromUpstream() {
		x.Response.Header.Set("Content-Type", c.kind)
	}
}

// BodyFilter implements gateway.BodyFilter.
func (in *instance) BodyFilter(x *gateway.Exchange, chunk []byte, last bool) []byte {
	c, ok := x.Value(in).(*call)
	if !ok || !c.sent || !x.FromUpstream() {
		return chunk
	}
	if c.json {
		chunk = c.transcode(chunk)
	}
	if last && c.framed {
		chunk = protofile.AppendFrame(chunk[:len(chunk):len(chunk)], 0x80,
			[]byte("grpc-status:"+ended(x, "grpc-status", "0")+"\r\ngrpc-message:"+ended(x, "grpc-message", "")+"\r\n"))
	}
	if c.text && len(chunk) > 0 {
		chunk = base64.StdEncoding.AppendEncode(nil, chunk)
	}
	return chunk
}

// ended reads what ended the answer: a trailer, or a header where there was no message.
func ended(x *gateway.Exchange, name, otherwise string) string {
	if v, ok := x.Response.Trailer.Lookup(name); ok {
		return v
	}
	if v, ok := x.Response.Header.Lookup(name); ok {
		return v
	}
	return otherwise
}

// transcode turns the messages that are whole into JSON.
func (c *call) transcode(chunk []byte) (out []byte) {
	c.answer.Add(chunk, maxMessage, func(message []byte) {
		json, err := c.method.Decode(message)
		switch {
		case err != nil: // what is no message cannot be shown
		case c.framed:
			out = protofile.AppendFrame(out, 0, json)
		default:
			out = append(out, json...)
		}
	})
	return out
}
