package correlationid

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "correlation-id", Version: gateway.Version, Priority: 100001,
		Protocols: []string{"grpc", "grpcs", "http", "https"},
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "header_name", Kind: schema.String, Default: "Kong-Request-ID", Check: gateway.CheckHeaderName,
				Description: "Header that holds the id."},
			{Name: "generator", Kind: schema.String, Required: true, Default: "uuid#counter", OneOf: []any{"uuid#counter", "uuid", "tracker"},
				Description: "How ids are made: a UUID and a counter, a UUID each, or where and when the request came."},
			schema.Flag("echo_downstream", "Tell the client the id.", false),
		}},
		New: func(c schema.Record, env gateway.Env) (any, error) {
			in := &instance{clock: env.Clock, prefix: uuid.NewString() + "#"}
			in.header, _ = c["header_name"].(string)
			echo, _ := c["echo_downstream"].(bool)
			switch c["generator"] {
			case "uuid":
				in.next = func(*gateway.Exchange) string { return uuid.NewString() }
			case "tracker":
				in.next = in.tracker
			default:
				in.next = func(*gateway.Exchange) string { return in.prefix + strconv.FormatInt(in.count.Add(1), 10) }
			}
			if echo {
				return echoing{in}, nil
			}
			return in, nil
		},
	}
}

type instance struct {
	clock  clock.Clock
	header string
	prefix string
	count  atomic.Int64
	next   func(x *gateway.Exchange) string
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) { in.identify(x) }

// identify returns the request's id, after giving it one where it has none.
func (in *instance) identify(x *gateway.Exchange) string {
	id := x.Request.Header.Get(in.header)
	if strings.TrimSpace(id) == "" {
		id = in.next(x)
		x.Request.Header.Set(in.header, id)
	}
	return id
}

// tracker tells the server's address, this process, and when the request came. What
// follows the time is a count, since several requests can come in one millisecond.
func (in *instance) tracker(x *gateway.Exchange) string {
	now := in.clock.Now()
	return fmt.Sprintf("%s-%d-%d-%d-%d.%03d", x.ClientIP(), x.Conn.ServerPort, os.Getpid(), in.count.Add(1), now.Unix(), now.Nanosecond()/1e6)
}

// echoing is an instance that tells the client.
type echoing struct{ *instance }

// HeaderFilter implements gateway.HeaderFilter. A request that was answered before this
// plugin's turn is given its id here.
func (e echoing) HeaderFilter(x *gateway.Exchange) {
	x.Response.Header.Set(e.header, e.identify(x))
}
