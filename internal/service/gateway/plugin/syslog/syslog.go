package syslog

import (
	"context"
	"os"
	"slices"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/batch"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/plugin/sink"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Deps is what the kinds need from others.
type Deps struct {
	CompileLua record.Compile // nil: custom fields are refused
	// Socket is where the machine's daemon takes datagrams; empty: /dev/log.
	Socket string
}

var facilities = []string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}

// New returns the kind syslog.
func New(d Deps) gateway.Plugin {
	named := slices.DeleteFunc(slices.Clone(facilities), func(s string) bool { return s == "" })
	slices.Sort(named)
	config := append(severityFields(), record.CustomFields(d.CompileLua),
		fields.Choice("facility", named, schema.Required, schema.Default("user")))
	return gateway.Plugin{
		Name: "syslog", Version: gateway.Version, Priority: 4, Streams: true, Config: &schema.Field{Fields: config},
		New: func(config schema.Record, env gateway.Env) (any, error) {
			socket := d.Socket
			if socket == "" {
				socket = "/dev/log"
			}
			to := sink.New(sink.Config{Network: "unixgram", Address: socket}, env.Clock)
			facility := slices.Index(facilities, fields.String(config, "facility"))
			tag := " kong[" + strconv.Itoa(os.Getpid()) + "]: "
			send := func(ctx context.Context, e entry) error {
				message := append([]byte("<"+strconv.Itoa(facility<<3|e.severity)+">"), env.Clock.Now().Format(time.Stamp)...)
				return to.Write(ctx, append(append(message, tag...), e.record...))
			}
			return newInstance(config, env, d, send, to.Close)
		},
	}
}

// entry is a record with its severity.
type entry struct {
	severity int
	record   []byte
}

// instance is one configuration of either kind.
type instance struct {
	records *record.Serializer
	levels  levels
	queue   *batch.Queue[entry]
	close   func()
}

func newInstance(config schema.Record, env gateway.Env, d Deps, send func(context.Context, entry) error, close func()) (any, error) {
	records, err := record.NewSerializer(config, d.CompileLua, env.Log)
	if err != nil {
		return nil, err
	}
	q := batch.New(batch.Config{}, batch.Deps[entry]{Clock: env.Clock, Log: env.Log,
		Send: func(ctx context.Context, b []entry) error { return send(ctx, b[0]) }})
	return &instance{records, levelsOf(config), q, close}, nil
}

// Log implements gateway.Logger.
func (in *instance) Log(x *gateway.Exchange) {
	if severity, sent := in.levels.of(x); sent {
		in.queue.Add(entry{severity, in.records.Clone(x)})
	}
}

// Close implements gateway.Closer.
func (in *instance) Close(ctx context.Context) error {
	defer in.close()
	return in.queue.Close(ctx)
}
