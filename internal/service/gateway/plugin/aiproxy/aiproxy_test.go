package aiproxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/aiproxy"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const (
	hello  = `{"messages":[{"role":"user","content":"hi"}]}`
	answer = `{"choices":[{"message":{"role":"assistant","content":"hello <b>you</b>"}}]}`
	// usedAnswer tells what it took.
	usedAnswer = `{"model":"m1-0613","choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":25,"completion_tokens":12,"total_tokens":37}}`
)

// stub is a server with OpenAI's API that keeps what it was asked last.
type stub struct {
	*httptest.Server
	mu                        sync.Mutex // where a call is given up before it is answered
	body, query, auth, cookie string
	more                      chan struct{} // the second piece of a stream
}

func newStub(t *testing.T) *stub {
	s := &stub{more: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.body, s.query, s.auth, s.cookie = string(body), r.URL.RawQuery, r.Header.Get("Authorization"), r.Header.Get("Cookie")
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasPrefix(s.auth, "Bearer wrong"):
			w.WriteHeader(401)
			io.WriteString(w, `{"error":{"message":"bad key"}}`)
		case strings.Contains(s.body, "silence"):
			s.mu.Unlock()
			<-r.Context().Done()
			s.mu.Lock()
		case strings.Contains(s.body, "instructions"):
			io.WriteString(w, `{"choices":[{"message":{"content":"{\"status\":202,\"headers\":{\"X-A\":\"b\\r\\nc\",\"Content-Length\":\"1\"},\"body\":{\"d\":1}}"}}]}`)
		case strings.Contains(s.body, "used"):
			io.WriteString(w, usedAnswer)
		case strings.Contains(s.body, "nonsense"):
			io.WriteString(w, "{}")
		case strings.Contains(s.body, `"stream":true`):
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: one\n\n")
			w.(http.Flusher).Flush()
			s.mu.Unlock()
			<-s.more
			s.mu.Lock()
			io.WriteString(w, "data: [DONE]\n\n")
		default:
			io.WriteString(w, answer)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// llm is the configuration of the stub as a model. Edits are under dotted names.
func (s *stub) llm(edits schema.Record) schema.Record {
	r := schema.Record{"route_type": "llm/v1/chat", "auth": schema.Record{"header_name": "Authorization", "header_value": "Bearer right"},
		"model": schema.Record{"provider": "openai", "name": "m1", "options": schema.Record{"upstream_url": s.URL}}}
	for path, v := range edits {
		at, names := r, strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			at = at[name].(schema.Record)
		}
		if at[names[len(names)-1]] = v; v == nil {
			delete(at, names[len(names)-1])
		}
	}
	return r
}

func newGateway(t *testing.T, name string, config schema.Record, more ...gateway.Plugin) *gateway.Gateway {
	g := gatewaytest.New(t, append([]gateway.Plugin{aiproxy.New(), aiproxy.NewRequestTransformer(), aiproxy.NewResponseTransformer()}, more...))
	gatewaytest.Route(t, g)
	for _, kind := range more {
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": kind.Name})
	}
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": name, "config": config})
	return g
}

func TestProxy(t *testing.T) {
	s := newStub(t)
	failure := func(m string) string { return `{"error":{"message":"` + m + `"}}` }
	prompt := `{"prompt":"hi"}`
	for name, c := range map[string]struct {
		edits  schema.Record
		body   string
		status int
		want   string // of the answer
		sent   string // to the model
	}{
		"chat": {nil, `{"messages":[{"role":"user","content":"hi","n":12345678901234567890}],"max_tokens":9,"top_k":3,"temperature":0.1,"model":"m1"}`, 200, answer,
			`{"max_tokens":256,"messages":[{"role":"user","content":"hi","n":12345678901234567890}],"model":"m1","stream":false,"temperature":0.1}`},
		"options":       {schema.Record{"model.options.temperature": 0.5, "model.options.max_tokens": 7.0}, hello, 200, answer, `{"max_tokens":7,"messages":[{"role":"user","content":"hi"}],"model":"m1","stream":false,"temperature":0.5}`},
		"completion":    {schema.Record{"route_type": "llm/v1/completions"}, prompt, 200, answer, `{"max_tokens":256,"model":"m1","prompt":"hi","stream":false}`},
		"preserved":     {schema.Record{"route_type": "preserve"}, hello, 200, answer, hello},
		"client's name": {schema.Record{"model.name": nil}, `{"messages":[1],"model":"m2"}`, 200, answer, `{"max_tokens":256,"messages":[1],"model":"m2","stream":false}`},
		"no name":       {schema.Record{"model.name": nil}, hello, 400, failure("model parameter not found in request, nor in gateway configuration"), ""},
		"split name":    {schema.Record{"model.name": nil}, `{"messages":[1],"model":"a\r\nb"}`, 400, failure("model parameter not found in request, nor in gateway configuration"), ""},
		"other name":    {nil, `{"messages":[1],"model":"m2"}`, 400, failure("cannot use own model - must be: m1"), ""},
		"other type":    {nil, prompt, 400, failure("[llm/v1/completions] message format is not compatible with [llm/v1/chat] route type"), ""},
		"both types":    {nil, `{"messages":[1],"prompt":"x"}`, 400, failure("request matches multiple LLM request formats"), ""},
		"no prompt":     {nil, `{"messages":[]}`, 400, failure("request body doesn't contain valid prompts"), ""},
		"no object":     {nil, `[]`, 400, failure("content-type header does not match request body, or bad JSON formatting"), ""},
		"no JSON":       {nil, `{`, 400, failure("content-type header does not match request body, or bad JSON formatting"), ""},
		"too large":     {nil, strings.Repeat(" ", 8193), 413, "", ""},
		"no stream":     {schema.Record{"response_streaming": "deny"}, `{"messages":[1],"stream":true}`, 400, failure("response streaming is not enabled for this LLM"), ""},
		"wrong key":     {schema.Record{"auth.header_value": "Bearer wrong"}, hello, 401, failure("bad key"), "-"},
		"no answer":     {schema.Record{"model.options.upstream_url": "http://127.0.0.1:1"}, hello, 502, "", ""},
		"no choices":    {nil, `{"messages":["nonsense"]}`, 500, failure("transformation failed from type openai://llm/v1/chat: 'choices' not in llm/v1/chat response"), "-"},
	} {
		s.body = ""
		g := newGateway(t, "ai-proxy", s.llm(c.edits))
		got := gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Body: c.body, Header: []string{"Content-Type", "application/json", "Cookie", "secret=1"}})
		if got.Status != c.status || c.want != "" && got.Body != c.want || c.sent != "-" && s.body != c.sent || s.cookie != "" {
			t.Errorf("%s: %d %s, sent %s", name, got.Status, got.Body, s.body)
		}
		if got.Header.Get("Set-Cookie") != "" || got.Status == 200 && !strings.HasPrefix(got.Header.Get("X-Kong-LLM-Model"), "openai/m") {
			t.Errorf("%s: %v", name, got.Header.Fields())
		}
	}
}

