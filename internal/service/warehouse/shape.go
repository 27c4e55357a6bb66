package warehouse

import (
	"strings"
	"unicode/utf8"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// shape is how the values of a result's column are shown, where the engine has no type
// that says so.
type shape struct {
	trim bool // a numeric without precision: zeros at the end that nobody gave are left out
	pad  int  // character(n): blanks behind it, up to n characters
}

// shapes finds the items of a SELECT's own list that are casts to such types.
func (w *rewriter) shapes() map[int]shape {
	if len(w.tokens) == 0 || !w.tokens[0].is("select") {
		return nil
	}
	out := map[int]shape{}
	depth, item, start := 0, 0, 1
	if start < len(w.tokens) && w.tokens[1].is("all") {
		start++
	}
	for i := start; i <= len(w.tokens); i++ {
		ends := i == len(w.tokens) || depth == 0 && (w.tokens[i].is(",") || w.tokens[i].is("from"))
		if ends && out != nil {
			if s := w.shapeOf(start, i); s != (shape{}) {
				out[item] = s
			}
			item, start = item+1, i+1
		}
		switch {
		case i == len(w.tokens):
		case w.tokens[i].is("("), w.tokens[i].is("["):
			depth++
		case w.tokens[i].is(")"), w.tokens[i].is("]"):
			depth--
		case depth > 0:
		case w.tokens[i].is("union"), w.tokens[i].is("except"), w.tokens[i].is("intersect"):
			return nil
		case w.tokens[i].is("*") && (i == start || w.tokens[i-1].is(".")): // any number of columns
			return nil
		case w.tokens[i].is("from"):
			if end := unionAfter(w.tokens, i); end {
				return nil
			}
			return out
		}
	}
	return out
}

// unionAfter reports whether the statement goes on with another SELECT.
func unionAfter(tokens []token, i int) bool {
	depth := 0
	for ; i < len(tokens); i++ {
		switch {
		case tokens[i].is("("):
			depth++
		case tokens[i].is(")"):
			depth--
		case depth == 0 && (tokens[i].is("union") || tokens[i].is("except") || tokens[i].is("intersect")):
			return true
		}
	}
	return false
}

// shapeOf looks at the item whose tokens are from start to end.
func (w *rewriter) shapeOf(start, end int) shape {
	if end-start > 2 && w.tokens[end-2].is("as") {
		end -= 2
	}
	for i := start; i < end; i++ {
		var f typeForm
		switch {
		case isPair(w.tokens, i, ":"):
			switch operandStart(w.tokens, i) {
			case start:
				f = typeAt(w.tokens, i+2)
			case tooLong:
				return shape{} // the engine refuses it
			default:
				continue
			}
		case i == start && w.tokens[i].is("cast") && i+1 < end && w.tokens[i+1].is("("):
			last := closing(w.tokens, i+1)
			as := last - 1
			for ; as > i && !w.tokens[as].is("as"); as-- {
			}
			if f = typeAt(w.tokens, as+1); f.end != last {
				return shape{}
			}
			f.end++
		default:
			continue
		}
		if f.end != end && f.end != end-1 { // an alias without AS may follow
			continue
		}
		if f.end == end-1 && w.tokens[f.end].kind != tokenWord && w.tokens[f.end].kind != tokenQuoted {
			continue
		}
		switch f.name {
		case "numeric":
			if w.isFree(f) {
				return shape{trim: true}
			}
		case "char":
			return shape{pad: f.size}
		}
	}
	return shape{}
}

// isFree reports whether the type's name was rewritten to the numeric of unknown digits.
func (w *rewriter) isFree(f typeForm) bool {
	if w.free == nil {
		w.free = map[int]bool{}
		for _, e := range w.edits {
			if e.text == freeNumeric {
				w.free[e.start] = true
			}
		}
	}
	return w.free[w.tokens[f.begin].start]
}

// describeShapes leaves out of the columns what their shapes do not keep.
func (r rewritten) describeShapes(columns []wire.Column) {
	for i, s := range r.shapes {
		if s.trim && i < len(columns) && columns[i].Type == wire.Numeric {
			columns[i].Width, columns[i].Scale = 0, 0
		}
	}
}

// show brings the cells of a row to their shapes.
func (r rewritten) show(row []wire.Cell) {
	for i, s := range r.shapes {
		if i >= len(row) || row[i] == nil {
			continue
		}
		switch text := string(row[i]); {
		case s.trim && strings.Contains(text, "."):
			row[i] = wire.Cell(strings.TrimSuffix(strings.TrimRight(text, "0"), "."))
		case s.pad > 0:
			if missing := s.pad - utf8.RuneCountInString(text); missing > 0 {
				row[i] = wire.Cell(text + strings.Repeat(" ", min(missing, maxPadding)))
			}
		}
	}
}

// maxPadding bounds the blanks of a character(n), Redshift's longest.
const maxPadding = 4096
