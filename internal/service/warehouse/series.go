package warehouse

// clause is the part of a SELECT that a token stands in.
type clause uint8

const (
	clauseOther clause = iota
	clauseItems        // the select list
	clauseFrom
)

// series rewrites generate_series: in a select list it makes rows, and in FROM an alias
// names its column too. The engine makes one list, and a struct, of these.
func (w *rewriter) series() {
	stack := []clause{clauseOther}
	for i, t := range w.tokens {
		top := &stack[len(stack)-1]
		switch {
		case t.is("("):
			stack = append(stack, clauseOther)
		case t.is(")"):
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
		case t.is("select"):
			*top = clauseItems
		case t.is("from"):
			if *top == clauseItems && !(i > 0 && w.tokens[i-1].is("distinct")) {
				*top = clauseFrom
			}
		case t.is("where"), t.is("group"), t.is("having"), t.is("order"), t.is("limit"), t.is("window"), t.is("union"), t.is("except"), t.is("intersect"), t.is("offset"):
			*top = clauseOther
		case t.is("generate_series") && i+1 < len(w.tokens) && w.tokens[i+1].is("("):
			w.oneSeries(i, *top)
		}
	}
}

func (w *rewriter) oneSeries(i int, in clause) {
	end := closing(w.tokens, i+1)
	if end >= len(w.tokens) {
		return
	}
	next := end + 1
	switch in {
	case clauseItems:
		w.open(w.tokens[i].start, "unnest(")
		w.close(w.tokens[end].end, ")")
	case clauseFrom:
		if next < len(w.tokens) && w.tokens[next].is("as") {
			next++
		}
		if next >= len(w.tokens) {
			return
		}
		t := w.tokens[next]
		if t.kind != tokenQuoted && (t.kind != tokenWord || endsItem(t.text)) {
			return
		}
		if next+1 < len(w.tokens) && w.tokens[next+1].is("(") {
			return
		}
		w.close(t.end, "("+quoteName(t.text)+")")
	}
}

// endsItem reports whether a word behind an item of FROM is no alias.
func endsItem(word string) bool {
	switch word {
	case "where", "group", "having", "order", "limit", "window", "union", "except", "intersect", "offset", "join", "cross", "inner", "left", "right",
		"full", "natural", "on", "using", "fetch", "for", "with", "tablesample", "lateral", "qualify", "returning":
		return true
	}
	return false
}
