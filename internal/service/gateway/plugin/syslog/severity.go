package syslog

import (
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// The severities by their numbers.
var severities = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

func severityFields() []*schema.Field {
	var out []*schema.Field
	for _, name := range []string{"log_level", "successful_severity", "client_errors_severity", "server_errors_severity"} {
		out = append(out, fields.Choice(name, []string{"debug", "info", "notice", "warning", "err", "crit", "alert", "emerg"},
			schema.Required, schema.Default("info")))
	}
	return out
}

// levels are the configured severities.
type levels struct{ least, success, client, server int }

func levelsOf(config schema.Record) levels {
	number := func(name string) int {
		for i, s := range severities {
			if s == fields.String(config, name) {
				return i
			}
		}
		return 6
	}
	return levels{number("log_level"), number("successful_severity"), number("client_errors_severity"), number("server_errors_severity")}
}

// of returns the severity of an exchange, and whether it is to be sent.
func (l levels) of(x *gateway.Exchange) (severity int, sent bool) {
	switch status := x.Response.Status; {
	case status >= 500:
		severity = l.server
	case status >= 400:
		severity = l.client
	default:
		severity = l.success
	}
	return severity, severity <= l.least
}
