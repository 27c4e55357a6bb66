package lua

import (
	"strings"
	"time"

	glua "github.com/yuin/gopher-lua"
)

// maxString bounds the strings that code can make.
const maxString = 16 << 20

// basics are what stays of Lua's own functions. The others reach files, code that was not
// hardened, or the environments of others.
var basics = []string{"assert", "error", "getmetatable", "ipairs", "next", "pairs", "rawequal", "rawget", "select", "tonumber", "tostring", "type", "unpack", "_VERSION"}

// openLibraries fills the tables of globals.
func (s *state) openLibraries() {
	L := s.L
	for name, open := range map[string]glua.LGFunction{
		"_G": glua.OpenBase, glua.TabLibName: glua.OpenTable, glua.StringLibName: glua.OpenString,
		glua.MathLibName: glua.OpenMath, glua.CoroutineLibName: glua.OpenCoroutine,
	} {
		L.Push(L.NewFunction(open))
		L.Push(glua.LString(name))
		L.Call(1, 0)
	}
	given := L.G.Global
	s.globals = L.NewTable()
	for _, name := range basics {
		s.globals.RawSetString(name, given.RawGetString(name))
	}
	s.null, s.emptyArray, s.exit = L.NewUserData(), L.NewUserData(), L.NewUserData()
	s.arrayMeta, s.emptyMeta, s.headerMeta = L.NewTable(), L.NewTable(), L.NewTable()
	s.headerMeta.RawSetString("__index", L.NewFunction(headerIndex))
	nullMeta := L.NewTable()
	nullMeta.RawSetString("__tostring", L.NewFunction(func(L *glua.LState) int { L.Push(glua.LString("userdata: NULL")); return 1 }))
	s.null.Metatable = nullMeta

	s.boundLibraries(given)
	for _, name := range []string{glua.TabLibName, glua.StringLibName, glua.MathLibName, glua.CoroutineLibName} {
		s.globals.RawSetString(name, s.seal(given.RawGetString(name).(*glua.LTable)))
	}
	s.global("print", s.print)
	s.global("pcall", s.pcall)
	s.global("xpcall", s.xpcall)
	s.global("rawset", rawset)
	s.global("setmetatable", given.RawGetString("setmetatable").(*glua.LFunction).GFunction)
	s.global("require", s.require)
	s.global("collectgarbage", func(L *glua.LState) int { L.Push(glua.LNumber(0)); return 1 })
	s.global(concatName, s.concat)
	s.globals.RawSetString("os", s.seal(s.functions(map[string]glua.LGFunction{
		"time": s.osTime, "date": s.osDate, "clock": s.osClock, "difftime": osDifftime, "getenv": func(*glua.LState) int { return 0 },
	})))
	s.lazy(s.globals, map[string]func() glua.LValue{"ngx": s.openNgx, "kong": s.openKong, "cjson": func() glua.LValue { return s.module("cjson") }})

	s.trusted = L.NewTable()
	s.trusted.RawSetString("loadstring", L.NewFunction(s.loadstring))
	meta := L.NewTable()
	meta.RawSetString("__index", s.globals)
	s.trusted.Metatable = meta
}

// lazy makes entries of a table when they are first asked for: few programs need them all.
func (s *state) lazy(t *glua.LTable, makers map[string]func() glua.LValue) {
	meta := s.L.NewTable()
	meta.RawSetString("__index", s.L.NewFunction(func(L *glua.LState) int {
		name := glua.LVAsString(L.Get(2))
		make := makers[name]
		if make == nil {
			return 0
		}
		v := make()
		L.CheckTable(1).RawSetString(name, v)
		L.Push(v)
		return 1
	}))
	t.Metatable = meta
}

func (s *state) global(name string, f glua.LGFunction) {
	s.globals.RawSetString(name, s.L.NewFunction(f))
}

func (s *state) functions(list map[string]glua.LGFunction) *glua.LTable {
	t := s.L.CreateTable(0, len(list))
	for name, f := range list {
		if !isStatement(name) {
			f = valued(f)
		}
		t.RawSetString(name, s.L.NewFunction(f))
	}
	return t
}

