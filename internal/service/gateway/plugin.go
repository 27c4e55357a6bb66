package gateway

import (
	"context"
	"crypto/x509"
	"iter"
	"log/slog"
	"net/url"

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
	Protocols []string         // it can be configured for; nil: those of HTTP
	Streams   bool             // it can be configured for those of streams too, where they are asked for
	Entities  []*schema.Entity // credentials and the like that come with it
	Admin     []AdminEndpoint  // paths it adds to the Admin API

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
	Records   Records
}

// Directory answers what plugins ask of the stored entities. Every answer is of the
// present state, not of the time the instance was made. Records whose ttl has passed are
// not found. A record is shared: it must not be changed.
type Directory interface {
	// Consumer finds a consumer by id, or where that fails by username.
	Consumer(idOrName string) (*Consumer, bool)
	// ByID finds an entity of a collection.
	ByID(collection, id string) (schema.Record, bool)
	// ByUnique finds an entity of a collection by the value of a unique field.
	ByUnique(collection, field, value string) (schema.Record, bool)
	// ByTogether finds an entity by the fields that are unique together in its collection;
	// a field that is left out is null.
	ByTogether(collection string, fields schema.Record) (schema.Record, bool)
	// Authorities returns the uploaded certificates of authorities.
	Authorities() *Authorities
	// Leaves returns the certificates, without keys, of a certificates entity; none where
	// there is no such entity.
	Leaves(certificate string) []*x509.Certificate
	// Each walks all entities of a collection in order of their ids.
	Each(collection string) iter.Seq[schema.Record]
	// Secret reads what a reference to a vault points at. Errors never tell a secret.
	Secret(reference string) (string, error)
	// Children walks the entities of a collection whose foreign field points at id, in
	// order of their own ids: the groups of a consumer, the keys of a key set.
	Children(collection, field, id string) iter.Seq[schema.Record]
}

// Records lets a plugin keep entities of the collections it brings: tokens, sessions. They
// are validated as the Admin API's are, and count at once.
type Records interface {
	Create(ctx context.Context, collection string, r schema.Record) (schema.Record, error)
	// Update lays patch over the record under id.
	Update(ctx context.Context, collection, id string, patch schema.Record) (schema.Record, error)
	// Edit replaces the record under id, a UUID, by what change makes of it, in one
	// transaction; change is given nil where there is none, and returns nil to leave all as
	// it is. It may be called more than once.
	Edit(ctx context.Context, collection, id string, change func(old schema.Record) schema.Record) error
	// Delete reports whether there was a record.
	Delete(ctx context.Context, collection, id string) (existed bool, err error)
}

// The phases. An instance implements the interfaces of those it acts in; what it does
// not implement costs nothing.
type (
	// Prereader acts on a connection or a UDP session once its route is known and before an
	// upstream is connected. It may refuse it by Respond or Fail, which close it.
	Prereader interface{ Preread(x *Exchange) }
	// Rewriter acts before routing; only global instances are asked.
	Rewriter interface{ Rewrite(x *Exchange) }
	// Accessor acts once the route is known, and may answer.
	Accessor interface{ Access(x *Exchange) }
	// Responder acts on an upstream's answer as a whole: where a chain has one, the answer
	// is read to its end before any of it goes to the client. It may change the status, the
	// header and the body, which is Response.Body, or answer in the upstream's place by
	// Respond. Header and body filters run afterwards.
	Responder interface{ Response(x *Exchange) }
	// HeaderFilter acts on the answer's status and headers, whoever gave it.
	HeaderFilter interface{ HeaderFilter(x *Exchange) }
	// BodyFilter sees the answer's body chunk by chunk and returns what takes the chunk's
	// place. last is true once, possibly with an empty chunk.
	BodyFilter interface {
		BodyFilter(x *Exchange, chunk []byte, last bool) []byte
	}
	// Logger acts after the answer has been written. It must not block.
	Logger interface{ Log(x *Exchange) }
	// Composite is an instance whose phases follow from its configuration: what it returns
	// takes part as if it were instances of its own. Parts are made once.
	Composite interface{ Parts() []any }
	// Closer is closed when no exchange can use the instance any more.
	Closer interface {
		Close(ctx context.Context) error
	}
)

// AdminEndpoint is a path that a kind of plugin adds to the Admin API.
type AdminEndpoint struct {
	Path    string // "/proxy-cache/{key}": a segment in braces stands for any one segment
	Methods map[string]func(AdminRequest) AdminAnswer
}

// AdminRequest is a call of an AdminEndpoint.
type AdminRequest struct {
	Context context.Context
	Params  map[string]string // what the segments in braces stood for
	Query   url.Values
	Body    schema.Record // of a POST, PUT or PATCH; a form's values are strings
}

// AdminAnswer is what the client is told: Body as JSON, or Text as it is, or nothing.
type AdminAnswer struct {
	Status      int
	Body        any
	Text        []byte
	ContentType string // of Text
}
