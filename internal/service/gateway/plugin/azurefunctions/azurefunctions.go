package azurefunctions

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/callout"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// The largest body of a request and of an answer.
const maxBody = 8 << 20

// New returns the kind.
func New() gateway.Plugin {
	text := func(name string, edits ...func(*schema.Field)) *schema.Field {
		return schema.Field{Kind: schema.String}.With(name, edits...)
	}
	secret := func(f *schema.Field) { f.Encrypted, f.Referenceable = true, true }
	return gateway.Plugin{
		Name: "azure-functions", Version: gateway.Version, Priority: 749,
		Config: &schema.Field{Fields: []*schema.Field{
			fields.Millis("timeout", 600000), fields.Millis("keepalive", 60000),
			{Name: "https", Kind: schema.Boolean, Default: true}, {Name: "https_verify", Kind: schema.Boolean, Default: false},
			text("apikey", secret), text("clientid", secret), text("appname", schema.Required),
			text("hostdomain", schema.Required, schema.Default("azurewebsites.net")),
			text("routeprefix", schema.Default("api")), text("functionname", schema.Required),
		}},
		New: func(c schema.Record, env gateway.Env) (any, error) {
			client, err := callout.New(callout.Config{Timeout: fields.Duration(c, "timeout"), Keepalive: fields.Duration(c, "keepalive"),
				Unverified: !fields.Bool(c, "https_verify"), MaxAnswer: maxBody})
			scheme := map[bool]string{true: "https", false: "http"}[fields.Bool(c, "https")]
			path := "/" + strings.Trim(fields.String(c, "functionname"), "/")
			if prefix := strings.Trim(fields.String(c, "routeprefix"), "/"); prefix != "" {
				path = "/" + prefix + path
			}
			return &instance{client: client, log: env.Log, key: fields.String(c, "apikey"), clientID: fields.String(c, "clientid"),
				base: scheme + "://" + fields.String(c, "appname") + "." + fields.String(c, "hostdomain") + path}, err
		},
	}
}

type instance struct {
	client   *callout.Client
	log      *slog.Logger
	base     string
	key      string
	clientID string
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	body, err := x.Body(maxBody)
	if errors.Is(err, gateway.ErrBodyTooLarge) {
		x.Fail(413, gateway.TooLargeMessage)
		return
	}
	var r *http.Request
	if err == nil {
		target := string(gateway.AppendTarget(nil, x.Upstream.Path, x.Request.RawQuery, x.Request.HasQuery))
		r, err = http.NewRequest(x.Request.Method, strings.TrimSuffix(in.base, "/")+target, bytes.NewReader(bytes.Clone(body)))
	}
	var answer *callout.Answer
	if err == nil {
		for name, value := range map[string]string{"Content-Type": strings.Clone(x.Request.Header.Get("Content-Type")),
			"x-functions-key": in.key, "x-functions-clientid": in.clientID} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		answer, err = in.client.Do(x.Context(), r)
	}
	if err != nil {
		in.log.Error("the function was not called", "err", err)
		x.Fail(500, "An unexpected error occurred")
		return
	}
	x.Respond(answer.Status, answer.Body, callout.Fields(answer.Header)...)
}

// Close implements gateway.Closer.
func (in *instance) Close(context.Context) error {
	in.client.Close()
	return nil
}
