package warehouse

import (
	"cmp"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/warehouse/pgtext"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// edit replaces the bytes from start to end of a statement.
type edit struct {
	start, end int
	text       string
	rank       rank
}

// rank orders what stands at one byte: an insertion that belongs to the text before it,
// one that belongs to the text behind it, and what replaces that text.
type rank uint8

const (
	rankClose rank = iota
	rankOpen
	rankReplace
)

// rewritten is a statement brought to the engine's dialect, and the way back from a
// place in it to the place in the client's text.
type rewritten struct {
	sql    string
	edits  []edit
	shapes map[int]shape // by column of the result
}

// apply makes the edits, which are in order and do not overlap.
func apply(sql string, edits []edit) rewritten {
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(sql[at:e.start])
		b.WriteString(e.text)
		at = e.end
	}
	b.WriteString(sql[at:])
	return rewritten{sql: b.String(), edits: edits}
}

// origin returns the byte of the client's text, from 1, for one of the rewritten text.
func (r rewritten) origin(position int) int {
	if position <= 0 {
		return 0
	}
	at, shift := position-1, 0
	for _, e := range r.edits {
		start := e.start + shift // where the edit begins in the rewritten text
		if at < start {
			break
		}
		if at < start+len(e.text) {
			return e.start + 1
		}
		shift += len(e.text) - (e.end - e.start)
	}
	return at - shift + 1
}

// datePartFunctions take the name of a date part as a bare word.
var datePartFunctions = []string{"datediff", "dateadd", "date_part", "datepart", "date_diff", "date_add"}

// stand says what stands in the place of a parameter.
type stand uint8

const (
	standValue stand = iota // the parameter, to be bound
	standNull               // a NULL of its type, to describe what cannot be bound without
)

// dialect is what a rewriting needs to know beside the text.
type dialect struct {
	types  []wire.Type // of the parameters, as the client or the engine decided
	as     stand
	args   []wire.Parameter // what is bound; nil while the statement is only described
	reader pgtext.Reader    // of constants, in the session's time zone
}

// rewriter gathers the edits of one statement.
type rewriter struct {
	tokens []token
	edits  []edit
	args   []wire.Parameter
	reader pgtext.Reader
	err    error        // ends the rewriting
	free   map[int]bool // bytes where a type became freeNumeric
}

// tooComplex is the error of a statement whose operand at t is too long.
func tooComplex(t token) error {
	return ProgramLimitExceeded.at(t.start+1, "an expression has more than %d casts, subscripts or operators in a row", maxOperand)
}

func (w *rewriter) replace(start, end int, text string) {
	w.edits = append(w.edits, edit{start, end, text, rankReplace})
}

// open inserts text before what stands at a byte, close behind what ends at it.
func (w *rewriter) open(at int, text string) { w.edits = append(w.edits, edit{at, at, text, rankOpen}) }
func (w *rewriter) close(at int, text string) {
	w.edits = append(w.edits, edit{at, at, text, rankClose})
}