// valued is a function that returns a value in any case. What Kong and OpenResty have return nil where there is
// nothing, as tostring(f()) counts on; a Go function that pushes nothing returns none.
func valued(f glua.LGFunction) glua.LGFunction {
	return func(L *glua.LState) int {
		if n := f(L); n != 0 {
			return n
		}
		L.Push(glua.LNil)
		return 1
	}
}

// statements are the functions that are called for what they do, and return nothing in Kong and OpenResty either.
var statements = map[string]bool{"authenticate": true, "enable_buffering": true, "exit": true, "error": true, "redirect": true, "sleep": true, "update_time": true,
	"read_body": true, "discard_body": true, "purge": true, "clear": true, "clear_header": true, "add_header": true, "invalidate": true, "invalidate_local": true}

// isStatement reports whether a function of that name returns nothing.
func isStatement(name string) bool { return statements[name] || strings.HasPrefix(name, "set_") }

// seal returns a table that reads as t and cannot be written: what one program does to a
// library is not to reach another.
func (s *state) seal(t *glua.LTable) *glua.LTable {
	meta := s.L.NewTable()
	meta.RawSetString("__index", t)
	return s.sealed(meta)
}

// sealed returns an empty table that cannot be written, with further metamethods.
func (s *state) sealed(meta *glua.LTable) *glua.LTable {
	if meta.RawGetString("__newindex") == glua.LNil {
		meta.RawSetString("__newindex", s.L.NewFunction(func(L *glua.LState) int {
			L.RaiseError("this table cannot be written")
			return 0
		}))
	}
	meta.RawSetString("__metatable", glua.LFalse)
	t := s.L.NewTable()
	t.Metatable = meta
	return t
}

func rawset(L *glua.LState) int {
	t := L.CheckTable(1)
	L.CheckAny(3)
	if meta, ok := t.Metatable.(*glua.LTable); ok && meta.RawGetString("__metatable") == glua.LFalse && meta.RawGetString("__newindex") != glua.LNil {
		L.RaiseError("this table cannot be written")
	}
	t.RawSet(L.Get(2), L.Get(3))
	L.SetTop(1)
	return 1
}

// bound ends a call that makes too long a string.
func (s *state) bound(L *glua.LState, n int) {
	if n > maxString {
		L.RaiseError("a string of more than %d bytes", maxString)
	}
}

func (s *state) boundLibraries(given *glua.LTable) {
	str := given.RawGetString(glua.StringLibName).(*glua.LTable)
	format := str.RawGetString("format").(*glua.LFunction).GFunction
	for name, f := range map[string]glua.LGFunction{
		"find": s.stringFind, "match": s.stringMatch, "gmatch": s.stringGmatch, "gsub": s.stringGsub,
		"rep": func(L *glua.LState) int {
			text, n := L.CheckString(1), L.CheckInt(2)
			if n > 0 && len(text) > 0 {
				s.bound(L, max(n, len(text)))
				s.bound(L, n*len(text))
			}
			L.Push(glua.LString(strings.Repeat(text, max(n, 0))))
			return 1
		},
		"format": func(L *glua.LState) int {
			if wide(L.CheckString(1)) {
				L.RaiseError("invalid format (width or precision too long)")
			}
			size := 0
			for i := 1; i <= L.GetTop(); i++ {
				if t, ok := L.Get(i).(glua.LString); ok {
					size += len(t)
				}
			}
			s.bound(L, size*2)
			return format(L)
		},
		"dump": nil,
	} {
		if f == nil {
			str.RawSetString(name, glua.LNil)
			continue
		}
		str.RawSetString(name, s.L.NewFunction(f))
	}
	if meta, ok := s.L.GetMetatable(glua.LString("")).(*glua.LTable); ok {
		meta.RawSetString("__metatable", glua.LFalse)
	}
	tab := given.RawGetString(glua.TabLibName).(*glua.LTable)
	concat := tab.RawGetString("concat").(*glua.LFunction).GFunction
	tab.RawSetString("concat", s.L.NewFunction(func(L *glua.LState) int {
		t, sep, size := L.CheckTable(1), L.OptString(2, ""), 0
		for i := range t.Len() {
			if e, ok := t.RawGetInt(i + 1).(glua.LString); ok {
				size += len(e)
			}
			size += len(sep)
		}
		s.bound(L, size)
		return concat(L)
	}))
	for name, f := range map[string]glua.LGFunction{
		"new":   func(L *glua.LState) int { L.Push(L.NewTable()); return 1 },
		"clear": func(L *glua.LState) int { clearTable(L.CheckTable(1)); return 0 },
		"isempty": func(L *glua.LState) int {
			k, _ := L.CheckTable(1).Next(glua.LNil)
			L.Push(glua.LBool(k == glua.LNil))
			return 1
		},
		"nkeys": tableNkeys,
		"pack":  tablePack,
	} {
		tab.RawSetString(name, s.L.NewFunction(f))
	}
}

