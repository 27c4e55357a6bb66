package acme

import (
	"cmp"
	"context"
	"time"

	"github.com/redis/rueidis"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/redisserver"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// redisField describes the storage redis.
func redisField() *schema.Field {
	f := redisserver.Field("The Redis server of the storage redis.")
	former := func(name string, kind schema.Kind, path string, least *int) schema.Shorthand {
		return schema.Shorthand{Name: name, Kind: kind, LenMin: least, Path: path, Replaced: true, Shown: true,
			Deprecated: "acme: config.storage_config.redis." + name + " is deprecated, please use config.storage_config.redis." + path + " instead"}
	}
	f.Shorthands = []schema.Shorthand{
		former("auth", schema.String, "password", schema.Ptr(0)), former("ssl_server_name", schema.String, "server_name", nil),
		former("namespace", schema.String, "extra_options.namespace", schema.Ptr(0)), former("scan_count", schema.Integer, "extra_options.scan_count", nil),
	}
	f.Fields = append(f.Fields, &schema.Field{Name: "extra_options", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
		{Name: "namespace", Kind: schema.String, Required: true, Default: "", LenMin: schema.Ptr(0), Description: "Put before all keys, with two colons."},
		{Name: "scan_count", Kind: schema.Number, Default: 10, Description: "Without effect: keys are never listed."},
	}})
	return f
}

// redis is the storage of that name.
type redis struct {
	server *redisserver.Server
	prefix string
}

func newRedis(c schema.Record) *redis {
	with := schema.Record{}
	for name, v := range c {
		with[name] = v
	}
	with["host"] = cmp.Or(fields.String(c, "host"), "127.0.0.1")
	r := &redis{server: redisserver.New(with)}
	extra, _ := c["extra_options"].(schema.Record)
	if ns := fields.String(extra, "namespace"); ns != "" {
		r.prefix = ns + "::"
	}
	return r
}

func (r *redis) close() { r.server.Close() }

// do sends one command.
func (r *redis) do(ctx context.Context, command func(b rueidis.Builder) rueidis.Completed) (rueidis.RedisResult, error) {
	client, err := r.server.Client()
	if err != nil {
		return rueidis.RedisResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.server.Timeout)
	defer cancel()
	res := client.Do(ctx, command(client.B()))
	return res, res.Error()
}

func (r *redis) get(ctx context.Context, key string) (string, bool, error) {
	res, err := r.do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Get().Key(r.prefix + key).Build() })
	if rueidis.IsRedisNil(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	v, err := res.ToString()
	return v, err == nil, err
}

func (r *redis) set(ctx context.Context, key, value string, ttl time.Duration) error {
	_, err := r.do(ctx, func(b rueidis.Builder) rueidis.Completed {
		set := b.Set().Key(r.prefix + key).Value(value)
		if ttl > 0 {
			return set.Px(ttl).Build()
		}
		return set.Build()
	})
	return err
}

func (r *redis) add(ctx context.Context, key, value string, ttl time.Duration) (bool, error) {
	_, err := r.do(ctx, func(b rueidis.Builder) rueidis.Completed {
		set := b.Set().Key(r.prefix + key).Value(value).Nx()
		if ttl > 0 {
			return set.Px(ttl).Build()
		}
		return set.Build()
	})
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	return err == nil, err
}

func (r *redis) remove(ctx context.Context, key string) error {
	_, err := r.do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Del().Key(r.prefix + key).Build() })
	return err
}
