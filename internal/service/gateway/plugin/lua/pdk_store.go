package lua

import (
	"slices"
	"strings"
	"sync"
	"time"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// cache is kong.cache: values of JSON that all states share.
type cache struct {
	clock clock.Clock
	mu    sync.Mutex
	m     map[string]cached
}

type cached struct {
	value any
	until time.Time // zero: for good
}

// maxCached bounds how many values are kept; of more, any goes.
const maxCached = 10_000

func newCache(c clock.Clock) *cache { return &cache{clock: c, m: map[string]cached{}} }

func (c *cache) get(key string) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[key]
	if ok && !e.until.IsZero() && !c.clock.Now().Before(e.until) {
		delete(c.m, key)
		return nil, false
	}
	return e.value, ok
}

func (c *cache) put(key string, v any, ttl time.Duration) {
	e := cached{value: v}
	if ttl > 0 {
		e.until = c.clock.Now().Add(ttl)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= maxCached {
		for k := range c.m {
			delete(c.m, k)
			break
		}
	}
	c.m[key] = e
}

func (c *cache) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key == "" {
		clear(c.m)
	} else {
		delete(c.m, key)
	}
}

// kongCache makes kong.cache. The keys of one kind of plugin are not another's.
func (s *state) kongCache() glua.LValue {
	key := func(L *glua.LState) string { return s.unit.Name + "\x00" + L.CheckString(2) }
	drop := func(L *glua.LState) int { s.engine.cache.drop(key(L)); return 0 }
	return s.seal(s.functions(map[string]glua.LGFunction{
		"get": func(L *glua.LState) int {
			k := key(L)
			if v, ok := s.engine.cache.get(k); ok {
				if v == nil {
					return 0
				}
				L.Push(s.lua(v))
				return 1
			}
			opts, load := L.Get(3), L.Get(4)
			if load == glua.LNil {
				return 0
			}
			n := L.GetTop() - 4
			L.Push(load)
			for i := range n {
				L.Push(L.Get(5 + i))
			}
			L.Call(n, 2)
			v, why := L.Get(-2), L.Get(-1)
			L.Pop(2)
			if v == glua.LNil && why != glua.LNil {
				L.Push(glua.LNil)
				L.Push(why)
				return 2
			}
			plain, err := s.plain(v)
			if err != nil {
				return fail(L, err)
			}
			ttl := ttlOf(opts, "ttl")
			if plain == nil {
				ttl = ttlOf(opts, "neg_ttl")
			}
			s.engine.cache.put(k, plain, ttl)
			L.Push(v)
			return 1
		},
		"probe": func(L *glua.LState) int {
			v, ok := s.engine.cache.get(key(L))
			if !ok {
				return 0
			}
			L.Push(glua.LNumber(0))
			L.Push(glua.LNil)
			L.Push(s.lua(v))
			return 3
		},
		"invalidate": drop, "invalidate_local": drop,
		"purge": func(*glua.LState) int { s.engine.cache.drop(""); return 0 },
	}))
}

// kongDB makes kong.db: a collection by its name. Code that came with a configuration
// reads; only trusted plugins write.
func (s *state) kongDB() glua.LValue {
	meta := s.L.NewTable()
	made := map[string]glua.LValue{}
	meta.RawSetString("__index", s.L.NewFunction(func(L *glua.LState) int {
		name := L.CheckString(2)
		if made[name] == nil {
			made[name] = s.collection(name)
		}
		L.Push(made[name])
		return 1
	}))
	return s.sealed(meta)
}

func (s *state) collection(name string) glua.LValue {
	found := func(L *glua.LState, r schema.Record, ok bool) int {
		if !ok {
			return 0
		}
		L.Push(s.record(r))
		return 1
	}
	id := func(L *glua.LState) string {
		if t, ok := L.Get(2).(*glua.LTable); ok {
			return field(t, "id")
		}
		return L.CheckString(2)
	}
	write := func(f func(L *glua.LState) (schema.Record, error)) glua.LGFunction {
		return func(L *glua.LState) int {
			if s.prog == nil || !s.prog.trusted {
				L.RaiseError("kong.db.%s: the sandbox only reads", name)
			}
			r, err := f(L)
			if err != nil {
				return fail(L, err)
			}
			L.Push(s.record(r))
			return 1
		}
	}
	body := func(L *glua.LState, n int) (schema.Record, error) {
		v, err := s.plain(L.CheckTable(n))
		r, _ := v.(schema.Record)
		if r == nil {
			r = schema.Record{}
		}
		return r, err
	}
	t := s.functions(map[string]glua.LGFunction{
		"select": func(L *glua.LState) int {
			r, ok := s.unit.Env.Directory.ByID(name, id(L))
			return found(L, r, ok)
		},
		"each":      func(L *glua.LState) int { return s.each(L, name) },
		"cache_key": func(L *glua.LState) int { return pushText(L, name+":"+L.ToStringMeta(L.Get(2)).String()) },
		"insert": write(func(L *glua.LState) (schema.Record, error) {
			r, err := body(L, 2)
			if err != nil {
				return nil, err
			}
			return s.unit.Env.Records.Create(s.context(), name, r)
		}),
		"update": write(func(L *glua.LState) (schema.Record, error) {
			r, err := body(L, 3)
			if err != nil {
				return nil, err
			}
			return s.unit.Env.Records.Update(s.context(), name, id(L), r)
		}),
		"delete": write(func(L *glua.LState) (schema.Record, error) {
			_, err := s.unit.Env.Records.Delete(s.context(), name, id(L))
			return schema.Record{}, err
		}),
	})
	meta := s.L.NewTable()
	meta.RawSetString("__index", s.L.NewFunction(func(L *glua.LState) int {
		by, ok := strings.CutPrefix(glua.LVAsString(L.Get(2)), "select_by_")
		if !ok {
			return 0
		}
		L.Push(L.NewFunction(valued(func(L *glua.LState) int {
			r, ok := s.unit.Env.Directory.ByUnique(name, by, L.CheckString(2))
			return found(L, r, ok)
		})))
		return 1
	}))
	t.Metatable = meta
	return s.seal(t)
}

// each walks a collection as of now.
func (s *state) each(L *glua.LState, name string) int {
	all := slices.Collect(s.unit.Env.Directory.Each(name))
	n := 0
	L.Push(L.NewFunction(valued(func(L *glua.LState) int {
		if n == len(all) {
			return 0
		}
		n++
		L.Push(s.record(all[n-1]))
		return 1
	})))
	return 1
}
