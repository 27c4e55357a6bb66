package lua

import (
	"regexp"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// maxPatterns bounds how many compiled expressions are kept.
const maxPatterns = 4096

// pattern compiles an expression of ngx.re with its options. Of those that steer the
// engine (j, o, d, a) only a, anchored, means anything here.
func (s *state) pattern(L *glua.LState, source, options string) *regexp.Regexp {
	flags, full := "", source
	for _, o := range options {
		switch o {
		case 'i', 's', 'm':
			flags += string(o)
		case 'a':
			full = `\A(?:` + full + ")"
		}
	}
	full = strings.NewReplacer(`(?<`, `(?P<`, `(?<=`, `(?<=`, `(?<!`, `(?<!`, `\h`, `[ \t]`, `\Z`, `\z`).Replace(full)
	if flags != "" {
		full = "(?" + flags + ")" + full
	}
	if re, ok := s.engine.patterns.Load(full); ok {
		return re.(*regexp.Regexp)
	}
	re, err := regexp.Compile(full)
	if err != nil {
		L.RaiseError("the regular expression %s is not one that is served: %s", source, err.Error())
	}
	if s.engine.patternCount.Add(1) <= maxPatterns {
		s.engine.patterns.Store(full, re)
	}
	return re
}

// start is where a search begins, by the position in the context table.
func start(L *glua.LState, n int, subject string) (at int, ctx *glua.LTable) {
	ctx, _ = L.Get(n).(*glua.LTable)
	if ctx == nil {
		return 0, nil
	}
	if pos, ok := ctx.RawGetString("pos").(glua.LNumber); ok {
		return min(max(int(pos)-1, 0), len(subject)), ctx
	}
	return 0, ctx
}

// captures makes the table of a match.
func captures(L *glua.LState, re *regexp.Regexp, subject string, at []int) *glua.LTable {
	t := L.NewTable()
	names := re.SubexpNames()
	for i := 0; i < len(at); i += 2 {
		v := glua.LValue(glua.LFalse) // a group that took no part
		if at[i] >= 0 {
			v = glua.LString(subject[at[i]:at[i+1]])
		}
		t.RawSetInt(i/2, v)
		if name := names[i/2]; name != "" {
			t.RawSetString(name, v)
		}
	}
	return t
}

// findFrom searches from at on; ^ and \b still see what is before.
func findFrom(re *regexp.Regexp, subject string, from int) []int {
	if from == 0 {
		return re.FindStringSubmatchIndex(subject)
	}
	at := re.FindStringSubmatchIndex(subject[from:])
	for i := range at {
		if at[i] >= 0 {
			at[i] += from
		}
	}
	return at
}

func (s *state) reMatch(L *glua.LState) int {
	subject := L.CheckString(1)
	re := s.pattern(L, L.CheckString(2), L.OptString(3, ""))
	from, ctx := start(L, 4, subject)
	at := findFrom(re, subject, from)
	if at == nil {
		return 0
	}
	if ctx != nil {
		ctx.RawSetString("pos", glua.LNumber(at[1]+1))
	}
	L.Push(captures(L, re, subject, at))
	return 1
}

func (s *state) reFind(L *glua.LState) int {
	subject := L.CheckString(1)
	re := s.pattern(L, L.CheckString(2), L.OptString(3, ""))
	from, ctx := start(L, 4, subject)
	nth := L.OptInt(5, 0)
	at := findFrom(re, subject, from)
	if at == nil || 2*nth+1 >= len(at) || at[2*nth] < 0 {
		return 0
	}
	if ctx != nil {
		ctx.RawSetString("pos", glua.LNumber(at[1]+1))
	}
	L.Push(glua.LNumber(at[2*nth] + 1))
	L.Push(glua.LNumber(at[2*nth+1]))
	return 2
}

func (s *state) reGmatch(L *glua.LState) int {
	subject := L.CheckString(1)
	re := s.pattern(L, L.CheckString(2), L.OptString(3, ""))
	all, n := re.FindAllStringSubmatchIndex(subject, maxMatches), 0
	L.Push(L.NewFunction(valued(func(L *glua.LState) int {
		if n == len(all) {
			return 0
		}
		n++
		L.Push(captures(L, re, subject, all[n-1]))
		return 1
	})))
	return 1
}

// maxMatches bounds how many matches one call finds.
const maxMatches = 100_000

func (s *state) reSub(L *glua.LState) int  { return s.substitute(L, 1) }
func (s *state) reGsub(L *glua.LState) int { return s.substitute(L, maxMatches) }

func (s *state) substitute(L *glua.LState, most int) int {
	subject := L.CheckString(1)
	re := s.pattern(L, L.CheckString(2), L.OptString(4, ""))
	all := re.FindAllStringSubmatchIndex(subject, most)
	var b strings.Builder
	last := 0
	for _, at := range all {
		b.WriteString(subject[last:at[0]])
		last = at[1]
		switch repl := L.Get(3).(type) {
		case *glua.LFunction:
			L.Push(repl)
			L.Push(captures(L, re, subject, at))
			L.Call(1, 1)
			b.WriteString(L.ToStringMeta(L.Get(-1)).String())
			L.Pop(1)
		default:
			b.WriteString(expand(L.CheckString(3), subject, at))
		}
		s.bound(L, b.Len())
	}
	b.WriteString(subject[last:])
	s.bound(L, b.Len())
	L.Push(glua.LString(b.String()))
	L.Push(glua.LNumber(len(all)))
	return 2
}

// expand fills $1, ${1} and $$ into a replacement.
func expand(repl, subject string, at []int) string {
	if !strings.Contains(repl, "$") {
		return repl
	}
	var b strings.Builder
	for i := 0; i < len(repl); i++ {
		if repl[i] != '$' || i+1 == len(repl) {
			b.WriteByte(repl[i])
			continue
		}
		i++
		if repl[i] == '$' {
			b.WriteByte('$')
			continue
		}
		braced := repl[i] == '{'
		if braced {
			i++
		}
		n := 0
		for ; i < len(repl) && '0' <= repl[i] && repl[i] <= '9' && n < 1000; i++ {
			n = n*10 + int(repl[i]-'0')
		}
		if !braced {
			i--
		}
		if 2*n+1 < len(at) && at[2*n] >= 0 {
			b.WriteString(subject[at[2*n]:at[2*n+1]])
		}
	}
	return b.String()
}
