package warehouse

import (
	"slices"
	"strconv"
	"strings"
)

func (p *parser) insert() (node, error) {
	p.at++
	if err := p.expect("into"); err != nil {
		return nil, err
	}
	var s insert
	var err error
	if s.name, err = p.objectName(); err != nil {
		return nil, err
	}
	if p.peekIs("(") && !p.aheadIs(1, "select") && !p.aheadIs(1, "with") && !p.aheadIs(1, "values") && !p.aheadIs(1, "(") {
		if s.columns, err = p.names(); err != nil {
			return nil, err
		}
	}
	if p.peekIs("default") {
		return nil, FeatureNotSupported.at(p.peek().start+1, "DEFAULT VALUES is not supported")
	}
	if !p.peekIs("select") && !p.peekIs("with") && !p.peekIs("values") && !p.peekIs("(") && !p.peekIs("table") && !p.peekIs("from") {
		return nil, p.unexpected()
	}
	s.body = p.peek().start
	for depth := 0; !p.done(); p.at++ {
		switch t := p.peek(); {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth == 0 && (t.is("returning") || t.is("on") && p.aheadIs(1, "conflict")):
			return nil, FeatureNotSupported.at(t.start+1, "%s is not supported", strings.ToUpper(t.text))
		}
	}
	return &s, nil
}

// clauses finds the words that stand outside parentheses, in this order.
func (p *parser) clauses(words ...string) (at map[string]int, err error) {
	at = map[string]int{}
	depth := 0
	for i := p.at; i < len(p.tokens); i++ {
		switch t := p.tokens[i]; {
		case t.is("("), t.is("["), t.is("{"):
			depth++
		case t.is(")"), t.is("]"), t.is("}"):
			depth--
		case depth == 0 && t.is("returning"):
			return nil, FeatureNotSupported.at(t.start+1, "RETURNING is not supported")
		case depth == 0 && t.kind == tokenWord && slices.Contains(words, t.text):
			if _, seen := at[t.text]; !seen && !(t.text == "from" && p.tokens[i-1].is("distinct")) {
				at[t.text] = i
			}
		}
	}
	return at, nil
}

// text returns the text of tokens from i up to j, both indexes.
func (p *parser) text(i, j int) string {
	if i >= j {
		return ""
	}
	return p.sql[p.tokens[i].start:p.tokens[j-1].end]
}

func (p *parser) update() (node, error) {
	p.at++
	begin := p.at
	name, err := p.objectName()
	if err != nil {
		return nil, err
	}
	at, err := p.clauses("set", "from", "where")
	if err != nil {
		return nil, err
	}
	end := len(p.tokens)
	where, ok := at["where"]
	if !ok {
		where = end
	}
	from, ok := at["from"]
	if !ok || from > where {
		from = where
	}
	set, ok := at["set"]
	if !ok || set > from || set+1 >= from {
		p.at = min(set, end)
		return nil, p.unexpected()
	}
	reading := "SELECT " + p.text(set+1, from) + " FROM " + p.text(begin, set)
	if from < where {
		reading += ", " + p.text(from+1, where)
	}
	return &change{name: name, reading: reading + " " + p.text(where, end), update: true}, nil
}

func (p *parser) delete() (node, error) {
	p.at++
	p.take("from")
	begin := p.at
	name, err := p.objectName()
	if err != nil {
		return nil, err
	}
	at, err := p.clauses("using", "where")
	if err != nil {
		return nil, err
	}
	end := len(p.tokens)
	where, ok := at["where"]
	if !ok {
		where = end
	}
	using, ok := at["using"]
	if !ok || using > where {
		using = where
	}
	reading := "SELECT 1 FROM " + p.text(begin, using)
	if using < where {
		reading += ", " + p.text(using+1, where)
	}
	return &change{name: name, reading: reading + " " + p.text(where, end)}, nil
}

// copyFrom reads Redshift's COPY from S3; its options come in any order.
func (p *parser) copyFrom() (node, error) {
	p.at++
	if p.peekIs("(") {
		return nil, FeatureNotSupported.at(p.peek().start+1, "COPY of a query is not supported")
	}
	c := &copyFrom{format: External{Format: FormatText, Delimiter: "|", Null: defaultNull, Mismatch: MismatchDrop}}
	var err error
	if c.name, err = p.objectName(); err != nil {
		return nil, err
	}
	if p.peekIs("(") {
		if c.columns, err = p.names(); err != nil {
			return nil, err
		}
	}
	if p.peekIs("to") {
		return nil, FeatureNotSupported.at(p.peek().start+1, "COPY TO is not supported")
	}
	if err := p.expect("from"); err != nil {
		return nil, err
	}
	c.position = p.peek().start + 1
	if p.peekIs("stdin") || p.peekIs("program") {
		return nil, FeatureNotSupported.at(c.position, "COPY FROM %s is not supported", strings.ToUpper(p.peek().text)).
			hint("Put the data into a bucket and use COPY … FROM 's3://…'.")
	}
	if err := p.location(&c.bucket, &c.prefix); err != nil {
		return nil, err
	}
	for !p.done() {
		if err := p.copyOption(c); err != nil {
			return nil, err
		}
	}
	x := &c.format
	if x.Format == FormatCSV && x.Quote == "" {
		x.Quote = `"`
	}
	if x.Format == FormatCSV && x.Escape == "" {
		x.Escape = x.Quote
	}
	return c, nil
}

