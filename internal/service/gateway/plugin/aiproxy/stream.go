package aiproxy

import (
	"io"
	"log/slog"
	"math"
	"strings"
	"unicode/utf8"
)

// stream is a provider's streamed answer as server-sent events in OpenAI's form.
type stream struct {
	talk    *talk
	dialect dialect
	source  source
	body    io.Closer
	log     *slog.Logger
	ended   func(said string) // is called once, when nothing more comes or is wanted

	out   []byte // not read yet
	said  strings.Builder
	keeps bool // what is said is kept, up to maxAnswer bytes
	chars int  // of what was said
	done  bool // the client was told that it is the end
	err   error
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.advance()
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// advance puts the next event into out, or the end into err.
func (s *stream) advance() {
	e, err := s.source.next()
	if err != nil {
		s.err = err
		if err == io.EOF && !s.done {
			s.write(done)
		} else if err != io.EOF {
			s.log.Error("the model's answer broke off", "err", err)
		}
		return
	}
	a, err := s.dialect.event(s.talk, e)
	switch {
	case err != nil: // the head is out: the client gets what there is
		s.log.Warn("an event of the model's answer is passed over", "err", err)
	case a == nil || s.done:
	case a.done:
		s.done = true
		s.write(done)
	default:
		s.talk.usage.learn(a.Usage)
		s.listen(a.spoken())
		p, err := a.encode()
		if err != nil {
			s.log.Warn("an event of the model's answer is passed over", "err", err)
			return
		}
		s.write(p)
	}
}

func (s *stream) write(data []byte) {
	s.out = append(s.out[:0], "data: "...)
	for i, line := range strings.Split(string(data), "\n") { // a value may have line ends between its members
		if i > 0 {
			s.out = append(s.out, "\ndata: "...)
		}
		s.out = append(s.out, line...)
	}
	s.out = append(s.out, "\n\n"...)
}

// listen takes note of a piece of what is said.
func (s *stream) listen(text string) {
	s.chars += utf8.RuneCountInString(text)
	if s.keeps && s.said.Len()+len(text) <= maxAnswer {
		s.said.WriteString(text)
	}
}

// Close implements io.Closer.
func (s *stream) Close() error {
	if s.ended != nil {
		if s.talk.usage.Completion == 0 { // it was not told: four letters are about a token
			s.talk.usage.learn(&usage{Completion: int(math.Ceil(float64(s.chars) / 4))})
		}
		s.ended(s.said.String())
		s.ended = nil
	}
	return s.body.Close()
}

// estimate guesses how many tokens a request has, for providers that do not tell in a
// stream: a word is 1.8 of them.
func (t *talk) estimate() {
	a, err := t.ask()
	if err != nil {
		return
	}
	words := 0
	for _, m := range a.Messages {
		parts, _ := m.parts()
		for _, p := range parts {
			words += len(strings.Fields(p.Text))
		}
	}
	if prompt, err := a.prompt(); err == nil {
		words += len(strings.Fields(prompt))
	}
	t.usage.Prompt = int(math.Floor(float64(words)*1.8 + 0.5))
}
