package redirect

import (
	"net/url"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "redirect", Version: gateway.Version, Priority: 779, Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "status_code", Kind: schema.Integer, Required: true, Default: 301, Between: []float64{100, 599},
				Description: "Status of the answer."},
			{Name: "location", Kind: schema.String, Required: true, Description: "Where to; a URL.", Check: func(v any) string {
				if u, err := url.Parse(v.(string)); err != nil || u.Host == "" || u.Scheme == "" {
					return "missing host in url"
				}
				return ""
			}},
			{Name: "keep_incoming_path", Kind: schema.Boolean, Default: false,
				Description: "Use the path and query of the request in place of the location's."},
		}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			location, _ := c["location"].(string)
			u, err := url.Parse(location)
			if err != nil {
				return nil, err
			}
			status, _ := c["status_code"].(float64)
			in := &instance{status: int(status), location: location}
			in.keep, _ = c["keep_incoming_path"].(bool)
			if in.keep {
				u.Path, u.RawPath, u.RawQuery, u.Fragment = "", "", "", ""
				in.location = u.String()
			}
			return in, nil
		},
	}
}

type instance struct {
	status   int
	location string // without a path where that is the request's
	keep     bool
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	location := in.location
	if in.keep {
		r := &x.Request
		location += string(gateway.AppendTarget(nil, r.Path, r.RawQuery, r.HasQuery))
	}
	x.Respond(in.status, []byte("redirecting"), gateway.Field{Name: "Content-Type", Value: "text/plain; charset=utf-8"},
		gateway.Field{Name: "Location", Value: location})
}