func TestCredential(t *testing.T) {
	s := newStub(t)
	in := func(location string, override bool) schema.Record {
		return schema.Record{"auth.param_name": "key", "auth.param_value": "k&1", "auth.param_location": location, "auth.allow_override": override}
	}
	for _, c := range []struct {
		edits             schema.Record
		body              string
		auth, query, sent string
	}{
		{in("query", false), hello, "Bearer right", "key=k%261", ""},
		{in("query", true), hello, "Bearer own", "key=own", ""},
		{in("body", false), `{"messages":[1],"key":"own"}`, "Bearer right", "", `"key":"k\u00261"`},
		{in("body", true), `{"messages":[1],"key":"own"}`, "Bearer own", "", `"key":"own"`},
		{schema.Record{"model.provider": "azure", "model.options.azure_instance": "i", "model.options.azure_deployment_id": "d"}, hello, "Bearer right", "api-version=2023-05-15", ""},
	} {
		g := newGateway(t, "ai-proxy", s.llm(c.edits))
		got := gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Target: "/?key=own&x=y", Body: c.body, Header: []string{"Content-Type", "application/json", "Authorization", "Bearer own"}})
		if got.Status != 200 || s.auth != c.auth || s.query != c.query || !strings.Contains(s.body, c.sent) {
			t.Errorf("%v: %d, %q %q %s", c.edits, got.Status, s.auth, s.query, s.body)
		}
	}
}

