package node

import (
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/config"
)

func logLevel(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return 0, config.Invalid.Field("log.level", "log.level is debug, info, warn or error, not %q", s)
	}
	return l, nil
}

// level is the level of the node's log, which can be changed for a while.
type level struct {
	slog.LevelVar
	mu      sync.Mutex
	restore *time.Timer
	before  slog.Level // which restore brings back
}

// Set implements kong.LogLevel. What is set while a change for a while lasts takes its
// place; the level that was there before either comes back.
func (l *level) Set(to slog.Level, during time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.Level()
	if l.restore != nil && l.restore.Stop() {
		before = l.before
	}
	l.LevelVar.Set(to)
	l.restore = nil
	if during > 0 {
		l.before = before
		l.restore = time.AfterFunc(during, func() { l.LevelVar.Set(before) })
	}
}

// discardLog silences what net/http has to say of broken client connections.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
