package lua

import (
	"errors"
	"slices"
	"time"

	glua "github.com/yuin/gopher-lua"
)

// maxTimers bounds the timers of an engine that wait or run.
const maxTimers = 256

// timer is a function that runs later, in the state that it belongs to. A state with timers
// serves no requests until they have run: nobody else may be in it meanwhile.
type timer struct {
	due   time.Time
	every time.Duration // 0: once
	fn    *glua.LFunction
	args  []glua.LValue
	unit  *Unit
	prog  *Program
	owner *glua.FunctionProto // what the engine knows it by, where init_worker has set it
}

var (
	errManyTimers = errors.New("too many pending timers")
	errNoTimers   = errors.New("timers cannot be set here")
)

// ngxTimer makes ngx.timer.
func (s *state) ngxTimer() glua.LValue {
	set := func(repeat bool) glua.LGFunction {
		return func(L *glua.LState) int {
			delay := time.Duration(min(max(float64(L.CheckNumber(1)), 0), 1e9) * float64(time.Second))
			t := timer{due: time.Now().Add(delay), fn: L.CheckFunction(2), unit: s.unit, prog: s.prog}
			for i := 3; i <= L.GetTop(); i++ {
				t.args = append(t.args, L.Get(i))
			}
			if repeat {
				t.every = max(delay, time.Millisecond)
			}
			if err := s.addTimer(t); err != nil {
				return fail(L, err)
			}
			L.Push(glua.LTrue)
			return 1
		}
	}
	count := func(L *glua.LState) int { return s.pushNumber(L, float64(s.engine.timers.Load())) }
	return s.seal(s.functions(map[string]glua.LGFunction{"at": set(false), "every": set(true), "pending_count": count,
		"running_count": func(L *glua.LState) int { return s.pushNumber(L, 0) }}))
}

// addTimer holds a timer. init_worker runs in every state, so what it sets is set once.
func (s *state) addTimer(t timer) error {
	if s.x == nil && s.phase != Timer {
		return errNoTimers
	}
	if s.engine.timers.Add(1) > maxTimers {
		s.engine.timers.Add(-1)
		return errManyTimers
	}
	if s.phase == InitWorker && t.fn.Proto != nil {
		if _, there := s.engine.recurring.LoadOrStore(t.fn.Proto, true); there {
			s.engine.timers.Add(-1)
			return nil
		}
		t.owner = t.fn.Proto
	}
	s.timers = append(s.timers, t)
	return nil
}

// dropTimers forgets the timers of a state that is not used again.
func (s *state) dropTimers() {
	for _, t := range s.timers {
		s.forget(t)
	}
	s.timers = nil
}

func (s *state) forget(t timer) {
	s.engine.timers.Add(-1)
	if t.owner != nil && s.dead { // another state may set it again
		s.engine.recurring.Delete(t.owner)
	}
}

// runTimers runs the state's timers as they come due, and then lets it serve requests again.
func (s *state) runTimers() {
	for len(s.timers) > 0 {
		next := 0
		for i, t := range s.timers {
			if t.due.Before(s.timers[next].due) {
				next = i
			}
		}
		t := s.timers[next]
		time.Sleep(time.Until(t.due))
		s.timers = slices.Delete(s.timers, next, next+1)
		err := s.call(t.unit, t.prog, Timer, t.fn, 0, append([]glua.LValue{glua.LFalse}, t.args...)...)
		s.request = request{}
		if err != nil && !errors.Is(err, errExit) {
			t.unit.Env.Log.Error("a timer of Lua code failed", "err", err)
		}
		if s.dead {
			s.forget(t)
			s.dropTimers()
			return
		}
		if t.every > 0 {
			t.due = time.Now().Add(t.every)
			s.timers = append(s.timers, t)
			continue
		}
		s.forget(t)
	}
	s.unit, s.prog = nil, nil
	s.rest()
}
