package aiproxy

import (
	"encoding/json"
	"errors"
	"time"
)

// ollama is the dialect of Ollama's own API.
type ollama struct{}

func (ollama) request(t *talk) (any, error) {
	in, err := t.ask()
	if err != nil {
		return nil, err
	}
	type options struct {
		Predict     json.RawMessage `json:"num_predict,omitempty"`
		Temperature json.RawMessage `json:"temperature,omitempty"`
		TopP        json.RawMessage `json:"top_p,omitempty"`
		TopK        json.RawMessage `json:"top_k,omitempty"`
	}
	return struct {
		Messages json.RawMessage `json:"messages,omitempty"`
		Prompt   json.RawMessage `json:"prompt,omitempty"`
		Model    string          `json:"model"`
		Stream   bool            `json:"stream"`
		Options  options         `json:"options"`
	}{t.body["messages"], t.body["prompt"], t.model, t.stream, options{in.MaxTokens, in.Temperature, in.TopP, in.TopK}}, nil
}

type ollamaAnswer struct {
	Model    string    `json:"model"`
	Created  time.Time `json:"created_at"`
	Message  *saying   `json:"message"`
	Response *string   `json:"response"`
	Done     bool      `json:"done"`
	Prompt   int       `json:"prompt_eval_count"`
	Eval     int       `json:"eval_count"`
}

func (a *ollamaAnswer) text() string {
	switch {
	case a.Message != nil && a.Message.Content != nil:
		return *a.Message.Content
	case a.Response != nil:
		return *a.Response
	}
	return ""
}

func (ollama) answer(t *talk, body []byte) (*answer, error) {
	var in ollamaAnswer
	if json.Unmarshal(body, &in) != nil {
		return nil, errors.New("failed to decode ollama response")
	}
	why := "stop" // it is not told
	if t.limit > 0 && in.Eval == t.limit {
		why = "length"
	}
	out := t.says(in.text(), why)
	out.Usage = &usage{in.Prompt, in.Eval, in.Prompt + in.Eval}
	if !in.Created.IsZero() {
		out.Created = in.Created.Unix()
	}
	if in.Model != "" {
		out.Model = in.Model
	}
	return out, nil
}

func (ollama) event(t *talk, e event) (*answer, error) {
	var in ollamaAnswer
	if json.Unmarshal(e.data, &in) != nil {
		return nil, errors.New("failed to decode ollama response")
	}
	if in.Done {
		t.usage.learn(told(in.Prompt, in.Eval))
		return &answer{done: true}, nil
	}
	out := t.adds(in.text(), "")
	if in.Model != "" {
		out.Model = in.Model
	}
	return out, nil
}