func clearTable(t *glua.LTable) {
	var keys []glua.LValue
	t.ForEach(func(k, _ glua.LValue) { keys = append(keys, k) })
	for _, k := range keys {
		t.RawSet(k, glua.LNil)
	}
}

func tableNkeys(L *glua.LState) int {
	n := 0
	L.CheckTable(1).ForEach(func(_, _ glua.LValue) { n++ })
	L.Push(glua.LNumber(n))
	return 1
}

func tablePack(L *glua.LState) int {
	t, n := L.NewTable(), L.GetTop()
	for i := 1; i <= n; i++ {
		t.RawSetInt(i, L.Get(i))
	}
	t.RawSetString("n", glua.LNumber(n))
	L.Push(t)
	return 1
}

// wide reports whether a format asks for more than 99 places.
func wide(format string) bool {
	digits, in := 0, false
	for i := range len(format) {
		switch c := format[i]; {
		case c == '%':
			in, digits = !in, 0
		case in && '0' <= c && c <= '9':
			if digits++; digits > 2 {
				return true
			}
		case in && (c == '.' || c == '-' || c == '+' || c == ' ' || c == '#'):
			digits = 0
		default:
			in = false
		}
	}
	return false
}

// concat is the operator "..", which hardened code has in this place.
func (s *state) concat(L *glua.LState) int {
	n, size, plain := L.GetTop(), 0, true
	for i := 1; i <= n && plain; i++ {
		switch v := L.Get(i).(type) {
		case glua.LString:
			size += len(v)
		case glua.LNumber:
			size += 8
		default:
			plain = false
		}
	}
	if plain {
		s.bound(L, size)
		var b strings.Builder
		b.Grow(size)
		for i := 1; i <= n; i++ {
			b.WriteString(L.Get(i).String())
		}
		L.SetTop(0)
		L.Push(glua.LString(b.String()))
		return 1
	}
	acc := L.Get(n) // from the right, as the operator goes
	for i := n - 1; i >= 1; i-- {
		acc = s.concatTwo(L, L.Get(i), acc)
	}
	L.Push(acc)
	return 1
}

func (s *state) concatTwo(L *glua.LState, a, b glua.LValue) glua.LValue {
	left, okA := a.(glua.LString)
	right, okB := b.(glua.LString)
	if n, isNumber := a.(glua.LNumber); isNumber {
		left, okA = glua.LString(n.String()), true
	}
	if n, isNumber := b.(glua.LNumber); isNumber {
		right, okB = glua.LString(n.String()), true
	}
	if okA && okB {
		s.bound(L, len(left)+len(right))
		return left + right
	}
	method := L.GetMetaField(a, "__concat")
	if method == glua.LNil {
		method = L.GetMetaField(b, "__concat")
	}
	if method == glua.LNil {
		wrong := a
		if okA {
			wrong = b
		}
		L.RaiseError("attempt to concatenate a %s value", wrong.Type().String())
	}
	L.Push(method)
	L.Push(a)
	L.Push(b)
	L.Call(2, 1)
	v := L.Get(-1)
	L.Pop(1)
	return v
}

