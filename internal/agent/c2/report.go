package c2

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/agent/engine"
)

// maxBulletins go with one heartbeat.
const maxBulletins = 1000

func device() *deviceInfo {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	d := &deviceInfo{ID: host, System: systemInfo{Arch: runtime.GOARCH, OS: runtime.GOOS, Cores: runtime.NumCPU(), Memory: memory(), Load: load()},
		Network: networkInfo{Hostname: host}}
	links, err := net.Interfaces()
	if err != nil {
		return d
	}
	for _, l := range links {
		if l.Flags&net.FlagLoopback != 0 || l.Flags&net.FlagUp == 0 || len(l.HardwareAddr) == 0 {
			continue
		}
		addrs, err := l.Addrs()
		if err != nil || len(addrs) == 0 {
			continue
		}
		if a, ok := addrs[0].(*net.IPNet); ok {
			d.ID, d.Network.Device, d.Network.IP = strings.ReplaceAll(l.HardwareAddr.String(), ":", ""), l.Name, a.IP.String()
			return d
		}
	}
	return d
}

// memory is the machine's in bytes, 0 where it is not known.
func memory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			n, _ := strconv.ParseInt(f[1], 10, 64) // 0 is not known
			return n << 10
		}
	}
	return 0
}

func load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	f, _ := strconv.ParseFloat(strings.SplitN(string(b), " ", 2)[0], 64) // 0 is not known
	return f
}

func (c *Client) agent(full bool) *agentInfo {
	st := c.d.Engine.Status()
	a := &agentInfo{ID: c.cfg.Identity.ID, Class: c.cfg.Identity.Class, ManifestHash: c.d.Manifest.Hash, Status: &agentStatus{
		Uptime:     c.d.Clock.Now().Sub(c.began).Milliseconds(),
		Components: map[string]componentInfo{"FlowController": {Running: st.Running}},
	}}
	var waiting int64
	for _, q := range st.Queues {
		waiting += q.Count
	}
	a.Status.Repositories = map[string]repositoryInfo{"flowFile": {Size: waiting, DataSize: st.Used, DataSizeMax: st.Limit}}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	a.Status.Resources.Memory, a.Status.Resources.CPU = m.Sys-m.HeapReleased, -1
	if full {
		a.Manifest = c.d.Manifest.Text
	}
	return a
}

func (c *Client) flow() *flowInfo {
	st := c.d.Engine.Status()
	c.mu.Lock()
	id, sent := c.flowID, c.sent
	c.mu.Unlock()
	f := &flowInfo{ID: id, RunStatus: runStatus(st.Running), Queues: map[string]queueInfo{}, Bulletins: []bulletin{}, Processors: []processorStatus{}}
	for _, q := range st.Queues {
		f.Queues[q.ID] = queueInfo{Size: q.Count, SizeMax: q.MaxCount, DataSize: q.Bytes, DataSizeMax: q.MaxBytes, Name: q.Name}
	}
	for _, p := range st.Processors {
		f.Processors = append(f.Processors, processorStatus{ID: p.ID, GroupID: p.GroupID, BytesRead: p.BytesRead, BytesWritten: p.BytesWritten,
			FilesIn: p.In, FilesOut: p.Out, BytesIn: p.BytesIn, BytesOut: p.BytesOut, Invocations: p.Invocations, Nanos: p.Time.Nanoseconds(),
			Active: p.Active, RunStatus: runStatus(p.Running)})
	}
	for _, b := range st.Bulletins {
		if b.ID > sent {
			f.Bulletins = append(f.Bulletins, wireBulletin(b))
		}
	}
	if n := len(f.Bulletins); n > maxBulletins {
		f.Bulletins = f.Bulletins[n-maxBulletins:]
	}
	return f
}

func wireBulletin(b engine.Bulletin) bulletin {
	return bulletin{ID: b.ID, Timestamp: b.At.UTC().Format("2006-01-02T15:04:05.000Z"), Level: b.Level, Category: "Log Message", Message: b.Message,
		GroupID: b.Group, SourceID: b.SourceID, SourceName: b.SourceName}
}

func runStatus(running bool) string {
	if running {
		return "RUNNING"
	}
	return "STOPPED"
}

func (c *Client) resource() *resourceInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &resourceInfo{Hash: c.hash}
}
