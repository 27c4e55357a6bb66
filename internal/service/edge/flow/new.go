package flow

import (
	"cmp"
	"strconv"

	"sluice.dev/sluice/internal/service/edge/manifest"
)

// NewProcessor returns a processor of a type, with the settings that the manifest has for
// new ones, and without properties: what a property is where it is not set, the agent knows.
func NewProcessor(m *manifest.Manifest, c *manifest.Component, id string) *Processor {
	s := m.Scheduling
	strategy := cmp.Or(c.Defaults.Strategy, s.Strategy, defaultStrategy)
	return &Processor{
		Head: Head{ID: id}, Type: c.Type, Bundle: Bundle(c.Bundle.Coordinates), Strategy: strategy,
		Period:    cmp.Or(c.Defaults.Period[strategy], millis(s.PeriodMillis), "0 sec"),
		Tasks:     max(cmp.Or(c.Defaults.Tasks[strategy], s.MaxConcurrentTasks), 1),
		Penalty:   cmp.Or(c.Defaults.Penalty, millis(s.PenaltyMillis), defaultPenalty),
		Yield:     cmp.Or(c.Defaults.Yield, millis(s.YieldMillis), defaultYield),
		Bulletins: cmp.Or(c.Defaults.Bulletins, defaultBulletins),
		RunMillis: s.RunDurationNanos / 1_000_000,
	}
}

// NewConnection returns a connection with the limits that NiFi has for new ones.
func NewConnection(id, source, destination string, relationships ...string) *Connection {
	return &Connection{
		Head: Head{ID: id}, Source: End{ID: source}, Destination: End{ID: destination}, Relationships: relationships,
		MaxObjects: defaultMaxObjects, MaxSize: defaultMaxSize, Expiration: defaultExpiration,
	}
}

// NewService returns a controller service of a type.
func NewService(c *manifest.Component, id, name string) *ControllerService {
	return &ControllerService{Head: Head{ID: id, Name: name}, Type: c.Type, Bundle: Bundle(c.Bundle.Coordinates), Bulletins: defaultBulletins}
}

// millis writes a duration; empty for none.
func millis(n int64) string {
	switch {
	case n == 0:
		return ""
	case n%1000 == 0:
		return strconv.FormatInt(n/1000, 10) + " sec"
	}
	return strconv.FormatInt(n, 10) + " ms"
}
