package c2

import (
	"encoding/json"
	"fmt"

	"sluice.dev/sluice/internal/agent/manifest"
)

// The states of an operation.
const (
	fullyApplied     = "FULLY_APPLIED"
	partiallyApplied = "PARTIALLY_APPLIED"
	notApplied       = "NOT_APPLIED"
	noOperation      = "NO_OPERATION"
	notUnderstood    = "OPERATION_NOT_UNDERSTOOD"
)

type heartbeat struct {
	ID       string        `json:"identifier"`
	Created  int64         `json:"created"` // ms
	Device   *deviceInfo   `json:"deviceInfo"`
	Agent    *agentInfo    `json:"agentInfo"`
	Flow     *flowInfo     `json:"flowInfo"`
	Resource *resourceInfo `json:"resourceInfo"`
}

type deviceInfo struct {
	ID      string      `json:"identifier"`
	System  systemInfo  `json:"systemInfo"`
	Network networkInfo `json:"networkInfo"`
}

type systemInfo struct {
	Arch   string  `json:"machineArch"`
	OS     string  `json:"operatingSystem"`
	Memory int64   `json:"physicalMem,omitempty"`
	Cores  int     `json:"vCores"`
	Load   float64 `json:"cpuLoadAverage,omitempty"`
}

type networkInfo struct {
	Device   string `json:"deviceId,omitempty"`
	Hostname string `json:"hostname"`
	IP       string `json:"ipAddress,omitempty"`
}

type agentInfo struct {
	ID           string          `json:"identifier"`
	Class        string          `json:"agentClass"`
	ManifestHash string          `json:"agentManifestHash"`
	Manifest     json.RawMessage `json:"agentManifest,omitempty"`
	Status       *agentStatus    `json:"status"`
}

type agentStatus struct {
	Uptime       int64                     `json:"uptime"` // ms
	Repositories map[string]repositoryInfo `json:"repositories"`
	Components   map[string]componentInfo  `json:"components"`
	Resources    struct {
		Memory uint64  `json:"memoryUsage"`
		CPU    float64 `json:"cpuUtilization"` // -1 where it is not known
	} `json:"resourceConsumption"`
}

type repositoryInfo struct {
	Size        int64 `json:"size"`
	DataSize    int64 `json:"dataSize"`
	DataSizeMax int64 `json:"dataSizeMax"`
}

type componentInfo struct {
	Running bool `json:"running"`
}

type flowInfo struct {
	ID         string               `json:"flowId,omitempty"`
	RunStatus  string               `json:"runStatus"`
	Queues     map[string]queueInfo `json:"queues"`
	Bulletins  []bulletin           `json:"processorBulletins"`
	Processors []processorStatus    `json:"processorStatuses"`
}

type queueInfo struct {
	Size        int64  `json:"size"`
	SizeMax     int64  `json:"sizeMax"`
	DataSize    int64  `json:"dataSize"`
	DataSizeMax int64  `json:"dataSizeMax"`
	Name        string `json:"name,omitempty"`
}

type bulletin struct {
	ID         int64  `json:"id"`
	Timestamp  string `json:"timestamp"`
	Level      string `json:"level"`
	Category   string `json:"category"`
	Message    string `json:"message"`
	GroupID    string `json:"groupId,omitempty"`
	SourceID   string `json:"sourceId"`
	SourceName string `json:"sourceName"`
}

type processorStatus struct {
	ID           string `json:"id"`
	GroupID      string `json:"groupId"`
	BytesRead    int64  `json:"bytesRead"`
	BytesWritten int64  `json:"bytesWritten"`
	FilesIn      int64  `json:"flowFilesIn"`
	FilesOut     int64  `json:"flowFilesOut"`
	BytesIn      int64  `json:"bytesIn"`
	BytesOut     int64  `json:"bytesOut"`
	Invocations  int64  `json:"invocations"`
	Nanos        int64  `json:"processingNanos"`
	Active       int64  `json:"activeThreadCount"`
	Terminated   int64  `json:"terminatedThreadCount"`
	RunStatus    string `json:"runStatus"`
}

type resourceInfo struct {
	Hash string `json:"hash,omitempty"`
}

type answer struct {
	Operations []operation `json:"requestedOperations"`
}

type operation struct {
	ID        string                     `json:"identifier"`
	Operation string                     `json:"operation"`
	Operand   string                     `json:"operand"`
	Args      map[string]json.RawMessage `json:"args"`
}

// arg is an argument as text; a server may send numbers and booleans too.
func (o *operation) arg(names ...string) string {
	for _, name := range names {
		raw, ok := o.Args[name]
		if !ok || string(raw) == "null" {
			continue
		}
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return s
		}
		return string(raw)
	}
	return ""
}

type ack struct {
	OperationID string        `json:"operationId"`
	State       state         `json:"operationState"`
	Device      *deviceInfo   `json:"deviceInfo,omitempty"`
	Agent       *agentInfo    `json:"agentInfo,omitempty"`
	Flow        *flowInfo     `json:"flowInfo,omitempty"`
	Resource    *resourceInfo `json:"resourceInfo,omitempty"`
}

type state struct {
	State   string `json:"state"`
	Details string `json:"details,omitempty"`
}

// maxDetails bounds what an acknowledgement says.
const maxDetails = 4000

func stateOf(s, format string, args ...any) state {
	details := fmt.Sprintf(format, args...)
	return state{State: s, Details: details[:min(len(details), maxDetails)]}
}

// properties that UPDATE properties may set, with what they are without it.
const (
	propPeriod   = "c2.agent.heartbeat.period" // ms
	propFull     = "c2.full.heartbeat"
	propCompress = "c2.request.compression"
	propLevel    = "nifi.log.level"
)

type available struct {
	Name      string `json:"propertyName"`
	Value     string `json:"propertyValue"`
	Validator string `json:"validator"`
}

// Operations are what the client obeys.
func Operations() []manifest.Operation {
	none := func(operands ...string) map[string]map[string]any {
		out := map[string]map[string]any{}
		for _, o := range operands {
			out[o] = map[string]any{}
		}
		return out
	}
	update := none("configuration", "asset")
	update["properties"] = map[string]any{"availableProperties": []available{
		{propPeriod, "5000", "LONG_VALIDATOR"}, {propFull, "false", "BOOLEAN_VALIDATOR"},
		{propCompress, "gzip", "VALID"}, {propLevel, "INFO", "VALID"},
	}}
	sync := map[string]map[string]any{"resource": {"allowedResourceTypes": []string{"ASSET"}}}
	return []manifest.Operation{
		{Type: "CLEAR", Properties: none("connection")}, {Type: "DESCRIBE", Properties: none("manifest")},
		{Type: "PAUSE", Properties: none("flow")}, {Type: "RESTART", Properties: none("agent")}, {Type: "RESUME", Properties: none("flow")},
		{Type: "START", Properties: none("flow", "processor")}, {Type: "STOP", Properties: none("flow", "processor")},
		{Type: "SYNC", Properties: sync}, {Type: "TRANSFER", Properties: none("debug")}, {Type: "UPDATE", Properties: update},
	}
}
