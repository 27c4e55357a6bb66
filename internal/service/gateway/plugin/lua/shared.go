package lua

import (
	"container/list"
	"errors"
	"math"
	"sync"
	"time"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/base/clock"
)

// Bounds of ngx.shared: how many dictionaries there are, and bytes in one. Where a value
// finds no room, those go that were not used for longest.
const (
	maxDicts     = 16
	dictCapacity = 8 << 20
	dictOverhead = 128 // of an entry
)

// dicts are the dictionaries of ngx.shared, by name. All states share them.
type dicts struct {
	clock clock.Clock
	mu    sync.Mutex
	m     map[string]*dict
}

// of returns the dictionary of a name, nil where there are too many.
func (d *dicts) of(name string) *dict {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.m[name] == nil {
		if len(d.m) >= maxDicts {
			return nil
		}
		d.m[name] = &dict{clock: d.clock, m: map[string]*list.Element{}, order: list.New()}
	}
	return d.m[name]
}

// dict is one dictionary: strings, numbers and booleans.
type dict struct {
	clock clock.Clock
	mu    sync.Mutex
	m     map[string]*list.Element
	order *list.List // of *entry, the one used last in front
	used  int
}

type entry struct {
	key   string
	value glua.LValue // a string, number or boolean: they are no state's own
	flags glua.LNumber
	until time.Time // zero: for good
}

func (e *entry) size() int {
	s, _ := e.value.(glua.LString)
	return len(e.key) + len(s) + dictOverhead
}

var (
	errExists   = errors.New("exists")
	errMissing  = errors.New("not found")
	errNoNumber = errors.New("not a number")
	errNoMemory = errors.New("no memory")
)

// find returns the entry of a key; stale also one that has ended. It is called under mu.
func (d *dict) find(key string, stale bool) *entry {
	at := d.m[key]
	if at == nil {
		return nil
	}
	e := at.Value.(*entry)
	if !stale && !e.until.IsZero() && !d.clock.Now().Before(e.until) {
		return nil
	}
	d.order.MoveToFront(at)
	return e
}

func (d *dict) remove(at *list.Element) {
	e := d.order.Remove(at).(*entry)
	delete(d.m, e.key)
	d.used -= e.size()
}

// put stores an entry and reports whether others had to go for it; safe lets none go.
func (d *dict) put(e *entry, safe bool) (forced bool, err error) {
	if at := d.m[e.key]; at != nil {
		d.remove(at)
	}
	if e.size() > dictCapacity || safe && d.used+e.size() > dictCapacity {
		return false, errNoMemory
	}
	for d.used+e.size() > dictCapacity {
		d.remove(d.order.Back())
		forced = true
	}
	d.m[e.key] = d.order.PushFront(e)
	d.used += e.size()
	return forced, nil
}

// lasting is when a number of seconds will have passed; zero for 0, which is never.
func (d *dict) lasting(seconds glua.LNumber) time.Time {
	if seconds <= 0 || math.IsNaN(float64(seconds)) {
		return time.Time{}
	}
	return d.clock.Now().Add(time.Duration(min(float64(seconds), 1e9) * float64(time.Second)))
}

// sharedDicts makes ngx.shared. A dictionary is there when it is first named.
func (s *state) sharedDicts() glua.LValue {
	made := map[string]glua.LValue{}
	meta := s.L.NewTable()
	meta.RawSetString("__index", s.L.NewFunction(func(L *glua.LState) int {
		name := L.CheckString(2)
		if made[name] == nil {
			d := s.engine.dicts.of(name)
			if d == nil {
				return 0
			}
			made[name] = s.sharedDict(d)
		}
		L.Push(made[name])
		return 1
	}))
	return s.sealed(meta)
}

