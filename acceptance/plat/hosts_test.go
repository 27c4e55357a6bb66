package plat_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
)

func TestHosts(t *testing.T) {
	lan := plat.Hosts(t, 3)
	a, b, c := lan.Hosts[0], lan.Hosts[1], lan.Hosts[2]
	for _, h := range lan.Hosts {
		serve := h.Command("python3", "-u", "-m", "http.server", "--bind", h.Address, "8080")
		serve.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := serve.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := serve.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = serve.Process.Kill()
			_ = serve.Wait() // killed
		})
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "Serving") {
			t.Fatal(line, err)
		}
	}
	outside, err := net.Listen("tcp", lan.Outside+":0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = http.Serve(outside, http.NotFoundHandler()) }() // ends with the listener
	t.Cleanup(func() { _ = outside.Close() })

	// reaches tells who reaches whom, each by the letters of its peers; o is outside.
	reaches := func(want string) {
		t.Helper()
		var reached [3][4]bool
		var asked sync.WaitGroup
		for i, h := range lan.Hosts {
			for j, to := range []string{a.Address + ":8080", b.Address + ":8080", c.Address + ":8080", outside.Addr().String()} {
				asked.Go(func() {
					reached[i][j] = i != j && h.Command("curl", "-s", "-o", "/dev/null", "--connect-timeout", "0.5", "http://"+to+"/").Run() == nil
				})
			}
		}
		asked.Wait()
		var got []string
		for _, row := range reached {
			who := ""
			for j, ok := range row {
				if ok {
					who += string("abco"[j])
				}
			}
			got = append(got, who)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("reached: %s, want %s", s, want)
		}
	}
	reaches("bco aco abo")
	lan.Split([]*plat.Host{a}, []*plat.Host{b, c})
	reaches("o co bo")
	lan.Split([]*plat.Host{a}, []*plat.Host{b}, []*plat.Host{c})
	reaches("o o o")
	lan.Split([]*plat.Host{c}, []*plat.Host{b}) // a stays with the first
	reaches("co o ao")
	lan.Heal()
	reaches("bco aco abo")
	lan.Cut(b)
	reaches("co  ao")
	lan.Heal()
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + b.Address + ":8080/")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // it answered
	_ = resp.Body.Close()
}
