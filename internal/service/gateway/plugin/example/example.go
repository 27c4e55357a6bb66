package example

import (
	"strconv"
	"sync/atomic"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind. A node serves it once it is in the list of internal/node/plugins.go.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "example", Version: "1.0.0", Priority: 850, // after authentication, before transformers
		NoScopes: []string{"consumer"},
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "header", Kind: schema.String, Required: true, Default: "X-Ticket", Description: "Header that a request must have."},
			{Name: "status", Kind: schema.Integer, Default: 403, Between: []float64{400, 499}, Description: "Status of the refusal."},
		}},
		New: newInstance,
	}
}

// instance is one configuration. It implements the interfaces of the phases it acts in.
type instance struct {
	header string
	status int
	passed atomic.Int64 // requests come from many goroutines
}

func newInstance(c schema.Record, _ gateway.Env) (any, error) {
	header, _ := c["header"].(string)
	status, _ := c["status"].(float64)
	return &instance{header: header, status: int(status)}, nil
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	if x.Request.Header.Get(in.header) == "" {
		x.Fail(in.status, "No ticket, no entry")
		return
	}
	x.Request.Header.Set("X-Ticket-Number", strconv.FormatInt(in.passed.Add(1), 10))
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	x.Response.Header.Set("X-Checked", "ticket")
}
