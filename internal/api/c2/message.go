package c2

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"

	"sluice.dev/sluice/internal/service/edge"
)

// report is what heartbeats and acknowledgements say of an agent.
type report struct {
	DeviceInfo *struct {
		Identifier string `json:"identifier"`
		SystemInfo struct {
			MachineArch     string `json:"machineArch"`
			OperatingSystem string `json:"operatingSystem"`
		} `json:"systemInfo"`
		NetworkInfo struct {
			DeviceID  string `json:"deviceId"`
			Hostname  string `json:"hostname"`
			IPAddress string `json:"ipAddress"`
		} `json:"networkInfo"`
	} `json:"deviceInfo"`
	AgentInfo *struct {
		Identifier        string          `json:"identifier"`
		AgentClass        string          `json:"agentClass"`
		AgentManifestHash string          `json:"agentManifestHash"`
		AgentManifest     json.RawMessage `json:"agentManifest"`
	} `json:"agentInfo"`
	FlowInfo *struct {
		FlowID       string `json:"flowId"`
		RunStatus    string `json:"runStatus"`
		VersionedURI struct {
			FlowID string `json:"flowId"`
		} `json:"versionedFlowSnapshotURI"`
	} `json:"flowInfo"`
	ResourceInfo *struct {
		Hash string `json:"hash"`
	} `json:"resourceInfo"`
}

// acknowledgement is what an agent says of an operation.
type acknowledgement struct {
	report
	OperationID    string `json:"operationId"`
	Identifier     string `json:"identifier"` // of the agent, in C++
	OperationState *struct {
		State        string `json:"state"`
		Details      string `json:"details"`
		FailureCause *struct {
			ExceptionMessage  string   `json:"exceptionMessage"`
			CausedByMessages  []string `json:"causedByMessages"`
			ValidationResults []struct {
				Subject     string `json:"subject"`
				Explanation string `json:"explanation"`
			} `json:"validationResults"`
		} `json:"failureCause"`
	} `json:"operationState"`
}

// heartbeat translates a report. raw is the body it came in.
func (r *report) heartbeat(raw []byte, peer edge.Peer) *edge.Heartbeat {
	h := &edge.Heartbeat{Peer: peer, Raw: raw}
	if a := r.AgentInfo; a != nil {
		h.Agent, h.Class, h.ManifestHash = a.Identifier, a.AgentClass, a.AgentManifestHash
		if len(a.AgentManifest) > 0 && !bytes.Equal(a.AgentManifest, []byte("null")) {
			h.Manifest = a.AgentManifest
			h.Raw = withoutManifest(raw)
		}
	}
	if d := r.DeviceInfo; d != nil {
		h.Device = edge.Device{ID: d.Identifier, Hostname: d.NetworkInfo.Hostname, IP: d.NetworkInfo.IPAddress, OS: d.SystemInfo.OperatingSystem, Arch: d.SystemInfo.MachineArch}
		if h.Device.ID == "" {
			h.Device.ID = d.NetworkInfo.DeviceID
		}
	}
	if f := r.FlowInfo; f != nil {
		h.FlowID, h.RunStatus = f.FlowID, f.RunStatus
		if h.FlowID == "" {
			h.FlowID = f.VersionedURI.FlowID
		}
	}
	if res := r.ResourceInfo; res != nil && res.Hash != "null" { // what C++ says where it has none
		h.ResourceHash = res.Hash
	}
	return h
}

// withoutManifest is a report with null in the place of the manifest.
func withoutManifest(raw []byte) []byte {
	m := gjson.GetBytes(raw, "agentInfo.agentManifest")
	if m.Index <= 0 || m.Index+len(m.Raw) > len(raw) {
		return nil
	}
	out := make([]byte, 0, len(raw)-len(m.Raw)+4)
	out = append(out, raw[:m.Index]...)
	out = append(out, "null"...)
	return append(out, raw[m.Index+len(m.Raw):]...)
}

// details is all that an acknowledgement says of why.
func (a *acknowledgement) details() string {
	s := a.OperationState.Details
	f := a.OperationState.FailureCause
	if f == nil {
		return s
	}
	add := func(format string, args ...any) {
		if s != "" {
			s += "; "
		}
		s += fmt.Sprintf(format, args...)
	}
	if f.ExceptionMessage != "" {
		add("%s", f.ExceptionMessage)
	}
	for _, c := range f.CausedByMessages {
		add("caused by %s", c)
	}
	for _, v := range f.ValidationResults {
		add("%s %s", v.Subject, v.Explanation)
	}
	return s
}

// answer is what a heartbeat is answered with.
type answer struct {
	Requested []operation `json:"requestedOperations"`
}

type operation struct {
	Identifier string         `json:"identifier"`
	Operation  string         `json:"operation"`
	Operand    string         `json:"operand,omitempty"`
	Args       map[string]any `json:"args"`
}

// place makes the URLs that agents are sent.
type place struct {
	absolute string // {scheme}://{host}{context}/api
	agent    string
}

// operations translates what an agent is to do.
func (p place) operations(ops []edge.Operation) answer {
	out := answer{Requested: make([]operation, 0, len(ops))}
	for _, o := range ops {
		out.Requested = append(out.Requested, operation{o.ID, o.Operation, o.Operand, p.args(o.Operation, o.Operand, o.Args)})
	}
	return out
}

func (p place) args(op, operand string, args map[string]any) map[string]any {
	out := map[string]any{}
	for name, value := range args {
		switch v := value.(type) {
		case edge.Download:
			relative := protocolPath + "/" + v.Path + "?aid=" + queryEscape(p.agent)
			switch {
			case v.Flow:
				// C++ keeps neither flow nor id over a restart unless it is told to.
				out["location"], out["flowUrl"], out["relativeFlowUrl"], out["persist"] = p.absolute+relative, p.absolute+relative, relative, "true"
			case v.Target:
				out["target"], out["relativeTarget"] = p.absolute+relative, relative
			case op == "SYNC":
				out["url"] = relative
			default:
				out["url"], out["relativeUrl"] = p.absolute+relative, relative
			}
		case []map[string]any:
			list := make([]map[string]any, 0, len(v))
			for _, item := range v {
				list = append(list, p.args(op, operand, item))
			}
			out[name] = list
		default:
			out[name] = v
		}
	}
	return out
}