// rewrite brings what Redshift and PostgreSQL write and the engine does not read, or reads
// in another way, to the engine's dialect: TOP, bare date parts, sysdate, casts, patterns,
// functions that return sets, the catalogue's schemas and parameters.
func rewrite(sql string, d dialect) (rewritten, error) {
	tokens, err := lex(sql)
	if err != nil {
		return rewritten{}, err
	}
	w := &rewriter{tokens: tokens, args: d.args, reader: d.reader}
	types, as := d.types, d.as
	replace := func(t token, text string) { w.replace(t.start, t.end, text) }
	next := func(i int, what string) bool { return i >= 0 && i < len(tokens) && tokens[i].is(what) }
	for i, t := range tokens {
		if w.err != nil {
			return rewritten{}, w.err
		}
		switch {
		case t.kind == tokenParameter:
			n := 0
			for _, c := range []byte(t.text) {
				n = min(n*10+int(c-'0'), 1<<20)
			}
			if n < 1 || n > maxParameters {
				return rewritten{}, SyntaxError.at(t.start+1, "there is no parameter $%s", t.text)
			}
			value := "$" + t.text
			if as == standNull {
				value = "NULL"
			}
			if n <= len(types) && types[n-1] != wire.Unknown {
				kind := engineType(types[n-1])
				if types[n-1] == wire.Numeric {
					kind = w.numericType(t, true)
				}
				replace(t, "CAST("+value+" AS "+kind+")")
			}
		case isPair(tokens, i, ":"):
			w.castPair(i)
		case t.kind != tokenWord:
		case t.text == "verbose" && (i == 1 || i == 2) && tokens[0].is("explain"):
			replace(t, "") // it shows no more here
		case t.text == "cast" && next(i+1, "("):
			w.castCall(i)
		case (t.text == "timestamptz" || t.text == "timestamp" && next(i+1, "with") && next(i+2, "time") && next(i+3, "zone")) && !next(i-1, ":") && !next(i-1, "as"):
			if end := typeEnd(tokens, i); end < len(tokens) {
				w.instant(tokens[end])
			}
		case t.text == "like" || t.text == "ilike":
			w.like(i + 1)
		case t.text == "similar" && next(i+1, "to"):
			if err := w.similar(i + 2); err != nil {
				return rewritten{}, err
			}
		case t.text == "current_setting" && next(i+1, "("): // the engine's own tells its settings
			replace(t, "sluice_current_setting")
		case t.text == "substring" && next(i+1, "("):
			w.substring(i)
		case t.text == "overlay" && next(i+1, "("):
			w.overlay(i)
		case t.text == "extract" && next(i+1, "(") && next(i+3, "from"):
			w.extract(i)
		case t.text == "select" && topAt(tokens, i) > 0:
			e, err := rewriteTop(tokens, topAt(tokens, i), len(sql))
			if err != nil {
				return rewritten{}, err
			}
			w.edits = append(w.edits, e...)
		case t.text == "at" && !next(i+1, "time") && !next(i+1, "("):
			replace(t, `"at"`) // a keyword of the engine's, a name to everybody else
		case t.text == "sysdate" && !next(i+1, "("):
			replace(t, "getdate()")
		case slices.Contains(datePartFunctions, t.text) && next(i+1, "(") && i+3 < len(tokens) &&
			tokens[i+2].kind == tokenWord && next(i+3, ","):
			if part, ok := extractParts[tokens[i+2].text]; ok && (t.text == "datepart" || t.text == "date_part") && part != "epoch" {
				w.replace(t.start, tokens[i+3].end, "sluice_part_"+part+"(")
				break
			}
			replace(tokens[i+2], "'"+tokens[i+2].text+"'")
			if t.text == "datepart" {
				replace(t, "date_part")
			}
		case t.text == "date_part" && next(i+1, "(") && i+3 < len(tokens) && tokens[i+2].kind == tokenString && next(i+3, ","):
			if part, ok := extractParts[strings.ToLower(tokens[i+2].text)]; ok && part != "epoch" {
				w.replace(t.start, tokens[i+3].end, "sluice_part_"+part+"(")
			}
		case t.text == "pg_catalog" && next(i+1, ".") && i+2 < len(tokens):
			// Types and functions of the engine's own are known without a schema.
			if tokens[i+2].is("current_setting") {
				w.replace(t.start, tokens[i+2].start, "")
				break
			}
			isType := i > 1 && tokens[i-1].is(":")
			isFunction := next(i+3, "(")
			if isType || isFunction && !isMacro(tokens[i+2].text) {
				w.replace(t.start, tokens[i+2].start, "")
			} else {
				replace(t, catalogSchema)
			}
		case t.text == "information_schema" && next(i+1, "."):
			replace(t, informationSchema)
		case t.text == "operator" && next(i+1, "(") && next(i+2, "pg_catalog") && next(i+3, "."):
			if j := closing(tokens, i+1); j < len(tokens) && j > i+4 {
				w.replace(t.start, t.end, "")
				w.replace(tokens[i+1].start, tokens[i+4].start, "")
				w.replace(tokens[j].start, tokens[j].end, "")
			}
		case t.text == "collate" && next(i+1, "pg_catalog") && next(i+2, ".") && i+3 < len(tokens):
			w.replace(t.start, tokens[i+3].end, "")
		case (t.text == "regclass" || t.text == "regtype" || t.text == "regproc" || t.text == "regnamespace" || t.text == "name") && i > 1 && castBefore(tokens, i):
			replace(t, "text")
		}
	}
	if w.err != nil {
		return rewritten{}, w.err
	}
	w.series()
	out := apply(sql, withoutOverlap(w.edits))
	out.shapes = w.shapes()
	return out, nil
}

// substring rewrites SUBSTRING(x FROM 'pattern').
func (w *rewriter) substring(i int) {
	end := closing(w.tokens, i+1)
	if end < len(w.tokens) && w.tokens[end-1].kind == tokenString && w.tokens[end-2].is("from") {
		w.replace(w.tokens[i].start, w.tokens[i].end, "sluice_substring_pattern")
		w.replace(w.tokens[end-2].start, w.tokens[end-2].end, ",")
	}
}

