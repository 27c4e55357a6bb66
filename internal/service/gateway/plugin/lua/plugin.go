package lua

import (
	"sync/atomic"

	glua "github.com/yuin/gopher-lua"
)

// Plugin is a kind of plugin that is written in Lua: the sources of its modules.
type Plugin struct {
	closed atomic.Bool
}

type running struct{}

func (s *state) ownModule(L *glua.LState, name string) (glua.LValue, bool) { return nil, false }
