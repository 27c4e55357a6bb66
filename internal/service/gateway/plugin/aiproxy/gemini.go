package aiproxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// gemini is the dialect of Google's generateContent, of the public API and of Vertex.
type gemini struct{}

type geminiRequest struct {
	Contents   []geminiContent `json:"contents,omitempty"`
	System     *geminiContent  `json:"systemInstruction,omitempty"`
	Generation struct {
		MaxTokens   json.RawMessage `json:"maxOutputTokens,omitempty"`
		Stop        []string        `json:"stopSequences,omitempty"`
		Temperature json.RawMessage `json:"temperature,omitempty"`
		TopK        json.RawMessage `json:"topK,omitempty"`
		TopP        json.RawMessage `json:"topP,omitempty"`
	} `json:"generationConfig"`
	Tools      []geminiTools   `json:"tools,omitempty"`
	ToolConfig json.RawMessage `json:"tool_config,omitempty"`
}

type geminiTools struct {
	Declarations []json.RawMessage `json:"function_declarations"`
}

type geminiContent struct {
	Role  string       `json:"role,omitempty"`
	Parts []geminiPart `json:"parts"`
}

type geminiPart struct {
	Text     *string          `json:"text,omitempty"`
	Inline   *geminiInline    `json:"inlineData,omitempty"`
	File     *geminiFile      `json:"fileData,omitempty"`
	Call     *geminiCall      `json:"functionCall,omitempty"`
	Response *geminiCallValue `json:"functionResponse,omitempty"`
}

type geminiInline struct {
	MimeType string `json:"mimeType"`
	Data     string `json:"data"`
}

type geminiFile struct {
	MimeType string `json:"mimeType"`
	URI      string `json:"fileUri"`
}

type geminiCall struct {
	Name string          `json:"name"`
	Args json.RawMessage `json:"args,omitempty"`
}

type geminiCallValue struct {
	Name     string         `json:"name"`
	Response map[string]any `json:"response"`
}

func (gemini) request(t *talk) (any, error) {
	in, err := t.ask()
	if err != nil {
		return nil, err
	}
	var out geminiRequest
	g := &out.Generation
	g.MaxTokens, g.Temperature, g.TopK, g.TopP = in.MaxTokens, in.Temperature, in.TopK, in.TopP
	if g.Stop, err = in.stops(); err != nil {
		return nil, err
	}
	said, system, err := in.instructions()
	if err != nil {
		return nil, err
	}
	if system != nil {
		if strings.HasPrefix(t.model, "gemini-1.0") {
			return nil, errors.New("system prompts aren't supported on gemini-1.0 models")
		}
		text := strings.Join(system, "")
		out.System = &geminiContent{Parts: []geminiPart{{Text: &text}}}
	}
	names := map[string]string{} // of functions, by the id of their call
	for i, m := range said {
		content, err := geminiMessage(m, names)
		if err != nil {
			return nil, fmt.Errorf("message at position %d: %w", i+1, err)
		}
		out.Contents = append(out.Contents, content)
	}
	for _, tool := range in.Tools {
		if tool.Function == nil {
			continue
		}
		if out.Tools == nil {
			out.Tools = []geminiTools{{}}
		}
		out.Tools[0].Declarations = append(out.Tools[0].Declarations, tool.Function)
	}
	out.ToolConfig = t.body["tool_config"]
	return out, nil
}

func geminiMessage(m message, names map[string]string) (c geminiContent, err error) {
	switch {
	case m.Role == "tool":
		text, err := m.text()
		value := map[string]any{"content": text}
		return geminiContent{Role: "user", Parts: []geminiPart{{Response: &geminiCallValue{names[m.CallID], value}}}}, err
	case m.Role == "assistant":
		c.Role = "model"
	default:
		c.Role = "user"
	}
	parts, err := m.parts()
	if err != nil {
		return c, err
	}
	for _, p := range parts {
		switch p.Type {
		case "text":
			c.Parts = append(c.Parts, geminiPart{Text: &p.Text})
		case "image_url":
			c.Parts = append(c.Parts, geminiImage(p.ImageURL.URL))
		default:
			return c, errors.New("cannot transform part of type '" + p.Type + "' to Gemini format")
		}
	}
	for _, call := range m.ToolCalls {
		names[call.ID] = call.Function.Name
		args := json.RawMessage(call.Function.Arguments)
		if !json.Valid(args) {
			args = nil
		}
		c.Parts = append(c.Parts, geminiPart{Call: &geminiCall{call.Function.Name, args}})
	}
	return c, nil
}

