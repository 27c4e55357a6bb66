package syslog

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/plugin/sink"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// NewLoggly returns the kind loggly.
func NewLoggly(d Deps) gateway.Plugin {
	word := &schema.Field{Kind: schema.String, Check: func(v any) string {
		if strings.ContainsAny(v.(string), "\"]\\\n\r") {
			return "must not contain quotes, brackets, backslashes or line ends"
		}
		return ""
	}}
	key := word.With("key", schema.Required, func(f *schema.Field) { f.Encrypted, f.Referenceable = true, true })
	config := append(severityFields(), record.CustomFields(d.CompileLua),
		fields.Host("host", schema.Default("logs-01.loggly.com")), fields.Port("port", schema.Default(514)), key,
		&schema.Field{Name: "tags", Kind: schema.Set, Default: []any{"kong"}, Elements: word},
		fields.Millis("timeout", 10000))
	return gateway.Plugin{
		Name: "loggly", Version: gateway.Version, Priority: 6, Streams: true, Config: &schema.Field{Fields: config},
		New: func(config schema.Record, env gateway.Env) (any, error) {
			host, err := os.Hostname()
			if err != nil {
				host = "-"
			}
			to := sink.New(sink.Config{Network: "udp", Timeout: fields.Duration(config, "timeout"),
				Address: net.JoinHostPort(fields.String(config, "host"), strconv.Itoa(fields.Int(config, "port")))}, env.Clock)
			tags := ""
			for _, tag := range fields.Strings(config, "tags") {
				tags += ` tag="` + tag + `"`
			}
			about := " " + host + " kong - - [" + fields.String(config, "key") + "@41058" + tags + "] "
			send := func(ctx context.Context, e entry) error {
				// RFC 5424, facility user; 41058 is Loggly's enterprise number.
				message := append([]byte("<"+strconv.Itoa(1<<3|e.severity)+">1 "), env.Clock.Now().UTC().Format(time.RFC3339)...)
				return to.Write(ctx, append(append(message, about...), e.record...))
			}
			return newInstance(config, env, d, send, to.Close)
		},
	}
}
