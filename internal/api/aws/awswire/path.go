package awswire

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// path is where in a request a value stands, as AWS's messages name it:
// records.1.member.partitionKey.
type path []step

type step struct {
	name  string // of a member or the key of a map's entry
	entry bool
	index int // of a list's item, from 1
}

func (p *path) member(name string) { *p = append(*p, step{name: name}) }
func (p *path) key(k string)       { *p = append(*p, step{name: k, entry: true}) }
func (p *path) item(n int)         { *p = append(*p, step{index: n}) }
func (p *path) pop()               { *p = (*p)[:len(*p)-1] }

// String joins the steps.
func (p path) String() string {
	var b strings.Builder
	for i, s := range p {
		if i > 0 {
			b.WriteByte('.')
		}
		switch {
		case s.index > 0:
			b.WriteString(strconv.Itoa(s.index) + ".member")
		case s.entry:
			b.WriteString(clip(s.name))
		default:
			b.WriteString(lowerFirst(s.name))
		}
	}
	return b.String()
}

// lowerFirst writes a member's name as AWS's messages do: StreamName as streamName, but ACL as it is.
func lowerFirst(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if second, _ := utf8.DecodeRuneInString(s[n:]); unicode.IsUpper(second) {
		return s
	}
	return string(unicode.ToLower(first)) + s[n:]
}
