package termination

import (
	"os"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "request-termination", Version: gateway.Version, Priority: 2,
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config: &schema.Field{
			Fields: []*schema.Field{
				{Name: "status_code", Kind: schema.Integer, Required: true, Default: 503, Between: []float64{100, 599},
					Description: "Status of the answer."},
				{Name: "message", Kind: schema.String, Description: "Message of a JSON answer."},
				{Name: "content_type", Kind: schema.String, Description: "Content type of body; application/json; charset=utf-8."},
				{Name: "body", Kind: schema.String, Description: "Body of the answer."},
				schema.Flag("echo", "Answer with what was asked.", false),
				{Name: "trigger", Kind: schema.String, Check: gateway.CheckHeaderName,
					Description: "Header or query parameter that requests must have to be answered here."},
			},
			Checks: []schema.Check{{Custom: func(c schema.Record, bad func(field, msg string)) {
				switch body, content, message := c["body"] != nil, c["content_type"] != nil, c["message"] != nil; {
				case message && (body || content):
					bad("", "message cannot be used with content_type or body")
				case content && !body:
					bad("", "content_type requires a body")
				}
			}}},
		},
		New: func(c schema.Record, env gateway.Env) (any, error) {
			status, _ := c["status_code"].(float64)
			in := &instance{status: int(status), kind: "application/json; charset=utf-8"}
			in.trigger, _ = c["trigger"].(string)
			in.echo, _ = c["echo"].(bool)
			message, given := c["message"].(string)
			if !given {
				message = usual[in.status]
			}
			in.message = message
			if text, ok := c["body"].(string); ok {
				in.body = []byte(text)
				if kind, ok := c["content_type"].(string); ok {
					in.kind = kind
				}
			} else if message != "" {
				in.body, _ = gateway.EncodeJSON(map[string]string{"message": message}) // strings always encode
			}
			return in, nil
		},
	}
}

// usual are the messages of those statuses that have one.
var usual = map[int]string{
	401: "Unauthorized", 404: "Not found", 405: "Method not allowed", 500: "An unexpected error occurred",
	502: "Bad Gateway", 503: "Service unavailable",
}

type instance struct {
	status        int
	kind, message string
	body          []byte
	echo          bool
	trigger       string
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	if in.trigger != "" && x.Request.Header.Count(in.trigger) == 0 {
		if _, n := gateway.QueryValue(x.Request.RawQuery, in.trigger); n == 0 {
			return
		}
	}
	body := in.body
	if in.echo {
		body = in.told(x)
	}
	if body == nil {
		x.Respond(in.status, nil)
		return
	}
	x.Respond(in.status, body, gateway.Field{Name: "Content-Type", Value: in.kind})
}

// maxEcho is the largest body that is sent back.
const maxEcho = 1 << 20

// told is what an echo says.
func (in *instance) told(x *gateway.Exchange) []byte {
	r := &x.Request
	headers := map[string]any{}
	for _, f := range r.Header.Fields() {
		headers[f.Name] = f.Value
	}
	raw, _ := x.Body(maxEcho) // one that is too large is not sent back
	hostname, _ := os.Hostname()
	told := map[string]any{
		"message": in.message,
		"kong":    map[string]any{"hostname": hostname, "worker_pid": os.Getpid()},
		"request": map[string]any{
			"scheme": r.Scheme, "host": r.Host, "port": r.Port, "method": r.Method, "path": r.Path,
			"query": r.RawQuery, "headers": headers, "raw_body": string(raw),
		},
	}
	if route := x.Route(); route != nil {
		told["matched_route"] = map[string]any{"id": route.ID, "name": route.Name}
		if s := route.Service; s != nil {
			told["matched_service"] = map[string]any{"id": s.ID, "name": s.Name}
		}
	}
	out, _ := gateway.EncodeJSON(told) // strings and numbers always encode
	return out
}
