package edge

import (
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// Peer is how an agent was authenticated.
type Peer struct {
	// Agent is the id in its verified certificate, and Class the class that it was enrolled
	// for; empty if it showed none.
	Agent, Class string
	// Proved says that it showed a certificate that was verified, of whatever authority the node trusts.
	Proved bool
	// Address is where it reports from.
	Address string
}

// Heartbeat is what an agent reports, whatever dialect it speaks.
type Heartbeat struct {
	Agent        string
	Class        string
	Created      int64 // when the agent made it, in milliseconds of its own clock; 0 if it does not say
	ManifestHash string
	Manifest     []byte // the whole, where the agent sent it
	Device       Device
	FlowID       string
	RunStatus    string // RUNNING, STOPPED or empty
	ResourceHash string
	Peer         Peer
	// Raw is the whole report without the manifest, for who looks at the agent.
	Raw []byte
}

// Device is what an agent runs on.
type Device struct {
	ID       string `json:"id,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	IP       string `json:"ip,omitempty"`
	OS       string `json:"os,omitempty"`
	Arch     string `json:"arch,omitempty"`
}

// Presence says whether an agent reports.
type Presence string

// The presences of agents.
const (
	Online  Presence = "ONLINE"
	Missing Presence = "MISSING"
)

// Agent is an agent as it is kept.
type Agent struct {
	ID           string    `json:"id"`
	Class        string    `json:"class"`
	ManifestHash string    `json:"manifest_hash"`
	FlowID       string    `json:"flow_id"`
	RunStatus    string    `json:"run_status"`
	ResourceHash string    `json:"resource_hash"`
	Device       Device    `json:"device"`
	Presence     Presence  `json:"presence"`
	First        time.Time `json:"first_seen"`
	// Seen is when the agent last reported, as far as was written down.
	Seen    time.Time `json:"last_seen"`
	Address string    `json:"address"`
	// Shared is when two devices were last seen to use the id.
	Shared time.Time `json:"shared,omitzero"`
}

// live is what a node remembers of an agent that reports to it. It is guarded by the lock of
// its shard.
type live struct {
	Agent
	place store.Place
	// seen is when it reported to this node, in milliseconds since 1970.
	seen int64
	// created is what the newest report says of when it was made; 0 if that says nothing.
	created int64
	// before is the device that used the id before this one, and changed when that was.
	before  string
	changed int64
	// open is the agent's progress with orders that it has not ended, and ended those that
	// it has; nil where there are none.
	open map[int64]*Progress
}

// overtaken is how much older than the report before it a report may be and still be taken
// for one that was late on its way. Beyond it the agent's clock was set back.
const overtaken = time.Minute

// late reports whether a heartbeat was made before one that is known already, which must not
// undo what that said.
func (l *live) late(h *Heartbeat) bool {
	return h.Created > 0 && h.Device.ID == l.Device.ID && h.Created < l.created && l.created-h.Created <= overtaken.Milliseconds()
}

// note takes over what a heartbeat says and reports whether the agent is another than was
// written down.
func (l *live) note(h *Heartbeat, now time.Time, silence time.Duration) (changed bool) {
	set := func(to *string, value string) {
		if *to != value {
			*to, changed = value, true
		}
	}
	// Another node may have written down in the meantime that the agent is missing.
	changed = now.UnixMilli()-l.seen > silence.Milliseconds()
	l.seen, l.created = now.UnixMilli(), h.Created
	set(&l.Class, h.Class)
	if h.ManifestHash != "" {
		set(&l.ManifestHash, h.ManifestHash)
	}
	set(&l.FlowID, h.FlowID)
	set(&l.RunStatus, h.RunStatus)
	set(&l.ResourceHash, h.ResourceHash)
	set(&l.Address, h.Peer.Address)
	if h.Device != (Device{}) && h.Device != l.Device {
		l.Device, changed = h.Device, true
	}
	if l.Presence != Online {
		l.Presence, changed = Online, true
	}
	if changed {
		l.Seen = now
	}
	return changed
}
