package aiproxy_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestTransformers(t *testing.T) {
	s := newStub(t)
	failed := func(m string) string { return `{"error":{"message":"` + m + `"}}` }
	for name, c := range map[string]struct {
		edits, llm schema.Record
		body       string
		status     int    // of a refusal; 0: the body was transformed
		want       string // the refusal, or what became of the body
	}{
		"whole":    {nil, nil, "hi", 0, "hello <b>you</b>"},
		"part":     {schema.Record{"transformation_extract_pattern": "<B>.*</B>"}, nil, "hi", 0, "<b>you</b>"},
		"no part":  {schema.Record{"transformation_extract_pattern": "<i>"}, nil, "hi", 400, failed("AI response did not match specified regular expression")},
		"key":      {nil, schema.Record{"auth.header_value": "Bearer wrong"}, "hi", 400, failed("failed to introspect request with AI service: status code 401")},
		"silence":  {schema.Record{"http_timeout": 50.0}, nil, "silence", 400, failed("failed to introspect request with AI service: request to ai service failed")},
		"nonsense": {nil, nil, "nonsense", 400, failed("failed to convert AI response to Kong format: transformation failed from type openai://llm/v1/chat: 'choices' not in llm/v1/chat response")},
	} {
		config := schema.Record{"prompt": "say <it>", "llm": s.llm(c.llm)}
		for k, v := range c.edits {
			config[k] = v
		}
		got := gatewaytest.Do(newGateway(t, "ai-request-transformer", config), gatewaytest.Request{Method: "POST", Body: c.body})
		if got.Status != c.status || c.status == 0 && got.Sent != c.want || c.status != 0 && got.Body != c.want {
			t.Errorf("request, %s: %d %s %s", name, got.Status, got.Sent, got.Body)
		}
		want := `{"max_tokens":256,"messages":[{"content":"say \u003cit\u003e","role":"system"},{"content":"` + c.body + `","role":"user"}],"model":"m1","stream":false}`
		s.mu.Lock()
		if s.body != want {
			t.Errorf("%s: the model was asked %s", name, s.body)
		}
		s.mu.Unlock()
		got = gatewaytest.Do(newGateway(t, "ai-response-transformer", config), gatewaytest.Request{
			Header: []string{"Accept-Encoding", "gzip"}, Status: 201, Answer: []string{"X-Up", "1"}, AnswerBody: c.body})
		answered := c.status == 0 && got.Answered == 201 && got.Header.Get("X-Up") == "1" && got.Upstream.Get("Accept-Encoding") == ""
		if refused := c.status != 0 && got.Status == c.status && got.Header.Get("X-Up") == ""; got.Body != c.want || !answered && !refused {
			t.Errorf("response, %s: %d %d %s", name, got.Status, got.Answered, got.Body)
		}
	}
}

func TestInstructions(t *testing.T) {
	s := newStub(t)
	g := newGateway(t, "ai-response-transformer", schema.Record{"prompt": "p", "llm": s.llm(nil), "parse_llm_response_json_instructions": true})
	got := gatewaytest.Do(g, gatewaytest.Request{Answer: []string{"X-A", "a"}, AnswerBody: "instructions"})
	if got.Answered != 202 || got.Body != `{"d":1}` || got.Header.Get("X-A") != "b  c" || got.Header.Get("Content-Length") != "" {
		t.Errorf("%d %s %v", got.Answered, got.Body, got.Header.Fields())
	}
	for _, r := range []gatewaytest.Request{{AnswerBody: "hi"}, {AnswerBody: "instructions", Answer: []string{"Content-Encoding", "gzip"}}} {
		if got := gatewaytest.Do(g, r); got.Status != 500 {
			t.Errorf("%v: %d %s", r, got.Status, got.Body)
		}
	}
}

func TestTransformerConfig(t *testing.T) {
	s := newStub(t)
	g := newGateway(t, "ai-request-transformer", schema.Record{"prompt": "p", "llm": s.llm(nil)})
	e, _ := g.Entity("plugins")
	for _, edit := range []schema.Record{{"llm": s.llm(schema.Record{"route_type": "preserve"})}, {"transformation_extract_pattern": "("}, {"http_proxy_host": "h"}, {"prompt": nil}} {
		config := schema.Record{"prompt": "p", "llm": s.llm(nil)}
		for k, v := range edit {
			config[k] = v
		}
		if _, err := g.Create(t.Context(), e, schema.Record{"name": "ai-response-transformer", "config": config}); err == nil {
			t.Errorf("%v is taken", edit)
		}
	}
}
