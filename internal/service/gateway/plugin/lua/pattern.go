package lua

import (
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// Lua's own patterns. They are matched here because a pattern can be made that takes the
// library's matcher longer than anybody lives, in one instruction that nothing can stop.

const (
	maxCaptures = 32
	position    = -1 // the length of a capture that is a position
	open        = -2 // the length of a capture that is not closed yet
)

type capture struct{ start, size int }

type matcher struct {
	L        *glua.LState
	steps    *int
	src, pat string
	level    int
	captures [maxCaptures]capture
	depth    int
}

// matchFrom matches the pattern from p at s and returns where the match ends, -1 for none.
func (m *matcher) match(s, p int) int {
	if m.depth++; m.depth > 190 {
		m.L.RaiseError("pattern too complex")
	}
	defer func() { m.depth-- }()
	for p < len(m.pat) {
		if *m.steps--; *m.steps < 0 {
			m.L.RaiseError("matching the pattern takes too long")
		}
		switch c := m.pat[p]; {
		case c == '(':
			if p+1 < len(m.pat) && m.pat[p+1] == ')' {
				return m.open(s, p+2, position)
			}
			return m.open(s, p+1, open)
		case c == ')':
			return m.close(s, p+1)
		case c == '$' && p+1 == len(m.pat):
			if s == len(m.src) {
				return s
			}
			return -1
		case c == '%' && p+1 < len(m.pat) && m.pat[p+1] == 'b':
			if s = m.balanced(s, p+2); s < 0 {
				return -1
			}
			p += 4
			continue
		case c == '%' && p+1 < len(m.pat) && m.pat[p+1] == 'f':
			if s, p = m.frontier(s, p+2); s < 0 {
				return -1
			}
			continue
		case c == '%' && p+1 < len(m.pat) && '0' <= m.pat[p+1] && m.pat[p+1] <= '9':
			if s = m.back(s, m.pat[p+1]); s < 0 {
				return -1
			}
			p += 2
			continue
		}
		end := m.classEnd(p)
		suffix := byte(0)
		if end < len(m.pat) {
			suffix = m.pat[end]
		}
		switch suffix {
		case '?':
			if s < len(m.src) && m.single(m.src[s], p, end) {
				if r := m.match(s+1, end+1); r >= 0 {
					return r
				}
			}
			p = end + 1
		case '*':
			return m.greedy(s, p, end, 0)
		case '+':
			return m.greedy(s, p, end, 1)
		case '-':
			for {
				if r := m.match(s, end+1); r >= 0 {
					return r
				}
				if s >= len(m.src) || !m.single(m.src[s], p, end) {
					return -1
				}
				s++
			}
		default:
			if s >= len(m.src) || !m.single(m.src[s], p, end) {
				return -1
			}
			s, p = s+1, end
		}
	}
	return s
}

func (m *matcher) greedy(s, p, end, least int) int {
	n := 0
	for s+n < len(m.src) && m.single(m.src[s+n], p, end) {
		n++
	}
	*m.steps -= n / 8
	for ; n >= least; n-- {
		if r := m.match(s+n, end+1); r >= 0 {
			return r
		}
	}
	return -1
}

func (m *matcher) open(s, p, size int) int {
	if m.level == maxCaptures {
		m.L.RaiseError("too many captures")
	}
	m.captures[m.level] = capture{s, size}
	m.level++
	r := m.match(s, p)
	if r < 0 {
		m.level--
	}
	return r
}

func (m *matcher) close(s, p int) int {
	i := m.level - 1
	for i >= 0 && m.captures[i].size != open {
		i--
	}
	if i < 0 {
		m.L.RaiseError("invalid pattern capture")
	}
	m.captures[i].size = s - m.captures[i].start
	r := m.match(s, p)
	if r < 0 {
		m.captures[i].size = open
	}
	return r
}

func (m *matcher) balanced(s, p int) int {
	if p+1 >= len(m.pat) {
		m.L.RaiseError("unbalanced pattern")
	}
	if s >= len(m.src) || m.src[s] != m.pat[p] {
		return -1
	}
	for level, i := 1, s+1; i < len(m.src); i++ {
		switch m.src[i] {
		case m.pat[p+1]:
			if level--; level == 0 {
				return i + 1
			}
		case m.pat[p]:
			level++
		}
	}
	return -1
}

func (m *matcher) frontier(s, p int) (int, int) {
	if p >= len(m.pat) || m.pat[p] != '[' {
		m.L.RaiseError("missing '[' after '%%f' in pattern")
	}
	end := m.classEnd(p)
	var before, after byte
	if s > 0 {
		before = m.src[s-1]
	}
	if s < len(m.src) {
		after = m.src[s]
	}
	if m.set(before, p, end) || !m.set(after, p, end) {
		return -1, end
	}
	return s, end
}

func (m *matcher) back(s int, digit byte) int {
	i := int(digit) - '1'
	if i < 0 || i >= m.level || m.captures[i].size < 0 {
		m.L.RaiseError("invalid capture index")
	}
	c := m.captures[i]
	if text := m.src[c.start : c.start+c.size]; strings.HasPrefix(m.src[s:], text) {
		return s + len(text)
	}
	return -1
}

// classEnd returns where the class that begins at p ends.
func (m *matcher) classEnd(p int) int {
	switch m.pat[p] {
	case '%':
		if p+1 >= len(m.pat) {
			m.L.RaiseError("malformed pattern (ends with '%%')")
		}
		return p + 2
	case '[':
		p++
		if p < len(m.pat) && m.pat[p] == '^' {
			p++
		}
		for first := true; first || p < len(m.pat) && m.pat[p] != ']'; first = false {
			if p < len(m.pat) && m.pat[p] == '%' {
				p++
			}
			p++
			if p >= len(m.pat) {
				m.L.RaiseError("malformed pattern (missing ']')")
			}
		}
		return p + 1
	}
	return p + 1
}

func (m *matcher) single(c byte, p, end int) bool {
	switch m.pat[p] {
	case '.':
		return true
	case '%':
		return class(c, m.pat[p+1])
	case '[':
		return m.set(c, p, end)
	}
	return c == m.pat[p]
}

// set matches [...] from p to end.
func (m *matcher) set(c byte, p, end int) bool {
	is := true
	p++
	if m.pat[p] == '^' {
		is = false
		p++
	}
	for ; p < end-1; p++ {
		switch {
		case m.pat[p] == '%':
			p++
			if class(c, m.pat[p]) {
				return is
			}
		case p+2 < end-1 && m.pat[p+1] == '-':
			if m.pat[p] <= c && c <= m.pat[p+2] {
				return is
			}
			p += 2
		case m.pat[p] == c:
			return is
		}
	}
	return !is
}

func class(c, kind byte) bool {
	var is bool
	switch lower := kind | 0x20; lower {
	case 'a':
		is = 'a' <= c|0x20 && c|0x20 <= 'z'
	case 'c':
		is = c < 0x20 || c == 0x7f
	case 'd':
		is = '0' <= c && c <= '9'
	case 'l':
		is = 'a' <= c && c <= 'z'
	case 'p':
		is = c > ' ' && c < 0x7f && !alnum(c)
	case 's':
		is = c == ' ' || '\t' <= c && c <= '\r'
	case 'u':
		is = 'A' <= c && c <= 'Z'
	case 'w':
		is = alnum(c)
	case 'x':
		is = '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
	case 'z':
		is = c == 0
	default:
		return kind == c
	}
	if kind < 'A' || kind > 'Z' && kind < 'a' || kind > 'z' {
		return kind == c
	}
	return is != (kind&0x20 == 0)
}

func alnum(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' }

// value returns a capture; with none in the pattern the first is the whole match.
func (m *matcher) value(i, start, end int) glua.LValue {
	if i >= m.level {
		if i != 0 {
			m.L.RaiseError("invalid capture index")
		}
		return glua.LString(m.src[start:end])
	}
	switch c := m.captures[i]; c.size {
	case position:
		return glua.LNumber(c.start + 1)
	case open:
		m.L.RaiseError("unfinished capture")
		return glua.LNil
	default:
		return glua.LString(m.src[c.start : c.start+c.size])
	}
}

// push pushes the captures, or the match where whole says so and there are none.
func (m *matcher) push(start, end int, whole bool) int {
	n := m.level
	if n == 0 && whole {
		n = 1
	}
	for i := range n {
		m.L.Push(m.value(i, start, end))
	}
	return n
}

func (s *state) matcher(L *glua.LState, src, pat string) (m *matcher, from int, anchored bool) {
	m = &matcher{L: L, steps: &s.steps, src: src, pat: pat}
	if strings.HasPrefix(pat, "^") {
		return m, 1, true
	}
	return m, 0, false
}

// search finds the first match from init on.
func (s *state) search(L *glua.LState, find bool) int {
	src, pat := L.CheckString(1), L.CheckString(2)
	init := L.OptInt(3, 1)
	if init < 0 {
		init = max(len(src)+init+1, 1)
	}
	init = max(init, 1) - 1
	if init > len(src) {
		L.Push(glua.LNil)
		return 1
	}
	if find && (L.ToBool(4) || !strings.ContainsAny(pat, "^$*+?.([%-")) {
		i := strings.Index(src[init:], pat)
		if i < 0 {
			L.Push(glua.LNil)
			return 1
		}
		L.Push(glua.LNumber(init + i + 1))
		L.Push(glua.LNumber(init + i + len(pat)))
		return 2
	}
	m, from, anchored := s.matcher(L, src, pat)
	for at := init; at <= len(src); at++ {
		m.level = 0
		if end := m.match(at, from); end >= 0 {
			if !find {
				return m.push(at, end, true)
			}
			L.Push(glua.LNumber(at + 1))
			L.Push(glua.LNumber(end))
			return 2 + m.push(at, end, false)
		}
		if anchored {
			break
		}
	}
	L.Push(glua.LNil)
	return 1
}

func (s *state) stringFind(L *glua.LState) int  { return s.search(L, true) }
func (s *state) stringMatch(L *glua.LState) int { return s.search(L, false) }

func (s *state) stringGmatch(L *glua.LState) int {
	src, pat := L.CheckString(1), L.CheckString(2)
	at := 0
	L.Push(L.NewFunction(func(L *glua.LState) int {
		m := &matcher{L: L, steps: &s.steps, src: src, pat: pat}
		for ; at <= len(src); at++ {
			m.level = 0
			if end := m.match(at, 0); end >= 0 {
				start := at
				if at = end; end == start {
					at++
				}
				return m.push(start, end, true)
			}
		}
		return 0
	}))
	return 1
}

func (s *state) stringGsub(L *glua.LState) int {
	src, pat, repl := L.CheckString(1), L.CheckString(2), L.Get(3)
	switch repl.Type() {
	case glua.LTString, glua.LTNumber, glua.LTTable, glua.LTFunction:
	default:
		L.ArgError(3, "string/function/table expected")
	}
	most := L.OptInt(4, len(src)+1)
	m, from, anchored := s.matcher(L, src, pat)
	var out strings.Builder
	at, n := 0, 0
	for n < most {
		m.level = 0
		end := m.match(at, from)
		if end >= 0 {
			n++
			m.replace(&out, repl, at, end)
			s.bound(L, out.Len())
		}
		switch {
		case end > at:
			at = end
		case at < len(src):
			out.WriteByte(src[at])
			at++
		default:
			at++
		}
		if at > len(src) || anchored {
			break
		}
	}
	if at < len(src) {
		out.WriteString(src[at:])
	}
	s.bound(L, out.Len())
	L.Push(glua.LString(out.String()))
	L.Push(glua.LNumber(n))
	return 2
}

// replace writes what takes the place of a match.
func (m *matcher) replace(out *strings.Builder, repl glua.LValue, start, end int) {
	var v glua.LValue
	switch r := repl.(type) {
	case *glua.LTable:
		v = m.L.GetTable(r, m.value(0, start, end))
	case *glua.LFunction:
		m.L.Push(r)
		n := m.push(start, end, true)
		m.L.Call(n, 1)
		v = m.L.Get(-1)
		m.L.Pop(1)
	default:
		text := glua.LVAsString(repl)
		for i := 0; i < len(text); i++ {
			c := text[i]
			if c != '%' || i+1 == len(text) {
				out.WriteByte(c)
				continue
			}
			i++
			switch c = text[i]; {
			case c == '0':
				out.WriteString(m.src[start:end])
			case '1' <= c && c <= '9':
				out.WriteString(m.value(int(c-'1'), start, end).String())
			default:
				out.WriteByte(c)
			}
		}
		return
	}
	switch {
	case glua.LVIsFalse(v):
		out.WriteString(m.src[start:end])
	case v.Type() == glua.LTString || v.Type() == glua.LTNumber:
		out.WriteString(v.String())
	default:
		m.L.RaiseError("invalid replacement value (a %s)", v.Type().String())
	}
}
