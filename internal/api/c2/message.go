package c2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"sluice.dev/sluice/internal/service/edge"
)

// report is what heartbeats and acknowledgements say of an agent.
type report struct {
	Created    json.RawMessage `json:"created"`
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
	Identifier     string `json:"identifier"` // C++ repeats the operation's; others name the agent
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
	h := &edge.Heartbeat{Peer: peer, Raw: bytes.ToValidUTF8(raw, []byte("\ufffd"))}
	h.Created, _ = strconv.ParseInt(string(r.Created), 10, 64) // what is no time does not count
	if a := r.AgentInfo; a != nil {
		h.Agent, h.Class, h.ManifestHash = a.Identifier, a.AgentClass, a.AgentManifestHash
		if len(a.AgentManifest) > 0 && !bytes.Equal(a.AgentManifest, []byte("null")) {
			h.Manifest = a.AgentManifest
			h.Raw = withoutManifest(h.Raw)
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

// result translates an acknowledgement.
func (a *acknowledgement) result(peer edge.Peer) *edge.Result {
	res := &edge.Result{Operation: a.OperationID, State: strings.ToUpper(a.OperationState.State), Details: a.details(), Peer: peer}
	if a.Identifier != a.OperationID {
		res.Agent = a.Identifier
	}
	if a.AgentInfo != nil {
		if res.Agent == "" {
			res.Agent = a.AgentInfo.Identifier
		}
		res.Report = a.heartbeat(nil, peer)
		if res.Report.Agent == "" {
			res.Report.Agent = res.Agent
		}
	}
	if res.Agent == "" {
		res.Agent = peer.Agent
	}
	return res
}

// read are the members that are read of a message's objects, by the objects' paths. Readers
// differ in which of two of the same name they take.
var read = map[string][]string{
	"":                                  {"created", "deviceInfo", "agentInfo", "flowInfo", "resourceInfo", "operationId", "identifier", "operationState", "token", "csr"},
	"deviceInfo":                        {"identifier", "systemInfo", "networkInfo"},
	"deviceInfo.systemInfo":             {"machineArch", "operatingSystem"},
	"deviceInfo.networkInfo":            {"deviceId", "hostname", "ipAddress"},
	"agentInfo":                         {"identifier", "agentClass", "agentManifestHash", "agentManifest"},
	"flowInfo":                          {"flowId", "runStatus", "versionedFlowSnapshotURI"},
	"flowInfo.versionedFlowSnapshotURI": {"flowId"},
	"resourceInfo":                      {"hash"},
	"operationState":                    {"state", "details", "failureCause"},
}

// twice returns the path of a member that is read and there more than once, in whatever
// letters; "" if there is none.
func twice(object gjson.Result, path string) (found string) {
	names := read[path]
	if names == nil || !object.IsObject() {
		return ""
	}
	var seen uint
	object.ForEach(func(key, value gjson.Result) bool {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, key.Str) })
		if i < 0 {
			return true
		}
		at := strings.TrimPrefix(path+"."+names[i], ".")
		if seen&(1<<i) != 0 {
			found = at
		} else {
			seen |= 1 << i
			found = twice(value, at)
		}
		return found == ""
	})
	return found
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
