package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/proxy"
)

// TestInterimAnswers: some answers of 1xx are passed over, and a flood of them is no answer.
func TestInterimAnswers(t *testing.T) {
	for n, want := range map[int]int{3: 200, 1000: 502} {
		ln := listen(t)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func(c net.Conn) {
					defer c.Close()
					c.Read(make([]byte, 4096))
					fmt.Fprint(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", n), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
					io.Copy(io.Discard, c)
				}(c)
			}
		}()
		r := newRig(t, proxy.Config{})
		r.route("http://"+ln.Addr().String(), nil, "/")
		both(t, r, "/", func(t *testing.T, resp *http.Response, _ string) {
			if resp.StatusCode != want {
				t.Errorf("after %d answers of 103: %d", n, resp.StatusCode)
			}
		})
		ln.Close()
	}
}
