package aiproxy

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
)

// bedrock is the dialect of the Converse API of Amazon Bedrock.
type bedrock struct{}

// unsystematic are the models that take no instructions of the system's.
var unsystematic = regexp.MustCompile(`^(amazon\.titan-|cohere\.command-(light-)?text-|mistral\.mistral-7b-instruct-|mistral\.mixtral-8x7b-instruct-)`)

type bedrockRequest struct {
	Messages  []bedrockMessage `json:"messages"`
	System    []bedrockText    `json:"system,omitempty"`
	Inference struct {
		MaxTokens   json.RawMessage `json:"maxTokens,omitempty"`
		Stop        []string        `json:"stopSequences,omitempty"`
		Temperature json.RawMessage `json:"temperature,omitempty"`
		TopP        json.RawMessage `json:"topP,omitempty"`
	} `json:"inferenceConfig"`
	ToolConfig json.RawMessage `json:"toolConfig,omitempty"`
	Additional json.RawMessage `json:"additionalModelRequestFields,omitempty"`
}

type bedrockText struct {
	Text string `json:"text"`
}

type bedrockMessage struct {
	Role    string `json:"role"`
	Content any    `json:"content"`
}

func (bedrock) request(t *talk) (any, error) {
	in, err := t.ask()
	if err != nil {
		return nil, err
	}
	out := bedrockRequest{Messages: []bedrockMessage{}}
	i := &out.Inference
	i.MaxTokens, i.Temperature, i.TopP = in.MaxTokens, in.Temperature, in.TopP
	if i.Stop, err = in.stops(); err != nil {
		return nil, err
	}
	said, system, err := in.instructions()
	if err != nil {
		return nil, err
	}
	if system != nil && unsystematic.MatchString(t.model) {
		return nil, errors.New("system prompts are unsupported for model '" + t.model + "'")
	}
	for _, text := range system {
		out.System = append(out.System, bedrockText{text})
	}
	for _, m := range said {
		role := "user"
		if m.Role == "assistant" {
			role = m.Role
		}
		var content any = m.Content // a list is in Bedrock's own form
		if text, err := m.text(); err == nil {
			content = []bedrockText{{text}}
		}
		out.Messages = append(out.Messages, bedrockMessage{role, content})
	}
	if own := t.body["bedrock"]; own != nil {
		var more struct {
			ToolConfig json.RawMessage `json:"toolConfig"`
			Additional json.RawMessage `json:"additionalModelRequestFields"`
		}
		if json.Unmarshal(own, &more) != nil {
			return nil, errors.New("bedrock is not an object")
		}
		out.ToolConfig, out.Additional = more.ToolConfig, more.Additional
	}
	return out, nil
}

type bedrockUsage struct {
	Input  int `json:"inputTokens"`
	Output int `json:"outputTokens"`
}

func (bedrock) answer(t *talk, body []byte) (*answer, error) {
	var in struct {
		Output struct {
			Message struct {
				Content []struct{ Text *string } `json:"content"`
			} `json:"message"`
		} `json:"output"`
		StopReason string       `json:"stopReason"`
		Usage      bedrockUsage `json:"usage"`
	}
	if json.Unmarshal(body, &in) != nil {
		return nil, errors.New("failed to decode response from Bedrock")
	}
	c := in.Output.Message.Content
	if len(c) == 0 || c[0].Text == nil {
		return nil, errors.New("no generation candidates received from Bedrock, or max_tokens too short")
	}
	out := t.says(*c[0].Text, strings.ToLower(in.StopReason))
	out.Usage = told(in.Usage.Input, in.Usage.Output)
	return out, nil
}

func (bedrock) event(t *talk, e event) (*answer, error) {
	var in struct {
		Role       string                 `json:"role"`
		Delta      struct{ Text *string } `json:"delta"`
		StopReason string                 `json:"stopReason"`
		Usage      bedrockUsage           `json:"usage"`
	}
	if json.Unmarshal(e.data, &in) != nil {
		return nil, errors.New("failed to decode an event of Bedrock")
	}
	switch e.name {
	case "messageStart":
		return t.adds("", in.Role), nil
	case "contentBlockDelta":
		if in.Delta.Text != nil {
			return t.adds(*in.Delta.Text, ""), nil
		}
	case "messageStop":
		return t.finishes(in.StopReason), nil
	case "metadata":
		t.usage.learn(told(in.Usage.Input, in.Usage.Output))
		return &answer{done: true}, nil
	}
	return nil, nil
}
