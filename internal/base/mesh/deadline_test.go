package mesh_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/mesh"
)

// Who reads from a peer's connection and is woken by a deadline finds the error that every
// connection has: servers of SQL wake their reader so after each statement, and go on.
func TestADeadlineOfAConnectionIsLikeAnyOther(t *testing.T) {
	accepted := make(chan net.Conn, 1)
	a := start(t, mesh.Config{Node: "a"}, func(m *mesh.Mesh) {
		l := m.Listen("sql")
		go func() {
			if c, err := l.Accept(); err == nil {
				accepted <- c
			}
		}()
	})
	b := start(t, mesh.Config{Node: "b"}, nil)
	b.Know(a.address)
	until(t, "they are connected", b.sees("a"))
	dialled, err := b.Dial(t.Context(), "a", "sql")
	if err != nil {
		t.Fatal(err)
	}
	for side, c := range map[string]net.Conn{"dialled": dialled, "accepted": <-accepted} {
		if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", side, err)
		}
	}
	if err := dialled.Close(); err != nil {
		t.Error(err)
	}
}