func (p *parser) copyOption(c *copyFrom) error {
	x := &c.format
	t := p.peek()
	if t.kind != tokenWord {
		return p.unexpected()
	}
	p.at++
	position := p.peek().start + 1
	text := func(to *string) error {
		p.take("as")
		position = p.peek().start + 1
		var err error
		*to, err = p.str()
		return err
	}
	number := func() (int, error) {
		p.take("as")
		position = p.peek().start + 1
		n, err := strconv.Atoi(p.peek().text)
		if p.peek().kind != tokenNumber || err != nil {
			return 0, p.unexpected()
		}
		p.at++
		return n, nil
	}
	var err error
	switch t.text {
	case "iam_role", "catalog_role":
		_, err = p.role()
	case "credentials", "access_key_id", "secret_access_key", "session_token":
		return FeatureNotSupported.at(t.start+1, "COPY with %s is not supported", strings.ToUpper(t.text)).
			hint("The objects are read with the permissions of the session's own user; use IAM_ROLE default.")
	case "region":
		p.take("as")
		_, err = p.str()
	case "format":
		p.take("as")
		if !p.peekIs("csv") && !p.peekIs("parquet") && !p.peekIs("json") {
			return FeatureNotSupported.at(p.peek().start+1, "this FORMAT is not supported").hint("Supported are CSV, PARQUET and JSON 'auto'.")
		}
	case "csv":
		if x.Format = FormatCSV; x.Delimiter == "|" {
			x.Delimiter = ","
		}
	case "parquet":
		x.Format = FormatParquet
	case "json":
		x.Format = FormatJSON
		p.take("as")
		if p.peek().kind == tokenString {
			if paths := p.next().text; paths != "auto" && paths != "auto ignorecase" {
				return FeatureNotSupported.at(position, "JSON path files are not supported").hint("Use JSON 'auto'.")
			}
		}
	case "delimiter":
		if err = text(&x.Delimiter); err == nil {
			x.Delimiter = unescapeHive(x.Delimiter)
			err = oneCharacter(x.Delimiter, position)
		}
	case "quote":
		if err = text(&x.Quote); err == nil {
			err = oneCharacter(x.Quote, position)
		}
	case "escape":
		x.Escape = `\`
	case "null":
		if err = text(&x.Null); err == nil {
			x.Null = strings.ReplaceAll(x.Null, `\\N`, defaultNull)
		}
	case "ignoreheader":
		x.HeaderLines, err = number()
	case "maxerror":
		var n int
		if n, err = number(); err == nil && n > 100000 {
			return InvalidParameterValue.at(position, "MAXERROR must be from 0 to 100000")
		}
		c.maxErrors = int64(n)
	case "dateformat":
		if err = text(&x.DateFormat); err == nil {
			x.DateFormat, err = strptime(x.DateFormat, position)
		}
	case "timeformat":
		if err = text(&x.TimeFormat); err == nil {
			x.TimeFormat, err = strptime(x.TimeFormat, position)
		}
	case "emptyasnull":
		x.EmptyAsNull = true
	case "fillrecord":
		x.Mismatch = MismatchFill
	case "gzip", "acceptanydate", "trimblanks", "explicit_ids":
		if t.text != "gzip" {
			return FeatureNotSupported.at(t.start+1, "%s is not supported", strings.ToUpper(t.text))
		}
	case "compupdate", "statupdate":
		p.takeAny("on", "off", "true", "false", "preset")
	default:
		p.at--
		return FeatureNotSupported.at(t.start+1, "the COPY option %s is not supported", strings.ToUpper(t.text))
	}
	return err
}

// strptime turns a Redshift format string into the engine's.
func strptime(format string, position int) (string, error) {
	lower := strings.ToLower(format)
	if lower == formatAuto || lower == formatEpochSecs || lower == formatEpochMillis {
		return lower, nil
	}
	var b strings.Builder
	for i := 0; i < len(format); {
		n := slices.IndexFunc(formatParts, func(f [2]string) bool { return strings.HasPrefix(lower[i:], f[0]) })
		switch {
		case n >= 0:
			b.WriteString(formatParts[n][1])
			i += len(formatParts[n][0])
		case letter(format[i]) && format[i] != 'T' && format[i] != '_':
			return "", InvalidParameterValue.at(position, "the format '%s' is not understood at '%s'", format, format[i:])
		default:
			b.WriteByte(format[i])
			i++
		}
	}
	return b.String(), nil
}

// formatParts are tried in this order, the longer first.
var formatParts = [][2]string{
	{"yyyy", "%Y"}, {"yy", "%y"}, {"month", "%B"}, {"mon", "%b"}, {"mm", "%m"}, {"mi", "%M"}, {"ddd", "%j"}, {"dd", "%d"},
	{"hh24", "%H"}, {"hh12", "%I"}, {"hh", "%H"}, {"ss", "%S"}, {"us", "%f"}, {"am", "%p"}, {"pm", "%p"}, {"of", "%z"},
}