// geminiImage is an image that comes in a data URL (RFC 2397) itself, any other by its URL.
func geminiImage(url string) geminiPart {
	if rest, is := strings.CutPrefix(url, "data:"); is {
		head, data, _ := strings.Cut(rest, ",")
		mime, _, _ := strings.Cut(head, ";")
		return geminiPart{Inline: &geminiInline{mime, data}}
	}
	return geminiPart{File: &geminiFile{"image/generic", url}}
}

type geminiAnswer struct {
	Candidates []struct {
		Content      geminiContent `json:"content"`
		FinishReason string        `json:"finishReason"`
	} `json:"candidates"`
	Usage struct {
		Prompt     int `json:"promptTokenCount"`
		Candidates int `json:"candidatesTokenCount"`
	} `json:"usageMetadata"`
}

// said returns the first candidate's text and calls.
func (a *geminiAnswer) said() (text string, calls []toolCall) {
	for _, p := range a.Candidates[0].Content.Parts {
		if p.Text != nil {
			text += *p.Text
		}
		if p.Call != nil {
			calls = append(calls, toolCall{Type: "function", Function: function{p.Call.Name, string(p.Call.Args)}})
		}
	}
	return text, calls
}

func (gemini) answer(t *talk, body []byte) (*answer, error) {
	var in geminiAnswer
	switch {
	case json.Unmarshal(body, &in) != nil:
		return nil, errors.New("failed to decode response from Gemini")
	case len(in.Candidates) == 0:
		return nil, errors.New("no generation candidates received from Gemini, or max_tokens too short")
	}
	text, calls := in.said()
	out := t.says(text, strings.ToLower(in.Candidates[0].FinishReason))
	out.Choices[0].Message.ToolCalls = calls
	if calls != nil && text == "" {
		out.Choices[0].Message.Content = nil
	}
	out.Usage = told(in.Usage.Prompt, in.Usage.Candidates)
	return out, nil
}

func (gemini) event(t *talk, e event) (*answer, error) {
	var in geminiAnswer
	if json.Unmarshal(e.data, &in) != nil {
		return nil, errors.New("failed to decode stream event frame from gemini")
	}
	t.usage.learn(told(in.Usage.Prompt, in.Usage.Candidates))
	if len(in.Candidates) == 0 {
		return nil, nil
	}
	text, calls := in.said()
	out := t.adds(text, "assistant")
	out.Choices[0].Delta.ToolCalls = calls
	out.Choices[0].Finish = set(in.Candidates[0].FinishReason)
	return out, nil
}

// google is the dialect of what Google serves: Gemini, and on Vertex models of others in
// the form of their makers.
type google struct{ version string }

// publisherOf returns who has made a model, as Vertex calls them.
func publisherOf(model string) string {
	for prefix, publisher := range map[string]string{"claude-": "anthropic", "mistral-": "mistral", "jamba-": "ai21"} {
		if strings.HasPrefix(model, prefix) {
			return publisher
		}
	}
	return "google"
}

func (d google) of(t *talk) dialect {
	if publisherOf(t.model) != "anthropic" {
		return gemini{}
	}
	if d.version == "" {
		d.version = "vertex-2023-10-16"
	}
	return anthropic(d)
}

func (d google) request(t *talk) (any, error)                 { return d.of(t).request(t) }
func (d google) answer(t *talk, body []byte) (*answer, error) { return d.of(t).answer(t, body) }
func (d google) event(t *talk, e event) (*answer, error)      { return d.of(t).event(t, e) }
