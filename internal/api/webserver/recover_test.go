package webserver_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/webserver"
)

// A panic in a handler is an error of its request, with a line in the log; a response that has
// begun is cut off.
func TestPanicIsTheRequestsError(t *testing.T) {
	var log bytes.Buffer
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			_, _ = io.WriteString(w, strings.Repeat("x", 1<<16))
		}
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		panic("a bug")
	})
	srv := httptest.NewServer(webserver.Recovered(handler, slog.New(slog.NewTextHandler(&log, nil)), "test", func(w http.ResponseWriter, status int, why string) { http.Error(w, why, status) }))
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL + "/early")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusInternalServerError || string(body) != "An unexpected error occurred\n" {
		t.Errorf("answered %d %q", res.StatusCode, body)
	}
	for _, path := range []string{"/late", "/abort"} {
		if res, err = srv.Client().Get(srv.URL + path); err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the response was complete", path)
		}
	}
	srv.Close() // the handlers have ended
	if n := strings.Count(log.String(), "a bug"); n != 2 {
		t.Errorf("the log has %d panics, want 2: %s", n, &log)
	}
}
