package webserver

import (
	"log/slog"
	"net/http"
	"runtime/debug"
)

// wroteWriter knows whether a response has begun.
type wroteWriter struct {
	http.ResponseWriter
	wrote bool
}

func (w *wroteWriter) WriteHeader(status int) {
	w.wrote = w.wrote || status >= http.StatusOK || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

func (w *wroteWriter) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *wroteWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Recovered returns next, of which a panic is logged and an error of the request: without, the
// client loses its connection and nothing says why. refuse answers in the API's own shape.
func Recovered(next http.Handler, log *slog.Logger, name string, refuse func(w http.ResponseWriter, status int, why string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watched := &wroteWriter{ResponseWriter: w}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { // a handler asks for this
				panic(p)
			}
			log.Error("panic while serving a request", "listener", name, "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if watched.wrote {
				panic(http.ErrAbortHandler) // the client must not take the part for the whole
			}
			w.Header().Set("Connection", "close") // what the request's body holds is not known
			refuse(w, http.StatusInternalServerError, "An unexpected error occurred")
		}()
		next.ServeHTTP(watched, r)
	})
}
