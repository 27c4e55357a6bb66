package balancer

import (
	"bufio"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hostsCheck is how often the hosts file is looked at for changes.
const hostsCheck = 5 * time.Second

// hostsFile is the names a machine knows without asking: its hosts file, and localhost.
type hostsFile struct {
	path    string
	names   atomic.Pointer[map[string][]Record]
	checked atomic.Int64 // when, in nanoseconds since 1970
	mu      sync.Mutex
	changed time.Time
}

func (h *hostsFile) lookup(name string, now time.Time) []Record {
	if at := h.checked.Load(); h.names.Load() == nil || now.UnixNano()-at > int64(hostsCheck) {
		h.read(now)
	}
	return (*h.names.Load())[strings.ToLower(name)]
}

func (h *hostsFile) read(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checked.Store(now.UnixNano())
	info, err := os.Stat(h.path)
	if h.names.Load() != nil && (err != nil || info.ModTime().Equal(h.changed)) {
		return
	}
	names := map[string][]Record{}
	if f, err := os.Open(h.path); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			line, _, _ := strings.Cut(lines.Text(), "#")
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			a, err := netip.ParseAddr(fields[0])
			if err != nil {
				continue
			}
			for _, name := range fields[1:] {
				name = strings.ToLower(name)
				names[name] = append(names[name], Record{Addr: a})
			}
		}
		if info != nil {
			h.changed = info.ModTime()
		}
	}
	if names["localhost"] == nil {
		names["localhost"] = []Record{{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}
	}
	for name, records := range names { // IPv4 goes before IPv6, as in DNS
		var four []Record
		for _, r := range records {
			if r.Addr.Is4() {
				four = append(four, r)
			}
		}
		if four != nil {
			names[name] = four
		}
	}
	h.names.Store(&names)
}
