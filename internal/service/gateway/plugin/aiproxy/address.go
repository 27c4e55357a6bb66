package aiproxy

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// address is where a model is.
type address struct {
	provider, route string
	base            *url.URL
	whole           bool   // base is the whole of it
	path            string // instead of what follows from the route; "": none
	prefix          string // of paths, as Azure and Vertex have it
	vertex          bool
}

// origins are where the providers are that have one address.
var origins = map[string]string{
	"openai": "https://api.openai.com", "mistral": "https://api.mistral.ai", "anthropic": "https://api.anthropic.com",
	"cohere": "https://api.cohere.com", "gemini": "https://generativelanguage.googleapis.com", "huggingface": "https://api-inference.huggingface.co",
}

func newAddress(m *model, options schema.Record) (address, error) {
	a := address{provider: m.provider, route: m.route, path: fields.String(options, "upstream_path")}
	text, query := origins[m.provider], ""
	switch m.provider {
	case "azure":
		text = "https://" + fields.String(options, "azure_instance") + ".openai.azure.com"
		a.prefix = "/openai/deployments/" + url.PathEscape(fields.String(options, "azure_deployment_id"))
		query = fields.String(options, "azure_api_version")
	case "bedrock":
		text = "https://bedrock-runtime." + m.auth.region + ".amazonaws.com"
	case "gemini":
		if g := inner(options, "gemini"); fields.String(g, "api_endpoint") != "" {
			a.vertex, text = true, "https://"+fields.String(g, "api_endpoint")
			a.prefix = "/v1/projects/" + fields.String(g, "project_id") + "/locations/" + fields.String(g, "location_id") + "/publishers/"
		}
	}
	if own := fields.String(options, "upstream_url"); own != "" {
		a.whole, text = true, own
	}
	u, err := url.Parse(text)
	if err != nil {
		return a, errors.New("the model's URL cannot be parsed")
	}
	if q := u.Query(); query != "" && !q.Has("api-version") {
		q.Set("api-version", query)
		u.RawQuery = q.Encode()
	}
	a.base = u
	return a, nil
}

// of returns where a request goes; client is the path the client asked for.
func (a *address) of(t *talk, client string) (*url.URL, error) {
	if slices.Contains(strings.Split(t.model, "/"), "..") {
		return nil, errForm{errors.New("the model's name is not one")} // it may be the client's
	}
	u := *a.base
	own := "/" + strings.TrimLeft(a.path, "/")
	switch {
	case a.route == preserve && a.path != "":
		u.Path = own
	case a.route == preserve:
		path, err := url.PathUnescape(client)
		if err != nil {
			return nil, errForm{errors.New("the path cannot be decoded")}
		}
		u.Path, u.RawPath = path, client
	case a.whole && a.path != "" && (a.provider == "gemini" || a.provider == "bedrock"):
		u.Path = own
	case a.whole && a.provider == "huggingface" && a.route == chat:
		u.Path = strings.TrimSuffix(u.Path, "/") + "/v1/chat/completions"
	case a.whole:
	case a.path != "" && a.provider == "azure":
		u.Path = a.prefix + own
	case a.path != "":
		u.Path = own
	default:
		u.Path = a.follows(t)
		if a.provider == "bedrock" { // an ARN has slashes
			name := strings.ReplaceAll(url.QueryEscape(t.model), "+", "%20")
			u.RawPath = strings.Replace(u.Path, t.model, name, 1)
		}
	}
	return &u, nil
}

// follows returns the path that follows from the provider, the route and the model.
func (a *address) follows(t *talk) string {
	isChat := a.route == chat
	either := func(stream, whole string) string {
		if t.stream {
			return stream
		}
		return whole
	}
	switch a.provider {
	case "anthropic":
		if isChat {
			return "/v1/messages"
		}
		return "/v1/complete"
	case "cohere":
		if isChat {
			return "/v1/chat"
		}
		return "/v1/generate"
	case "bedrock":
		return "/model/" + t.model + "/" + either("converse-stream", "converse")
	case "huggingface":
		if isChat {
			return "/models/" + t.model + "/v1/chat/completions"
		}
		return "/models/" + t.model
	case "gemini":
		operation := either("streamGenerateContent", "generateContent")
		if !a.vertex {
			return "/v1beta/models/" + t.model + ":" + operation
		}
		publisher := publisherOf(t.model)
		if publisher != "google" {
			operation = either("streamRawPredict", "rawPredict")
		}
		return a.prefix + publisher + "/models/" + t.model + ":" + operation
	}
	path := "/completions"
	if isChat {
		path = "/chat/completions"
	}
	if a.provider == "azure" {
		return a.prefix + path
	}
	return "/v1" + path
}
