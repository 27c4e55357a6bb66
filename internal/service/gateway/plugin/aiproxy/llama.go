package aiproxy

import (
	"encoding/json"
	"errors"
	"strings"
)

// llama is the dialect of servers that complete the prompts of Llama 2 as they are, in the
// notation that model was trained with. They do not stream: a stream has the whole answer
// as its one piece.
type llama struct{}

func (llama) request(t *talk) (any, error) {
	in, err := t.ask()
	if err != nil {
		return nil, err
	}
	type parameters struct {
		MaxNewTokens json.RawMessage `json:"max_new_tokens,omitempty"`
		TopP         json.RawMessage `json:"top_p"`
		TopK         json.RawMessage `json:"top_k"`
		Temperature  json.RawMessage `json:"temperature,omitempty"`
	}
	p := parameters{in.MaxTokens, json.RawMessage("1.0"), json.RawMessage("40"), in.Temperature}
	if in.TopP != nil {
		p.TopP = in.TopP
	}
	if in.TopK != nil {
		p.TopK = in.TopK
	}
	inputs, err := llamaPrompt(t.route, &in)
	return struct {
		Inputs     string     `json:"inputs"`
		Parameters parameters `json:"parameters"`
	}{inputs, p}, err
}

// llamaPrompt writes a conversation down. The first message stands where instructions do,
// the second is the first question.
func llamaPrompt(route string, in *asked) (string, error) {
	if route == completion {
		prompt, err := in.prompt()
		return "<s> [INST] <<SYS>> You are a helpful assistant. <<SYS>> " + prompt + " [/INST]", err
	}
	var b strings.Builder
	for i, m := range in.Messages {
		text, err := m.text()
		if err != nil {
			return "", err
		}
		switch {
		case i == 0:
			b.WriteString("<s>[INST] <<SYS>> " + text + " <</SYS>>")
		case i == 1:
			b.WriteString(" " + text + " [/INST]")
		case m.Role == "user":
			b.WriteString(" <s>[INST] " + text + " [/INST]")
		default:
			b.WriteString(" " + text + " </s>")
		}
	}
	return b.String(), nil
}

// text returns what comes after the prompt, which these servers repeat.
func (llama) text(body []byte) (string, *usage, error) {
	var in struct {
		Data []struct {
			Text *string `json:"generated_text"`
		} `json:"data"`
		Usage *usage `json:"usage"`
	}
	switch {
	case json.Unmarshal(body, &in) != nil:
		return "", nil, errors.New("failed to decode llama2 response")
	case len(in.Data) != 1:
		return "", nil, errors.New("cannot parse response from llama2 endpoint")
	case in.Data[0].Text == nil:
		return "", nil, errors.New("response data is empty from llama2 endpoint")
	}
	text := *in.Data[0].Text
	if at := strings.LastIndex(text, "[/INST]"); at >= 0 {
		text = text[at+len("[/INST]"):]
	}
	return strings.TrimSpace(text), in.Usage, nil
}

func (d llama) answer(t *talk, body []byte) (*answer, error) {
	text, use, err := d.text(body)
	if err != nil {
		return nil, err
	}
	out := t.says(text, "")
	out.Usage = use
	return out, nil
}

func (d llama) event(t *talk, e event) (*answer, error) {
	text, use, err := d.text(e.data)
	if err != nil {
		return nil, err
	}
	t.usage.learn(use)
	return t.adds(text, "assistant"), nil
}
