package aiproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/callout"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// NewRequestTransformer returns the kind ai-request-transformer.
func NewRequestTransformer() gateway.Plugin {
	return gateway.Plugin{
		Name: "ai-request-transformer", Version: gateway.Version, Priority: 777, NoScopes: []string{"consumer"}, Config: transformation(),
		New: func(c schema.Record, env gateway.Env) (any, error) {
			t, err := newTransformer(c, env, "ai-request-transformer")
			if err != nil {
				return nil, err
			}
			return requests{t}, nil
		},
	}
}

// NewResponseTransformer returns the kind ai-response-transformer.
func NewResponseTransformer() gateway.Plugin {
	config := transformation()
	config.Fields = append(config.Fields, schema.Flag("parse_llm_response_json_instructions",
		"The model's answer is an object with the status, headers and body of the client's.", false))
	return gateway.Plugin{
		Name: "ai-response-transformer", Version: gateway.Version, Priority: 768, NoScopes: []string{"consumer"}, Config: config,
		New: func(c schema.Record, env gateway.Env) (any, error) {
			t, err := newTransformer(c, env, "ai-response-transformer")
			if err != nil {
				return nil, err
			}
			return responses{t, fields.Bool(c, "parse_llm_response_json_instructions")}, nil
		},
	}
}

// transformation describes what the transformers have alike.
func transformation() *schema.Field {
	llm := record().With("llm", schema.Required)
	llm.Field("route_type").Check = func(v any) string {
		if v != chat {
			return "'config.llm.route_type' must be 'llm/v1/chat' for AI transformer plugins"
		}
		return ""
	}
	return &schema.Field{Fields: []*schema.Field{
		{Name: "prompt", Kind: schema.String, Required: true, Description: "What the model is told to make of a body."},
		{Name: "transformation_extract_pattern", Kind: schema.String, Description: "The part of the model's answer that counts; without regard to case.", Check: func(v any) string {
			if _, err := regexp.Compile(v.(string)); err != nil {
				return "not a regular expression"
			}
			return ""
		}},
		{Name: "http_timeout", Kind: schema.Integer, Required: true, Default: 60000, Between: []float64{1, 2147483646}},
		schema.Flag("https_verify", "Verify the certificate of the model's server.", true), maxSize(),
		fields.Host("http_proxy_host"), fields.Port("http_proxy_port"), fields.Host("https_proxy_host"), fields.Port("https_proxy_port"),
		llm,
	}, Checks: []schema.Check{
		{AllOrNone: []string{"http_proxy_host", "http_proxy_port"}}, {AllOrNone: []string{"https_proxy_host", "https_proxy_port"}},
	}}
}

// transformer has a model make a body of another.
type transformer struct {
	model   *model
	client  *callout.Client
	log     *slog.Logger
	notes   notes
	limit   int // bytes of a request's body
	prompt  string
	extract *regexp.Regexp // nil: the whole of the model's answer counts
}

func newTransformer(c schema.Record, env gateway.Env, name string) (*transformer, error) {
	llm := inner(c, "llm")
	m, err := newModel(llm, env.Clock)
	if err != nil {
		return nil, err
	}
	t := &transformer{model: m, log: env.Log, notes: newNotes(llm, name, env.ID), limit: fields.Int(c, "max_request_body_size"), prompt: fields.String(c, "prompt")}
	if p := fields.String(c, "transformation_extract_pattern"); p != "" {
		if t.extract, err = regexp.Compile("(?i)" + p); err != nil {
			return nil, err
		}
	}
	via := ""
	if scheme := m.address.base.Scheme; fields.String(c, scheme+"_proxy_host") != "" {
		via = "http://" + net.JoinHostPort(fields.String(c, scheme+"_proxy_host"), strconv.Itoa(fields.Int(c, scheme+"_proxy_port")))
	}
	if t.client, err = callout.New(callout.Config{Timeout: fields.Duration(c, "http_timeout"), Keepalive: keepalive,
		Unverified: !fields.Bool(c, "https_verify"), Proxy: via, MaxAnswer: maxAnswer}); err != nil {
		return nil, err
	}
	m.connect(t.client)
	return t, nil
}

var errUnreached = errors.New("failed to introspect request with AI service: request to ai service failed")

