package lua

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	glua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// Program is compiled source. Any number of states may run it at once.
type Program struct {
	engine  *Engine
	proto   *glua.FunctionProto
	trusted bool
	library library // what it may require besides; nil for none
	closed  atomic.Bool
}

// maxSource bounds the bytes of one source.
const maxSource = 1 << 20

// Compile compiles source that came with the configuration: it gets the sandbox. name says
// in messages where the code is from.
func (e *Engine) Compile(name, source string) (*Program, error) {
	return e.compile(name, source, false)
}

func (e *Engine) compile(name, source string, trusted bool) (p *Program, err error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("the code is longer than %d bytes", maxSource)
	}
	if strings.HasPrefix(source, "\x1b") {
		return nil, errors.New("precompiled code is not taken")
	}
	defer func() {
		if r := recover(); r != nil { // of the library, over source it cannot cope with
			p, err = nil, fmt.Errorf("the code cannot be compiled: %v", r)
		}
	}()
	chunk, err := parse.Parse(strings.NewReader(source), name)
	if err != nil {
		return nil, tidy(err)
	}
	if err := harden(chunk); err != nil {
		return nil, err
	}
	proto, err := glua.Compile(chunk, name)
	if err != nil {
		return nil, tidy(err)
	}
	return &Program{engine: e, proto: proto, trusted: trusted}, nil
}

// tidy brings a message of the parser onto one line.
func tidy(err error) error {
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}

// Close lets states forget the program.
func (p *Program) Close() {
	if !p.closed.Swap(true) {
		p.engine.retired.Add(1)
	}
}
