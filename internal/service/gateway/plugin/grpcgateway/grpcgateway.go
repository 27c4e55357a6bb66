package grpcgateway

import (
	"errors"
	"strconv"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/protofile"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// The largest body of a request, and message of an answer.
const (
	maxBody    = 8 << 20
	maxMessage = 8 << 20
)

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "grpc-gateway", Version: gateway.Version, Priority: 998,
		Config: &schema.Field{Fields: []*schema.Field{protofile.Field()}},
		New: func(c schema.Record, env gateway.Env) (any, error) {
			file, err := protofile.Of(c)
			return &instance{file}, err
		},
	}
}

type instance struct{ file *protofile.File }

// call is a request on its way.
type call struct {
	binding *protofile.Binding // nil where it was not forwarded
	answer  protofile.Frames
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	c := &call{}
	x.Put(in, c)
	if x.Request.Method == "OPTIONS" {
		x.Respond(200, []byte("OK"), gateway.Field{Name: "Content-Type", Value: "application/json"},
			gateway.Field{Name: "Access-Control-Allow-Methods", Value: "GET,POST,PATCH,DELETE"},
			gateway.Field{Name: "Access-Control-Allow-Headers", Value: "content-type"})
		return
	}
	if in.file == nil {
		refuse(x, "transcoding requests require a .proto file defining the service")
		return
	}
	b, values, ok := in.file.Bind(x.Request.Method, x.Request.Path)
	if !ok {
		refuse(x, "failed to transcode .proto file Unkown path "+strconv.Quote(x.Request.Path))
		return
	}
	body, err := x.Body(maxBody)
	if errors.Is(err, gateway.ErrBodyTooLarge) {
		x.Fail(413, gateway.TooLargeMessage)
		return
	}
	var message []byte
	if err == nil {
		message, err = b.Request(values, x.Request.RawQuery, body)
	}
	if err != nil {
		refuse(x, err.Error())
		return
	}
	c.binding = b
	if !b.Streaming {
		x.BufferResponse()
	}
	x.CallGRPC(b.Path, protofile.AppendFrame(nil, 0, message))
}

func refuse(x *gateway.Exchange, message string) {
	x.Respond(400, []byte(message), gateway.Field{Name: "Content-Type", Value: "text/plain; charset=utf-8"})
}

// statuses are the HTTP statuses of those of gRPC.
var statuses = [...]int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 500, 500, 503, 500, 401}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	c, ok := x.Value(in).(*call)
	if !ok {
		return
	}
	h := &x.Response.Header
	h.Set("Access-Control-Allow-Origin", "*")
	if c.binding == nil || !x.FromUpstream() {
		return
	}
	h.Set("Content-Type", "application/json")
	for _, name := range []string{"grpc-status", "grpc-message"} {
		if v, ok := x.Response.Trailer.Lookup(name); ok {
			h.Set(name, v)
		}
	}
	status, ok := h.Lookup("grpc-status")
	if !ok {
		return
	}
	x.Response.Status = 500
	if n, err := strconv.ParseUint(status, 10, 8); err == nil && int(n) < len(statuses) {
		x.Response.Status = statuses[n]
	}
}

// BodyFilter implements gateway.BodyFilter.
func (in *instance) BodyFilter(x *gateway.Exchange, chunk []byte, last bool) []byte {
	c, ok := x.Value(in).(*call)
	if !ok || c.binding == nil || !x.FromUpstream() {
		return chunk
	}
	var out []byte
	c.answer.Add(chunk, maxMessage, func(message []byte) {
		if json, err := c.binding.Decode(message); err == nil { // else it cannot be shown
			out = append(out, json...)
		}
	})
	return out
}
