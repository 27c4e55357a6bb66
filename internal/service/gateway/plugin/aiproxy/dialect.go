package aiproxy

import (
	"encoding/json"
	"errors"
	"strings"
)

// dialect is the form of a provider's API: requests and answers are put from OpenAI's form
// into it and back. It keeps no state; what a stream has to remember is in its talk.
type dialect interface {
	// request returns the body that asks the provider what t asks in OpenAI's form.
	request(t *talk) (any, error)
	// answer puts a whole answer into OpenAI's form.
	answer(t *talk, body []byte) (*answer, error)
	// event puts one event of a streamed answer into OpenAI's form; nil: it says nothing to
	// the client.
	event(t *talk, e event) (*answer, error)
}

// talk is one request to a model, and what is known of its answer.
type talk struct {
	body   object // in OpenAI's form, with the options of the configuration
	model  string
	route  string
	stream bool
	limit  int    // max_tokens of the configuration; 0: none
	id     string // of a streamed answer
	usage  usage  // as far as it was told
}

// event is one piece of a streamed answer, as it came.
type event struct {
	name string // where the provider gives its events names
	data []byte
}

// object is an object of JSON whose values stay as they came until they are looked at.
type object = map[string]json.RawMessage

// asked is what most dialects look at of a request. What is empty or null is left out of
// what is made of it.
type asked struct {
	Messages    []message       `json:"messages"`
	Prompt      json.RawMessage `json:"prompt"`
	MaxTokens   json.RawMessage `json:"max_tokens"`
	Temperature json.RawMessage `json:"temperature"`
	TopP        json.RawMessage `json:"top_p"`
	TopK        json.RawMessage `json:"top_k"`
	Stop        json.RawMessage `json:"stop"`
	Tools       []tool          `json:"tools"`
}

type message struct {
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	ToolCalls []toolCall      `json:"tool_calls,omitempty"`
	CallID    string          `json:"tool_call_id,omitempty"`
}

type tool struct {
	Function json.RawMessage `json:"function"`
}

type toolCall struct {
	ID       string   `json:"id,omitempty"`
	Type     string   `json:"type,omitempty"`
	Function function `json:"function"`
}

type function struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // an object of JSON, as text
}

// part is a piece of a message's content.
type part struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	ImageURL struct {
		URL string `json:"url"`
	} `json:"image_url"`
}

var errMessages = errors.New("a message is not of the form that chats have")

// ask reads a request's members.
func (t *talk) ask() (asked, error) {
	p, err := json.Marshal(t.body)
	var a asked
	if err == nil && json.Unmarshal(p, &a) != nil {
		err = errMessages
	}
	return a, err
}

// prompt returns the prompt of a completion.
func (a *asked) prompt() (string, error) {
	var text string
	if json.Unmarshal(a.Prompt, &text) != nil {
		return "", errors.New("the prompt is not a text")
	}
	return text, nil
}

// parts returns the content of a message, which is one text or a list of pieces.
func (m *message) parts() ([]part, error) {
	var text *string
	if m.Content == nil || json.Unmarshal(m.Content, &text) == nil {
		if text == nil {
			return nil, nil
		}
		return []part{{Type: "text", Text: *text}}, nil
	}
	var out []part
	if json.Unmarshal(m.Content, &out) != nil {
		return nil, errMessages
	}
	return out, nil
}

// text returns the content of a message that is text alone.
func (m *message) text() (string, error) {
	parts, err := m.parts()
	var b strings.Builder
	for _, p := range parts {
		if p.Type != "text" {
			return "", errors.New("a message has content of the type " + p.Type + ", which the provider does not take")
		}
		b.WriteString(p.Text)
	}
	return b.String(), err
}

// instructions returns the messages that are part of the conversation, and apart from them
// the texts of the system's.
func (a *asked) instructions() (talk []message, system []string, err error) {
	for _, m := range a.Messages {
		if m.Role != "system" && m.Role != "developer" {
			talk = append(talk, m)
			continue
		}
		text, err := m.text()
		if err != nil {
			return nil, nil, err
		}
		system = append(system, text)
	}
	return talk, system, nil
}

// answer is an answer, or a piece of one, in OpenAI's form.
type answer struct {
	ID      string   `json:"id,omitempty"`
	Object  string   `json:"object,omitempty"`
	Created int64    `json:"created,omitempty"` // seconds since 1970
	Model   string   `json:"model,omitempty"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`

	raw  []byte // goes out in place of the above: it is as the provider gave it
	done bool   // nothing comes after it
}

type choice struct {
	Index   int     `json:"index"`
	Message *saying `json:"message,omitempty"`
	Delta   *saying `json:"delta,omitempty"`
	Text    *string `json:"text,omitempty"`
	Finish  *string `json:"finish_reason"`
}

// saying is what a model says, or a piece of it.
type saying struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

// usage is how many tokens an answer took.
type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// told returns a usage; nil where the provider told none.
func told(prompt, completion int) *usage {
	if prompt == 0 && completion == 0 {
		return nil
	}
	return &usage{prompt, completion, prompt + completion}
}

// learn takes note of a usage. A later one goes before an earlier: where a provider tells
// several in a stream, each counts all there was so far.
func (u *usage) learn(n *usage) {
	if n == nil {
		return
	}
	if n.Prompt > 0 {
		u.Prompt = n.Prompt
	}
	if n.Completion > 0 {
		u.Completion = n.Completion
	}
	u.Total = max(n.Total, u.Prompt+u.Completion)
}

// says returns the whole answer of a model that says text.
func (t *talk) says(text, finish string) *answer {
	a := &answer{Model: t.model}
	c := choice{Finish: set(finish)}
	if t.route == completion {
		a.Object, c.Text = "text_completion", &text
	} else {
		a.Object, c.Message = "chat.completion", &saying{Role: "assistant", Content: &text}
	}
	a.Choices = []choice{c}
	return a
}

// adds returns the piece of a streamed answer that goes on with text. role is told with the
// first.
func (t *talk) adds(text, role string) *answer {
	a := &answer{ID: t.id, Model: t.model}
	if t.route == completion {
		a.Object, a.Choices = "text_completion", []choice{{Text: &text}}
	} else {
		a.Object, a.Choices = "chat.completion.chunk", []choice{{Delta: &saying{Role: role, Content: &text}}}
	}
	return a
}

// finishes returns the piece of a streamed answer that tells why it is at its end.
func (t *talk) finishes(why string) *answer {
	a := t.adds("", "")
	if c := &a.Choices[0]; c.Delta != nil {
		c.Delta = &saying{}
	}
	a.Choices[0].Finish = set(why)
	return a
}

// set returns nil for the empty text.
func set(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// spoken returns what an answer, or a piece of one, says.
func (a *answer) spoken() string {
	if len(a.Choices) == 0 {
		return ""
	}
	switch c := a.Choices[0]; {
	case c.Message != nil && c.Message.Content != nil:
		return *c.Message.Content
	case c.Delta != nil && c.Delta.Content != nil:
		return *c.Delta.Content
	case c.Text != nil:
		return *c.Text
	}
	return ""
}

// encode returns the answer as it goes to the client.
func (a *answer) encode() ([]byte, error) {
	if a.raw != nil {
		return a.raw, nil
	}
	return json.Marshal(a)
}
