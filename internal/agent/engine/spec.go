package engine

import "time"

// Flow is what an engine runs, flattened: funnels and ports are processors of their own kind.
type Flow struct {
	Threads     int // that work at one time; 10 if zero
	Processors  []ProcessorSpec
	Connections []Connection
	Services    []ServiceSpec
}

// ProcessorSpec is one processor of a flow.
type ProcessorSpec struct {
	ID, Name, Type, GroupID string
	Properties              map[string]string
	AutoTerminated          []string
	Cron                    string        // the schedule, or
	Period                  time.Duration // between two triggers; zero for whenever there is work
	Tasks                   int           // that run at one time
	Penalty, Yield          time.Duration
	Disabled                bool
}

// ServiceSpec is one controller service of a flow.
type ServiceSpec struct {
	ID, Name, Type string
	Properties     map[string]string
	Disabled       bool
}

// Connection is a way from relationships of a processor to another.
type Connection struct {
	ID, Name            string
	Source, Destination string
	Relationships       []string
	MaxCount, MaxBytes  int64 // from here on the source is held back; zero for never
	Expiration          time.Duration
	Prioritizers        []string // by the last part of their type
}

// Types of the components that the engine brings itself.
const (
	FunnelType = "org.apache.nifi.controller.StandardFunnel"
	PortType   = "org.apache.nifi.connectable.Port"
)
