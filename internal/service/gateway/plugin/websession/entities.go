package websession

import (
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Collection holds the data of stored sessions, and of others the ids of those that were
// ended. A kind of plugin has to bring Entities.
const Collection = "sessions"

// Entities are the collections of sessions.
func Entities() []*schema.Entity {
	id, created, _, _ := gateway.Shared()
	return []*schema.Entity{
		{
			Name: Collection, EndpointKey: "session_id", Expires: true,
			Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
				id, {Name: "session_id", Kind: schema.String, Required: true, Unique: true, Secret: true},
				{Name: "expires", Kind: schema.Integer}, {Name: "data", Kind: schema.String}, created,
			}},
		},
	}
}
