package warehouse

import (
	"strings"
	"unicode/utf8"
)

// tokenKind is the class of a lexical unit.
type tokenKind uint8

const (
	tokenWord      tokenKind = iota // an unquoted name or keyword; text is folded to lower case
	tokenQuoted                     // a "quoted" name; text is its value
	tokenString                     // a string constant; text is its value
	tokenNumber                     // a number as written
	tokenParameter                  // $1; text is the digits
	tokenSymbol                     // one punctuation or operator character
)

// token is one lexical unit and where it stands in the text.
type token struct {
	kind       tokenKind
	text       string
	start, end int // bytes
	mate       int // index of what closes or opens a parenthesis, bracket or CASE; -1 where nothing does
}

// is reports whether the token is the unquoted word or the symbol s.
func (t token) is(s string) bool {
	return (t.kind == tokenWord || t.kind == tokenSymbol) && t.text == s
}

// lex splits SQL into tokens; comments and white space vanish. The rules are
// PostgreSQL's: ” and E” strings, "names", $tag$ strings$tag$, -- and nested /* */
// comments.
func lex(sql string) ([]token, error) {
	var out []token
	i := 0
	for i < len(sql) {
		c := sql[i]
		start := i
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			i++
		case strings.HasPrefix(sql[i:], "--"):
			if n := strings.IndexByte(sql[i:], '\n'); n >= 0 {
				i += n + 1
			} else {
				i = len(sql)
			}
		case strings.HasPrefix(sql[i:], "/*"):
			end := skipComment(sql, i)
			if end < 0 {
				return nil, SyntaxError.at(start+1, "unterminated /* comment")
			}
			i = end
		case c == '\'':
			value, end := quoted(sql, i, '\'', false)
			if end < 0 {
				return nil, SyntaxError.at(start+1, "unterminated quoted string")
			}
			out, i = append(out, token{tokenString, value, start, end, 0}), end
		case (c == 'e' || c == 'E') && i+1 < len(sql) && sql[i+1] == '\'':
			value, end := quoted(sql, i+1, '\'', true)
			if end < 0 {
				return nil, SyntaxError.at(start+1, "unterminated quoted string")
			}
			out, i = append(out, token{tokenString, value, start, end, 0}), end
		case c == '"':
			value, end := quoted(sql, i, '"', false)
			if end < 0 || value == "" {
				return nil, SyntaxError.at(start+1, "a quoted name is empty or not ended")
			}
			out, i = append(out, token{tokenQuoted, value, start, end, 0}), end
		case c == '$' && i+1 < len(sql) && digit(sql[i+1]):
			for i++; i < len(sql) && digit(sql[i]); i++ {
			}
			out = append(out, token{tokenParameter, sql[start+1 : i], start, i, 0})
		case c == '$':
			value, end := dollarQuoted(sql, i)
			if end < 0 {
				return nil, SyntaxError.at(start+1, "unterminated dollar-quoted string")
			}
			if end > 0 {
				out, i = append(out, token{tokenString, value, start, end, 0}), end
				break
			}
			i++
			out = append(out, token{tokenSymbol, "$", start, i, 0})
		case digit(c) || c == '.' && i+1 < len(sql) && digit(sql[i+1]):
			i = number(sql, i)
			out = append(out, token{tokenNumber, sql[start:i], start, i, 0})
		case letter(c):
			for i++; i < len(sql) && (letter(sql[i]) || digit(sql[i]) || sql[i] == '$'); i++ {
			}
			out = append(out, token{tokenWord, strings.ToLower(sql[start:i]), start, i, 0})
		default:
			_, n := utf8.DecodeRuneInString(sql[i:])
			i += n
			out = append(out, token{tokenSymbol, sql[start:i], start, i, 0})
		}
	}
	pair(out)
	return out, nil
}

// pair finds what belongs together once: a search for each would take a time that grows with
// the square of the statement's size, and no time-out ends it.
func pair(tokens []token) {
	var open []int
	for i := range tokens {
		t := &tokens[i]
		t.mate = -1
		switch {
		case t.is("("), t.is("["), t.is("case"):
			open = append(open, i)
			continue
		case t.is(")"), t.is("]"):
			for len(open) > 0 && tokens[open[len(open)-1]].is("case") { // END is missing
				open = open[:len(open)-1]
			}
		case t.is("end") && len(open) > 0 && tokens[open[len(open)-1]].is("case"):
		default:
			continue
		}
		if n := len(open); n > 0 {
			t.mate, tokens[open[n-1]].mate = open[n-1], i
			open = open[:n-1]
		}
	}
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// letter reports whether c may begin a name. Bytes of multi-byte characters may.
func letter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

func number(sql string, i int) int {
	for i < len(sql) && (digit(sql[i]) || sql[i] == '.' || sql[i] == '_') {
		i++
	}
	if i < len(sql) && (sql[i] == 'e' || sql[i] == 'E') {
		j := i + 1
		if j < len(sql) && (sql[j] == '+' || sql[j] == '-') {
			j++
		}
		if j < len(sql) && digit(sql[j]) {
			for i = j; i < len(sql) && digit(sql[i]); i++ {
			}
		}
	}
	return i
}

// skipComment returns the offset behind the comment at i, or -1.
func skipComment(sql string, i int) int {
	depth := 0
	for i < len(sql)-1 {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return -1
}

// quoted reads the text between quote characters at i, a doubled quote standing for one.
func quoted(sql string, i int, quote byte, escapes bool) (value string, end int) {
	var b strings.Builder
	for i++; i < len(sql); i++ {
		switch c := sql[i]; {
		case c == quote && i+1 < len(sql) && sql[i+1] == quote:
			b.WriteByte(quote)
			i++
		case c == quote:
			return b.String(), i + 1
		case c == '\\' && escapes && i+1 < len(sql):
			i++
			b.WriteByte(unescape(sql[i]))
		default:
			b.WriteByte(c)
		}
	}
	return "", -1
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	case 'r':
		return '\r'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	}
	return c
}

// dollarQuoted reads a $tag$ string at i. end is 0 where none begins and -1 where it does not end.
func dollarQuoted(sql string, i int) (value string, end int) {
	j := i + 1
	for j < len(sql) && (letter(sql[j]) || digit(sql[j])) {
		j++
	}
	if j >= len(sql) || sql[j] != '$' {
		return "", 0
	}
	tag := sql[i : j+1]
	n := strings.Index(sql[j+1:], tag)
	if n < 0 {
		return "", -1
	}
	return sql[j+1 : j+1+n], j + 1 + n + len(tag)
}

// Split cuts a text into its statements at the semicolons. Empty statements are left out.
func Split(sql string) (_ []Text, err error) {
	defer recovered(&err)
	tokens, err := lex(sql)
	if err != nil {
		return nil, err
	}
	var out []Text
	first := 0
	for i := 0; i <= len(tokens); i++ {
		if i < len(tokens) && !tokens[i].is(";") {
			continue
		}
		if i > first {
			start, end := tokens[first].start, tokens[i-1].end
			out = append(out, Text{SQL: sql[start:end], Offset: start})
		}
		first = i + 1
	}
	return out, nil
}

// Text is one statement and the byte of the client's text where it begins.
type Text struct {
	SQL    string
	Offset int
}
