package aiproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/plugin/awssign"
	"sluice.dev/sluice/internal/service/gateway/plugin/callout"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// model is a model as it is configured.
type model struct {
	provider, name string
	route          string
	dialect        dialect
	address        address
	options        map[string]any // that replace a client's
	limit          int            // max_tokens
	header         map[string]string
	auth           credential
	input, output  float64 // price of a million tokens
	clock          clock.Clock
}

// credential is what a model knows the caller by.
type credential struct {
	header, headerValue string
	param, paramValue   string
	inBody              bool               // param is a member of the body, not of the query
	override            bool               // the client's goes first
	account             *jwt.Config        // of Google; nil: none
	google              oauth2.TokenSource // of account's tokens, each of which is used until it ends
	key                 aws.Credentials
	region              string // of key; "": requests are not signed
}

// newModel makes a model of its configuration. Before it is used it needs its connection.
func newModel(c schema.Record, clock clock.Clock) (*model, error) {
	mc, auth := inner(c, "model"), inner(c, "auth")
	options := inner(mc, "options")
	m := &model{provider: fields.String(mc, "provider"), name: fields.String(mc, "name"), route: fields.String(c, "route_type"),
		options: map[string]any{}, limit: fields.Int(options, "max_tokens"), header: map[string]string{}, clock: clock}
	for _, name := range []string{"max_tokens", "temperature", "top_p", "top_k"} {
		if v := options[name]; v != nil {
			m.options[name] = v
		}
	}
	m.input, _ = options["input_cost"].(float64)
	m.output, _ = options["output_cost"].(float64)
	if v := fields.String(options, "anthropic_version"); v != "" && m.provider == "anthropic" {
		m.header["anthropic-version"] = v
	}
	m.auth = credential{header: fields.String(auth, "header_name"), headerValue: fields.String(auth, "header_value"),
		param: fields.String(auth, "param_name"), paramValue: fields.String(auth, "param_value"),
		inBody: fields.String(auth, "param_location") == "body", override: fields.Bool(auth, "allow_override")}
	var err error
	if m.provider == "gemini" && fields.Bool(auth, "gcp_use_service_account") {
		if m.auth.account, err = serviceAccount(fields.String(auth, "gcp_service_account_json")); err != nil {
			return nil, err
		}
	}
	if m.provider == "bedrock" {
		m.auth.key = awssign.Key(fields.String(auth, "aws_access_key_id"), fields.String(auth, "aws_secret_access_key"))
		if m.auth.region = awssign.Region(fields.String(inner(options, "bedrock"), "aws_region")); m.auth.region == "" {
			return nil, errors.New("AWS region not specified anywhere")
		}
	}
	m.dialect = newDialect(m.provider, options)
	m.address, err = newAddress(m, options)
	return m, err
}

// connect has the model fetch its tokens, where it needs any, by a client.
func (m *model) connect(client *callout.Client) {
	if m.auth.account != nil {
		m.auth.google = m.auth.account.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, client.Plain()))
	}
}

// inner returns a record of a record; nil where there is none.
func inner(r schema.Record, name string) schema.Record {
	in, _ := r[name].(schema.Record)
	return in
}

func newDialect(provider string, options schema.Record) dialect {
	format := fields.String(options, provider+"_format") // of llama2 and mistral
	switch {
	case format == "ollama":
		return ollama{}
	case format == "raw":
		return llama{}
	}
	switch provider {
	case "anthropic":
		return anthropic{}
	case "cohere":
		return cohere{}
	case "gemini":
		return google{version: fields.String(options, "anthropic_version")}
	case "bedrock":
		return bedrock{}
	case "huggingface":
		own := inner(options, "huggingface")
		return huggingFace{fields.Bool(own, "use_cache"), fields.Bool(own, "wait_for_model")}
	}
	return openAI{}
}

// talk begins a request: body is the client's, or one of ours, in OpenAI's form.
func (m *model) talk(body object, name string, stream bool) (*talk, error) {
	if m.route != preserve {
		for name, v := range m.options {
			if err := put(body, name, v); err != nil {
				return nil, err
			}
		}
	}
	return &talk{body: body, model: name, route: m.route, stream: stream, limit: m.limit}, nil
}

// errForm is that a request cannot be put into a provider's form. Its text is for clients.
type errForm struct{ error }

// form returns the body that asks the provider.
func (m *model) form(t *talk) ([]byte, error) {
	if m.route == preserve {
		return json.Marshal(t.body)
	}
	own := t.body[m.auth.param]
	body, err := m.dialect.request(t)
	if err != nil {
		return nil, errForm{fmt.Errorf("error transforming to %s://%s: %w", m.provider, m.route, err)}
	}
	p, err := json.Marshal(body)
	if err != nil || m.auth.param == "" || !m.auth.inBody {
		return p, err
	}
	var with object
	if err := json.Unmarshal(p, &with); err != nil {
		return nil, err
	}
	if m.auth.override && own != nil {
		with[m.auth.param] = own
	} else if err := put(with, m.auth.param, m.auth.paramValue); err != nil {
		return nil, err
	}
	return json.Marshal(with)
}

// request is the call of the model. path is the client's. The credential is the client's
// where client, which may be nil, has one and that is allowed.
func (m *model) request(ctx context.Context, t *talk, path string, client func(c credential) (header, query string)) (*http.Request, error) {
	p, err := m.form(t)
	if err != nil {
		return nil, err
	}
	u, err := m.address.of(t, path)
	if err != nil {
		return nil, err
	}
	a := m.auth
	if a.override && client != nil {
		header, query := client(a)
		if header != "" {
			a.headerValue = header
		}
		if query != "" && !a.inBody {
			a.paramValue = query
		}
	}
	if a.param != "" && !a.inBody {
		q := u.Query()
		q.Set(a.param, a.paramValue)
		u.RawQuery = q.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, "POST", u.String(), bytes.NewReader(p))
	if err != nil {
		return nil, errors.New("the request to the model cannot be made") // the error would tell the URL
	}
	r.Header.Set("Content-Type", "application/json")
	for name, v := range m.header {
		r.Header.Set(name, v)
	}
	if a.header != "" {
		r.Header.Set(a.header, a.headerValue)
	}
	switch {
	case a.google != nil:
		token, err := a.google.Token()
		if err != nil {
			return nil, fmt.Errorf("the service account got no token: %w", err)
		}
		token.SetAuthHeader(r)
	case a.region != "" && a.key.AccessKeyID == "":
		return nil, errors.New("there are no credentials: neither aws_access_key_id nor AWS_ACCESS_KEY_ID is set")
	case a.region != "":
		err = awssign.Sign(ctx, r, p, a.key, awssign.Scope{Service: "bedrock", Region: a.region}, m.clock.Now())
	}
	return r, err
}

// answer puts a whole answer into OpenAI's form. Its error is for clients.
func (m *model) answer(t *talk, body []byte) ([]byte, *answer, error) {
	d := m.dialect
	if m.route == preserve {
		d = openAI{}
	}
	a, err := d.answer(t, body)
	var p []byte
	if err == nil {
		p, err = a.encode()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("transformation failed from type %s://%s: %w", m.provider, m.route, err)
	}
	t.usage.learn(a.Usage)
	return p, a, nil
}

// tells reports whether the provider tells the use of tokens in streams unasked.
func (m *model) tells() bool {
	return slices.Contains([]string{"cohere", "llama2", "anthropic", "gemini", "bedrock"}, m.provider)
}
