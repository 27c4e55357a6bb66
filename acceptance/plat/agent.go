package plat

import (
	"os/exec"
	"syscall"
	"testing"
)

// Agent is a running edge agent.
type Agent struct {
	Dir string

	t    testing.TB
	args []string
	log  *Log
	cmd  *exec.Cmd
}

// StartAgent starts an agent on a data directory. It is killed when the test ends.
func StartAgent(t testing.TB, dir string, args ...string) *Agent {
	t.Helper()
	a := &Agent{t: t, Dir: dir, args: args, log: new(Log)}
	t.Cleanup(func() {
		a.Kill()
		if t.Failed() {
			t.Logf("the end of the agent's log:\n%s", tail(a.log.String(), 3000))
		}
	})
	a.Launch()
	return a
}

// Launch starts an agent that was killed.
func (a *Agent) Launch() {
	a.t.Helper()
	a.cmd = Command(nil, append([]string{"agent", "--data", a.Dir}, a.args...)...)
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	a.cmd.Stderr = a.log
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
}

// Kill ends an agent at once.
func (a *Agent) Kill() {
	_ = a.cmd.Process.Kill() // it may be gone
	_ = a.cmd.Wait()         // that it was killed is known
}

// Stop has an agent drain and end, which must succeed.
func (a *Agent) Stop() {
	a.t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatal(err)
	}
	if err := a.cmd.Wait(); err != nil {
		a.t.Errorf("the agent ended: %v", err)
	}
}

// LogText is what the agent has logged.
func (a *Agent) LogText() string { return a.log.String() }
