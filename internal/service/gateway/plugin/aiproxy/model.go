package aiproxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// object is an object of JSON whose values stay as they came until they are looked at.
type object = map[string]json.RawMessage

// model is a model as it is configured.
type model struct {
	provider, name string
	route          string
	url            *url.URL
	options        map[string]any // that replace a client's
	auth           credential
}

// credential is what a model knows the caller by.
type credential struct {
	header, headerValue string
	param, paramValue   string
	inBody              bool // param is a member of the body, not of the query
	override            bool // the client's goes first
}

// origins are where the providers are that have one address.
var origins = map[string]string{"openai": "https://api.openai.com", "mistral": "https://api.mistral.ai"}

func newModel(c schema.Record) (*model, error) {
	of := func(r schema.Record, name string) schema.Record {
		inner, _ := r[name].(schema.Record)
		return inner
	}
	m := &model{route: fields.String(c, "route_type"), options: map[string]any{}}
	mc, auth := of(c, "model"), of(c, "auth")
	m.provider, m.name = fields.String(mc, "provider"), fields.String(mc, "name")
	options := of(mc, "options")
	for _, name := range []string{"max_tokens", "temperature", "top_p"} {
		if v := options[name]; v != nil {
			m.options[name] = v
		}
	}
	m.auth = credential{header: fields.String(auth, "header_name"), headerValue: fields.String(auth, "header_value"),
		param: fields.String(auth, "param_name"), paramValue: fields.String(auth, "param_value"),
		inBody: fields.String(auth, "param_location") == "body", override: fields.Bool(auth, "allow_override")}

	path := map[string]string{chat: "/chat/completions", completion: "/completions"}[m.route]
	base := origins[m.provider] + "/v1"
	if m.provider == "azure" {
		base = "https://" + fields.String(options, "azure_instance") + ".openai.azure.com/openai/deployments/" + url.PathEscape(fields.String(options, "azure_deployment_id"))
	}
	target := base + path
	if own := fields.String(options, "upstream_path"); own != "" {
		target = origins[m.provider] + "/" + strings.TrimLeft(own, "/")
		if m.provider == "azure" {
			target = base + "/" + strings.TrimLeft(own, "/")
		}
	}
	if own := fields.String(options, "upstream_url"); own != "" {
		target = own
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, errors.New("the model's URL cannot be parsed")
	}
	if q := u.Query(); m.provider == "azure" && !q.Has("api-version") {
		q.Set("api-version", fields.String(options, "azure_api_version"))
		u.RawQuery = q.Encode()
	}
	m.url = u
	return m, nil
}

// request is the call of the model with a body in OpenAI's form. The credential is the
// client's where client, which may be nil, has one and that is allowed.
func (m *model) request(body object, client func(c credential) (header, query string)) (*http.Request, error) {
	if m.route != preserve {
		for name, v := range m.options {
			p, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			body[name] = p
		}
		delete(body, "top_k") // none of the providers knows it
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
	if a.param != "" && a.inBody && (!a.override || body[a.param] == nil) {
		p, err := json.Marshal(a.paramValue)
		if err != nil {
			return nil, err
		}
		body[a.param] = p
	}
	p, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	u := *m.url
	if a.param != "" && !a.inBody {
		q := u.Query()
		q.Set(a.param, a.paramValue)
		u.RawQuery = q.Encode()
	}
	r, err := http.NewRequest("POST", u.String(), bytes.NewReader(p))
	if err != nil {
		return nil, errors.New("the request to the model cannot be made") // the error would tell the URL
	}
	r.Header.Set("Content-Type", "application/json")
	if a.header != "" {
		r.Header.Set(a.header, a.headerValue)
	}
	return r, nil
}

// answered reports what is wrong with a successful answer, "" for nothing.
func (m *model) answered(body []byte) string {
	var answer struct{ Choices []json.RawMessage }
	wrong := ""
	switch {
	case m.route == preserve:
	case json.Unmarshal(body, &answer) != nil:
		wrong = "failed to decode " + m.route + " response"
	case answer.Choices == nil:
		wrong = "'choices' not in " + m.route + " response"
	}
	if wrong != "" {
		wrong = "transformation failed from type " + m.provider + "://" + m.route + ": " + wrong
	}
	return wrong
}
