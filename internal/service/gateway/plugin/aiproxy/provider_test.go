package aiproxy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/aiproxy"
	"sluice.dev/sluice/internal/service/gateway/plugin/awssign"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// provider is a server that keeps what it was asked, and answers as it is told.
type provider struct {
	*httptest.Server
	kind, answer string
	asked        *http.Request
	body         string
	log          aiLog // of the last request
}

func newProvider(t *testing.T) *provider {
	p := &provider{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.asked, p.body = r, string(body)
		w.Header().Set("Content-Type", p.kind)
		io.WriteString(w, p.answer)
	}))
	t.Cleanup(p.Close)
	return p
}

// ask configures ai-proxy for the provider and sends it a request.
func (p *provider) ask(t *testing.T, edits schema.Record, body string) gatewaytest.Result {
	t.Helper()
	all := schema.Record{"model.options.upstream_url": p.URL + "/at"}
	for k, v := range edits {
		all[k] = v
	}
	g := newGateway(t, "ai-proxy", (&stub{Server: p.Server}).llm(all), p.log.kind(t))
	return gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Body: body, Header: []string{"Content-Type", "application/json"}})
}

const (
	many     = `{"messages":[{"role":"system","content":"be"},{"role":"system","content":"kind"},{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},{"role":"user","content":[{"type":"text","text":"who?"}]}],"top_p":0.5,"top_k":3,"stop":"x"}`
	promptly = `{"prompt":"hi","temperature":0.1}`
)

// kinds are the providers with a form of their own, as they are configured.
var kinds = map[string]schema.Record{
	"anthropic":           {"model.provider": "anthropic", "model.options.anthropic_version": "2023-06-01"},
	"anthropic, prompt":   {"model.provider": "anthropic", "model.options.anthropic_version": "2023-06-01", "route_type": "llm/v1/completions"},
	"cohere":              {"model.provider": "cohere"},
	"cohere, prompt":      {"model.provider": "cohere", "route_type": "llm/v1/completions"},
	"gemini":              {"model.provider": "gemini"},
	"vertex, claude":      {"model.provider": "gemini", "model.name": "claude-3"},
	"bedrock":             {"model.provider": "bedrock", "model.options.bedrock": schema.Record{"aws_region": "eu-west-1"}, "auth.aws_access_key_id": "AK", "auth.aws_secret_access_key": "s", "auth.header_name": nil, "auth.header_value": nil},
	"huggingface":         {"model.provider": "huggingface", "model.options.huggingface": schema.Record{"wait_for_model": true}},
	"huggingface, prompt": {"model.provider": "huggingface", "route_type": "llm/v1/completions"},
	"ollama":              {"model.provider": "mistral", "model.options.mistral_format": "ollama"},
	"ollama, prompt":      {"model.provider": "llama2", "model.options.llama2_format": "ollama", "route_type": "llm/v1/completions"},
	"raw":                 {"model.provider": "llama2", "model.options.llama2_format": "raw"},
	"raw, prompt":         {"model.provider": "llama2", "model.options.llama2_format": "raw", "route_type": "llm/v1/completions"},
}

