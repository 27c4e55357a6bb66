package aiproxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"
)

// source takes a provider's stream apart. next returns io.EOF at its end.
type source interface{ next() (event, error) }

// maxEvent bounds one event of a stream, in bytes.
const maxEvent = 1 << 20

var errEvent = errors.New("an event of the model's answer is too large")

// newSource returns the source for a type of content: server-sent events, the event stream
// of AWS, or else values of JSON, one after the other or in an array.
func newSource(contentType string, r io.Reader) source {
	kind, _, _ := mime.ParseMediaType(contentType)
	switch kind {
	case "text/event-stream":
		return &sse{bufio.NewReaderSize(r, 16<<10)}
	case "application/vnd.amazon.eventstream":
		b := &budget{r: r}
		return &awsEvents{b, eventstream.NewDecoder(), make([]byte, 0, 16<<10)}
	}
	b := &budget{r: r}
	return &values{b: b}
}

// sse takes apart what HTML's specification calls an event stream.
type sse struct{ r *bufio.Reader }

func (s *sse) next() (e event, err error) {
	var data []byte
	some := false
	for size := 0; ; {
		line, err := s.line(maxEvent - size)
		if err == io.EOF && some {
			return event{e.name, data}, nil // without the empty line that should end it
		}
		if err != nil {
			return e, err
		}
		size += len(line)
		if len(line) == 0 {
			if some {
				return event{e.name, data}, nil
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.name = string(value)
		case "data":
			if some {
				data = append(data, '\n')
			}
			data, some = append(data, value...), true
		}
	}
}

// line reads a line without its end.
func (s *sse) line(most int) (line []byte, err error) {
	for {
		piece, err := s.r.ReadSlice('\n')
		if line = append(line, piece...); len(line) > most {
			return nil, errEvent
		}
		switch {
		case err == bufio.ErrBufferFull:
		case err == io.EOF && len(line) > 0, err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		default:
			return nil, err
		}
	}
}

// budget is a stream of which at most maxEvent bytes are read between two resets.
type budget struct {
	r    io.Reader
	used int
}

func (b *budget) Read(p []byte) (int, error) {
	if b.used >= maxEvent {
		return 0, errEvent
	}
	n, err := b.r.Read(p[:min(len(p), maxEvent-b.used)])
	b.used += n
	return n, err
}

// values takes values of JSON apart, which may be those of one array.
type values struct {
	b     *budget
	d     *json.Decoder
	begun bool
	array bool
}

func (v *values) next() (event, error) {
	v.b.used = 0
	if !v.begun {
		v.begun = true
		if err := v.open(); err != nil {
			return event{}, err
		}
	}
	if v.array && !v.d.More() {
		_, err := v.d.Token()
		switch err {
		case nil:
			err = io.EOF
		case io.EOF:
			err = io.ErrUnexpectedEOF // the array is not closed
		}
		return event{}, err
	}
	var data json.RawMessage
	err := v.d.Decode(&data)
	return event{data: data}, err
}

// open looks whether there is an array.
func (v *values) open() error {
	br := bufio.NewReader(v.b)
	v.d = json.NewDecoder(br)
	for {
		c, err := br.ReadByte()
		if err != nil {
			return err
		}
		if c == ' ' || c == '\t' || c == '\r' || c == '\n' {
			continue
		}
		if err := br.UnreadByte(); err != nil {
			return err
		}
		if v.array = c == '['; v.array {
			_, err = v.d.Token()
		}
		return err
	}
}

// awsEvents takes the binary event stream of AWS apart.
type awsEvents struct {
	b       *budget
	d       *eventstream.Decoder
	scratch []byte
}

func (a *awsEvents) next() (event, error) {
	a.b.used = 0
	m, err := a.d.Decode(a.b, a.scratch[:0])
	if err != nil {
		return event{}, err
	}
	header := func(name string) string {
		if v := m.Headers.Get(name); v != nil {
			return v.String()
		}
		return ""
	}
	if kind := header(eventstreamapi.MessageTypeHeader); kind != eventstreamapi.EventMessageType {
		return event{}, fmt.Errorf("the provider broke off: %s%s", header(eventstreamapi.ExceptionTypeHeader), header(eventstreamapi.ErrorCodeHeader))
	}
	return event{header(eventstreamapi.EventTypeHeader), m.Payload}, nil
}