// TestStream reads the first piece of an answer before the model has sent the second.
func TestStream(t *testing.T) {
	s := newStub(t)
	for streaming, body := range map[string]string{"allow": `{"messages":[1],"stream":true}`, "always": hello} {
		g := newGateway(t, "ai-proxy", s.llm(schema.Record{"response_streaming": streaming}))
		x := g.Begin()
		x.Conn = &gateway.Conn{Peer: netip.MustParseAddrPort("127.0.0.1:1"), PeerIP: "127.0.0.1"}
		x.Request.Method, x.Request.Scheme, x.Request.Proto = "POST", "http", 1
		x.Request.Header.Add("Content-Type", "application/json")
		gateway.SetTarget(&x.Request, "/", 80)
		x.SetSource(strings.NewReader(body), int64(len(body)))
		g.Access(x)
		if x.Response.Stream == nil || x.Response.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s: %d %s", streaming, x.Response.Status, x.Response.Body)
		}
		first := make([]byte, len("data: one\n\n"))
		if _, err := io.ReadFull(x.Response.Stream, first); err != nil || string(first) != "data: one\n\n" {
			t.Errorf("%s: %q %v", streaming, first, err)
		}
		s.more <- struct{}{}
		if rest, err := io.ReadAll(x.Response.Stream); err != nil || string(rest) != "data: [DONE]\n\n" {
			t.Errorf("%s: %q %v", streaming, rest, err)
		}
		x.Response.Stream.Close()
		g.End(x)
	}
}

func TestConfig(t *testing.T) {
	s := newStub(t)
	g := gatewaytest.New(t, []gateway.Plugin{aiproxy.New(), aiproxy.NewRequestTransformer(), aiproxy.NewResponseTransformer()})
	e, _ := g.Entity("plugins")
	for want, edits := range map[string]schema.Record{
		"no transformer for gemini://llm/v1/completions":                    {"model.provider": "gemini", "route_type": "llm/v1/completions"},
		"bedrock and gemini only support auth.allow_override = false":       {"model.provider": "bedrock", "auth.allow_override": true},
		"all or none of these fields must be set: 'api_endpoint', 'project": {"model.provider": "gemini", "model.options.gemini": schema.Record{"project_id": "p"}},
		"anthropic does not support statistics when route_type is llm/v1/c": {"model.provider": "anthropic", "route_type": "llm/v1/completions", "model.options.anthropic_version": "v", "logging": schema.Record{"log_statistics": true}},
		"must set 'model.options.anthropic_version' for anthropic provider": {"model.provider": "anthropic"},
		"the service account is not of the form that Google gives out":      {"model.provider": "gemini", "auth.gcp_use_service_account": true, "auth.gcp_service_account_json": "{}"},
		"must set 'model.options.llama2_format' for llama2 provider":        {"model.provider": "llama2"},
		"must set 'model.options.azure_instance' for azure provider":        {"model.provider": "azure"},
		"all or none of these fields must be set: 'auth.header_name', 'aut": {"auth.header_value": nil},
		"llm_format: unknown field":                                         {"llm_format": "gemini"},
		"expected one of: allow, deny, always":                              {"response_streaming": "no"},
	} {
		config := s.llm(edits)
		_, err := g.Create(t.Context(), e, schema.Record{"name": "ai-proxy", "config": config})
		if got := fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("%v: %s", edits, got)
		}
	}
}
