package expression

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Bounds of an expression.
const (
	maxBytes = 64 << 10
	maxDepth = 100
)

// Parse reads and checks an expression. Its errors say at which byte, counted from 1.
func Parse(s string, sub Subsystem) (*Expression, error) {
	if len(s) > maxBytes {
		return nil, fmt.Errorf("longer than %d bytes", maxBytes)
	}
	p := parser{in: s, sub: sub}
	root, err := p.or(0)
	if err == nil && p.skip() != "" {
		err = p.fail("expected && or ||")
	}
	if err != nil {
		return nil, err
	}
	return &Expression{root}, nil
}

type parser struct {
	in  string
	at  int
	sub Subsystem
}

func (p *parser) fail(format string, args ...any) error {
	return fmt.Errorf("at %d: %s", p.at+1, fmt.Sprintf(format, args...))
}

// skip passes white space and returns what is left.
func (p *parser) skip() string {
	for p.at < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.at]) >= 0 {
		p.at++
	}
	return p.in[p.at:]
}

// take passes a token if it comes next.
func (p *parser) take(token string) bool {
	ok := strings.HasPrefix(p.skip(), token)
	if ok {
		p.at += len(token)
	}
	return ok
}

func (p *parser) or(depth int) (node, error) {
	return p.list(isOr, "||", func() (node, error) {
		return p.list(isAnd, "&&", func() (node, error) { return p.term(depth) })
	})
}

// list reads terms with an operator between them.
func (p *parser) list(kind nodeKind, op string, term func() (node, error)) (node, error) {
	first, err := term()
	if err != nil {
		return first, err
	}
	kids := []node{first}
	for p.take(op) {
		n, err := term()
		if err != nil {
			return n, err
		}
		kids = append(kids, n)
	}
	if len(kids) == 1 {
		return first, nil
	}
	return node{kind: kind, kids: kids}, nil
}

func (p *parser) term(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, p.fail("nested deeper than %d", maxDepth)
	}
	not := p.take("!")
	if p.take("(") {
		n, err := p.or(depth + 1)
		if err != nil {
			return n, err
		}
		if !p.take(")") {
			return n, p.fail("expected )")
		}
		if not {
			n = node{kind: isNot, kids: []node{n}}
		}
		return n, nil
	}
	if not {
		return node{}, p.fail("expected ( after !")
	}
	var n node
	err := p.predicate(&n.predicate)
	return n, err
}

func (p *parser) predicate(to *predicate) error {
	start := p.at
	if err := p.left(to, 0); err != nil {
		return err
	}
	op, err := p.operator()
	if err != nil {
		return err
	}
	to.op = op
	right, err := p.literal(to)
	if err != nil {
		return err
	}
	if !slices.Contains(takes[op], [2]kind{to.kind, right}) {
		p.at = start
		return p.fail("Type mismatch between the LHS and RHS values of predicate: %s %s %s", to.kind, op, right)
	}
	if to.lower && to.kind != text {
		p.at = start
		return p.fail("lower-case transformation function only supported with String type fields")
	}
	if op == matches {
		if to.regex, err = regexp.Compile(to.text); err != nil {
			return p.fail("%s", err)
		}
	}
	return nil
}

// left reads a field, or a function of one.
func (p *parser) left(to *predicate, depth int) error {
	if depth > 4 {
		return p.fail("too many functions")
	}
	rest := p.skip()
	n := 0
	for n < len(rest) && (isWord(rest[n]) || rest[n] == '.') {
		n++
	}
	if n == 0 || '0' <= rest[0] && rest[0] <= '9' {
		return p.fail("expected a field")
	}
	name := rest[:n]
	if strings.HasPrefix(strings.TrimLeft(rest[n:], " \t\r\n"), "(") {
		switch name {
		case "lower":
			to.lower = true
		case "any":
			to.any = true
		default:
			return p.fail("Unknown transformation function: %s", name)
		}
		p.at += n
		p.take("(")
		if err := p.left(to, depth+1); err != nil {
			return err
		}
		if !p.take(")") {
			return p.fail("expected )")
		}
		return nil
	}
	if err := to.setField(name, p.sub); err != nil {
		return p.fail("%s", err)
	}
	p.at += n
	return nil
}

func (p *parser) operator() (operator, error) {
	rest := p.skip()
	for _, op := range []operator{equal, suffix, notEqual, prefix, greaterEqual, greater, lessEqual, less, matches} {
		if strings.HasPrefix(rest, string(op)) {
			p.at += len(op)
			return op, nil
		}
	}
	word := func() bool { return p.at < len(p.in) && isWord(p.in[p.at]) }
	for _, op := range []operator{in, contains} {
		if p.take(string(op)) && !word() {
			return op, nil
		}
	}
	if p.take("not") && !word() && p.take("in") && !word() {
		return notIn, nil
	}
	return "", p.fail("expected an operator: == != ~ ^= =^ > >= < <= in not in contains")
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// literal reads what a predicate compares with.
func (p *parser) literal(to *predicate) (kind, error) {
	rest := p.skip()
	if raw, ok := strings.CutPrefix(rest, `r#"`); ok {
		end := strings.Index(raw, `"#`)
		if end < 0 {
			return "", p.fail(`the raw string has no end "#`)
		}
		p.at += end + len(`r#""#`)
		to.text = raw[:end]
		return text, nil
	}
	if strings.HasPrefix(rest, `"`) {
		return text, p.quoted(to)
	}
	n := 0
	for n < len(rest) && (isWord(rest[n]) || strings.IndexByte(".:/-", rest[n]) >= 0) {
		n++
	}
	word := rest[:n]
	if strings.ContainsAny(word, ".:") {
		if addr, bits, ok := strings.Cut(word, "/"); ok {
			net, err := netip.ParsePrefix(word)
			if err != nil || net != net.Masked() {
				return "", p.fail("invalid network %s/%s", addr, bits)
			}
			to.net = net
			p.at += n
			return network, nil
		}
		a, err := netip.ParseAddr(word)
		if err != nil {
			return "", p.fail("invalid address %s", word)
		}
		to.addr = a.Unmap()
		p.at += n
		return address, nil
	}
	v, err := integer(word)
	if err != nil {
		return "", p.fail("expected a string, a number, an address or a network")
	}
	to.number = v
	p.at += n
	return number, nil
}

// integer reads a number in decimal, in hexadecimal behind 0x, or in octal behind 0.
func integer(s string) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	base := 10
	switch {
	case strings.HasPrefix(digits, "0x"):
		digits, base = digits[2:], 16
	case len(digits) > 1 && digits[0] == '0':
		digits, base = digits[1:], 8
	}
	if negative {
		digits = "-" + digits
	}
	return strconv.ParseInt(digits, base, 64)
}

func (p *parser) quoted(to *predicate) error {
	var b strings.Builder
	for i := p.at + 1; i < len(p.in); i++ {
		switch c := p.in[i]; c {
		case '"':
			p.at, to.text = i+1, b.String()
			return nil
		case '\\':
			if i++; i == len(p.in) {
				return p.fail("the string has no end")
			}
			at := strings.IndexByte(`nrt\"`, p.in[i])
			if at < 0 {
				p.at = i
				return p.fail(`unknown escape \%c`, p.in[i])
			}
			b.WriteByte("\n\r\t\\\""[at])
		default:
			b.WriteByte(c)
		}
	}
	return p.fail("the string has no end")
}
