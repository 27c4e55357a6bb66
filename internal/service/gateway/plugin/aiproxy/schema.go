package aiproxy

import (
	"slices"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

var (
	providers = []string{"openai", "azure", "anthropic", "cohere", "mistral", "llama2", "gemini", "bedrock", "huggingface"}
	served    = []string{"openai", "azure", "mistral", "llama2"}
)

// The types of routes.
const (
	chat       = "llm/v1/chat"
	completion = "llm/v1/completions"
	preserve   = "preserve" // what the client sends is passed on as it is
)

// record describes a model and how it is called, as all plugins of this package have it.
func record() *schema.Field {
	text := func(name string, edits ...func(*schema.Field)) *schema.Field {
		return schema.Field{Kind: schema.String}.With(name, edits...)
	}
	reference := func(f *schema.Field) { f.Referenceable = true }
	secret := func(f *schema.Field) { f.Encrypted, f.Referenceable = true, true }
	elsewhere := func(f *schema.Field) { f.Unserved = "its provider is not served" }
	unlogged := func(f *schema.Field) { f.Unserved = "what models are asked and use does not go into logs" }
	number := func(name string, edits ...func(*schema.Field)) *schema.Field {
		return schema.Field{Kind: schema.Number}.With(name, edits...)
	}
	between := func(from, to float64) func(*schema.Field) {
		return func(f *schema.Field) { f.Between = []float64{from, to} }
	}
	flag := func(name string, edits ...func(*schema.Field)) *schema.Field {
		return schema.Field{Kind: schema.Boolean, Default: false}.With(name, edits...)
	}
	openAI := func(f *schema.Field) {
		f.Check = func(v any) string {
			if v != "openai" {
				return "the format '" + v.(string) + "' is not served: expected openai"
			}
			return ""
		}
	}
	return &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fields.Choice("route_type", []string{chat, completion, preserve}, schema.Required),
		{Name: "auth", Kind: schema.Nested, Fields: []*schema.Field{
			text("header_name", reference), text("header_value", secret), text("param_name", reference), text("param_value", secret),
			fields.Choice("param_location", []string{"query", "body"}),
			flag("gcp_use_service_account", elsewhere), text("gcp_service_account_json", secret, elsewhere),
			text("aws_access_key_id", secret, elsewhere), text("aws_secret_access_key", secret, elsewhere),
			flag("allow_override", schema.Describe("A credential of the client's goes before the configured one.")),
		}},
		{Name: "model", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
			fields.Choice("provider", providers, schema.Required, func(f *schema.Field) {
				f.Check = func(v any) string {
					if s := v.(string); !slices.Contains(served, s) {
						return "the provider '" + s + "' is not served"
					}
					return ""
				}
			}),
			text("name"),
			{Name: "options", Kind: schema.Nested, Fields: []*schema.Field{
				{Name: "max_tokens", Kind: schema.Integer, Default: 256},
				number("input_cost", unlogged), number("output_cost", unlogged),
				number("temperature", between(0, 5)), number("top_p", between(0, 1)),
				schema.Field{Kind: schema.Integer}.With("top_k", between(0, 500), schema.Describe("Without effect: the providers that are served have no such option.")),
				text("anthropic_version", elsewhere), text("azure_instance"), text("azure_api_version", schema.Default("2023-05-15")),
				text("azure_deployment_id"), fields.Choice("llama2_format", []string{"raw", "openai", "ollama"}, openAI),
				fields.Choice("mistral_format", []string{"openai", "ollama"}, openAI),
				fields.URL("upstream_url"), text("upstream_path"),
				{Name: "gemini", Kind: schema.Nested, Fields: []*schema.Field{text("api_endpoint", elsewhere), text("project_id", elsewhere), text("location_id", elsewhere)}},
				{Name: "bedrock", Kind: schema.Nested, Fields: []*schema.Field{text("aws_region", elsewhere)}},
				{Name: "huggingface", Kind: schema.Nested, Fields: []*schema.Field{
					schema.Field{Kind: schema.Boolean}.With("use_cache", elsewhere), schema.Field{Kind: schema.Boolean}.With("wait_for_model", elsewhere)}},
			}},
		}},
		{Name: "logging", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
			schema.Flag("log_statistics", "Add the use of tokens to the log.", false).With("log_statistics", unlogged),
			schema.Flag("log_payloads", "Add requests and answers to the log.", false).With("log_payloads", unlogged),
		}},
	}, Checks: []schema.Check{
		{AllOrNone: []string{"auth.header_name", "auth.header_value"}},
		{AllOrNone: []string{"auth.param_name", "auth.param_value", "auth.param_location"}},
		{Custom: complete},
	}}
}

// complete checks that a provider has the options it needs.
func complete(r schema.Record, bad func(field, msg string)) {
	needed := map[string][]string{
		"azure":   {"azure_instance", "azure_api_version", "azure_deployment_id"},
		"mistral": {"mistral_format"},
		"llama2":  {"llama2_format", "upstream_url"},
	}
	provider, _ := schema.At(r, "model.provider").(string)
	for _, option := range needed[provider] {
		if schema.Empty(schema.At(r, "model.options."+option)) {
			bad("", "must set 'model.options."+option+"' for "+provider+" provider")
			return
		}
	}
	if _, err := newModel(r); err != nil {
		bad("", err.Error())
	}
}

// maxSize describes the largest body that is looked at.
func maxSize() *schema.Field {
	return &schema.Field{Name: "max_request_body_size", Kind: schema.Integer, Default: 8192, Gt: schema.Ptr(0.0)}
}
