package aiproxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
)

// huggingFace is the dialect of Hugging Face's inference API: chats are in OpenAI's form,
// completions are its text generation.
type huggingFace struct {
	useCache, waitForModel bool
}

func (d huggingFace) request(t *talk) (any, error) {
	out := maps.Clone(t.body)
	options := map[string]bool{"use_cache": d.useCache, "wait_for_model": d.waitForModel}
	if err := put(out, "options", options); err != nil || t.route != completion {
		return out, err
	}
	parameters := object{}
	if own := t.body["parameters"]; own != nil && json.Unmarshal(own, &parameters) != nil {
		return nil, errors.New("parameters is not an object")
	}
	for from, to := range map[string]string{"top_k": "top_k", "top_p": "top_p", "temperature": "temperature", "max_tokens": "max_new_tokens"} {
		if v := out[from]; v != nil && parameters[to] == nil {
			parameters[to] = v
		}
		delete(out, from)
	}
	out["inputs"] = out["prompt"]
	delete(out, "prompt")
	return out, put(out, "parameters", parameters)
}

// put sets a member of an object.
func put(o object, name string, v any) error {
	p, err := json.Marshal(v)
	o[name] = p
	return err
}

func (huggingFace) answer(t *talk, body []byte) (*answer, error) {
	var texts []struct {
		Text *string `json:"generated_text"`
	}
	if json.Unmarshal(body, &texts) == nil && len(texts) > 0 && texts[0].Text != nil {
		return t.says(*texts[0].Text, "complete"), nil
	}
	var in struct {
		answer
		Error   any `json:"error"`
		Message any `json:"message"`
	}
	switch {
	case json.Unmarshal(body, &in) != nil:
		return nil, errors.New("failed to decode response")
	case in.Error != nil:
		return nil, fmt.Errorf("API error: %v", in.Error)
	case in.Message != nil:
		return nil, fmt.Errorf("API error: %v", in.Message)
	case in.Choices == nil:
		return nil, errors.New("invalid response format")
	}
	out := t.says(in.spoken(), "complete")
	out.ID, out.Usage = in.ID, in.Usage
	return out, nil
}

func (huggingFace) event(t *talk, e event) (*answer, error) {
	if string(e.data) == string(done) {
		return &answer{done: true}, nil
	}
	var in struct {
		answer
		Token struct{ Text string } `json:"token"`
	}
	if json.Unmarshal(e.data, &in) != nil {
		return nil, errors.New("failed to decode stream event frame from Hugging Face")
	}
	t.usage.learn(in.Usage)
	if t.route == completion {
		return t.adds(in.Token.Text, ""), nil
	}
	out := t.adds(in.spoken(), "assistant")
	if in.Model != "" {
		out.Model = in.Model
	}
	return out, nil
}
