//go:build cgo && linux

package worker

import (
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// statements returns the SQL that makes a table known to the engine. paths are its
// descriptors as the engine opens them.
func statements(t wire.Table, paths []string) string {
	name := ident(t.Schema) + "." + ident(t.Name)
	switch {
	case t.Source == wire.SourceNone, t.Source == wire.SourceValues, len(paths) == 0:
		sql := "CREATE TABLE " + name + " (" + declared(t.Columns) + ");"
		if len(t.Rows) > 0 {
			sql += "INSERT INTO " + name + " VALUES " + literals(t.Rows) + ";"
		}
		return sql
	case t.Own:
		return "CREATE TABLE " + name + " (" + declared(t.Columns) + ");" +
			"INSERT INTO " + name + " " + scan(t, paths, nil) + ";"
	case t.Gather:
		return "CREATE TABLE " + name + " AS " + scan(t, paths, t.Needed) + ";"
	}
	return "CREATE VIEW " + name + " AS " + scan(t, paths, nil) + ";"
}

// declared writes the columns of a CREATE TABLE.
func declared(columns []wire.TableColumn) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = ident(c.Name) + " " + c.Type
	}
	return strings.Join(parts, ", ")
}

func literals(rows [][]*string) string {
	out := make([]string, len(rows))
	for i, row := range rows {
		cells := make([]string, len(row))
		for j, c := range row {
			if cells[j] = "NULL"; c != nil {
				cells[j] = quote(*c)
			}
		}
		out[i] = "(" + strings.Join(cells, ", ") + ")"
	}
	return strings.Join(out, ", ")
}

// scan writes the SELECT that reads a table's descriptors, only the needed columns when
// any are named.
func scan(t wire.Table, paths []string, needed []string) string {
	files := make([]string, len(paths))
	for i, p := range paths {
		files[i] = quote(p)
	}
	from := "[" + strings.Join(files, ", ") + "]"
	keep := func(c wire.TableColumn) bool { return needed == nil || slices.Contains(needed, c.Name) }

	var items []string
	switch t.Source {
	case wire.SourceParquet:
		for _, c := range t.Columns {
			if keep(c) {
				path := c.Path
				if path == "" {
					path = c.Name
				}
				items = append(items, fmt.Sprintf("CAST(%s AS %s) AS %s", ident(path), c.Type, ident(c.Name)))
			}
		}
		return "SELECT " + orNull(items) + " FROM read_parquet(" + from + ", union_by_name = true)"
	case wire.SourceJSON:
		types := make([]string, len(t.Columns))
		for i, c := range t.Columns {
			types[i] = quote(c.Name) + ": " + quote(c.Type)
			if keep(c) {
				items = append(items, ident(c.Name))
			}
		}
		return "SELECT " + orNull(items) + " FROM read_json(" + from + ", format = 'newline_delimited', auto_detect = false, columns = {" +
			strings.Join(types, ", ") + "})"
	}

	f, proven := t.Text, t.Source == wire.SourceProven
	types, texts, checks := make([]string, len(t.Columns)), []string(nil), make([]string, len(t.Columns))
	for i, c := range t.Columns {
		types[i] = quote(c.Name) + ": " + quote(c.Type)
		checks[i] = ident(c.Name) + " IS NULL"
		isText := c.Type == "VARCHAR"
		if isText {
			texts = append(texts, quote(c.Name))
		}
		if !keep(c) {
			continue
		}
		item := ident(c.Name)
		if isText && proven && !f.EmptyAsNull {
			item = "coalesce(" + item + ", '')"
		}
		if isText && f.Return != "" && !proven {
			item = fmt.Sprintf("CASE WHEN contains(%[1]s, %[2]s) THEN replace(%[1]s, %[2]s, chr(13)) ELSE %[1]s END", item, quote(f.Return))
		}
		if isText && f.Null != "" {
			item = fmt.Sprintf("nullif(%s, %s)", item, quote(f.Null))
		}
		items = append(items, item+" AS "+ident(c.Name))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "SELECT %s FROM read_csv(%s, auto_detect = false, header = false, columns = {%s}, delim = %s, quote = %s, escape = %s, new_line = '\\n', nullstr = ''",
		orNull(items), from, strings.Join(types, ", "), quote(f.Delimiter), quote(f.Quote), quote(f.Escape))
	// The engine looks the columns of this option up among those a query asks for, and
	// finds the right ones only where that is all of them.
	if !f.EmptyAsNull && len(texts) > 0 && !proven {
		fmt.Fprintf(&b, ", force_not_null = [%s]", strings.Join(texts, ", "))
	}
	if f.Escape != "" && f.Quote == "" {
		b.WriteString(", strict_mode = false") // the engine knows escapes outside quotes only so
	}
	if f.DateFormat != "" {
		fmt.Fprintf(&b, ", dateformat = %s", quote(f.DateFormat))
	}
	if f.TimeFormat != "" {
		fmt.Fprintf(&b, ", timestampformat = %s", quote(f.TimeFormat))
	}
	if proven {
		// A malformed row would be a surprise: it ends the statement.
		b.WriteString(", compression = 'gzip', buffer_size = 8388608)")
		return b.String()
	}
	b.WriteString(", ignore_errors = true, store_rejects = true, rejects_limit = 0, buffer_size = 8388608)")
	// The engine converts, and therefore rejects, only the columns a query asks for, so
	// count(*) would count rows that SELECT * skips. This condition, always true, asks
	// for all of them: whether a row is malformed must not depend on the query.
	fmt.Fprintf(&b, " WHERE (%s) IS NOT NULL", strings.Join(checks, " OR "))
	return b.String()
}

// orNull keeps a SELECT list from being empty when a query counts rows only.
func orNull(items []string) string {
	if len(items) == 0 {
		return "NULL AS \" \""
	}
	return strings.Join(items, ", ")
}