// TestDialects has each provider answer as its documentation says it does.
func TestDialects(t *testing.T) {
	p := newProvider(t)
	p.kind = "application/json"
	for _, c := range []struct {
		kind, body, sent string
		answer, want     string
	}{
		{"anthropic", many,
			`{"model":"m1","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},{"role":"user","content":[{"type":"text","text":"who?"}]}],"system":"be\nkind","max_tokens":256,"top_p":0.5,"top_k":3,"stop_sequences":["x"],"stream":false}`,
			`{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"I"},{"type":"text","text":"am"}],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":2}}`,
			`{"id":"msg_1","object":"chat.completion","model":"claude-x","choices":[{"index":0,"message":{"role":"assistant","content":"I\nam"},"finish_reason":"end_turn"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`},
		{"anthropic, prompt", promptly,
			`{"model":"m1","prompt":"Human: hi\n\nAssistant:","max_tokens_to_sample":256,"temperature":0.1,"stream":false}`,
			`{"completion":" ho","stop_reason":"stop_sequence","model":"claude-2"}`,
			`{"object":"text_completion","model":"claude-2","choices":[{"index":0,"text":" ho","finish_reason":"stop_sequence"}]}`},
		{"anthropic", hello, "", `{"type":"error"}`, `{"error":{"message":"transformation failed from type anthropic://llm/v1/chat: 'content' not in anthropic://llm/v1/chat response"}}`},
		{"vertex, claude", hello, `{"anthropic_version":"vertex-2023-10-16","messages":[{"role":"user","content":"hi"}],"max_tokens":256,"stream":false}`,
			`{"content":[{"type":"text","text":"x"}]}`, `{"object":"chat.completion","model":"claude-3","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":null}]}`},
		{"cohere", many,
			`{"chat_history":[{"role":"USER","message":"be"},{"role":"USER","message":"kind"},{"role":"USER","message":"hi"},{"role":"CHATBOT","message":"yes?"}],"k":3,"max_tokens":256,"message":"who?","model":"m1","p":0.5,"stop_sequences":["x"],"stream":false}`,
			`{"text":"me","generation_id":"g1","finish_reason":"COMPLETE","meta":{"billed_units":{"input_tokens":5,"output_tokens":1}}}`,
			`{"id":"g1","object":"chat.completion","model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"me"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}`},
		{"cohere", `{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}]}`,
			`{"max_tokens":256,"messages":[{"role":"user","content":"hi"}],"model":"m1","stream":false,"tools":[{"type":"function","function":{"name":"f"}}]}`,
			`{"id":"c1","finish_reason":"TOOL_CALL","message":{"role":"assistant","tool_plan":"I call","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},"usage":{"billed_units":{"input_tokens":2,"output_tokens":3}}}`,
			`{"id":"c1","object":"chat.completion","model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"I call","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"TOOL_CALL"}],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}`},
		{"cohere, prompt", promptly, `{"max_tokens":256,"model":"m1","prompt":"hi","stream":false,"temperature":0.1}`,
			`{"id":"g","prompt":"hi","generations":[{"text":"a"},{"text":"b"}],"meta":{"billed_units":{"input_tokens":1,"output_tokens":2}}}`,
			`{"id":"g","object":"text_completion","model":"m1","choices":[{"index":0,"text":"a","finish_reason":"stop"},{"index":1,"text":"b","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`},
		{"gemini", many,
			`{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"yes?"}]},{"role":"user","parts":[{"text":"who?"}]}],"systemInstruction":{"parts":[{"text":"bekind"}]},"generationConfig":{"maxOutputTokens":256,"stopSequences":["x"],"topK":3,"topP":0.5}}`,
			`{"candidates":[{"content":{"role":"model","parts":[{"text":"me"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":1,"totalTokenCount":6}}`,
			`{"object":"chat.completion","model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"me"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}`},
		{"gemini", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}},{"type":"image_url","image_url":{"url":"gs://b/o"}}]},{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"1","content":"7"}],"tools":[{"function":{"name":"f"}}]}`,
			`{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"QQ=="}},{"fileData":{"mimeType":"image/generic","fileUri":"gs://b/o"}}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"content":"7"}}}]}],"generationConfig":{"maxOutputTokens":256},"tools":[{"function_declarations":[{"name":"f"}]}]}`,
			`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":2}}}]},"finishReason":"STOP"}]}`,
			`{"object":"chat.completion","model":"m1","choices":[{"index":0,"message":{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":"{\"a\":2}"}}]},"finish_reason":"stop"}]}`},
		{"gemini", hello, "", `{"candidates":[]}`, `{"error":{"message":"transformation failed from type gemini://llm/v1/chat: no generation candidates received from Gemini, or max_tokens too short"}}`},
		{"bedrock", many,
			`{"messages":[{"role":"user","content":[{"text":"hi"}]},{"role":"assistant","content":[{"text":"yes?"}]},{"role":"user","content":[{"text":"who?"}]}],"system":[{"text":"be"},{"text":"kind"}],"inferenceConfig":{"maxTokens":256,"stopSequences":["x"],"topP":0.5}}`,
			`{"output":{"message":{"role":"assistant","content":[{"text":"me"}]}},"stopReason":"end_turn","usage":{"inputTokens":5,"outputTokens":1,"totalTokens":6}}`,
			`{"object":"chat.completion","model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"me"},"finish_reason":"end_turn"}],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}`},
		{"huggingface", many, `{"max_tokens":256,"messages":[{"role":"system","content":"be"},{"role":"system","content":"kind"},{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},{"role":"user","content":[{"type":"text","text":"who?"}]}],"model":"m1","options":{"use_cache":false,"wait_for_model":true},"stop":"x","stream":false,"top_k":3,"top_p":0.5}`,
			`{"id":"h","model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"me"}}],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}`,
			`{"id":"h","object":"chat.completion","model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"me"},"finish_reason":"complete"}],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}`},
		{"huggingface, prompt", promptly, `{"inputs":"hi","model":"m1","options":{"use_cache":false,"wait_for_model":false},"parameters":{"max_new_tokens":256,"temperature":0.1},"stream":false}`,
			`[{"generated_text":"ho"}]`, `{"object":"text_completion","model":"m1","choices":[{"index":0,"text":"ho","finish_reason":"complete"}]}`},
		{"huggingface", hello, "", `{"error":"overloaded"}`, `{"error":{"message":"transformation failed from type huggingface://llm/v1/chat: API error: overloaded"}}`},
		{"ollama", hello, `{"messages":[{"role":"user","content":"hi"}],"model":"m1","stream":false,"options":{"num_predict":256}}`,
			`{"model":"m","created_at":"2024-01-15T08:13:21.3Z","message":{"role":"assistant","content":"me"},"done":true,"prompt_eval_count":5,"eval_count":256}`,
			`{"object":"chat.completion","created":1705306401,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"me"},"finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":256,"total_tokens":261}}`},
		{"ollama, prompt", promptly, `{"prompt":"hi","model":"m1","stream":false,"options":{"num_predict":256,"temperature":0.1}}`,
			`{"model":"m","response":"ho","done":true}`, `{"object":"text_completion","model":"m","choices":[{"index":0,"text":"ho","finish_reason":"stop"}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}`},
		{"raw", `{"messages":[{"role":"system","content":"be"},{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},{"role":"user","content":"who?"}]}`,
			`{"inputs":"\u003cs\u003e[INST] \u003c\u003cSYS\u003e\u003e be \u003c\u003c/SYS\u003e\u003e hi [/INST] yes? \u003c/s\u003e \u003cs\u003e[INST] who? [/INST]","parameters":{"max_new_tokens":256,"top_p":1.0,"top_k":40}}`,
			`{"data":[{"generated_text":"<s>[INST] be [/INST] me "}]}`,
			`{"object":"chat.completion","model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"me"},"finish_reason":null}]}`},
		{"raw, prompt", promptly, `{"inputs":"\u003cs\u003e [INST] \u003c\u003cSYS\u003e\u003e You are a helpful assistant. \u003c\u003cSYS\u003e\u003e hi [/INST]","parameters":{"max_new_tokens":256,"top_p":1.0,"top_k":40,"temperature":0.1}}`,
			`{"data":[{"generated_text":"ho"}]}`, `{"object":"text_completion","model":"m1","choices":[{"index":0,"text":"ho","finish_reason":null}]}`},
	} {
		p.answer = c.answer
		got := p.ask(t, kinds[c.kind], c.body)
		if got.Body != c.want || c.sent != "" && p.body != c.sent {
			t.Errorf("%s: %d\n got %s\nwant %s\nsent %s\nwant %s", c.kind, got.Status, got.Body, c.want, p.body, c.sent)
		}
	}
}

