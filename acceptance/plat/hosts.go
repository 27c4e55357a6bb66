package plat

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Lan is a network of hosts: network namespaces, each with an address of its own, joined by
// bridges that live in one more. The test's own namespace takes part with Outside, so that
// a test can dial its hosts and run servers for them; there is no way further out.
//
// Each group of hosts has a bridge, and the groups' bridges hang on one core whose ports are
// isolated from each other: so hosts of different groups do not reach each other, while all
// of them reach Outside. That needs nothing of the kernel but bridges.
type Lan struct {
	Hosts []*Host
	// Outside is the address of the test's own namespace in this network.
	Outside string

	t      testing.TB
	id     string
	wires  string // the namespace of the bridges
	groups int    // how many bridges there are
}

// Host is a machine as its network sees it.
type Host struct {
	Address string

	space, port string
}

// Hosts makes a network of n hosts, all of which reach each other. It needs root. It is gone
// when the test ends; what still runs in it then loses its links.
func Hosts(t testing.TB, n int) *Lan {
	t.Helper()
	Need(t, "ip")
	Need(t, "nsenter")
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if err := namespaces(); err != nil {
		t.Skipf("no network namespaces can be made here, as in a plain container or a chroot: %v", err)
	}
	sweep()
	prefix := FreeNetwork(t)
	l := &Lan{t: t, id: fmt.Sprintf("%d-%04x", os.Getpid(), rand.IntN(1<<16)), Outside: prefix + ".254"}
	l.wires = "sluice-" + l.id + "-wires"
	up := fmt.Sprintf("sl%08x", rand.Uint32())
	t.Cleanup(func() {
		var all []string
		for _, h := range l.Hosts {
			all = append(all, "netns delete "+h.space)
		}
		// The links end with the namespaces that they end in.
		if err := ip("", append(all, "netns delete "+l.wires)...); err != nil {
			t.Log(err)
		}
		_ = ip("", "link delete "+up) // gone with its other end, which may take the kernel a moment
	})
	l.must("", "netns add "+l.wires, "link add "+up+" type veth peer name outside netns "+l.wires, "address add "+l.Outside+"/24 dev "+up, "link set "+up+" up")
	l.must(l.wires, "link add core type bridge mcast_snooping 0", "link set core up", "link set outside master core up")
	l.bridge()
	for i := range n {
		h := &Host{Address: fmt.Sprintf("%s.%d", prefix, i+1), space: fmt.Sprintf("sluice-%s-%d", l.id, i+1), port: "h" + strconv.Itoa(i+1)}
		l.must("", "netns add "+h.space)
		l.Hosts = append(l.Hosts, h)
		l.must(l.wires, "link add "+h.port+" type veth peer name eth0 netns "+h.space, "link set "+h.port+" master group0 up")
		l.must(h.space, "link set lo up", "address add "+h.Address+"/24 dev eth0", "link set eth0 up")
	}
	return l
}

// namespaces is why no network namespace with a link into it can be made here, or nil. A
// container without CAP_SYS_ADMIN refuses the first step, a chroot whose root is no mount
// point the second.
var namespaces = sync.OnceValue(func() error {
	space := fmt.Sprintf("sluice-%d-probe", os.Getpid())
	defer func() { _ = ip("", "netns delete "+space) }() // there is none if it was refused
	link := fmt.Sprintf("sl%08x", rand.Uint32())
	for _, step := range []struct{ space, command string }{
		{"", "netns add " + space},
		{space, "link set lo up"},
		{space, "link add core type bridge"},
		{"", "link add " + link + " type veth peer name outside netns " + space},
	} {
		if err := ip(step.space, step.command); err != nil {
			return err
		}
	}
	return nil
})

// sweep removes namespaces of test runs that were killed.
func sweep() {
	left, _ := filepath.Glob("/run/netns/sluice-*") // the pattern is well formed
	for _, path := range left {
		space := filepath.Base(path)
		pid, _, _ := strings.Cut(strings.TrimPrefix(space, "sluice-"), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			_ = ip("", "netns delete "+space) // another may be faster
		}
	}
}

// FreeNetwork is the first three numbers of a network that this machine does not use.
func FreeNetwork(t testing.TB) string {
	t.Helper()
	used, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
search:
	for range 100 {
		prefix := fmt.Sprintf("10.%d.%d", 64+rand.IntN(128), rand.IntN(256))
		probe := net.ParseIP(prefix + ".254")
		for _, a := range used {
			if n, ok := a.(*net.IPNet); ok && n.Contains(probe) {
				continue search
			}
		}
		return prefix
	}
	t.Fatal("no free network in 10.64.0.0/9")
	return ""
}

// ip runs commands of ip(8) in a namespace, the test's own if it has no name.
func ip(space string, commands ...string) error {
	args := []string{"-batch", "-"}
	if space != "" {
		args = append([]string{"-netns", space}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(commands, "; "), err, out)
	}
	return nil
}

func (l *Lan) must(space string, commands ...string) {
	l.t.Helper()
	if err := ip(space, commands...); err != nil {
		l.t.Fatal(err)
	}
}

// bridge adds a group's bridge.
func (l *Lan) bridge() {
	l.t.Helper()
	g := strconv.Itoa(l.groups)
	l.groups++
	l.must(l.wires, "link add group"+g+" type bridge mcast_snooping 0", "link set group"+g+" up",
		"link add trunk"+g+" type veth peer name core"+g, "link set trunk"+g+" master group"+g+" up",
		"link set core"+g+" master core", "link set core"+g+" type bridge_slave isolated on", "link set core"+g+" up")
}

// Split parts the network: hosts of different groups no longer reach each other, and nothing
// tells them so. Hosts in no group stay with those of the first. All reach Outside.
func (l *Lan) Split(groups ...[]*Host) {
	l.t.Helper()
	l.Heal()
	for i, hosts := range groups {
		for i >= l.groups {
			l.bridge()
		}
		l.plug("group"+strconv.Itoa(i), hosts...)
	}
}

// Cut takes hosts off the network: they reach nothing, not even Outside, though their links
// look well.
func (l *Lan) Cut(hosts ...*Host) {
	l.t.Helper()
	for _, h := range hosts {
		l.must(l.wires, "link set "+h.port+" nomaster")
	}
}

// Heal undoes Split and Cut.
func (l *Lan) Heal() {
	l.t.Helper()
	l.plug("group0", l.Hosts...)
}

func (l *Lan) plug(bridge string, hosts ...*Host) {
	l.t.Helper()
	var all []string
	for _, h := range hosts {
		all = append(all, "link set "+h.port+" master "+bridge)
	}
	if len(all) > 0 {
		l.must(l.wires, all...)
	}
	// The core learns anew where everybody is: else it would send to a group that a host has left.
	for g := range l.groups {
		l.must(l.wires, "link set core"+strconv.Itoa(g)+" type bridge_slave fdb_flush")
	}
}

// Command is a command that will run on the host. Its process id is that of the program.
func (h *Host) Command(program string, args ...string) *exec.Cmd {
	return h.Run(exec.Command(program, args...))
}

// Run makes a command that has not begun one that will run on the host, and returns it.
func (h *Host) Run(cmd *exec.Cmd) *exec.Cmd {
	if cmd.Err != nil { // its program was not found, as Start will say
		return cmd
	}
	enter, err := exec.LookPath("nsenter")
	if err != nil {
		cmd.Err = err
		return cmd
	}
	// nsenter becomes the program: no process stands between it and the test.
	cmd.Args = append([]string{enter, "--net=/run/netns/" + h.space, "--", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = enter
	return cmd
}