// transform returns what the model makes of a body. An error is for clients.
func (t *transformer) transform(x *gateway.Exchange, body []byte) (string, error) {
	request := object{}
	err := put(request, "messages", []map[string]string{{"role": "system", "content": t.prompt}, {"role": "user", "content": string(body)}})
	if err == nil {
		err = put(request, "stream", false)
	}
	if err == nil && t.model.name != "" {
		err = put(request, "model", t.model.name)
	}
	if err != nil {
		return "", err
	}
	k, err := t.model.talk(request, t.model.name, false)
	if err != nil {
		return "", err
	}
	r, err := t.model.request(x.Context(), k, "", nil)
	if err != nil {
		if _, ok := errors.AsType[errForm](err); ok {
			return "", err
		}
		t.log.Error("the model cannot be asked", "err", err)
		return "", errUnreached
	}
	note := t.notes.begin(x, t.model, k, body)
	answer, err := t.client.Do(x.Context(), r)
	if err != nil {
		t.log.Error("the model did not answer", "err", err)
		return "", errUnreached
	}
	if answer.Status > 299 {
		return "", fmt.Errorf("failed to introspect request with AI service: status code %d", answer.Status)
	}
	made, said, err := t.model.answer(k, answer.Body)
	if err != nil {
		return "", fmt.Errorf("failed to convert AI response to Kong format: %w", err)
	}
	note.end(k, said.Model, string(made))
	if len(said.Choices) == 0 || said.Choices[0].Message == nil || said.Choices[0].Message.Content == nil {
		return "", errors.New("no 'choices' in upstream AI service response")
	}
	out := *said.Choices[0].Message.Content
	if t.extract == nil {
		return out, nil
	}
	at := t.extract.FindStringIndex(out)
	if at == nil {
		return "", errors.New("AI response did not match specified regular expression")
	}
	return out[at[0]:at[1]], nil
}

// Close implements gateway.Closer.
func (t *transformer) Close(context.Context) error {
	t.client.Close()
	return nil
}

// requests is an instance of ai-request-transformer.
type requests struct{ *transformer }

// Access implements gateway.Accessor.
func (t requests) Access(x *gateway.Exchange) {
	body, err := x.Body(t.limit)
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		x.Fail(413, gateway.TooLargeMessage)
		return
	case err != nil:
		refuse(x, 400, "the request's body cannot be read")
		return
	}
	made, err := t.transform(x, body)
	if err != nil {
		refuse(x, 400, err.Error())
		return
	}
	x.SetBody([]byte(made))
}

// responses is an instance of ai-response-transformer.
type responses struct {
	*transformer
	instructed bool // the model's answer has the status and header too
}

// Access implements gateway.Accessor: what is compressed could not be read by the model.
func (t responses) Access(x *gateway.Exchange) { x.Request.Header.Del("Accept-Encoding") }

// Response implements gateway.Responder.
func (t responses) Response(x *gateway.Exchange) {
	if encoding := x.Response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		refuse(x, 500, "the upstream's answer is compressed, though that was not asked for")
		return
	}
	made, err := t.transform(x, x.Response.Body)
	if err != nil {
		refuse(x, 400, err.Error())
		return
	}
	body := []byte(made)
	if t.instructed {
		var in struct {
			Status  int
			Headers map[string]string
			Body    json.RawMessage
		}
		if err := json.Unmarshal(body, &in); err != nil || in.Status != 0 && (in.Status < 200 || in.Status > 599) {
			refuse(x, 500, "failed to parse JSON response instructions from AI backend")
			return
		}
		var text string
		switch {
		case in.Body == nil: // the whole of it is the body
		case json.Unmarshal(in.Body, &text) == nil:
			body = []byte(text)
		default:
			body = in.Body
		}
		x.Response.Status = 200
		if in.Status != 0 {
			x.Response.Status = in.Status
		}
		h := http.Header{}
		for name, v := range in.Headers {
			h.Set(name, v)
		}
		for _, f := range callout.Fields(h) {
			x.Response.Header.Del(f.Name)
			x.Response.Header.Add(f.Name, f.Value)
		}
	}
	x.Response.Body, x.Response.Length = body, int64(len(body))
}
