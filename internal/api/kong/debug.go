package kong

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// LogLevel is the level of the node's log.
type LogLevel interface {
	Level() slog.Level
	// Set changes the level, for a while; 0 stands for good.
	Set(l slog.Level, during time.Duration)
}

// levels are Kong's names, and what they are here.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "notice": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	"crit": slog.LevelError, "alert": slog.LevelError, "emerg": slog.LevelError,
}

// debug serves /debug, /cache and /clustering. Nothing is cached that a change would not
// reach, so that there is nothing to look up and nothing to purge.
func (a *api) debug(path []string) endpoint {
	get := func(f func(*request) answer) endpoint { return endpoint{http.MethodGet: f} }
	at := func(i int) string {
		if i < len(path) {
			return path[i]
		}
		return ""
	}
	switch {
	case path[0] == "cache" && len(path) == 1:
		return endpoint{http.MethodDelete: func(*request) answer { return noContent }}
	case path[0] == "cache" && len(path) == 2:
		return endpoint{
			http.MethodGet:    func(*request) answer { return message(http.StatusNotFound, "Not found") },
			http.MethodDelete: func(*request) answer { return noContent },
		}
	case path[0] == "clustering" && len(path) == 2 && (at(1) == "data-planes" || at(1) == "status"):
		return get(func(*request) answer {
			return message(http.StatusBadRequest, "this endpoint is only available when Kong is configured to run as Control Plane for the cluster")
		})
	case path[0] != "debug" || at(2) != "log-level" || a.deps.LogLevel == nil:
		return nil
	case at(1) == "node" && len(path) == 3:
		return get(func(*request) answer { return message(http.StatusOK, "log level: "+nameOf(a.deps.LogLevel.Level())) })
	case (at(1) == "node" || at(1) == "cluster") && len(path) == 4:
		return endpoint{http.MethodPut: func(r *request) answer {
			if path[1] == "cluster" && a.cfg.DBLess {
				return message(http.StatusMethodNotAllowed, "cannot change log level when not using a database")
			}
			return a.setLevel(r, path[3])
		}}
	}
	return nil
}

func (a *api) setLevel(r *request, name string) answer {
	level, known := levels[name]
	if !known {
		return message(http.StatusBadRequest, "unknown log level: "+name)
	}
	during := 60 * time.Second
	if v := r.URL.Query().Get("timeout"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 365*24*3600 {
			return message(http.StatusBadRequest, "timeout must be greater than or equal to 0")
		}
		during = time.Duration(n) * time.Second
	}
	if a.deps.LogLevel.Level() == level {
		return message(http.StatusOK, "log level is already "+name)
	}
	a.deps.LogLevel.Set(level, during)
	return message(http.StatusOK, "log level changed to "+name)
}

func nameOf(l slog.Level) string {
	switch {
	case l <= slog.LevelDebug:
		return "debug"
	case l <= slog.LevelInfo:
		return "info"
	case l <= slog.LevelWarn:
		return "warn"
	}
	return "error"
}