// frames is an event stream of AWS.
func frames(t *testing.T, messages ...string) string {
	var out bytes.Buffer
	for i := 0; i < len(messages); i += 2 {
		var h eventstream.Headers
		h.Set(":message-type", eventstream.StringValue("event"))
		h.Set(":event-type", eventstream.StringValue(messages[i]))
		if messages[i] == "throttlingException" {
			h.Set(":message-type", eventstream.StringValue("exception"))
			h.Set(":exception-type", eventstream.StringValue(messages[i]))
		}
		if err := eventstream.NewEncoder().Encode(&out, eventstream.Message{Headers: h, Payload: []byte(messages[i+1])}); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestDialectsStream(t *testing.T) {
	p := newProvider(t)
	chunk := func(fields, choice string) string {
		return fmt.Sprintf("data: {%s\"choices\":[{\"index\":0,%s}]}\n\n", fields, choice)
	}
	const end = "data: [DONE]\n\n"
	m1 := `"object":"chat.completion.chunk","model":"m1",`
	for _, c := range []struct{ kind, form, answer, want string }{
		{"anthropic", "text/event-stream; charset=utf-8",
			"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"role\":\"assistant\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n" +
				"event: ping\ndata: {\"type\":\"ping\"}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" +
				"event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\r\ndata: \"delta\":{\"type\":\"text_delta\",\"text\":\"me\"}}\r\n\r\n" +
				"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
			chunk(`"id":"a",`+m1, `"delta":{"role":"assistant","content":""},"finish_reason":null`) + chunk(`"id":"a",`+m1, `"delta":{"content":"me"},"finish_reason":null`) +
				chunk(`"id":"a",`+m1, `"delta":{},"finish_reason":"end_turn"`) + end},
		{"cohere", "application/stream+json",
			`{"event_type":"stream-start","generation_id":"g"}` + "\n" + `{"event_type":"text-generation","text":"me"}` + "\n" +
				`{"event_type":"stream-end","response":{"meta":{"billed_units":{"input_tokens":5,"output_tokens":7}}}}` + "\n",
			chunk(`"id":"g",`+m1, `"delta":{"role":"assistant","content":""},"finish_reason":null`) + chunk(`"id":"g",`+m1, `"delta":{"content":"me"},"finish_reason":null`) + end},
		{"gemini", "application/json",
			"[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"m\"}]}}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":1}}\n,\r\n{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"e\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":7}}\n]",
			chunk(m1, `"delta":{"role":"assistant","content":"m"},"finish_reason":null`) + chunk(m1, `"delta":{"role":"assistant","content":"e"},"finish_reason":"STOP"`) + end},
		{"bedrock", "application/vnd.amazon.eventstream",
			frames(t, "messageStart", `{"role":"assistant"}`, "contentBlockDelta", `{"delta":{"text":"me"}}`, "contentBlockStop", `{}`, "messageStop", `{"stopReason":"end_turn"}`, "metadata", `{"usage":{"inputTokens":5,"outputTokens":7}}`),
			chunk(m1, `"delta":{"role":"assistant","content":""},"finish_reason":null`) + chunk(m1, `"delta":{"content":"me"},"finish_reason":null`) + chunk(m1, `"delta":{},"finish_reason":"end_turn"`) + end},
		{"huggingface", "text/event-stream",
			"data: {\"model\":\"m1\",\"choices\":[{\"delta\":{\"content\":\"me\"}}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}\n\ndata: [DONE]\n\n",
			chunk(m1, `"delta":{"role":"assistant","content":"me"},"finish_reason":null`) + end},
		{"ollama", "application/x-ndjson",
			`{"model":"m1","message":{"content":"me"},"done":false}` + "\n" + `{"model":"m1","done":true,"prompt_eval_count":5,"eval_count":7}` + "\n",
			chunk(m1, `"delta":{"content":"me"},"finish_reason":null`) + end},
		{"raw", "application/json", `{"data":[{"generated_text":"x [/INST] me"}],"usage":{"prompt_tokens":5,"completion_tokens":7}}`,
			chunk(m1, `"delta":{"role":"assistant","content":"me"},"finish_reason":null`) + end},
	} {
		p.kind, p.answer = c.form, c.answer
		edits := schema.Record{"response_streaming": "always", "logging": schema.Record{"log_statistics": true, "log_payloads": true}}
		for k, v := range kinds[c.kind] {
			edits[k] = v
		}
		got := p.ask(t, edits, hello)
		if l := p.log["proxy"]; l.Usage["prompt_tokens"] != 5 || l.Usage["completion_tokens"] != 7 || l.Usage["total_tokens"] != 12 || l.Payload["request"] != hello || l.Payload["response"] != "me" {
			t.Errorf("%s: logged %+v", c.kind, p.log)
		}
		if got.Broken != nil || got.Body != c.want || got.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: %v\n got %s\nwant %s", c.kind, got.Broken, got.Body, c.want)
		}
	}
	for _, broken := range []struct{ kind, form, answer string }{
		{"bedrock", "application/vnd.amazon.eventstream", frames(t, "throttlingException", `{}`)},
		{"bedrock", "application/vnd.amazon.eventstream", frames(t, "messageStart", `{"role":"assistant"}`)[:20]},
		{"gemini", "application/json", `[{"candidates":[]}`},
		{"gemini", "application/json", `[{"candidates":[]},{"cand`},
		{"anthropic", "text/event-stream", "data: " + strings.Repeat("x", 2<<20) + "\n\n"},
		{"ollama", "application/x-ndjson", `{"model":"` + strings.Repeat("x", 2<<20) + `"}`},
	} {
		p.kind, p.answer = broken.form, broken.answer
		edits := schema.Record{"response_streaming": "always"}
		for k, v := range kinds[broken.kind] {
			edits[k] = v
		}
		if got := p.ask(t, edits, hello); got.Broken == nil || strings.Contains(got.Body, "[DONE]") {
			t.Errorf("%s: a broken stream ends as if it were whole: %s", broken.kind, got.Body)
		}
	}
}

