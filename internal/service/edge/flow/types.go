package flow

import (
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// The reasons of this package.
var (
	Invalid          = &fault.Reason{Kind: fault.Invalid, Name: "InvalidFlow"}
	NoSuchComponent  = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchComponent"}
	ComponentExists  = &fault.Reason{Kind: fault.Exists, Name: "ComponentExists"}
	WrongRevision    = &fault.Reason{Kind: fault.Conflict, Name: "WrongRevision"}
	InUse            = &fault.Reason{Kind: fault.Conflict, Name: "ComponentInUse"}
	MissingParameter = &fault.Reason{Kind: fault.Conflict, Name: "MissingParameter"}
	Unsupported      = &fault.Reason{Kind: fault.Unsupported, Name: "NotExpressible"}
)

// Kind is what a component is, as NiFi names it.
type Kind string

// The kinds of components, and of what connections may lead to beside them.
const (
	KindProcessor  Kind = "PROCESSOR"
	KindConnection Kind = "CONNECTION"
	KindService    Kind = "CONTROLLER_SERVICE"
	KindFunnel     Kind = "FUNNEL"
	KindInput      Kind = "INPUT_PORT"
	KindOutput     Kind = "OUTPUT_PORT"
	KindGroup      Kind = "PROCESS_GROUP"
	KindRemote     Kind = "REMOTE_PROCESS_GROUP"
	KindContext    Kind = "PARAMETER_CONTEXT"

	KindRemoteInput  Kind = "REMOTE_INPUT_PORT"
	KindRemoteOutput Kind = "REMOTE_OUTPUT_PORT"
)

// Flow is what the agents of a class run.
type Flow struct {
	ID       string              `json:"identifier"`
	Class    string              `json:"agentClass,omitempty"`
	Threads  int                 `json:"maxTimerDrivenThreadCount"` // of a Java agent's engine
	Contexts []*ParameterContext `json:"parameterContexts,omitempty"`
	Root     *Group              `json:"rootGroup"`
}

// Component is a part of a flow that is changed by itself: *Processor, *Connection,
// *ControllerService, *Funnel, *Port, *RemoteGroup, *Group or *ParameterContext.
type Component interface {
	Kind() Kind
	Meta() *Head
	clone() Component
}

// Head is what all components have.
type Head struct {
	ID       string   `json:"identifier"`
	Name     string   `json:"name,omitempty"`
	Comments string   `json:"comments,omitempty"`
	Position Position `json:"position,omitzero"`
	Revision Revision `json:"revision,omitzero"`
}

// Position is a place on the canvas.
type Position struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Revision counts a component's changes. A new component has version 1.
type Revision struct {
	Version  int64  `json:"version"`
	ClientID string `json:"clientId,omitempty"` // whose the last change was
}

// Bundle names what a type comes from; empty where there is no choice.
type Bundle struct {
	Group    string `json:"group"`
	Artifact string `json:"artifact"`
	Version  string `json:"version"`
}

func (b Bundle) coordinates() manifest.Coordinates { return manifest.Coordinates(b) }

// Processor makes, changes or takes flow files. Durations are texts such as 30 sec.
type Processor struct {
	Head
	Type           string            `json:"type"`
	Bundle         Bundle            `json:"bundle,omitzero"`
	Properties     map[string]string `json:"properties,omitempty"`
	Strategy       string            `json:"schedulingStrategy"` // TIMER_DRIVEN, CRON_DRIVEN or EVENT_DRIVEN
	Period         string            `json:"schedulingPeriod"`
	Tasks          int               `json:"concurrentlySchedulableTaskCount"`
	Penalty        string            `json:"penaltyDuration"`
	Yield          string            `json:"yieldDuration"`
	Bulletins      string            `json:"bulletinLevel"`
	RunMillis      int64             `json:"runDurationMillis,omitempty"`
	AutoTerminated []string          `json:"autoTerminatedRelationships,omitempty"`
	Retry          *Retry            `json:"retry,omitempty"`
	Annotation     string            `json:"annotationData,omitempty"`
	Disabled       bool              `json:"disabled,omitempty"`
}

// Retry is how flow files are tried again before they go to one of the relationships. Only
// Java agents do so.
type Retry struct {
	Count         int      `json:"retryCount"`
	Relationships []string `json:"retriedRelationships,omitempty"`
	Backoff       string   `json:"backoffMechanism"` // PENALIZE_FLOWFILE or YIELD_PROCESSOR
	MaxBackoff    string   `json:"maxBackoffPeriod"`
}

// Connection is a queue from a component to another or itself.
type Connection struct {
	Head
	Source        End        `json:"source"`
	Destination   End        `json:"destination"`
	Relationships []string   `json:"selectedRelationships,omitempty"` // of a source that is a processor
	MaxObjects    int64      `json:"backPressureObjectThreshold"`     // 0 for no limit
	MaxSize       string     `json:"backPressureDataSizeThreshold"`   // such as 1 GB; 0 B for no limit
	Expiration    string     `json:"flowFileExpiration"`              // 0 sec for never
	Prioritizers  []string   `json:"prioritizers,omitempty"`          // in order; Java agents alone
	Bends         []Position `json:"bends,omitempty"`
}

// End is what a connection comes from or leads to. Only ID need be given: this package fills
// in the others.
type End struct {
	ID    string `json:"id"`
	Type  Kind   `json:"type,omitempty"`
	Group string `json:"groupId,omitempty"` // the group, or the remote group, that has it
}

// ControllerService is what processors and other services share, such as a TLS context.
type ControllerService struct {
	Head
	Type       string            `json:"type"`
	Bundle     Bundle            `json:"bundle,omitzero"`
	Properties map[string]string `json:"properties,omitempty"`
	Bulletins  string            `json:"bulletinLevel,omitempty"`
	Annotation string            `json:"annotationData,omitempty"`
	Disabled   bool              `json:"disabled,omitempty"`
}

// Funnel brings connections together.
type Funnel struct{ Head }

// Port lets flow files into a group or out of it.
type Port struct {
	Head
	Type   Kind `json:"type"` // KindInput or KindOutput
	Tasks  int  `json:"concurrentlySchedulableTaskCount"`
	Remote bool `json:"allowRemoteAccess,omitempty"`
}

// RemoteGroup is a NiFi elsewhere that site-to-site reaches.
type RemoteGroup struct {
	Head
	Targets       string        `json:"targetUris"` // separated by commas
	Timeout       string        `json:"communicationsTimeout"`
	Yield         string        `json:"yieldDuration"`
	Transport     string        `json:"transportProtocol"` // RAW or HTTP
	Interface     string        `json:"localNetworkInterface,omitempty"`
	ProxyHost     string        `json:"proxyHost,omitempty"`
	ProxyPort     int           `json:"proxyPort,omitempty"`
	ProxyUser     string        `json:"proxyUser,omitempty"`
	ProxyPassword string        `json:"proxyPassword,omitempty"`
	Inputs        []*RemotePort `json:"inputPorts,omitempty"`  // what goes there
	Outputs       []*RemotePort `json:"outputPorts,omitempty"` // what comes from there
}

// RemotePort is a port of the NiFi elsewhere.
type RemotePort struct {
	ID            string `json:"identifier"`
	Name          string `json:"name"`
	Comments      string `json:"comments,omitempty"`
	TargetID      string `json:"targetId,omitempty"` // its id there; empty where that is ID
	Tasks         int    `json:"concurrentlySchedulableTaskCount"`
	Compression   bool   `json:"useCompression,omitempty"`
	BatchCount    int    `json:"batchCount,omitempty"`
	BatchSize     string `json:"batchSize,omitempty"`
	BatchDuration string `json:"batchDuration,omitempty"`
	Stopped       bool   `json:"stopped,omitempty"`
}

// Group holds components. As the component of a Change it stands for its own settings alone.
type Group struct {
	Head
	Context     string `json:"parameterContextName,omitempty"`   // empty for the parent's
	Concurrency string `json:"flowFileConcurrency,omitempty"`    // of a Java agent; UNBOUNDED unless said
	Outbound    string `json:"flowFileOutboundPolicy,omitempty"` // of a Java agent; STREAM_WHEN_AVAILABLE unless said

	Processors  []*Processor         `json:"processors,omitempty"`
	Services    []*ControllerService `json:"controllerServices,omitempty"`
	Inputs      []*Port              `json:"inputPorts,omitempty"`
	Outputs     []*Port              `json:"outputPorts,omitempty"`
	Funnels     []*Funnel            `json:"funnels,omitempty"`
	Remotes     []*RemoteGroup       `json:"remoteProcessGroups,omitempty"`
	Groups      []*Group             `json:"processGroups,omitempty"`
	Connections []*Connection        `json:"connections,omitempty"`
}

// ParameterContext is a set of parameters that groups use by its name.
type ParameterContext struct {
	Head
	Inherits   []string    `json:"inheritedParameterContexts,omitempty"` // names; the first wins
	Parameters []Parameter `json:"parameters,omitempty"`
}

// Parameter is a named value.
type Parameter struct {
	Name        string  `json:"name"`
	Description string  `json:"description,omitempty"`
	Sensitive   bool    `json:"sensitive,omitempty"`
	Value       *string `json:"value,omitempty"` // nil where it has none yet
}

// Kind returns what the component is.
func (*Processor) Kind() Kind         { return KindProcessor }
func (*Connection) Kind() Kind        { return KindConnection }
func (*ControllerService) Kind() Kind { return KindService }
func (*Funnel) Kind() Kind            { return KindFunnel }
func (p *Port) Kind() Kind            { return p.Type }
func (*RemoteGroup) Kind() Kind       { return KindRemote }
func (*Group) Kind() Kind             { return KindGroup }
func (*ParameterContext) Kind() Kind  { return KindContext }

// Meta returns what the component has in common with others. It is not to be changed.
func (h *Head) Meta() *Head { return h }
