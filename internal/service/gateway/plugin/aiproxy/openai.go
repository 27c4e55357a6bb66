package aiproxy

import (
	"bytes"
	"encoding/json"
	"errors"
)

// openAI is the dialect of OpenAI, and of all who speak as it does: nothing is changed.
type openAI struct{}

func (openAI) request(t *talk) (any, error) {
	if t.route != preserve {
		delete(t.body, "top_k") // it is not of OpenAI's
	}
	return t.body, nil
}

func (openAI) answer(t *talk, body []byte) (*answer, error) {
	a := &answer{}
	switch err := json.Unmarshal(body, a); {
	case t.route == preserve: // anything may come, and is looked at for the usage alone
	case err != nil && !json.Valid(body):
		return nil, errors.New("failed to decode " + t.route + " response")
	case a.Choices == nil:
		return nil, errors.New("'choices' not in " + t.route + " response")
	}
	a.raw = body
	return a, nil
}

// done ends a stream of OpenAI's.
var done = []byte("[DONE]")

func (openAI) event(_ *talk, e event) (*answer, error) {
	if len(bytes.TrimSpace(e.data)) == 0 {
		return nil, nil
	}
	if bytes.Equal(e.data, done) {
		return &answer{done: true}, nil
	}
	a := &answer{raw: e.data}
	_ = json.Unmarshal(e.data, a) // it is looked at for the logs alone
	return a, nil
}
