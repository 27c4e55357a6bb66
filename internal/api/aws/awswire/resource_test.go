package awswire_test

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The AWS CLI waits for 100 Continue before an empty body too, which net/http does not send by itself.
func TestContinueBeforeAnEmptyBody(t *testing.T) {
	p := fixedServer(t)
	u, err := url.Parse(p.URL)
	must(t, err)
	c, err := net.Dial("tcp", u.Host)
	must(t, err)
	defer func() { _ = c.Close() }() // the test is over
	for _, tc := range []struct {
		head string
		want []int
	}{
		{"PUT /lake/k HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", []int{100, 403}},
		{"PUT /lake/k HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", []int{403}},
	} {
		_, err = c.Write([]byte(tc.head))
		must(t, err)
		r := bufio.NewReader(c)
		for _, want := range tc.want {
			res, err := http.ReadResponse(r, nil)
			must(t, err)
			if res.StatusCode != want {
				t.Errorf("%s: status %d, want %d", strings.SplitN(tc.head, "\r", 2)[0], res.StatusCode, want)
			}
			if want != 100 {
				_, err = r.Discard(int(res.ContentLength))
				must(t, err)
			}
		}
	}
}
