package expression

import (
	"net/netip"
	"regexp"
	"strings"
)

// Expression is a checked expression. It is immutable.
type Expression struct{ root node }

// Found is what an expression has matched of the path.
type Found struct {
	Len   int            // bytes
	Regex *regexp.Regexp // nil where it was a prefix
}

// Match reports whether the expression holds for a subject.
func (e *Expression) Match(s Subject) bool { return e.root.eval(s, nil) }

// Find is Match, and tells what of the path the last predicate with a prefix or a regular
// expression has matched.
func (e *Expression) Find(s Subject) (Found, bool) {
	var f Found
	ok := e.root.eval(s, &f)
	return f, ok
}

type nodeKind uint8

const (
	isPredicate nodeKind = iota
	isAnd
	isOr
	isNot
)

type node struct {
	kind      nodeKind
	kids      []node
	predicate predicate
}

func (n *node) eval(s Subject, found *Found) bool {
	switch n.kind {
	case isAnd:
		for i := range n.kids {
			if !n.kids[i].eval(s, found) {
				return false
			}
		}
		return true
	case isOr:
		for i := range n.kids {
			if n.kids[i].eval(s, found) {
				return true
			}
		}
		return false
	case isNot:
		return !n.kids[0].eval(s, nil)
	}
	return n.predicate.eval(s, found)
}

type operator string

const (
	equal        operator = "=="
	notEqual     operator = "!="
	matches      operator = "~"
	prefix       operator = "^="
	suffix       operator = "=^"
	greater      operator = ">"
	greaterEqual operator = ">="
	less         operator = "<"
	lessEqual    operator = "<="
	in           operator = "in"
	notIn        operator = "not in"
	contains     operator = "contains"
)

// takes lists what may stand on both sides of an operator.
var takes = map[operator][][2]kind{
	equal: {{text, text}, {number, number}, {address, address}}, notEqual: {{text, text}, {number, number}, {address, address}},
	matches: {{text, text}}, prefix: {{text, text}}, suffix: {{text, text}}, contains: {{text, text}},
	greater: {{number, number}}, greaterEqual: {{number, number}}, less: {{number, number}}, lessEqual: {{number, number}},
	in: {{address, network}}, notIn: {{address, network}},
}

type predicate struct {
	field      Field
	kind       kind
	name       string // of a header or a query argument
	from, to   int    // of segments
	lower, any bool
	op         operator

	text   string
	number int64
	addr   netip.Addr
	net    netip.Prefix
	regex  *regexp.Regexp
}

func (p *predicate) eval(s Subject, found *Found) bool {
	switch p.field {
	case srcIP:
		return p.testAddr(s.Source())
	case dstIP:
		return p.testAddr(s.Destination())
	case srcPort:
		a := s.Source()
		return a.IsValid() && p.testNumber(int64(a.Port()))
	case dstPort:
		a := s.Destination()
		return a.IsValid() && p.testNumber(int64(a.Port()))
	case segmentsLen:
		path, _ := s.Text(Path)
		return p.testNumber(int64(segmentCount(path)))
	case segments:
		path, _ := s.Text(Path)
		v, ok := segment(path, p.from, p.to)
		return ok && p.testText(v, nil)
	case Header, Query:
		some := false
		for v, at, ok := s.Next(p.field, p.name, 0); ok; v, at, ok = s.Next(p.field, p.name, at) {
			if some = true; p.testText(v, nil) == p.any {
				return p.any
			}
		}
		return some && !p.any
	}
	v, ok := s.Text(p.field)
	if p.field != Path {
		found = nil
	}
	return ok && p.testText(v, found)
}

func (p *predicate) testText(v string, found *Found) bool {
	if p.lower {
		v = strings.ToLower(v)
	}
	switch p.op {
	case equal:
		return v == p.text
	case notEqual:
		return v != p.text
	case prefix:
		if !strings.HasPrefix(v, p.text) {
			return false
		}
		if found != nil {
			*found = Found{Len: len(p.text)}
		}
		return true
	case suffix:
		return strings.HasSuffix(v, p.text)
	case contains:
		return strings.Contains(v, p.text)
	}
	if found == nil {
		return p.regex.MatchString(v)
	}
	at := p.regex.FindStringIndex(v)
	if at == nil {
		return false
	}
	*found = Found{at[1] - at[0], p.regex}
	return true
}

func (p *predicate) testNumber(v int64) bool {
	switch p.op {
	case equal:
		return v == p.number
	case notEqual:
		return v != p.number
	case greater:
		return v > p.number
	case greaterEqual:
		return v >= p.number
	case less:
		return v < p.number
	}
	return v <= p.number
}

func (p *predicate) testAddr(a netip.AddrPort) bool {
	if !a.IsValid() {
		return false
	}
	switch p.op {
	case equal:
		return a.Addr() == p.addr
	case notEqual:
		return a.Addr() != p.addr
	case in:
		return p.net.Contains(a.Addr())
	}
	return !p.net.Contains(a.Addr())
}

// Literal is text that a field must equal, begin with or end in.
type Literal struct {
	Begins, Ends bool // else it is the whole value
	Text         string
}

// Literals returns, for Host, Path or SNI, literals of which one must fit whenever the
// expression holds; nil where it may hold with any value. They are for an index.
func (e *Expression) Literals(f Field) []Literal { return e.root.literals(f) }

func (n *node) literals(f Field) (best []Literal) {
	switch n.kind {
	case isAnd:
		for i := range n.kids {
			if l := n.kids[i].literals(f); l != nil && (best == nil || len(l) < len(best)) {
				best = l
			}
		}
	case isOr:
		for i := range n.kids {
			l := n.kids[i].literals(f)
			if l == nil {
				return nil
			}
			best = append(best, l...)
		}
	case isPredicate:
		p := &n.predicate
		if p.field != f || p.lower {
			return nil
		}
		switch p.op {
		case equal:
			return []Literal{{Text: p.text}}
		case prefix:
			return []Literal{{Begins: true, Text: p.text}}
		case suffix:
			return []Literal{{Ends: true, Text: p.text}}
		}
	}
	return best
}
