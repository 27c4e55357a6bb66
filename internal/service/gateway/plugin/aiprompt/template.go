package aiprompt

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// NewTemplate returns the kind ai-prompt-template.
func NewTemplate() gateway.Plugin {
	original := schema.Flag("log_original_request", "Add the request as it came to the log.", false)
	original.Unserved = "prompts do not go into logs"
	return gateway.Plugin{
		Name: "ai-prompt-template", Version: gateway.Version, Priority: 773,
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "templates", Kind: schema.Array, Required: true, Elements: &schema.Field{Kind: schema.Nested, Required: true, Fields: []*schema.Field{
				{Name: "name", Kind: schema.String, Required: true, Description: "Requests name it as {template://NAME}."},
				{Name: "template", Kind: schema.String, Required: true, Description: "The request's body, with {{variables}}."}}}},
			schema.Flag("allow_untemplated_requests", "Let requests pass that name no template.", true),
			original, maxSize(),
		}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			t := &templates{limit: fields.Int(c, "max_request_body_size"), others: fields.Bool(c, "allow_untemplated_requests"), byName: map[string]string{}}
			list, _ := c["templates"].([]any)
			for _, e := range slices.Backward(list) { // the first of a name counts
				r, _ := e.(schema.Record)
				t.byName[fields.String(r, "name")] = fields.String(r, "template")
			}
			return t, nil
		},
	}
}

type templates struct {
	limit  int
	others bool // requests without a template pass
	byName map[string]string
}

// Access implements gateway.Accessor.
func (t *templates) Access(x *gateway.Exchange) {
	r := read(x, t.limit)
	if r == nil {
		return
	}
	messages, prompt := r["messages"], r["prompt"]
	if messages != nil && prompt != nil {
		refuse(x, "cannot run 'messages' and 'prompt' templates at the same time")
		return
	}
	if messages == nil {
		messages = prompt
	}
	if messages == nil {
		refuse(x, "only 'llm/v1/chat' and 'llm/v1/completions' formats are supported for templating")
		return
	}
	reference, _ := messages.(string)
	name, opens := strings.CutPrefix(reference, "{template://")
	name, closes := strings.CutSuffix(name, "}")
	if !opens || !closes {
		if !t.others {
			refuse(x, "this LLM route only supports templated requests")
		}
		return
	}
	template, ok := t.byName[name]
	if !ok {
		refuse(x, "could not find template name ["+name+"]")
		return
	}
	properties, ok := r["properties"].(schema.Record)
	if !ok && r["properties"] != nil {
		refuse(x, "properties must be an object")
		return
	}
	body, wrong := render(template, properties)
	if wrong != "" {
		refuse(x, wrong)
		return
	}
	x.SetBody(body)
}

var variable = regexp.MustCompile(`\{\{([A-Za-z0-9_]+)\}\}`)

// render puts the properties in place of the variables of a template. Inside they are as
// the strings of JSON are, so that no property ends the string it stands in.
func render(template string, properties schema.Record) (body []byte, wrong string) {
	for _, v := range properties {
		if _, ok := v.(string); !ok {
			return nil, "property values must be a string, got " + kindOf(v)
		}
	}
	var missing []string
	body = variable.ReplaceAllFunc([]byte(template), func(m []byte) []byte {
		name := string(m[2 : len(m)-2])
		v, ok := properties[name].(string)
		if !ok {
			if name = "[" + name + "]"; !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
			return nil
		}
		return quoted(v)
	})
	if missing != nil {
		return nil, "missing template parameters: " + strings.Join(missing, ", ")
	}
	return body, ""
}

// quoted is a string of JSON without its quotation marks.
func quoted(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string into memory
	return bytes.TrimSpace(b.Bytes())[1 : b.Len()-2]
}

// kindOf is what Lua calls the type of a value of JSON.
func kindOf(v any) string {
	switch v.(type) {
	case float64:
		return "number"
	case bool:
		return "boolean"
	case nil:
		return "userdata"
	}
	return "table"
}
