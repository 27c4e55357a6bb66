package warehouse

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/warehouse/pgtext"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// freeNumeric is the engine's type for a numeric without precision whose digits are not
// known before it is computed.
const freeNumeric = "DECIMAL(38, 16)"

// typeForm is a type as a cast names it.
type typeForm struct {
	name       string // canonical; "" where it needs no rewriting
	size       int    // of character types
	begin, end int    // tokens of its name and arguments
	open       int    // the token of its "(", or end
}

// typeAt reads the type at token i as far as a cast to it is rewritten.
func typeAt(tokens []token, i int) typeForm {
	f := typeForm{begin: i, end: typeEnd(tokens, i)}
	if i >= len(tokens) || tokens[i].kind != tokenWord {
		return f
	}
	for f.open = i; f.open < f.end && !tokens[f.open].is("("); f.open++ {
	}
	sized := f.end-f.open == 3 && tokens[f.open+1].kind == tokenNumber
	if sized {
		f.size, _ = strconv.Atoi(tokens[f.open+1].text)
		sized = f.size > 0
	}
	varying := i+1 < f.end && tokens[i+1].is("varying")
	array := tokens[f.end-1].is("]")
	switch word := tokens[i].text; {
	case array:
	case word == "numeric" || word == "decimal" || word == "dec":
		if f.open == f.end {
			f.name = "numeric"
		}
	case word == "varchar" || word == "nvarchar" || (word == "character" || word == "char") && varying:
		if sized {
			f.name = "varchar"
		}
	case word == "char" || word == "character" || word == "bpchar" || word == "nchar":
		if f.open == f.end && word != "bpchar" {
			f.size, sized = 1, true
		}
		if sized {
			f.name = "char"
		}
	case word == "timestamptz", word == "timestamp" && tokens[f.end-1].is("zone") && f.end-f.begin > 3 && tokens[f.end-3].is("with"):
		f.name = "timestamptz"
	}
	return f
}

// castPair rewrites the cast whose :: begins at token i.
func (w *rewriter) castPair(i int) {
	f := typeAt(w.tokens, i+2)
	from := i - 1
	if f.name == "" || from < 0 {
		return
	}
	literal := w.tokens[from]
	start := operandStart(w.tokens, i)
	if start == tooLong {
		w.err = tooComplex(w.tokens[i])
		return
	}
	first, last := w.tokens[f.begin], w.tokens[f.end-1]
	switch f.name {
	case "numeric":
		w.replace(first.start, last.end, w.numericType(literal, start == from))
	case "timestamptz":
		w.instant(literal)
	default:
		if start < 0 {
			return
		}
		w.open(w.tokens[start].start, f.begins())
		w.replace(first.start, last.end, "VARCHAR"+f.ends())
	}
}

// castCall rewrites CAST(x AS type), whose word stands at token i.
func (w *rewriter) castCall(i int) {
	end := closing(w.tokens, i+1)
	if end >= len(w.tokens) {
		return
	}
	as := -1
	for j := i + 2; j < end; j++ {
		switch t := w.tokens[j]; {
		case t.is("("):
			j = closing(w.tokens, j)
		case t.is("as"):
			as = j
		}
	}
	if as < 0 || as+1 >= end {
		return
	}
	f := typeAt(w.tokens, as+1)
	if f.end != end {
		return
	}
	first, last := w.tokens[f.begin], w.tokens[f.end-1]
	switch f.name {
	case "numeric":
		w.replace(first.start, last.end, w.numericType(w.tokens[as-1], as == i+3))
	case "timestamptz":
		if as == i+3 {
			w.instant(w.tokens[as-1])
		}
	case "varchar", "char":
		w.open(w.tokens[i].start, f.begins())
		w.replace(first.start, last.end, "VARCHAR")
		w.close(w.tokens[end].end, f.ends())
	}
}

// begins and ends put around a cast to text what cuts it to the type's length. A char(n)
// is without its blanks until it is shown.
func (f typeForm) begins() string {
	if f.name == "char" {
		return "rtrim(left("
	}
	return "left("
}

func (f typeForm) ends() string {
	if f.name == "char" {
		return fmt.Sprintf(", %d), ' ')", f.size)
	}
	return fmt.Sprintf(", %d)", f.size)
}

// numericType is what stands for a bare numeric in a cast: as many digits as a constant or
// a parameter has, else the stand-in.
func (w *rewriter) numericType(of token, alone bool) string {
	text := ""
	switch {
	case !alone:
	case of.kind == tokenNumber, of.kind == tokenString:
		text = of.text
	case of.kind == tokenParameter:
		if n, err := strconv.Atoi(of.text); err == nil && n >= 1 && n <= len(w.args) && w.args[n-1].Type == wire.Text {
			text = string(w.args[n-1].Value)
		}
	}
	if t, ok := decimalOf(text); ok {
		return t
	}
	return freeNumeric
}

// decimalOf returns the engine's type for exactly the digits of a number.
func decimalOf(s string) (string, bool) {
	s = strings.TrimSpace(s)
	mantissa, exponent, scientific := strings.Cut(strings.ToLower(s), "e")
	shift := 0
	if scientific {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil || shift > 38 || shift < -38 {
			return "", false
		}
	}
	mantissa = strings.TrimLeft(mantissa, "+-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return "", false
	}
	scale := max(len(fraction)-shift, 0)
	width := max(len(strings.TrimLeft(whole, "0"))+max(shift, 0), 0) + scale
	width = max(width, scale+1, 1)
	if width > 38 {
		return "", false
	}
	return fmt.Sprintf("DECIMAL(%d, %d)", width, scale), true
}

// instant writes a constant of type timestamptz in the form that the engine reads, which
// has a reader of its own for this type.
func (w *rewriter) instant(t token) {
	if t.kind != tokenString {
		return
	}
	if s, err := w.instantText(t.text); err == nil {
		w.replace(t.start, t.end, quoteText(s))
	}
}

func (w *rewriter) instantText(s string) (string, error) {
	v, err := w.reader.TimestampTZ(s)
	if err != nil {
		return "", err
	}
	return instantText(v), nil
}

// instantText writes an instant as the engine reads it.
func instantText(v int64) string {
	switch v {
	case pgtext.InstantInfinity:
		return "infinity"
	case -pgtext.InstantInfinity:
		return "-infinity"
	}
	t := time.UnixMicro(v).UTC()
	if year := t.Year(); year < 1 {
		return fmt.Sprintf("%04d-%02d-%02d (BC) %s+00", 1-year, t.Month(), t.Day(), t.Format("15:04:05.000000"))
	}
	return t.Format("2006-01-02 15:04:05.000000+00")
}
