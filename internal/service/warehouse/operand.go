package warehouse

import "slices"

// typeWords begin a literal such as date '2001-02-03'.
var typeWords = []string{"date", "time", "timestamp", "timestamptz", "interval", "numeric", "boolean", "bool", "varchar", "text", "json", "uuid", "bytea"}

// noFunctions stand before a parenthesis and are no function's name.
var noFunctions = []string{
	"and", "or", "not", "in", "when", "then", "else", "case", "select", "distinct", "where", "on", "having", "by", "like", "ilike", "between", "is",
	"from", "join", "as", "values", "union", "all", "any", "some", "limit", "offset", "returning", "set", "using", "except", "intersect",
}

// isPair reports whether the tokens at i are a :: or a ||.
func isPair(tokens []token, i int, symbol string) bool {
	return i >= 0 && i+1 < len(tokens) && tokens[i].is(symbol) && tokens[i+1].is(symbol) && tokens[i].end == tokens[i+1].start
}

// opening returns the index of the parenthesis or bracket that closes at i, -1 where there is none.
func opening(tokens []token, i int) int { return tokens[i].mate }

// closing returns the index of what closes the parenthesis, bracket or CASE at i, or the
// number of tokens.
func closing(tokens []token, i int) int {
	if i >= len(tokens) || tokens[i].mate < i {
		return len(tokens)
	}
	return tokens[i].mate
}

// maxOperand bounds the casts, subscripts and operators of one operand. The engine's own
// bound on the depth of an expression is as high.
const maxOperand = 1000

// tooLong is the start of an operand that is longer.
const tooLong = -2

// operandStart returns the index of the first token of the operand that ends before i,
// where a :: stands; -1 where it cannot be told, and tooLong.
func operandStart(tokens []token, i int) int {
	parts := 0
	for j := i - 1; j >= 0; {
		if parts++; parts > maxOperand {
			return tooLong
		}
		t := tokens[j]
		switch {
		case t.is("]"):
			if j = opening(tokens, j) - 1; j >= 0 && !tokens[j].is("array") {
				continue
			}
		case t.is(")"):
			if j = opening(tokens, j); j < 0 {
				return -1
			}
			if j > 0 && (tokens[j-1].is("over") || tokens[j-1].is("filter")) {
				j -= 2
				continue
			}
			if j > 0 && (tokens[j-1].kind == tokenQuoted || tokens[j-1].kind == tokenWord && !slices.Contains(noFunctions, tokens[j-1].text)) {
				j--
			}
		case t.is("end"):
			j = opening(tokens, j)
		case t.kind == tokenString:
			if j > 0 && tokens[j-1].kind == tokenWord && slices.Contains(typeWords, tokens[j-1].text) {
				j--
			}
		case t.kind == tokenSymbol:
			return -1
		case t.is("precision") && j > 0, t.is("varying") && j > 0:
			j--
		case t.is("zone") && j > 2 && tokens[j-1].is("time"):
			j -= 3
		}
		if j < 0 {
			return -1
		}
		for j >= 2 && tokens[j-1].is(".") {
			if parts++; parts > maxOperand {
				return tooLong
			}
			j -= 2
		}
		if !isPair(tokens, j-2, ":") {
			return j
		}
		j -= 3
	}
	return -1
}

// operandEnd returns the index behind the operand that begins at i, taking in operators
// that bind tighter than LIKE; tooLong where there are too many.
func operandEnd(tokens []token, i int) int {
	for parts := 0; i < len(tokens); parts++ {
		if parts > maxOperand {
			return tooLong
		}
		for i < len(tokens) && (tokens[i].is("-") || tokens[i].is("+") || tokens[i].is("~")) {
			i++
		}
		if i >= len(tokens) {
			return i
		}
		switch t := tokens[i]; {
		case t.is("("), t.is("case"):
			i = closing(tokens, i) + 1
		case t.kind == tokenSymbol:
			return i
		case t.kind == tokenWord && i+1 < len(tokens) && tokens[i+1].kind == tokenString && slices.Contains(typeWords, t.text):
			i += 2
		default:
			i++
		}
	postfix:
		for i < len(tokens) {
			switch t := tokens[i]; {
			case t.is("."):
				i += 2
			case t.is("("), t.is("["):
				i = closing(tokens, i) + 1
			case isPair(tokens, i, ":"):
				i = typeEnd(tokens, i+2)
			default:
				break postfix
			}
		}
		switch {
		case i >= len(tokens):
			return len(tokens)
		case isPair(tokens, i, "|"):
			i += 2
		case slices.Contains([]string{"+", "-", "*", "/", "%", "^"}, tokens[i].text) && tokens[i].kind == tokenSymbol:
			i++
		default:
			return i
		}
	}
	return len(tokens)
}

// typeEnd returns the index behind a type's name that begins at i.
func typeEnd(tokens []token, i int) int {
	next := func(n int, word string) bool { return i+n < len(tokens) && tokens[i+n].is(word) }
	n := 1
	switch {
	case next(1, ".") && i+2 < len(tokens):
		n = 3
	case next(0, "double") && next(1, "precision"), next(0, "character") && next(1, "varying"), next(0, "bit") && next(1, "varying"):
		n = 2
	}
	i = min(i+n, len(tokens))
	if i < len(tokens) && tokens[i].is("(") {
		i = closing(tokens, i) + 1
	}
	if i+2 < len(tokens) && (tokens[i].is("with") || tokens[i].is("without")) && tokens[i+1].is("time") && tokens[i+2].is("zone") {
		i += 3
	}
	for i+1 < len(tokens) && tokens[i].is("[") && tokens[i+1].is("]") {
		i += 2
	}
	return min(i, len(tokens))
}
