package warehouse

import "strings"

// like gives a LIKE its escape character, which PostgreSQL has without being told. i is the
// token behind LIKE or ILIKE.
func (w *rewriter) like(i int) {
	if i >= len(w.tokens) || w.tokens[i].is("any") || w.tokens[i].is("all") || w.tokens[i].is("some") {
		return
	}
	end := operandEnd(w.tokens, i)
	if end == tooLong {
		w.err = tooComplex(w.tokens[i])
		return
	}
	if end == i {
		return
	}
	if end+1 < len(w.tokens) && w.tokens[end].is("escape") {
		if t := w.tokens[end+1]; t.kind == tokenString && t.text == "" { // no escape at all
			w.replace(w.tokens[end].start, t.end, "")
		}
		return
	}
	if t := w.tokens[i]; end == i+1 && t.kind == tokenString && !strings.Contains(t.text, `\`) {
		return // nothing to escape, and the engine's shorter ways stay open
	}
	w.close(w.tokens[end-1].end, ` ESCAPE '\'`)
}

// similar turns the pattern of SIMILAR TO into the regular expression that the engine takes
// it for. i is the token behind TO.
func (w *rewriter) similar(i int) error {
	end := operandEnd(w.tokens, i)
	if end == tooLong {
		return tooComplex(w.tokens[i])
	}
	if i >= len(w.tokens) || end == i {
		return nil
	}
	escape := byte('\\')
	stop := w.tokens[end-1].end
	if end+1 < len(w.tokens) && w.tokens[end].is("escape") {
		t := w.tokens[end+1]
		if t.kind != tokenString || len(t.text) > 1 {
			return FeatureNotSupported.at(t.start+1, "the escape of SIMILAR TO must be a constant of one ASCII character")
		}
		if escape = 0; t.text != "" {
			escape = t.text[0]
		}
		stop = t.end
	}
	if t := w.tokens[i]; end == i+1 && t.kind == tokenString {
		w.replace(t.start, stop, quoteText(similarPattern(t.text, escape)))
		return nil
	}
	if escape != '\\' {
		return FeatureNotSupported.at(w.tokens[end].start+1, "ESCAPE is supported behind a SIMILAR TO whose pattern is a constant")
	}
	w.open(w.tokens[i].start, "sluice_similar_pattern(")
	w.close(w.tokens[end-1].end, ")")
	return nil
}

// similarPattern turns a pattern of SIMILAR TO into a regular expression.
func similarPattern(p string, escape byte) string {
	var b strings.Builder
	b.WriteString("(?s)^(?:")
	inClass := false
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case escape != 0 && c == escape && i+1 < len(p):
			i++
			if strings.IndexByte(`\.^$|?*+()[]{}`, p[i]) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(p[i])
		case inClass:
			inClass = c != ']'
			if c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		case c == '[':
			inClass = true
			b.WriteByte(c)
		case c == '%':
			b.WriteString(".*")
		case c == '_':
			b.WriteByte('.')
		case c == '(':
			b.WriteString("(?:")
		case strings.IndexByte(`\.^$`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteString(")$")
	return b.String()
}
