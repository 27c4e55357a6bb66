package aiproxy

import (
	"encoding/json"
	"errors"
	"maps"
)

// cohere is the dialect of Cohere's Chat API, version 1, and for completions of its older
// Generate API. A request with tools goes out in OpenAI's form.
type cohere struct{}

func (cohere) request(t *talk) (any, error) {
	in, err := t.ask()
	if err != nil {
		return nil, err
	}
	if in.Tools != nil {
		return openAI{}.request(t)
	}
	out := map[string]any{}
	for name, v := range maps.All(t.body) {
		switch name {
		case "messages":
		case "top_p":
			out["p"] = v
		case "top_k":
			out["k"] = v
		case "stop":
			out["stop_sequences"], err = in.stops()
		default:
			out[name] = v
		}
	}
	if err != nil || t.route == completion {
		return out, err
	}
	type past struct {
		Role    string `json:"role"`
		Message string `json:"message"`
	}
	var history []past
	for i, m := range in.Messages {
		text, err := m.text()
		if err != nil {
			return nil, err
		}
		if i == len(in.Messages)-1 {
			out["message"] = text
			break
		}
		role := "USER"
		if m.Role == "assistant" || m.Role == "CHATBOT" {
			role = "CHATBOT"
		}
		history = append(history, past{role, text})
	}
	if history != nil {
		out["chat_history"] = history
	}
	return out, nil
}

// cohereUnits are the tokens that are paid for.
type cohereUnits struct {
	BilledUnits struct {
		Input  float64 `json:"input_tokens"`
		Output float64 `json:"output_tokens"`
	} `json:"billed_units"`
}

func (u cohereUnits) told() *usage { return told(int(u.BilledUnits.Input), int(u.BilledUnits.Output)) }

type cohereAnswer struct {
	ID           string                  `json:"id"`
	GenerationID string                  `json:"generation_id"`
	Text         *string                 `json:"text"`
	Generations  []struct{ Text string } `json:"generations"`
	FinishReason string                  `json:"finish_reason"`
	Meta         cohereUnits             `json:"meta"`
	Usage        cohereUnits             `json:"usage"`
	Message      *struct {
		Plan    string     `json:"tool_plan"`
		Calls   []toolCall `json:"tool_calls"`
		Content []part     `json:"content"`
	} `json:"message"`
}

func (cohere) answer(t *talk, body []byte) (*answer, error) {
	var in cohereAnswer
	if json.Unmarshal(body, &in) != nil {
		return nil, errors.New("failed to decode cohere response")
	}
	switch {
	case in.Generations != nil:
		out := &answer{ID: in.ID, Object: "text_completion", Model: t.model, Usage: in.Meta.told()}
		for i, g := range in.Generations {
			out.Choices = append(out.Choices, choice{Index: i, Text: &g.Text, Finish: set("stop")})
		}
		return out, nil
	case in.Text != nil:
		out := t.says(*in.Text, "stop")
		out.ID, out.Usage = in.GenerationID, in.Meta.told()
		return out, nil
	case in.Message != nil:
		text := in.Message.Plan
		if text == "" {
			for _, p := range in.Message.Content {
				text += p.Text
			}
		}
		out := t.says(text, in.FinishReason)
		if m := out.Choices[0].Message; m != nil {
			m.ToolCalls = in.Message.Calls
		}
		out.ID, out.Usage = in.ID, in.Usage.told()
		return out, nil
	}
	return nil, errors.New("'text' or 'generations' missing from cohere response body")
}

func (cohere) event(t *talk, e event) (*answer, error) {
	var in struct {
		Type         string       `json:"event_type"`
		GenerationID string       `json:"generation_id"`
		Text         string       `json:"text"`
		Response     cohereAnswer `json:"response"`
	}
	if json.Unmarshal(e.data, &in) != nil {
		return nil, errors.New("failed to decode an event of cohere")
	}
	switch in.Type {
	case "stream-start":
		t.id = in.GenerationID
		return t.adds("", "assistant"), nil
	case "text-generation":
		return t.adds(in.Text, ""), nil
	case "stream-end":
		t.usage.learn(in.Response.Meta.told())
		return &answer{done: true}, nil
	}
	return nil, nil
}
