package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// serveWebSockets accepts every upgrade and echoes what comes, frames and all.
func serveWebSockets(ln net.Listener) error {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
		io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{buffered}, make([]byte, 256))
	})}
	return s.Serve(ln)
}

// runWebSockets opens n connections through the proxy, sends one frame over each and waits
// for its echo, and tells what the proxy holds while all of them are open.
func runWebSockets(n int, dir string) error {
	upstream, err := child("upstream", "-role", "upstream", "-proto", "websocket")
	if err != nil {
		return err
	}
	defer upstream.stop()
	t, err := child("sluice", "-role", "sluice", "-to", upstream.addr, "-dir", dir)
	if err != nil {
		return err
	}
	defer t.stop()
	idle := rss(t.pids)
	before, err := cpu(t.pids)
	if err != nil {
		return err
	}
	conns, errs := make([]net.Conn, n), make(chan error, n)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range next {
				c, err := openWebSocket(t.addr)
				if err != nil {
					errs <- err
					continue
				}
				conns[i] = c
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	select {
	case err := <-errs:
		return err
	default:
	}
	time.Sleep(2 * time.Second) // for the collector of garbage to see what opening left
	after, err := cpu(t.pids)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"kind": "websockets", "open": n, "rss_mb": float64(rss(t.pids)) / 1024,
		"idle_rss_mb": float64(idle) / 1024, "cpu_us_per_connection": float64((after - before).Microseconds()) / float64(n)})
}

func openWebSocket(addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(c, "GET /r0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n")
	r := bufio.NewReaderSize(c, 512)
	for first := true; ; first = false {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if first && !strings.Contains(line, " 101 ") {
			return nil, fmt.Errorf("the upgrade was answered by %s", strings.TrimSpace(line))
		}
		if line == "\r\n" {
			break
		}
	}
	frame := []byte{0x81, 0x85, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'} // a masked text, by a mask of nothing
	if _, err := c.Write(frame); err != nil {
		return nil, err
	}
	echo := make([]byte, len(frame))
	if _, err := io.ReadFull(r, echo); err != nil {
		return nil, err
	}
	if string(echo) != string(frame) {
		return nil, fmt.Errorf("the echo was %q", echo)
	}
	return c, nil
}

// raiseLimit lets the process have as many files as connections need; where it may not, a
// connection that does not open says so.
func raiseLimit() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	want := syscall.Rlimit{Cur: 65536, Max: max(limit.Max, 65536)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) != nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // as far as it goes
	}
}