// TestBedrockSignature signs what has come anew with the same key.
func TestBedrockSignature(t *testing.T) {
	p := newProvider(t)
	p.kind, p.answer = "application/json", "{}"
	p.ask(t, kinds["bedrock"], hello)
	at, err := time.Parse("20060102T150405Z", p.asked.Header.Get("X-Amz-Date"))
	if err != nil {
		t.Fatal(err)
	}
	again := func(secret string) string {
		r, _ := http.NewRequest("POST", p.URL+p.asked.URL.Path, strings.NewReader(p.body))
		r.Header.Set("Content-Type", "application/json")
		if err := awssign.Sign(t.Context(), r, []byte(p.body), aws.Credentials{AccessKeyID: "AK", SecretAccessKey: secret}, awssign.Scope{Service: "bedrock", Region: "eu-west-1"}, at); err != nil {
			t.Fatal(err)
		}
		return r.Header.Get("Authorization")
	}
	if got := p.asked.Header.Get("Authorization"); got != again("s") || got == again("t") {
		t.Errorf("signed %s, want %s", got, again("s"))
	}
}

// TestServiceAccount fetches a token as Google documents it, once for two requests.
func TestServiceAccount(t *testing.T) {
	pair := gatewaytest.NewAuthority(t, "x").IssueRSA(t, "x")
	fetched := 0
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched++
		parts := strings.Split(r.FormValue("assertion"), ".")
		claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
		if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || !strings.Contains(string(claims), `"iss":"a@b.example","scope":"https://www.googleapis.com/auth/cloud-platform"`) {
			t.Errorf("%v %s", r.Form, claims)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"tok","token_type":"Bearer","expires_in":3600}`)
	}))
	t.Cleanup(tokens.Close)
	account, _ := json.Marshal(map[string]string{"client_email": "a@b.example", "private_key": pair.Key, "private_key_id": "1", "token_uri": tokens.URL})
	p := newProvider(t)
	p.kind, p.answer = "application/json", `{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}`
	g := newGateway(t, "ai-proxy", (&stub{Server: p.Server}).llm(schema.Record{"model.provider": "gemini", "auth.header_name": nil, "auth.header_value": nil,
		"auth.gcp_use_service_account": true, "auth.gcp_service_account_json": string(account)}))
	for range 2 {
		got := gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Body: hello, Header: []string{"Content-Type", "application/json"}})
		if got.Status != 200 || p.asked.Header.Get("Authorization") != "Bearer tok" {
			t.Errorf("%d %s %v", got.Status, got.Body, p.asked.Header)
		}
	}
	if fetched != 1 {
		t.Errorf("%d tokens were fetched", fetched)
	}
}

func TestURL(t *testing.T) {
	t.Setenv("AWS_REGION", "us-east-1")
	vertex := schema.Record{"gemini": schema.Record{"api_endpoint": "eu-aiplatform.googleapis.com", "project_id": "p", "location_id": "l"}}
	for _, c := range []struct {
		provider, route, name string
		options               schema.Record
		stream                bool
		want                  string
	}{
		{"openai", "llm/v1/chat", "m", nil, false, "https://api.openai.com/v1/chat/completions"},
		{"openai", "llm/v1/completions", "m", nil, false, "https://api.openai.com/v1/completions"},
		{"openai", "preserve", "m", nil, false, "https://api.openai.com/client/x%2Fy"},
		{"openai", "preserve", "m", schema.Record{"upstream_path": "own"}, false, "https://api.openai.com/own"},
		{"mistral", "llm/v1/chat", "m", nil, false, "https://api.mistral.ai/v1/chat/completions"},
		{"azure", "llm/v1/chat", "m", schema.Record{"azure_instance": "i", "azure_deployment_id": "d", "azure_api_version": "v"}, false, "https://i.openai.azure.com/openai/deployments/d/chat/completions?api-version=v"},
		{"anthropic", "llm/v1/chat", "m", nil, true, "https://api.anthropic.com/v1/messages"},
		{"anthropic", "llm/v1/completions", "m", nil, false, "https://api.anthropic.com/v1/complete"},
		{"anthropic", "llm/v1/completions", "m", schema.Record{"upstream_path": "/v2/x"}, false, "https://api.anthropic.com/v2/x"},
		{"cohere", "llm/v1/chat", "m", nil, false, "https://api.cohere.com/v1/chat"},
		{"cohere", "llm/v1/completions", "m", nil, false, "https://api.cohere.com/v1/generate"},
		{"gemini", "llm/v1/chat", "m", nil, false, "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent"},
		{"gemini", "llm/v1/chat", "m", nil, true, "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent"},
		{"gemini", "llm/v1/chat", "m", vertex, true, "https://eu-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent"},
		{"gemini", "llm/v1/chat", "claude-3", vertex, false, "https://eu-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/anthropic/models/claude-3:rawPredict"},
		{"bedrock", "llm/v1/chat", "a.b-v1:0", nil, false, "https://bedrock-runtime.us-east-1.amazonaws.com/model/a.b-v1%3A0/converse"},
		{"bedrock", "llm/v1/chat", "arn:x/y", nil, true, "https://bedrock-runtime.us-east-1.amazonaws.com/model/arn%3Ax%2Fy/converse-stream"},
		{"huggingface", "llm/v1/chat", "a/b", nil, false, "https://api-inference.huggingface.co/models/a/b/v1/chat/completions"},
		{"huggingface", "llm/v1/completions", "a/b?c", nil, false, "https://api-inference.huggingface.co/models/a/b%3Fc"},
		{"huggingface", "llm/v1/chat", "b", schema.Record{"upstream_url": "http://h/x"}, false, "http://h/x/v1/chat/completions"},
		{"huggingface", "llm/v1/completions", "../x", nil, false, ""},
	} {
		config := schema.Record{"route_type": c.route, "model": schema.Record{"provider": c.provider, "options": c.options}}
		got, err := aiproxy.URL(config, c.name, "/client/x%2Fy", c.stream)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s %s %s: %s, %v, want %s", c.provider, c.route, c.name, got, err, c.want)
		}
		if _, err := url.Parse(got); err != nil {
			t.Error(err)
		}
	}
}

func FuzzSource(f *testing.F) {
	f.Add("text/event-stream", "event: a\ndata: b\n\n")
	f.Add("application/json", "[{},1]")
	f.Add("application/vnd.amazon.eventstream", "\x00\x00\x00\x10\x00\x00\x00\x00")
	f.Fuzz(func(t *testing.T, kind, stream string) {
		s := aiproxy.NewSource(kind, strings.NewReader(stream))
		for n := 0; ; n++ {
			if _, _, err := aiproxy.Next(s); err != nil {
				return
			}
			if n > len(stream) {
				t.Fatal("more events than bytes")
			}
		}
	})
}
