package node

import (
	"io"
	"log"
	"log/slog"

	"sluice.dev/sluice/internal/base/config"
)

func logLevel(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return 0, config.Invalid.Field("log.level", "log.level is debug, info, warn or error, not %q", s)
	}
	return l, nil
}

// discardLog silences what net/http has to say of broken client connections.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
