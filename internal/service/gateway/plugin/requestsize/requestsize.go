package requestsize

import (
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "request-size-limiting", Version: gateway.Version, Priority: 951,
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "allowed_payload_size", Kind: schema.Integer, Default: 128, Description: "Largest body, in size_unit."},
			{Name: "size_unit", Kind: schema.String, Required: true, Default: "megabytes", OneOf: []any{"megabytes", "kilobytes", "bytes"},
				Description: "What allowed_payload_size counts; kilo is 1024."},
			schema.Flag("require_content_length", "Refuse bodies of unknown length.", false),
		}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			size, _ := c["allowed_payload_size"].(float64)
			in := &instance{limit: int64(size)}
			switch c["size_unit"] {
			case "megabytes":
				in.limit <<= 20
			case "kilobytes":
				in.limit <<= 10
			}
			in.length, _ = c["require_content_length"].(bool)
			return in, nil
		},
	}
}

type instance struct {
	limit  int64
	length bool
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	switch n := x.Request.Length; {
	case n > in.limit:
		status := 413
		if x.Request.Expect {
			status = 417
		}
		x.Fail(status, gateway.TooLargeMessage)
	case n >= 0 && (n > 0 || !in.length || x.Request.Header.Get("Content-Length") != ""):
	case in.length:
		x.Fail(411, "A valid Content-Length header is required")
	default:
		x.LimitBody(in.limit)
	}
}