// overlay rewrites OVERLAY(x PLACING y FROM n FOR m) to a call.
func (w *rewriter) overlay(i int) {
	end := closing(w.tokens, i+1)
	w.replace(w.tokens[i].start, w.tokens[i].end, "sluice_overlay")
	if end == len(w.tokens) {
		return // a syntax error
	}
	for j := i + 2; j < end; j++ {
		switch t := w.tokens[j]; {
		case t.is("("):
			j = closing(w.tokens, j)
		case (t.is("placing") || t.is("from") || t.is("for")):
			w.replace(t.start, t.end, ",")
		}
	}
}

// extractParts are the parts of EXTRACT and DATE_PART that have a fraction in PostgreSQL
// and none in the engine.
var extractParts = map[string]string{
	"second": "second", "seconds": "second", "sec": "second", "millisecond": "millisecond", "milliseconds": "millisecond", "msec": "millisecond", "epoch": "epoch",
}

// extract rewrites EXTRACT(part FROM x) where the engine loses the fraction.
func (w *rewriter) extract(i int) {
	if part, ok := extractParts[w.tokens[i+2].text]; ok {
		w.replace(w.tokens[i].start, w.tokens[i+3].end, "sluice_extract_"+part+"(")
	}
}

// castBefore reports whether the type name at i follows :: or ::pg_catalog.
func castBefore(tokens []token, i int) bool {
	if i >= 4 && tokens[i-1].is(".") && tokens[i-2].is("pg_catalog") {
		i -= 2
	}
	return i >= 2 && tokens[i-1].is(":") && tokens[i-2].is(":")
}

// withoutOverlap brings edits in order and drops those inside an earlier, larger one. Of
// insertions at one byte the one that was asked for last is the outermost to its left, and
// the innermost to its right.
func withoutOverlap(edits []edit) []edit {
	slices.Reverse(edits)
	slices.SortStableFunc(edits, func(a, b edit) int {
		return cmp.Or(a.start-b.start, int(a.rank)-int(b.rank), b.end-a.end)
	})
	out := edits[:0]
	end := -1
	for _, e := range edits {
		if e.start < end {
			continue
		}
		out, end = append(out, e), e.end
	}
	return out
}

// topAt returns the index of TOP behind the SELECT at i, or 0.
func topAt(tokens []token, i int) int {
	i++
	if i < len(tokens) && (tokens[i].is("distinct") || tokens[i].is("all")) {
		i++
	}
	if i+1 < len(tokens) && tokens[i].is("top") && (tokens[i+1].kind == tokenNumber || tokens[i+1].kind == tokenParameter) {
		return i
	}
	return 0
}

// rewriteTop moves TOP n to a LIMIT at the end of its SELECT.
func rewriteTop(tokens []token, top, length int) ([]edit, error) {
	end := length
scan:
	for j := top + 2; j < len(tokens); j++ {
		switch t := tokens[j]; {
		case t.is("("):
			j = closing(tokens, j)
		case t.is(")"), t.is("select"): // the latter is a syntax error
			end = t.start
			break scan
		case (t.is("union") || t.is("intersect") || t.is("except")):
			return nil, FeatureNotSupported.at(tokens[top].start+1, "TOP in a part of %s is not supported", strings.ToUpper(t.text)).hint("Put the part in parentheses.")
		}
	}
	n := tokens[top+1]
	number := n.text
	if n.kind == tokenParameter {
		number = "$" + n.text
	}
	return []edit{{tokens[top].start, n.end, "", rankReplace}, {end, end, "\nLIMIT " + number, rankClose}}, nil
}

// engineType returns the engine's name of a parameter's type.
func engineType(t wire.Type) string {
	switch t {
	case wire.Bool:
		return "BOOLEAN"
	case wire.Int16:
		return "SMALLINT"
	case wire.Int32:
		return "INTEGER"
	case wire.Int64:
		return "BIGINT"
	case wire.Numeric:
		return "DECIMAL(38, 10)"
	case wire.Float32:
		return "FLOAT"
	case wire.Float64:
		return "DOUBLE"
	case wire.Bytes:
		return "BLOB"
	case wire.Date:
		return "DATE"
	case wire.Time:
		return "TIME"
	case wire.Timestamp:
		return "TIMESTAMP"
	case wire.TimestampTZ:
		return "TIMESTAMPTZ"
	case wire.Interval:
		return "INTERVAL"
	case wire.UUID:
		return "UUID"
	case wire.JSON:
		return "JSON"
	}
	return "VARCHAR"
}

// forward returns the byte of the rewritten text for one of the client's text, both from 0.
func (r rewritten) forward(at int) int {
	shift := 0
	for _, e := range r.edits {
		if e.start >= at {
			break
		}
		shift += len(e.text) - (e.end - e.start)
	}
	return at + shift
}
