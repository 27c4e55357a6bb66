package dbtest

import (
	"bytes"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Redis starts a Redis server without persistence and returns its address. stop ends it as
// kill -9 does, before the test is over.
func Redis(t testing.TB) (host string, port int, stop func()) {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	for range 5 { // another process may take the port first
		free := freePort(t)
		cmd := exec.Command(bin, "--bind", "127.0.0.1", "--port", free, "--save", "", "--appendonly", "no", "--dir", t.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop = func() {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
		address := net.JoinHostPort("127.0.0.1", free)
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if c, err := net.Dial("tcp", address); err == nil {
				port = c.RemoteAddr().(*net.TCPAddr).Port
				c.Close()
				t.Cleanup(stop)
				return "127.0.0.1", port, stop
			}
		}
		stop()
		t.Logf("redis-server did not come up: %s", log.String())
	}
	t.Fatal("redis-server does not start")
	return
}
