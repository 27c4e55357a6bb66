package component

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"sluice.dev/sluice/internal/agent/engine"
)

func logAttribute() engine.Definition {
	return engine.Definition{
		Type: standard + "LogAttribute", Description: "Writes the attributes of flow files to the log", Input: engine.InputRequired,
		Properties: []engine.Property{
			{Name: "Log Level", Default: "info", Required: true, Allowed: []string{"debug", "info", "warn", "error"}},
			{Name: "Log Payload", Description: "Whether the content is logged too, its first KiB", Default: "false", Required: true, Allowed: engine.Booleans()},
			{Name: "Log prefix", Description: "Text before each entry", Expression: true},
		},
		Relationships: []engine.Relationship{success},
		New:           func(s *engine.Settings) (engine.Processor, error) { return &logger{set: s}, nil },
	}
}

type logger struct{ set *engine.Settings }

var logLevels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

func (l *logger) Trigger(ctx context.Context, s *engine.Session) error {
	list, err := s.GetBatch(100, maxText)
	for _, f := range list {
		prefix, err := l.set.Eval("Log prefix", f)
		if err != nil {
			return err
		}
		args := []any{"size", f.Size()}
		for _, k := range slices.Sorted(maps.Keys(f.Attributes)) {
			args = append(args, k, f.Attributes[k])
		}
		if l.set.Bool("Log Payload") {
			head := make([]byte, min(f.Size(), 1024))
			n, _ := s.Read(f).Read(head) // what there is of it
			args = append(args, "content", string(head[:n]))
		}
		l.set.Log.Log(ctx, logLevels[l.set.Text("Log Level")], prefix+"flow file", args...)
		s.Transfer(f, success.Name)
	}
	return err
}
