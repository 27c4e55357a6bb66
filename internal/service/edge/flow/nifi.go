package flow

// What stands in a NiFi flow.json, and in NiFi's snapshots of versioned flows. Members with
// a pointer have a default where they are missing.

type nifiFlow struct {
	Encoding   nifiVersion   `json:"encodingVersion"`
	Threads    int           `json:"maxTimerDrivenThreadCount"`
	Registries []any         `json:"registries"`
	Contexts   []nifiContext `json:"parameterContexts"`
	Providers  []any         `json:"parameterProviders"`
	Services   []any         `json:"controllerServices"`
	Reporting  []any         `json:"reportingTasks"`
	Templates  []any         `json:"templates"`
	Root       *nifiGroup    `json:"rootGroup"`
}

type nifiVersion struct {
	Major int `json:"majorVersion"`
	Minor int `json:"minorVersion"`
}

// nifiSnapshot is what NiFi exports of a group.
type nifiSnapshot struct {
	Contents *nifiGroup             `json:"flowContents"`
	Contexts map[string]nifiContext `json:"parameterContexts"`
	External map[string]any         `json:"externalControllerServices"`
}

type nifiHead struct {
	ID       string   `json:"identifier"`
	Instance string   `json:"instanceIdentifier,omitempty"`
	Name     string   `json:"name"`
	Comments string   `json:"comments"`
	Position Position `json:"position"`
}

type nifiTail struct {
	Component Kind   `json:"componentType"`
	Group     string `json:"groupIdentifier,omitempty"`
}

