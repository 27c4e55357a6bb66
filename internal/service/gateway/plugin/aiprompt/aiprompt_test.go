package aiprompt_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/aiprompt"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func ask(t *testing.T, name string, config schema.Record, body string) gatewaytest.Result {
	t.Helper()
	g := gatewaytest.New(t, []gateway.Plugin{aiprompt.NewDecorator(), aiprompt.NewGuard(), aiprompt.NewTemplate()})
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": name, "config": config})
	return gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Body: body, Header: []string{"Content-Type", "application/json"}})
}

func TestDecorator(t *testing.T) {
	config := schema.Record{"prompts": schema.Record{"prepend": []any{schema.Record{"content": "be kind"}}, "append": []any{schema.Record{"role": "user", "content": "end"}}}}
	for body, want := range map[string]string{
		`{"messages":[{"role":"user","content":"hi"}]}`: `{"messages":[{"content":"be kind","role":"system"},{"content":"hi","role":"user"},{"content":"end","role":"user"}]}`,
		`{"prompt":"hi"}`: `{"error":{"message":"this LLM route only supports llm/chat type requests"}}`,
		`[]`:              `{"error":{"message":"this LLM route only supports application/json requests"}}`,
	} {
		got := ask(t, "ai-prompt-decorator", config, body)
		if got.Status == 0 && got.Sent != want || got.Status != 0 && (got.Status != 400 || got.Body != want) {
			t.Errorf("%s: %d %s %s", body, got.Status, got.Body, got.Sent)
		}
	}
	if got := ask(t, "ai-prompt-decorator", config, strings.Repeat(" ", 8193)); got.Status != 413 {
		t.Errorf("large: %d", got.Status)
	}
}

func TestGuard(t *testing.T) {
	chat := `{"messages":[{"role":"system","content":"rule"},{"role":"user","content":"bad"},{"role":"user","content":"good"}]}`
	for _, c := range []struct {
		config schema.Record
		body   string
		want   int
	}{
		{schema.Record{"deny_patterns": []any{"^bad"}}, chat, 400},
		{schema.Record{"deny_patterns": []any{"^bad"}, "allow_all_conversation_history": true}, chat, 0},
		{schema.Record{"deny_patterns": []any{"rule"}}, chat, 0},
		{schema.Record{"deny_patterns": []any{"rule"}, "match_all_roles": true}, chat, 400},
		{schema.Record{"allow_patterns": []any{"good"}}, chat, 0},
		{schema.Record{"allow_patterns": []any{"other"}}, chat, 400},
		{schema.Record{"deny_patterns": []any{"x"}}, `{"prompt":"axb"}`, 400},
		{schema.Record{"deny_patterns": []any{"x"}}, `{"prompt":7}`, 400},
		{schema.Record{"deny_patterns": []any{"x"}}, `{"messages":[{"role":"user","content":[]}]}`, 400},
	} {
		got := ask(t, "ai-prompt-guard", c.config, c.body)
		if got.Status != c.want || c.want == 400 && got.Body != `{"error":{"message":"bad request"}}` {
			t.Errorf("%v %s: %d %s", c.config, c.body, got.Status, got.Body)
		}
	}
}
