package aiproxy

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/callout"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const (
	timeout   = time.Minute // for an answer, or for the head of one that is streamed
	keepalive = time.Minute
	maxAnswer = 8 << 20
)

// New returns the kind ai-proxy.
func New() gateway.Plugin {
	config := record()
	config.Fields = append(config.Fields,
		fields.Choice("response_streaming", []string{"allow", "deny", "always"}, schema.Default("allow")), maxSize(),
		schema.Field{Kind: schema.Boolean, Default: true, Description: "Tell the client which model answered."}.With("model_name_header"))
	return gateway.Plugin{
		Name: "ai-proxy", Version: gateway.Version, Priority: 770, Config: config,
		New: func(c schema.Record, env gateway.Env) (any, error) {
			m, err := newModel(c, env.Clock)
			if err != nil {
				return nil, err
			}
			client, err := callout.New(callout.Config{Timeout: timeout, Keepalive: keepalive, MaxAnswer: maxAnswer})
			if err != nil {
				return nil, err
			}
			m.connect(client)
			return &proxy{model: m, client: client, log: env.Log, limit: fields.Int(c, "max_request_body_size"), notes: newNotes(c, "proxy", env.ID),
				streaming: fields.String(c, "response_streaming"), named: fields.Bool(c, "model_name_header")}, nil
		},
	}
}

type proxy struct {
	model     *model
	client    *callout.Client
	log       *slog.Logger
	limit     int
	notes     notes
	streaming string // allow, deny or always
	named     bool   // answers tell the model's name
}

// Access implements gateway.Accessor.
func (p *proxy) Access(x *gateway.Exchange) {
	raw, err := x.Body(p.limit)
	if errors.Is(err, gateway.ErrBodyTooLarge) {
		x.Fail(413, gateway.TooLargeMessage)
		return
	}
	var body object
	if kind := strings.ToLower(x.Request.Header.Get("Content-Type")); err != nil || !strings.HasPrefix(kind, "application/json") ||
		json.Unmarshal(raw, &body) != nil || body == nil {
		refuse(x, 400, "content-type header does not match request body, or bad JSON formatting")
		return
	}
	name, stream, wrong := p.check(body)
	if wrong != "" {
		refuse(x, 400, wrong)
		return
	}
	t, err := p.model.talk(body, name, stream)
	var r *http.Request
	if err == nil {
		r, err = p.model.request(x.Context(), t, x.Request.Path, func(c credential) (header, query string) {
			args, _ := url.ParseQuery(x.Request.RawQuery)
			return strings.Clone(x.Request.Header.Get(c.header)), args.Get(c.param)
		})
	}
	if err != nil {
		p.fail(x, err)
		return
	}
	if p.named {
		x.Response.Header.Set("X-Kong-LLM-Model", p.model.provider+"/"+name)
	}
	note := p.notes.begin(x, p.model, t, raw)
	if stream {
		p.stream(x, t, r, note)
		return
	}
	answer, err := p.client.Do(x.Context(), r)
	if err != nil {
		p.fail(x, err)
		return
	}
	answer.Header.Del("Set-Cookie") // it is for the gateway, not for its clients
	if answer.Status < 300 {
		made, said, err := p.model.answer(t, answer.Body)
		if err != nil {
			refuse(x, 500, err.Error())
			return
		}
		note.end(t, said.Model, string(made))
		answer.Body = made
	}
	x.Respond(answer.Status, answer.Body, callout.Fields(answer.Header)...)
}

// stream answers with what comes piece by piece.
func (p *proxy) stream(x *gateway.Exchange, t *talk, r *http.Request, note *note) {
	r.Header.Set("Accept", "text/event-stream")
	resp, err := p.client.Stream(x.Context(), r)
	if err != nil {
		p.fail(x, err)
		return
	}
	resp.Header.Del("Set-Cookie")
	_, asIs := p.model.dialect.(openAI)
	if resp.StatusCode > 299 || t.route == preserve || asIs && note == nil {
		x.RespondStream(resp.StatusCode, resp.Body, callout.Fields(resp.Header)...)
		return
	}
	s := &stream{talk: t, dialect: p.model.dialect, source: newSource(resp.Header.Get("Content-Type"), resp.Body), body: resp.Body, log: p.log}
	if note != nil {
		s.keeps = note.use.Request != nil
		s.ended = func(said string) { note.end(t, "", said) }
		if !p.model.tells() {
			t.estimate()
		}
	}
	resp.Header.Set("Content-Type", "text/event-stream")
	x.RespondStream(resp.StatusCode, s, callout.Fields(resp.Header)...)
}

// check looks at a request and completes it. It returns the name of the model, whether the
// answer is to be streamed, and what is wrong.
func (p *proxy) check(body object) (name string, stream bool, wrong string) {
	var messages []json.RawMessage
	var prompt, asked string
	isChat := json.Unmarshal(body["messages"], &messages) == nil && len(messages) > 0
	isPrompt := json.Unmarshal(body["prompt"], &prompt) == nil && body["prompt"] != nil
	format := chat
	if isPrompt {
		format = completion
	}
	_ = json.Unmarshal(body["model"], &asked) // what is no text is not a name
	name = p.model.name
	if name == "" {
		name = asked
	}
	_ = json.Unmarshal(body["stream"], &stream)
	switch {
	case !isChat && !isPrompt:
		return "", false, "request body doesn't contain valid prompts"
	case asked != "" && asked != name:
		return "", false, "cannot use own model - must be: " + name
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", false, "model parameter not found in request, nor in gateway configuration"
	case p.model.route == preserve:
	case isChat && isPrompt:
		return "", false, "request matches multiple LLM request formats"
	case format != p.model.route:
		return "", false, "[" + format + "] message format is not compatible with [" + p.model.route + "] route type"
	}
	if stream && p.streaming == "deny" {
		return "", false, "response streaming is not enabled for this LLM"
	}
	stream = stream || p.streaming == "always"
	if p.model.route != preserve {
		body["model"], _ = gateway.EncodeJSON(name) // strings and booleans alone
		body["stream"], _ = gateway.EncodeJSON(stream)
	}
	return name, stream, ""
}

// fail answers where the model has not.
func (p *proxy) fail(x *gateway.Exchange, err error) {
	if form, ok := errors.AsType[errForm](err); ok {
		refuse(x, 400, form.Error())
		return
	}
	p.log.Error("the model did not answer", "err", err)
	if errors.Is(err, context.DeadlineExceeded) {
		x.Fail(504, "The upstream server is timing out")
		return
	}
	x.Fail(502, "An invalid response was received from the upstream server")
}

// Close implements gateway.Closer.
func (p *proxy) Close(context.Context) error {
	p.client.Close()
	return nil
}

func refuse(x *gateway.Exchange, status int, message string) {
	body, _ := gateway.EncodeJSON(schema.Record{"error": schema.Record{"message": message}}) // strings alone
	x.Respond(status, body, gateway.Field{Name: "Content-Type", Value: "application/json; charset=utf-8"})
}