func (s *state) sharedDict(d *dict) glua.LValue {
	// write is one of the methods that store: it checks what is there first.
	write := func(safe bool, check func(old *entry) error) glua.LGFunction {
		return func(L *glua.LState) int {
			key, v := L.CheckString(2), L.Get(3)
			switch v.(type) {
			case glua.LString, glua.LNumber, glua.LBool, *glua.LNilType:
			default:
				return said(L, glua.LNil, errors.New("bad value type"), false)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if err := check(d.find(key, false)); err != nil {
				return said(L, glua.LFalse, err, false)
			}
			if v == glua.LNil {
				if at := d.m[key]; at != nil {
					d.remove(at)
				}
				return said(L, glua.LTrue, nil, false)
			}
			forced, err := d.put(&entry{key, v, L.OptNumber(5, 0), d.lasting(L.OptNumber(4, 0))}, safe)
			return said(L, glua.LBool(err == nil), err, forced)
		}
	}
	get := func(stale bool) glua.LGFunction {
		return func(L *glua.LState) int {
			key := L.CheckString(2)
			d.mu.Lock()
			defer d.mu.Unlock()
			e := d.find(key, stale)
			if e == nil {
				return 0
			}
			L.Push(e.value)
			if e.flags == 0 {
				return 1
			}
			L.Push(e.flags)
			return 2
		}
	}
	always := func(*entry) error { return nil }
	absent := func(old *entry) error {
		if old != nil {
			return errExists
		}
		return nil
	}
	present := func(old *entry) error {
		if old == nil {
			return errMissing
		}
		return nil
	}
	return s.seal(s.functions(map[string]glua.LGFunction{
		"get": get(false), "get_stale": get(true),
		"set": write(false, always), "safe_set": write(true, always), "add": write(false, absent), "safe_add": write(true, absent),
		"replace": write(false, present),
		"delete": func(L *glua.LState) int {
			key := L.CheckString(2)
			d.mu.Lock()
			defer d.mu.Unlock()
			if at := d.m[key]; at != nil {
				d.remove(at)
			}
			return said(L, glua.LTrue, nil, false)
		},
		"incr": func(L *glua.LState) int {
			key, by, init := L.CheckString(2), L.CheckNumber(3), L.Get(4)
			ends := d.lasting(L.OptNumber(5, 0))
			d.mu.Lock()
			defer d.mu.Unlock()
			if e := d.find(key, false); e != nil {
				n, ok := e.value.(glua.LNumber)
				if !ok {
					return said(L, glua.LNil, errNoNumber, false)
				}
				e.value = n + by
				return said(L, e.value, nil, false)
			}
			n, ok := init.(glua.LNumber)
			if !ok {
				return said(L, glua.LNil, errMissing, false)
			}
			forced, err := d.put(&entry{key, n + by, 0, ends}, false)
			return said(L, n+by, err, forced)
		},
		"ttl": func(L *glua.LState) int {
			key := L.CheckString(2)
			d.mu.Lock()
			defer d.mu.Unlock()
			e := d.find(key, false)
			if e == nil {
				return fail(L, errMissing)
			}
			left := 0.0
			if !e.until.IsZero() {
				left = e.until.Sub(d.clock.Now()).Seconds()
			}
			return s.pushNumber(L, left)
		},
		"expire": func(L *glua.LState) int {
			key, ends := L.CheckString(2), d.lasting(L.CheckNumber(3))
			d.mu.Lock()
			defer d.mu.Unlock()
			e := d.find(key, false)
			if e == nil {
				return fail(L, errMissing)
			}
			e.until = ends
			L.Push(glua.LTrue)
			return 1
		},
		"get_keys": func(L *glua.LState) int {
			most := L.OptInt(2, 1024)
			t := L.NewTable()
			d.mu.Lock()
			defer d.mu.Unlock()
			for at := d.order.Front(); at != nil && (most <= 0 || t.Len() < most); at = at.Next() {
				if e := at.Value.(*entry); e.until.IsZero() || d.clock.Now().Before(e.until) {
					t.Append(glua.LString(e.key))
				}
			}
			L.Push(t)
			return 1
		},
		"flush_all": func(*glua.LState) int {
			d.mu.Lock()
			defer d.mu.Unlock()
			clear(d.m)
			d.order.Init()
			d.used = 0
			return 0
		},
		"flush_expired": func(L *glua.LState) int {
			n := 0
			d.mu.Lock()
			defer d.mu.Unlock()
			for at := d.order.Front(); at != nil; {
				next := at.Next()
				if e := at.Value.(*entry); !e.until.IsZero() && !d.clock.Now().Before(e.until) {
					d.remove(at)
					n++
				}
				at = next
			}
			return s.pushNumber(L, float64(n))
		},
		"capacity": func(L *glua.LState) int { return s.pushNumber(L, dictCapacity) },
		"free_space": func(L *glua.LState) int {
			d.mu.Lock()
			defer d.mu.Unlock()
			return s.pushNumber(L, float64(dictCapacity-d.used))
		},
	}))
}

// said returns what methods that store do: a value, an error's text, and whether entries
// had to go.
func said(L *glua.LState, v glua.LValue, err error, forced bool) int {
	L.Push(v)
	if err == nil {
		L.Push(glua.LNil)
	} else {
		L.Push(glua.LString(err.Error()))
	}
	L.Push(glua.LBool(forced))
	return 3
}
