package aiproxy

import (
	"strings"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

var providers = []string{"openai", "azure", "anthropic", "cohere", "mistral", "llama2", "gemini", "bedrock", "huggingface"}

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
	number := func(name string, edits ...func(*schema.Field)) *schema.Field {
		return schema.Field{Kind: schema.Number}.With(name, edits...)
	}
	between := func(from, to float64) func(*schema.Field) {
		return func(f *schema.Field) { f.Between = []float64{from, to} }
	}
	positive := func(f *schema.Field) { f.Gt = schema.Ptr(0.0) }
	flag := func(name string, edits ...func(*schema.Field)) *schema.Field {
		return schema.Field{Kind: schema.Boolean, Default: false}.With(name, edits...)
	}
	account := func(f *schema.Field) {
		f.Check = func(v any) string {
			if _, err := serviceAccount(v.(string)); err != nil && !strings.HasPrefix(v.(string), "{vault://") {
				return err.Error()
			}
			return ""
		}
	}
	return &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		fields.Choice("route_type", []string{chat, completion, preserve}, schema.Required),
		{Name: "auth", Kind: schema.Nested, Fields: []*schema.Field{
			text("header_name", reference), text("header_value", secret), text("param_name", reference), text("param_value", secret),
			fields.Choice("param_location", []string{"query", "body"}),
			flag("gcp_use_service_account"), text("gcp_service_account_json", secret, account),
			text("aws_access_key_id", secret), text("aws_secret_access_key", secret),
			flag("allow_override", schema.Describe("A credential of the client's goes before the configured one.")),
		}},
		{Name: "model", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
			fields.Choice("provider", providers, schema.Required),
			text("name"),
			{Name: "options", Kind: schema.Nested, Fields: []*schema.Field{
				{Name: "max_tokens", Kind: schema.Integer, Default: 256},
				number("input_cost", positive, schema.Describe("Price of a million tokens of prompts.")),
				number("output_cost", positive, schema.Describe("Price of a million tokens of answers.")),
				number("temperature", between(0, 5)), number("top_p", between(0, 1)),
				schema.Field{Kind: schema.Integer}.With("top_k", between(0, 500), schema.Describe("Without effect for what speaks as OpenAI does.")),
				text("anthropic_version"), text("azure_instance"), text("azure_api_version", schema.Default("2023-05-15")),
				text("azure_deployment_id"), fields.Choice("llama2_format", []string{"raw", "openai", "ollama"}),
				fields.Choice("mistral_format", []string{"openai", "ollama"}),
				fields.URL("upstream_url"), text("upstream_path"),
				{Name: "gemini", Kind: schema.Nested, Fields: []*schema.Field{fields.Host("api_endpoint"), text("project_id"), text("location_id")},
					Checks: []schema.Check{{AllOrNone: []string{"api_endpoint", "project_id", "location_id"}}}},
				{Name: "bedrock", Kind: schema.Nested, Fields: []*schema.Field{fields.Host("aws_region")}},
				{Name: "huggingface", Kind: schema.Nested, Fields: []*schema.Field{
					schema.Field{Kind: schema.Boolean}.With("use_cache"), schema.Field{Kind: schema.Boolean}.With("wait_for_model")}},
			}},
		}},
		{Name: "logging", Kind: schema.Nested, Required: true, Fields: []*schema.Field{
			schema.Flag("log_statistics", "Add the use of tokens to the log.", false),
			schema.Flag("log_payloads", "Add requests and answers to the log.", false),
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
		"llama2":  {"llama2_format", "upstream_url"}, "anthropic": {"anthropic_version"},
	}
	provider, _ := schema.At(r, "model.provider").(string)
	for _, option := range needed[provider] {
		if schema.Empty(schema.At(r, "model.options."+option)) {
			bad("", "must set 'model.options."+option+"' for "+provider+" provider")
			return
		}
	}
	route := r["route_type"]
	switch {
	case (provider == "gemini" || provider == "bedrock") && schema.At(r, "auth.allow_override") == true:
		bad("", "bedrock and gemini only support auth.allow_override = false")
	case (provider == "gemini" || provider == "bedrock") && route == completion:
		bad("", "no transformer for "+provider+"://"+completion)
	case provider == "anthropic" && route == completion && schema.At(r, "logging.log_statistics") == true:
		bad("", "anthropic does not support statistics when route_type is "+completion)
	}
	if _, err := newAddress(&model{provider: provider}, inner(inner(r, "model"), "options")); err != nil {
		bad("", err.Error())
	}
}

// maxSize describes the largest body that is looked at.
func maxSize() *schema.Field {
	return &schema.Field{Name: "max_request_body_size", Kind: schema.Integer, Default: 8192, Gt: schema.Ptr(0.0)}
}
