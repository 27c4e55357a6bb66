package gateway

import (
	"encoding/json"
	"strings"
	"sync"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Workspace is the one workspace there is, as logs and metrics name it. The id is the one
// Kong gives its default workspace where it runs without a database.
const (
	Workspace   = "default"
	WorkspaceID = "0dc6f45b-8f8d-40d2-a504-473544ee190b"
)

// document is a stored record that log plugins show, encoded when it is first asked for:
// routes without a log plugin cost nothing.
type document struct {
	record schema.Record
	once   sync.Once
	json   []byte
}

// encoded returns the record as JSON without its unset fields, as Kong logs entities.
func (d *document) encoded() []byte {
	if d == nil {
		return []byte("{}")
	}
	d.once.Do(func() {
		shown := schema.Record{"ws_id": WorkspaceID}
		for name, v := range d.record {
			if v != nil && !strings.HasPrefix(name, "@") {
				shown[name] = v
			}
		}
		d.json, _ = json.Marshal(shown) // a stored record always encodes
	})
	return d.json
}

// JSON returns the stored entity as logs show it. The slice must not be changed.
func (s *Service) JSON() []byte { return s.doc.encoded() }

// JSON returns the stored entity as logs show it. The slice must not be changed.
func (r *Route) JSON() []byte { return r.doc.encoded() }