type nifiContext struct {
	ID          string          `json:"identifier"`
	Instance    string          `json:"instanceIdentifier,omitempty"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  []nifiParameter `json:"parameters"`
	Inherits    []string        `json:"inheritedParameterContexts"`
	Component   Kind            `json:"componentType"`
}

type nifiParameter struct {
	Name        string  `json:"name"`
	Description string  `json:"description"`
	Sensitive   bool    `json:"sensitive"`
	Provided    bool    `json:"provided"`
	Value       *string `json:"value"`
}

type nifiGroup struct {
	nifiHead
	Groups      []nifiGroup      `json:"processGroups"`
	Remotes     []nifiRemote     `json:"remoteProcessGroups"`
	Processors  []nifiProcessor  `json:"processors"`
	Inputs      []nifiPort       `json:"inputPorts"`
	Outputs     []nifiPort       `json:"outputPorts"`
	Connections []nifiConnection `json:"connections"`
	Labels      []any            `json:"labels"`
	Funnels     []nifiFunnel     `json:"funnels"`
	Services    []nifiService    `json:"controllerServices"`
	Variables   map[string]any   `json:"variables"`
	Context     string           `json:"parameterContextName,omitempty"`
	Expiration  string           `json:"defaultFlowFileExpiration"`
	MaxObjects  int64            `json:"defaultBackPressureObjectThreshold"`
	MaxSize     string           `json:"defaultBackPressureDataSizeThreshold"`
	Concurrency string           `json:"flowFileConcurrency"`
	Outbound    string           `json:"flowFileOutboundPolicy"`
	nifiTail
}

type nifiProcessor struct {
	nifiHead
	Type           string             `json:"type"`
	Bundle         *Bundle            `json:"bundle,omitempty"`
	Properties     map[string]*string `json:"properties"`
	Descriptors    map[string]any     `json:"propertyDescriptors"` // always empty in a flow.json
	Style          map[string]any     `json:"style"`
	Annotation     string             `json:"annotationData,omitempty"`
	Period         *string            `json:"schedulingPeriod"`
	Strategy       *string            `json:"schedulingStrategy"`
	Node           string             `json:"executionNode"`
	Penalty        *string            `json:"penaltyDuration"`
	Yield          *string            `json:"yieldDuration"`
	Bulletins      *string            `json:"bulletinLevel"`
	RunMillis      int64              `json:"runDurationMillis"`
	Tasks          *int               `json:"concurrentlySchedulableTaskCount"`
	AutoTerminated []string           `json:"autoTerminatedRelationships"`
	State          string             `json:"scheduledState"`
	RetryCount     *int               `json:"retryCount"`
	Retried        []string           `json:"retriedRelationships"`
	Backoff        *string            `json:"backoffMechanism"`
	MaxBackoff     *string            `json:"maxBackoffPeriod"`
	nifiTail
}

type nifiService struct {
	nifiHead
	Type        string             `json:"type"`
	Bundle      *Bundle            `json:"bundle,omitempty"`
	Properties  map[string]*string `json:"properties"`
	Descriptors map[string]any     `json:"propertyDescriptors"` // always empty in a flow.json
	APIs        []nifiAPI          `json:"controllerServiceApis"`
	Annotation  string             `json:"annotationData,omitempty"`
	State       string             `json:"scheduledState"`
	Bulletins   *string            `json:"bulletinLevel"`
	nifiTail
}

type nifiAPI struct {
	Type   string `json:"type"`
	Bundle Bundle `json:"bundle"`
}

type nifiPort struct {
	nifiHead
	Type   Kind   `json:"type"`
	Tasks  *int   `json:"concurrentlySchedulableTaskCount"`
	State  string `json:"scheduledState"`
	Remote bool   `json:"allowRemoteAccess"`
	nifiTail
}

type nifiFunnel struct {
	nifiHead
	nifiTail
}

type nifiConnection struct {
	nifiHead
	Source        nifiEnd    `json:"source"`
	Destination   nifiEnd    `json:"destination"`
	Label         int        `json:"labelIndex"`
	Z             int        `json:"zIndex"`
	Relationships []string   `json:"selectedRelationships"`
	MaxObjects    *int64     `json:"backPressureObjectThreshold"`
	MaxSize       *string    `json:"backPressureDataSizeThreshold"`
	Expiration    *string    `json:"flowFileExpiration"`
	Prioritizers  []string   `json:"prioritizers"`
	Bends         []Position `json:"bends"`
	Balance       string     `json:"loadBalanceStrategy"`
	Compression   string     `json:"loadBalanceCompression"`
	nifiTail
}

type nifiEnd struct {
	ID       string `json:"id"`
	Type     Kind   `json:"type"`
	Group    string `json:"groupId"`
	Name     string `json:"name"`
	Comments string `json:"comments"`
	Instance string `json:"instanceIdentifier,omitempty"`
}

type nifiRemote struct {
	nifiHead
	Target        string           `json:"targetUri,omitempty"` // before targetUris
	Targets       string           `json:"targetUris"`
	Timeout       *string          `json:"communicationsTimeout"`
	Yield         *string          `json:"yieldDuration"`
	Transport     *string          `json:"transportProtocol"`
	Interface     string           `json:"localNetworkInterface,omitempty"`
	ProxyHost     string           `json:"proxyHost,omitempty"`
	ProxyPort     int              `json:"proxyPort,omitempty"`
	ProxyUser     string           `json:"proxyUser,omitempty"`
	ProxyPassword string           `json:"proxyPassword,omitempty"`
	Inputs        []nifiRemotePort `json:"inputPorts"`
	Outputs       []nifiRemotePort `json:"outputPorts"`
	nifiTail
}

type nifiRemotePort struct {
	ID          string     `json:"identifier"`
	Instance    string     `json:"instanceIdentifier,omitempty"`
	Name        string     `json:"name"`
	Comments    string     `json:"comments"`
	RemoteGroup string     `json:"remoteGroupId"`
	Tasks       *int       `json:"concurrentlySchedulableTaskCount"`
	Compression bool       `json:"useCompression"`
	Batch       *nifiBatch `json:"batchSize,omitempty"`
	nifiTail
	Target string `json:"targetId"`
	State  string `json:"scheduledState"`
}

type nifiBatch struct {
	Count    int    `json:"count,omitempty"`
	Size     string `json:"size,omitempty"`
	Duration string `json:"duration,omitempty"`
}

// What agents take where a flow says nothing.
const (
	defaultStrategy   = "TIMER_DRIVEN"
	defaultPenalty    = "30 sec"
	defaultYield      = "1 sec"
	defaultBulletins  = "WARN"
	defaultExpiration = "0 sec"
	defaultMaxObjects = 10_000
	defaultMaxSize    = "1 GB"
	defaultBackoff    = "PENALIZE_FLOWFILE"
	defaultMaxBackoff = "10 mins"
	defaultRetries    = 10
	defaultTimeout    = "30 sec"
	defaultTransport  = "RAW"
	unbounded         = "UNBOUNDED"
	whenAvailable     = "STREAM_WHEN_AVAILABLE"
)

// or returns what a pointer points to, or the default.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
