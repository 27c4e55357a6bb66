package main

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"sluice.dev/sluice/bench/rig"
)

// record has perf record what a node does until stop is called, if that is wanted.
func (o options) record(n *rig.Node, name string) (stop func()) {
	if o.profile == "" {
		return func() {}
	}
	cmd := exec.Command("perf", "record", "-q", "-g", "-F", "499", "-o", filepath.Join(o.profile, name+".perf"), "-p", strconv.Itoa(n.PID()))
	if cmd.Start() != nil {
		return func() {}
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
		_ = cmd.Wait()                         // by that signal
	}
}
