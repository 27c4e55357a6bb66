package aiproxy

import (
	"encoding/json"
	"errors"
	"strings"
)

// anthropic is the dialect of Anthropic's Messages API, and for completions of its older
// Text Completions API.
type anthropic struct {
	version string // told in the body, as Vertex wants it; "": it is in a header
}

type anthropicRequest struct {
	Version     string             `json:"anthropic_version,omitempty"`
	Model       string             `json:"model,omitempty"`
	Messages    []anthropicMessage `json:"messages,omitempty"`
	System      string             `json:"system,omitempty"`
	Prompt      string             `json:"prompt,omitempty"`
	MaxTokens   json.RawMessage    `json:"max_tokens,omitempty"`
	MaxSample   json.RawMessage    `json:"max_tokens_to_sample,omitempty"`
	Temperature json.RawMessage    `json:"temperature,omitempty"`
	TopP        json.RawMessage    `json:"top_p,omitempty"`
	TopK        json.RawMessage    `json:"top_k,omitempty"`
	Stop        []string           `json:"stop_sequences,omitempty"`
	Stream      bool               `json:"stream"`
}

type anthropicMessage struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

func (d anthropic) request(t *talk) (any, error) {
	in, err := t.ask()
	if err != nil {
		return nil, err
	}
	out := anthropicRequest{Version: d.version, Temperature: in.Temperature, TopP: in.TopP, TopK: in.TopK, Stream: t.stream}
	if d.version == "" {
		out.Model = t.model
	}
	if out.Stop, err = in.stops(); err != nil {
		return nil, err
	}
	if t.route == completion {
		prompt, err := in.prompt()
		out.Prompt, out.MaxSample = "Human: "+prompt+"\n\nAssistant:", in.MaxTokens
		return out, err
	}
	said, system, err := in.instructions()
	if err != nil {
		return nil, err
	}
	for _, m := range said {
		if m.Role != "assistant" && m.Role != "user" {
			return nil, errors.New("a message is of the role " + m.Role + ", which the provider does not take")
		}
		out.Messages = append(out.Messages, anthropicMessage{m.Role, m.Content})
	}
	out.System, out.MaxTokens = strings.Join(system, "\n"), in.MaxTokens
	return out, nil
}

// stops returns the texts at which an answer ends; OpenAI's form has one or a list.
func (a *asked) stops() (out []string, err error) {
	var one *string
	if a.Stop == nil || json.Unmarshal(a.Stop, &one) == nil {
		if one != nil {
			out = []string{*one}
		}
		return out, nil
	}
	if json.Unmarshal(a.Stop, &out) != nil {
		return nil, errors.New("stop is neither a text nor a list of them")
	}
	return out, nil
}

type anthropicUsage struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
}

func (u *anthropicUsage) told() *usage {
	if u == nil {
		return nil
	}
	return told(u.Input, u.Output)
}

type anthropicAnswer struct {
	ID         string                   `json:"id"`
	Model      string                   `json:"model"`
	Role       string                   `json:"role"`
	Content    []struct{ Text *string } `json:"content"`
	Completion *string                  `json:"completion"`
	StopReason string                   `json:"stop_reason"`
	Usage      *anthropicUsage          `json:"usage"`
}

func (anthropic) answer(t *talk, body []byte) (*answer, error) {
	var in anthropicAnswer
	if json.Unmarshal(body, &in) != nil {
		return nil, errors.New("failed to decode anthropic response")
	}
	var text string
	switch {
	case t.route == completion && in.Completion == nil:
		return nil, errors.New("'completion' not in anthropic://llm/v1/chat response")
	case t.route == completion:
		text = *in.Completion
	case in.Content == nil:
		return nil, errors.New("'content' not in anthropic://llm/v1/chat response")
	default:
		var texts []string
		for _, c := range in.Content {
			if c.Text != nil {
				texts = append(texts, *c.Text)
			}
		}
		text = strings.Join(texts, "\n")
	}
	out := t.says(text, in.StopReason)
	out.ID, out.Usage = in.ID, in.Usage.told()
	if in.Model != "" {
		out.Model = in.Model
	}
	return out, nil
}

func (anthropic) event(t *talk, e event) (*answer, error) {
	var in struct {
		Type       string          `json:"type"`
		Message    anthropicAnswer `json:"message"`
		Usage      *anthropicUsage `json:"usage"`
		Completion *string         `json:"completion"`
		StopReason string          `json:"stop_reason"`
		Delta      struct {
			Text       *string `json:"text"`
			StopReason string  `json:"stop_reason"`
		} `json:"delta"`
		Error struct {
			Type string `json:"type"`
		} `json:"error"`
	}
	if err := json.Unmarshal(e.data, &in); err != nil {
		return nil, errors.New("failed to decode an event of anthropic")
	}
	switch in.Type {
	case "message_start":
		t.id = in.Message.ID
		t.usage.learn(in.Message.Usage.told())
		return t.adds("", in.Message.Role), nil
	case "content_block_delta":
		if in.Delta.Text != nil {
			return t.adds(*in.Delta.Text, ""), nil
		}
	case "message_delta":
		t.usage.learn(in.Usage.told())
		if in.Delta.StopReason != "" {
			return t.finishes(in.Delta.StopReason), nil
		}
	case "message_stop":
		return &answer{done: true}, nil
	case "completion":
		if in.StopReason != "" {
			return t.finishes(in.StopReason), nil
		}
		if in.Completion != nil {
			return t.adds(*in.Completion, ""), nil
		}
	case "error":
		return nil, errors.New("anthropic: " + in.Error.Type)
	}
	return nil, nil
}
