package gateway

import (
	"context"
	"log/slog"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Plugin is one kind of plugin: its name, its place in the order, the description of its
// configuration, and how an instance is made. The list of kinds is given to New.
type Plugin struct {
	Name      string
	Version   string
	Priority  int              // higher runs first in every phase; Kong's numbers
	Config    *schema.Field    // a record
	Checks    []schema.Check   // over the whole plugin entity, as Kong's entity_checks
	NoScopes  []string         // of "route", "service", "consumer": scopes it refuses
	Protocols []string         // it can be configured for; nil: all that are served
	Entities  []*schema.Entity // credentials and the like that come with it

	// New makes an instance from a configuration that Config has accepted. The instance
	// implements those phase interfaces it needs, and Closer where it holds anything.
	New func(config schema.Record, env Env) (any, error)
}

// Env is what an instance is given besides its configuration.
type Env struct {
	ID        string // of the plugin entity
	Clock     clock.Clock
	Log       *slog.Logger
	Directory Directory
}

// Directory answers what plugins ask of the stored entities. Every answer is of the
// present state, not of the time the instance was made.
type Directory interface {
	// Consumer finds a consumer by id, or where that fails by username.
	Consumer(idOrName string) (*Consumer, bool)
	// ByUnique finds an entity of a collection by the value of a unique field.
	ByUnique(collection, field, value string) (schema.Record, bool)
}

// The phases. An instance implements the interfaces of those it acts in; what it does
// not implement costs nothing.
type (
	// Rewriter acts before routing; only global instances are asked.
	Rewriter interface{ Rewrite(x *Exchange) }
	// Accessor acts once the route is known, and may answer.
	Accessor interface{ Access(x *Exchange) }
	// HeaderFilter acts on the answer's status and headers, whoever gave it.
	HeaderFilter interface{ HeaderFilter(x *Exchange) }
	// BodyFilter sees the answer's body chunk by chunk and returns what takes the chunk's
	// place. last is true once, possibly with an empty chunk.
	BodyFilter interface {
		BodyFilter(x *Exchange, chunk []byte, last bool) []byte
	}
	// Logger acts after the answer has been written. It must not block.
	Logger interface{ Log(x *Exchange) }
	// Closer is closed when no exchange can use the instance any more.
	Closer interface {
		Close(ctx context.Context) error
	}
)
