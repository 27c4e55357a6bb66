package webserver_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/api/webserver"
)

func TestSlowClientsAreCutOff(t *testing.T) {
	const s = time.Second
	got := webserver.Pace([]time.Duration{0, 10 * s, 20 * s, 100 * s}, webserver.Streaming, []int64{0, 0, 5 << 10, 1 << 30})
	// Nothing yet: half a minute. Five kibibytes: five seconds more. Plenty: it may stand for a minute.
	if diff := cmp.Diff([]time.Duration{30 * s, 30 * s, 35 * s, 160 * s}, got); diff != "" {
		t.Errorf("deadlines (-want +got):\n%s", diff)
	}
	// A body that is held in memory must come faster: 64 KiB are one second more.
	got = webserver.Pace([]time.Duration{20 * s, 29 * s}, webserver.Buffered, []int64{5 << 10, 64 << 10})
	if diff := cmp.Diff([]time.Duration{50 * s, 51 * s}, got); diff != "" {
		t.Errorf("deadlines (-want +got):\n%s", diff)
	}
}

// A connection serves on after a call whose body was paced.
func TestConnectionsOutliveTheirDeadlines(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r, done := webserver.Paced(w, r, webserver.Buffered)
		defer done()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body) // the client checks it
	}))
	defer srv.Close()
	conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for i := range 3 {
		if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close() // read already
		if err != nil {
			t.Fatal(err)
		}
	}
}