// protected calls what is on the stack. What ends a call for good is not for code to catch.
func (s *state) protected(L *glua.LState, args int, handler *glua.LFunction) int {
	base := L.GetTop() - args - 1
	err := L.PCall(args, glua.MultRet, nil)
	if err == nil {
		L.Insert(glua.LTrue, base+1)
		return L.GetTop() - base
	}
	object := glua.LValue(glua.LString(err.Error()))
	if e, ok := err.(*glua.ApiError); ok {
		object = e.Object
		if object == nil || object == glua.LNil {
			object = glua.LString(message(e))
		}
	}
	if object == glua.LValue(s.exit) {
		L.Error(s.exit, 0)
	}
	L.SetTop(base)
	L.Push(glua.LFalse)
	if handler == nil {
		L.Push(object)
		return 2
	}
	L.Push(handler)
	L.Push(object)
	L.Call(1, 1)
	return 2
}

func (s *state) pcall(L *glua.LState) int {
	L.CheckAny(1)
	return s.protected(L, L.GetTop()-1, nil)
}

func (s *state) xpcall(L *glua.LState) int {
	handler := L.CheckFunction(2)
	args := L.GetTop() - 2
	L.Remove(2)
	return s.protected(L, args, handler)
}

func (s *state) print(L *glua.LState) int {
	return s.logLine(L, levelNotice, 1)
}

// loadstring compiles source that trusted code has made.
func (s *state) loadstring(L *glua.LState) int {
	p, err := s.engine.compile(L.OptString(2, "loadstring"), L.CheckString(1), true)
	if err != nil {
		return fail(L, err)
	}
	fn := L.NewFunctionFromProto(p.proto)
	fn.Env = s.trusted
	if s.prog != nil {
		fn.Env = s.load(s.prog).env
	}
	L.Push(fn)
	return 1
}

func (s *state) now() time.Time { return s.engine.deps.Clock.Now() }

func (s *state) osTime(L *glua.LState) int {
	t, ok := L.Get(1).(*glua.LTable)
	if !ok {
		L.Push(glua.LNumber(s.now().Unix()))
		return 1
	}
	get := func(name string, otherwise int) int {
		if n, ok := t.RawGetString(name).(glua.LNumber); ok {
			return int(n)
		}
		return otherwise
	}
	at := time.Date(get("year", 1970), time.Month(get("month", 1)), get("day", 1), get("hour", 12), get("min", 0), get("sec", 0), 0, time.Local)
	L.Push(glua.LNumber(at.Unix()))
	return 1
}

func (s *state) osClock(L *glua.LState) int {
	L.Push(glua.LNumber(time.Since(s.watch.began).Seconds()))
	return 1
}

func osDifftime(L *glua.LState) int {
	L.Push(L.CheckNumber(1) - L.OptNumber(2, 0))
	return 1
}

// layouts are what the letters of os.date mean.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'c': "Mon Jan  2 15:04:05 2006", 'd': "02", 'D': "01/02/06", 'F': "2006-01-02",
	'H': "15", 'I': "03", 'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'S': "05", 'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05",
	'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST",
}

func (s *state) osDate(L *glua.LState) int {
	format := L.OptString(1, "%c")
	at := s.now()
	if n, ok := L.Get(2).(glua.LNumber); ok {
		at = time.Unix(int64(n), 0)
	}
	if rest, utc := strings.CutPrefix(format, "!"); utc {
		format, at = rest, at.UTC()
	}
	if strings.HasPrefix(format, "*t") {
		t := L.NewTable()
		for name, n := range map[string]int{"year": at.Year(), "month": int(at.Month()), "day": at.Day(), "hour": at.Hour(), "min": at.Minute(),
			"sec": at.Second(), "wday": int(at.Weekday()) + 1, "yday": at.YearDay()} {
			t.RawSetString(name, glua.LNumber(n))
		}
		t.RawSetString("isdst", glua.LBool(at.IsDST()))
		L.Push(t)
		return 1
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		if layout := layouts[format[i]]; layout != "" {
			b.WriteString(at.Format(layout))
		} else {
			b.WriteByte(format[i])
		}
	}
	L.Push(glua.LString(b.String()))
	return 1
}
