package awslambda

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/awssign"
	"sluice.dev/sluice/internal/service/gateway/plugin/callout"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// maxAnswer is a little above what Lambda returns (6 MB, and base64 of it).
const maxAnswer = 8 << 20

// New returns the kind.
func New() gateway.Plugin {
	text := func(name string, edits ...func(*schema.Field)) *schema.Field {
		return schema.Field{Kind: schema.String}.With(name, edits...)
	}
	secret := func(f *schema.Field) { f.Encrypted, f.Referenceable = true, true }
	referenceable := func(f *schema.Field) { f.Referenceable = true }
	flag := func(name string, by bool) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Boolean, Default: by}
	}
	return gateway.Plugin{
		Name: "aws-lambda", Version: gateway.Version, Priority: 750,
		Config: &schema.Field{
			Fields: []*schema.Field{
				func() *schema.Field { f := fields.Millis("timeout", 60000); f.Required = true; return f }(),
				func() *schema.Field { f := fields.Millis("keepalive", 60000); f.Required = true; return f }(),
				text("aws_key", secret), text("aws_secret", secret), text("aws_assume_role_arn", secret),
				text("aws_role_session_name", schema.Default("kong")), fields.URL("aws_sts_endpoint_url"),
				fields.Host("aws_region"), text("function_name"), text("qualifier"),
				fields.Choice("invocation_type", []string{"RequestResponse", "Event", "DryRun"}, schema.Required, schema.Default("RequestResponse")),
				fields.Choice("log_type", []string{"Tail", "None"}, schema.Required, schema.Default("Tail")),
				fields.Host("host"), fields.Port("port", schema.Default(443)), flag("disable_https", false),
				{Name: "unhandled_status", Kind: schema.Integer, Between: []float64{100, 999}},
				flag("forward_request_method", false), flag("forward_request_uri", false),
				flag("forward_request_headers", false), flag("forward_request_body", false),
				flag("is_proxy_integration", false), flag("awsgateway_compatible", false), fields.URL("proxy_url", referenceable),
				flag("skip_large_bodies", true), flag("base64_encode_body", true),
				fields.Choice("aws_imds_protocol_version", []string{"v1", "v2"}, schema.Required, schema.Default("v1")),
				fields.Choice("empty_arrays_mode", []string{"legacy", "correct"}, schema.Required, schema.Default("legacy")),
			},
			Checks: []schema.Check{{AllOrNone: []string{"aws_key", "aws_secret"}}},
		},
		New: func(c schema.Record, env gateway.Env) (any, error) { return newInstance(c, env) },
	}
}

type instance struct {
	event         event
	client        *callout.Client
	log           *slog.Logger
	clock         clock.Clock
	keys          *keys
	url           *url.URL
	region        string
	header        map[string]string
	unhandled     int
	integration   bool
	legacyNothing bool // empty arrays go out as empty objects
}

func newInstance(c schema.Record, env gateway.Env) (any, error) {
	region := awssign.Region(fields.String(c, "aws_region"))
	host := fields.String(c, "host")
	if region == "" && host == "" {
		return nil, errors.New("no region or host specified")
	}
	if host == "" {
		host = "lambda." + region + ".amazonaws.com"
	}
	if region == "" {
		region = "us-east-1" // of an endpoint of one's own, which has to name some
	}
	scheme, usual := "https", 443
	if fields.Bool(c, "disable_https") {
		scheme, usual = "http", 80
	}
	if port := fields.Int(c, "port"); port != usual {
		host += ":" + strconv.Itoa(port)
	}
	client, err := callout.New(callout.Config{Timeout: fields.Duration(c, "timeout"), Keepalive: fields.Duration(c, "keepalive"),
		Proxy: fields.String(c, "proxy_url"), MaxAnswer: maxAnswer})
	if err != nil {
		return nil, err
	}
	name := fields.String(c, "function_name")
	u := &url.URL{Scheme: scheme, Host: host, Path: "/2015-03-31/functions/" + name + "/invocations",
		RawPath: "/2015-03-31/functions/" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20") + "/invocations"}
	if q := fields.String(c, "qualifier"); q != "" {
		u.RawQuery = url.Values{"Qualifier": {q}}.Encode()
	}
	in := &instance{event: newEvent(c, env), client: client, log: env.Log, clock: env.Clock, url: u, region: region,
		header: map[string]string{"Content-Type": "application/json", "X-Amz-Invocation-Type": fields.String(c, "invocation_type"),
			"X-Amz-Log-Type": fields.String(c, "log_type")},
		unhandled: fields.Int(c, "unhandled_status"), integration: fields.Bool(c, "is_proxy_integration"),
		legacyNothing: fields.String(c, "empty_arrays_mode") == "legacy"}
	in.keys = newKeys(c, region, in)
	return in, nil
}

// Close implements gateway.Closer.
func (in *instance) Close(context.Context) error {
	in.client.Close()
	return nil
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	payload, err := in.event.of(x)
	if errors.Is(err, gateway.ErrBodyTooLarge) {
		x.Fail(413, gateway.TooLargeMessage)
		return
	}
	var answer *callout.Answer
	if err == nil {
		answer, err = in.invoke(x.Context(), payload)
	}
	if err != nil {
		in.log.Error("the function was not invoked", "err", err)
		x.Fail(500, "An unexpected error occurred")
		return
	}
	in.respond(x, answer)
}

func (in *instance) invoke(ctx context.Context, payload []byte) (*callout.Answer, error) {
	k, err := in.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(http.MethodPost, in.url.String(), bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	for name, value := range in.header {
		r.Header.Set(name, value)
	}
	answer, err := in.signed(ctx, r, payload, k, "lambda")
	if err == nil && answer.Status >= 400 {
		return nil, fmt.Errorf("lambda answered with status %d %s", answer.Status, answer.Header.Get("X-Amzn-Errortype"))
	}
	return answer, err
}

// signed signs a request and sends it.
func (in *instance) signed(ctx context.Context, r *http.Request, body []byte, k aws.Credentials, service string) (*callout.Answer, error) {
	if err := awssign.Sign(ctx, r, body, k, awssign.Scope{Service: service, Region: in.region}, in.clock.Now()); err != nil {
		return nil, err
	}
	return in.client.Do(ctx, r)
}
