package warehouse

import (
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"strings"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// edit replaces the bytes from start to end of a statement.
type edit struct {
	start, end int
	text       string
}

// rewritten is a statement brought to the engine's dialect, and the way back from a
// place in it to the place in the client's text.
type rewritten struct {
	sql   string
	edits []edit
}

// apply makes the edits, which must not overlap.
func apply(sql string, edits []edit) rewritten {
	slices.SortStableFunc(edits, func(a, b edit) int { return a.start - b.start })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(sql[at:e.start])
		b.WriteString(e.text)
		at = e.end
	}
	b.WriteString(sql[at:])
	return rewritten{b.String(), edits}
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

// rewrite brings what Redshift and PostgreSQL write and the engine does not read to the
// engine's dialect: TOP, bare date parts, sysdate, the catalogue's schemas and
// parameters, which get the types the client or the engine decided on.
func rewrite(sql string, types []wire.Type, as stand) (rewritten, error) {
	tokens, err := lex(sql)
	if err != nil {
		return rewritten{}, err
	}
	var edits []edit
	replace := func(t token, text string) { edits = append(edits, edit{t.start, t.end, text}) }
	next := func(i int, what string) bool { return i < len(tokens) && tokens[i].is(what) }
	for i, t := range tokens {
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
				replace(t, "CAST("+value+" AS "+engineType(types[n-1])+")")
			}
		case t.kind == tokenString && strings.HasPrefix(t.text, `\x`) && next(i+1, ":") && (next(i+3, "bytea") || next(i+3, "varbyte")):
			if b, err := hex.DecodeString(t.text[2:]); err == nil {
				replace(t, blobLiteral(b))
			}
		case t.kind != tokenWord:
		case t.text == "select" && topAt(tokens, i) > 0:
			e, err := rewriteTop(tokens, topAt(tokens, i), len(sql))
			if err != nil {
				return rewritten{}, err
			}
			edits = append(edits, e...)
		case t.text == "at" && !next(i+1, "time") && !next(i+1, "("):
			replace(t, `"at"`) // a keyword of the engine's, a name to everybody else
		case t.text == "sysdate" && !next(i+1, "("):
			replace(t, "getdate()")
		case slices.Contains(datePartFunctions, t.text) && next(i+1, "(") && i+3 < len(tokens) &&
			tokens[i+2].kind == tokenWord && next(i+3, ","):
			replace(tokens[i+2], "'"+tokens[i+2].text+"'")
			if t.text == "datepart" {
				replace(t, "date_part")
			}
		case t.text == "pg_catalog" && next(i+1, ".") && i+2 < len(tokens):
			// Types and functions of the engine's own are known without a schema.
			isType := i > 1 && tokens[i-1].is(":")
			isFunction := next(i+3, "(")
			if isType || isFunction && !isMacro(tokens[i+2].text) {
				edits = append(edits, edit{t.start, tokens[i+2].start, ""})
			} else {
				replace(t, catalogSchema)
			}
		case t.text == "information_schema" && next(i+1, "."):
			replace(t, informationSchema)
		case t.text == "operator" && next(i+1, "(") && next(i+2, "pg_catalog") && next(i+3, "."):
			for j := i + 4; j < len(tokens); j++ {
				if tokens[j].is(")") {
					edits = append(edits, edit{t.start, t.end, ""}, edit{tokens[i+1].start, tokens[i+4].start, ""}, edit{tokens[j].start, tokens[j].end, ""})
					break
				}
			}
		case t.text == "collate" && next(i+1, "pg_catalog") && next(i+2, ".") && i+3 < len(tokens):
			edits = append(edits, edit{t.start, tokens[i+3].end, ""})
		case (t.text == "regclass" || t.text == "regtype" || t.text == "regproc" || t.text == "regnamespace" || t.text == "name") && i > 1 && castBefore(tokens, i):
			replace(t, "text")
		}
	}
	return apply(sql, withoutOverlap(edits)), nil
}

// blobLiteral writes bytes as the engine reads them from a string.
func blobLiteral(b []byte) string {
	var s strings.Builder
	s.WriteByte('\'')
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02X`, c)
	}
	s.WriteByte('\'')
	return s.String()
}

// castBefore reports whether the type name at i follows :: or ::pg_catalog.
func castBefore(tokens []token, i int) bool {
	if i >= 4 && tokens[i-1].is(".") && tokens[i-2].is("pg_catalog") {
		i -= 2
	}
	return i >= 2 && tokens[i-1].is(":") && tokens[i-2].is(":")
}

// withoutOverlap drops edits inside an earlier, larger one.
func withoutOverlap(edits []edit) []edit {
	sort.SliceStable(edits, func(i, j int) bool {
		if edits[i].start != edits[j].start {
			return edits[i].start < edits[j].start
		}
		return edits[i].end > edits[j].end
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
	end, depth := length, 0
scan:
	for _, t := range tokens[top+2:] {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			if depth--; depth < 0 {
				end = t.start
				break scan
			}
		case depth == 0 && (t.is("union") || t.is("intersect") || t.is("except")):
			return nil, FeatureNotSupported.at(tokens[top].start+1, "TOP in a part of %s is not supported", strings.ToUpper(t.text)).hint("Put the part in parentheses.")
		}
	}
	n := tokens[top+1]
	number := n.text
	if n.kind == tokenParameter {
		number = "$" + n.text
	}
	return []edit{{tokens[top].start, n.end, ""}, {end, end, "\nLIMIT " + number}}, nil
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
