package httplog

import (
	"bytes"
	"context"
	"net/url"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/batch"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/plugin/post"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Deps is what the kind needs from others.
type Deps struct {
	CompileLua record.Compile // nil: custom fields are refused
}

// New returns the kind.
func New(d Deps) gateway.Plugin {
	header := fields.HeaderName()
	valid := header.Check
	header.Check = func(v any) string {
		for _, name := range []string{"Host", "Content-Length", "Content-Type"} {
			if strings.EqualFold(v.(string), name) {
				return "cannot contain '" + name + "' header"
			}
		}
		return valid(v)
	}
	config := []*schema.Field{
		fields.URL("http_endpoint", schema.Required, func(f *schema.Field) { f.Encrypted = true }),
		fields.Choice("method", []string{"POST", "PUT", "PATCH"}, schema.Default("POST")),
		fields.Choice("content_type", []string{"application/json", "application/json; charset=utf-8"}, schema.Default("application/json")),
		fields.Millis("timeout", 10000), fields.Millis("keepalive", 60000),
		{Name: "headers", Kind: schema.Map, Keys: header, Values: &schema.Field{Kind: schema.String, Referenceable: true}},
		batch.Field(1), record.CustomFields(d.CompileLua),
	}
	return gateway.Plugin{
		Name: "http-log", Version: gateway.Version, Priority: 12, Streams: true,
		Config: &schema.Field{Fields: append(config, batch.Legacy("http-log")...), Checks: []schema.Check{{Custom: oneAuthorization}}},
		New:    func(config schema.Record, env gateway.Env) (any, error) { return newInstance(config, env, d) },
	}
}

func oneAuthorization(r schema.Record, bad func(field, msg string)) {
	u, err := url.Parse(fields.String(r, "http_endpoint"))
	if err != nil || u.User == nil {
		return
	}
	for name := range fields.Pairs(r, "headers") {
		if strings.EqualFold(name, "Authorization") {
			bad("", "specifying both an 'Authorization' header and user info in 'http_endpoint' is not allowed")
		}
	}
}

type instance struct {
	records *record.Serializer
	queue   *batch.Queue[[]byte]
	server  *post.Endpoint
}

func newInstance(config schema.Record, env gateway.Env, d Deps) (any, error) {
	records, err := record.NewSerializer(config, d.CompileLua, env.Log)
	if err != nil {
		return nil, err
	}
	server, err := post.New(post.Config{
		URL: fields.String(config, "http_endpoint"), Method: fields.String(config, "method"),
		ContentType: fields.String(config, "content_type"), Header: fields.Pairs(config, "headers"),
		Timeout: fields.Duration(config, "timeout"), Keepalive: fields.Duration(config, "keepalive"), Unverified: true,
	})
	if err != nil {
		return nil, err
	}
	c := batch.Of(config)
	send := func(ctx context.Context, entries [][]byte) error {
		if c.MaxBatchSize == 1 {
			return server.Send(ctx, entries[0])
		}
		return server.Send(ctx, append(append([]byte{'['}, bytes.Join(entries, []byte{','})...), ']'))
	}
	return &instance{records, batch.New(c, batch.Deps[[]byte]{Clock: env.Clock, Log: env.Log, Send: send,
		Size: func(b []byte) int { return len(b) }}), server}, nil
}

// Log implements gateway.Logger.
func (in *instance) Log(x *gateway.Exchange) { in.queue.Add(in.records.Clone(x)) }

// Close implements gateway.Closer.
func (in *instance) Close(ctx context.Context) error {
	defer in.server.Close()
	return in.queue.Close(ctx)
}
