package warehouse

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// jsonLines passes on the lines that are JSON objects and counts the others. The names
// of an object's own members are folded to lower case, as the columns are: the SerDe
// matches them without regard to case.
func (f *feed) jsonLines(p *feedPipe, in *bufio.Reader, key string) error {
	var line []byte
	var out []byte
	flush := func() error {
		err := p.put(out)
		out = out[:0]
		return err
	}
	for number := int64(1); ; number++ {
		line = line[:0]
		var err error
		for {
			var part []byte
			part, err = in.ReadSlice('\n')
			line = append(line, part...)
			if !errors.Is(err, bufio.ErrBufferFull) {
				break
			}
			if len(line) > maxLineJSON {
				return BadData.new("s3://%s/%s has a line of more than %d bytes", f.bucket, key, maxLineJSON)
			}
		}
		if err != nil && err != io.EOF {
			return f.broken(err, key)
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			if text[0] == '{' && json.Valid(text) {
				foldMembers(text)
				out = append(append(out, text...), '\n')
			} else {
				f.reject(key, number)
			}
		}
		if len(out) >= readBytes || err == io.EOF {
			if err := flush(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

func (f *feed) reject(key string, line int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.skipped.count++; f.skipped.count == 1 {
		f.skipped.key, f.skipped.line, f.skipped.reason = key, line+int64(f.format.HeaderLines), "not a JSON object"
	}
}

// foldMembers lowers the ASCII letters of the names at the first level of a valid
// object, in place.
func foldMembers(b []byte) {
	depth, name := 0, false
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{':
			depth++
			name = depth == 1
		case '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			name = depth == 1
		case ':':
			name = false
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				} else if name && 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
		}
	}
}
