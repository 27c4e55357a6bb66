package mesh_test

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"sluice.dev/sluice/internal/base/mesh"
)

// Who only reaches the port of a node that is starting cannot make it end.
func TestAStrangerEndsNoStart(t *testing.T) {
	a := start(t, mesh.Config{Node: "a"}, nil)
	x := start(t, mesh.Config{Node: "x", Cluster: "another"}, nil)
	x.Know(a.address)
	select {
	case <-x.Refused():
	case <-time.After(10 * time.Second):
		t.Fatal("not refused")
	}
	x.stop() // a has had its say by then
	a.stop()
	select {
	case err := <-a.Refused():
		t.Errorf("the node that starts is told to end: %v", err)
	default:
	}
}

// tape is a relay to an address that records what those who dial it say.
func tape(t *testing.T, to string) (address string, said func() []byte) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var mu sync.Mutex
	var record []byte
	go func() {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			_ = in.Close()
			return
		}
		go func() {
			_, _ = io.Copy(in, out)
			_ = in.Close()
		}()
		buf := make([]byte, 64<<10)
		for {
			n, err := in.Read(buf)
			if err != nil {
				_ = out.Close()
				return
			}
			mu.Lock()
			record = append(record, buf[:n]...)
			mu.Unlock()
			_, _ = out.Write(buf[:n])
		}
	}()
	return ln.Addr().String(), func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return append([]byte(nil), record...)
	}
}

// A handshake that was recorded convinces nobody a second time.
func TestAHandshakeIsNotReplayed(t *testing.T) {
	a := start(t, mesh.Config{Node: "a", MayReach: func(string) bool { return false }}, nil)
	relay, said := tape(t, a.address)
	b := start(t, mesh.Config{Node: "b"}, nil)
	b.Know(relay)
	until(t, "they are connected", a.sees("b"))
	b.stop()
	until(t, "b is gone", a.sees())
	conn, err := net.Dial("tcp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(said()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") { // until a hangs up
		t.Fatal(err)
	}
	if !a.sees()() {
		t.Error("a recorded handshake made a peer")
	}
}

func framed(parts ...string) string {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return string(b)
}

// What a stranger says is kept and logged in part, so all of it is bounded.
func TestALongNameIsNoHello(t *testing.T) {
	for _, hello := range []string{
		`{"protocol":1,"cluster":"efm","session":"s","nonce":"AAAAAAAAAAAAAAAAAAAAAAAA","node":"` + strings.Repeat("x", 10_000) + `"}`,
		`{"protocol":1,"cluster":"efm","session":"s","nonce":"AAAAAAAAAAAAAAAAAAAAAAAA","node":""}`,
		`{"protocol":1,"cluster":"efm","session":"s","nonce":"AAAAAAAAAAAAAAAAAAAAAAAA","node":"x","digests":{"` + strings.Repeat("k", 1000) + `":"1"}}`,
	} {
		err := say(t, framed(hello, "{}"))
		if err == nil || mesh.Refused.Is(err) || len(err.Error()) > 1000 {
			t.Errorf("%.200v", err)
		}
	}
}

// say has a node of its own shake hands with who says so much and nothing more.
func say(t testing.TB, text string) error {
	m := mesh.New(mesh.Config{Cluster: "efm", Node: "a", Digests: map[string]string{"k": "1"}}, mesh.Deps{Log: slog.New(slog.DiscardHandler)})
	here, there := net.Pipe()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(io.Discard, there) })
	both.Go(func() {
		_, _ = io.WriteString(there, text)
		_ = there.Close()
	})
	err := m.Shake(here)
	_ = here.Close()
	both.Wait()
	return err
}

func FuzzHello(f *testing.F) {
	f.Add(framed(`{"protocol":1,"cluster":"efm","session":"s","node":"x","nonce":"AAAAAAAAAAAAAAAAAAAAAAAA","digests":{"k":"1"},"hosts":["a:1"]}`, `{"proof":"AAAA"}`))
	f.Add(framed(`{"protocol":1,"cluster":"efm","session":"s","node":"x","nonce":"AAAAAAAAAAAAAAAAAAAAAAAA"}`, `{"refusal":"no"}`))
	f.Add(framed("null", "null"))
	f.Add("\x16\x03\x01\x02\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if say(t, text) == nil {
			t.Error("who does not know the key became a peer")
		}
	})
}

// Peers may say anything on a stream, or in place of streams.
func FuzzStream(f *testing.F) {
	m := mesh.New(mesh.Config{Cluster: "efm", Node: "a"}, mesh.Deps{Log: slog.New(slog.DiscardHandler)})
	m.OnCast("news", func(string, []byte) {})
	m.OnCall("echo", func(_ context.Context, _ string, body []byte) ([]byte, error) { return body, nil })
	l := m.Listen("port")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.CopyN(io.Discard, c, 10)
			_ = c.Close()
		}
	}()
	f.Add(false, framed(`{"kind":"call","topic":"echo"}`, "hello"))
	f.Add(false, framed(`{"kind":"cast"}`, "news", "hello", "nothing", ""))
	f.Add(false, framed(`{"kind":"conn","topic":"port"}`)+"hello")
	f.Add(false, framed(`{"kind":"what"}`))
	f.Add(true, "\x00\x01\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00")
	f.Add(true, "\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, raw bool, text string) {
		here, there := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- m.Serve(here, "b") }()
		if raw {
			go func() { _, _ = io.Copy(io.Discard, there) }()
			_, _ = io.WriteString(there, text)
			_ = there.Close()
		} else {
			c := yamux.DefaultConfig()
			c.LogOutput, c.EnableKeepAlive = io.Discard, false
			ses, err := yamux.Client(there, c)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ses.Open()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(s, text)
			_ = s.Close()
			_ = s.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.Copy(io.Discard, s)
			_ = ses.Close()
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the connection goes on")
		}
	})
}
