package aiprompt_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestTemplate(t *testing.T) {
	chat := `{"messages":[{"role":"user","content":"Write in {{language}}: {{what}} <{{language}}>"}]}`
	config := schema.Record{"templates": []any{schema.Record{"name": "code", "template": chat}, schema.Record{"name": "code", "template": "second"}}}
	strict := schema.Record{"templates": config["templates"], "allow_untemplated_requests": false}
	refused := func(s string) string { return `{"error":{"message":"` + s + `"}}` }
	for _, c := range []struct {
		config     schema.Record
		body, want string
	}{
		{config, `{"messages":"{template://code}","properties":{"language":"go","what":"a \"{{language}}\"\\\n<&"}}`,
			`{"messages":[{"role":"user","content":"Write in go: a \"{{language}}\"\\\n<& <go>"}]}`},
		{config, `{"prompt":"{template://code}","properties":{"language":"go","what":"x"}}`, `{"messages":[{"role":"user","content":"Write in go: x <go>"}]}`},
		{config, `{"messages":"{template://code}"}`, refused("missing template parameters: [language], [what]")},
		{config, `{"messages":"{template://code}","properties":{"language":7}}`, refused("property values must be a string, got number")},
		{config, `{"messages":"{template://code}","properties":[]}`, refused("properties must be an object")},
		{config, `{"messages":"{template://other}"}`, refused("could not find template name [other]")},
		{config, `{"messages":[{"role":"user","content":"hi"}]}`, `{"messages":[{"role":"user","content":"hi"}]}`},
		{strict, `{"messages":[{"role":"user","content":"hi"}]}`, refused("this LLM route only supports templated requests")},
		{config, `{"messages":"a","prompt":"b"}`, refused("cannot run 'messages' and 'prompt' templates at the same time")},
		{config, `{}`, refused("only 'llm/v1/chat' and 'llm/v1/completions' formats are supported for templating")},
		{config, `[]`, refused("this LLM route only supports application/json requests")},
	} {
		got := ask(t, "ai-prompt-template", c.config, c.body)
		if got.Status == 0 && got.Sent != c.want || got.Status != 0 && (got.Status != 400 || got.Body != c.want) {
			t.Errorf("%s: %d %s %s", c.body, got.Status, got.Body, got.Sent)
		}
	}
	if got := ask(t, "ai-prompt-template", config, strings.Repeat(" ", 8193)); got.Status != 413 {
		t.Errorf("large: %d", got.Status)
	}
}
