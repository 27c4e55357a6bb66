package quota

import (
	"fmt"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// PolicyField says where the counts are.
func PolicyField() *schema.Field {
	return &schema.Field{Name: "policy", Kind: schema.String, Default: "local", OneOf: []any{"local", "cluster", "redis"},
		Description: "Where requests are counted: on each node, in the control store, or in Redis."}
}

// PolicyCheck is what a plugin entity with PolicyField and redisserver.Field has to fulfil.
var PolicyCheck = schema.Check{Custom: func(r schema.Record, bad func(field, msg string)) {
	if schema.At(r, "config.policy") == "redis" && schema.Empty(schema.At(r, "config.redis.host")) {
		bad("", "must set one of 'config.redis.host', 'config.redis_host' when 'policy' is 'redis'")
	}
}}

// New returns the counter that a configuration asks for; local is for all that count on
// this node alone.
func New(config schema.Record, env gateway.Env, local *Local) Counter {
	switch config["policy"] {
	case "cluster":
		return NewCluster(env.Records, env.Clock)
	case "redis":
		server, _ := config["redis"].(schema.Record)
		return NewRedis(server)
	}
	return local
}

// Ascending refuses a limit for a longer period that is lower than one for a shorter.
func Ascending(r schema.Record, bad func(field, msg string)) {
	for short := range Periods {
		v1, ok1 := r[Names[short]].(float64)
		for long := short + 1; long < Periods && ok1; long++ {
			if v2, ok2 := r[Names[long]].(float64); ok2 && v2 < v1 {
				bad("", fmt.Sprintf("The limit for %s(%.1f) cannot be lower than the limit for %s(%.1f)", Names[long], v2, Names[short], v1))
				return
			}
		}
	}
}
