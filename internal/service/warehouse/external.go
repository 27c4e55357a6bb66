package warehouse

import (
	"slices"
	"strconv"
	"strings"
)

// Format is how the objects of an external table are written.
type Format string

// The formats.
const (
	FormatText    Format = "text" // delimited, without quotes
	FormatCSV     Format = "csv"  // delimited, with quotes
	FormatJSON    Format = "json" // one object per line
	FormatParquet Format = "parquet"
)

// External says where an external table's objects are and how they are read.
type External struct {
	Bucket string
	Prefix string // of the keys; everything below it belongs to the table
	Format Format

	Delimiter   string
	Quote       string
	Escape      string
	Null        string // the field that stands for NULL; Hive's \N unless changed
	EmptyAsNull bool   // empty fields of character columns are NULL; those of other types always are
	HeaderLines int    // lines to skip at the start of each object
	DateFormat  string // strptime; empty is ISO 8601, auto every form of PostgreSQL's, and TimeFormat may count from the epoch
	TimeFormat  string
	Mismatch    Mismatch
	Strict      bool // a malformed row fails the query instead of being skipped

	Properties map[string]string // TABLE PROPERTIES as given
}

const defaultNull = `\N`

// createExternalTable reads CREATE EXTERNAL TABLE as Redshift Spectrum and Athena know it.
func (p *parser) createExternalTable() (node, error) {
	c := &createTable{ifNotExists: p.ifNotExists()}
	x := &External{Format: FormatText, Delimiter: "\x01", Null: defaultNull}
	c.external = x
	var err error
	if c.name, err = p.objectName(); err != nil {
		return nil, err
	}
	if c.columns, err = p.columns(&c.layout, true); err != nil {
		return nil, err
	}
	located := false
	for !p.done() && err == nil {
		position := p.peek().start + 1
		switch {
		case p.take("partitioned", "by"):
			return nil, FeatureNotSupported.at(position, "partitioned external tables are not supported").
				hint("Leave the clause out: everything below LOCATION is read. The partition's values are not columns then.")
		case p.take("row", "format", "delimited"):
			err = p.rowFormat(x)
		case p.take("row", "format", "serde"):
			err = p.serde(x)
		case p.take("stored", "as"):
			err = p.storedAs(x)
		case p.take("location"):
			located = true
			err = p.location(&x.Bucket, &x.Prefix)
		case p.take("table", "properties"), p.take("tblproperties"):
			err = p.properties(x)
		default:
			err = p.unexpected()
		}
	}
	if err == nil && !located {
		err = SyntaxError.at(len(p.sql)+1, "an external table needs LOCATION 's3://bucket/prefix/'")
	}
	return c, err
}

// location reads 's3://bucket/prefix'.
func (p *parser) location(bucket, prefix *string) error {
	position := p.peek().start + 1
	s, err := p.str()
	if err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(s, "s3://")
	*bucket, *prefix, _ = strings.Cut(rest, "/")
	if !ok || *bucket == "" {
		return InvalidParameterValue.at(position, "\"%s\" is not a location of the form s3://bucket/prefix", s)
	}
	return nil
}

func (p *parser) rowFormat(x *External) error {
	for {
		var to *string
		position := p.peek().start + 1
		switch {
		case p.take("fields", "terminated", "by"):
			to = &x.Delimiter
		case p.take("escaped", "by"):
			to = &x.Escape
		case p.take("null", "defined", "as"):
			to = &x.Null
		case p.take("lines", "terminated", "by"):
			var newline string
			to = &newline
		case p.peekIs("collection"), p.peekIs("map"):
			return FeatureNotSupported.at(position, "nested fields in delimited text are not supported")
		default:
			return nil
		}
		position = p.peek().start + 1
		s, err := p.str()
		if err != nil {
			return err
		}
		*to = unescapeHive(s)
		switch {
		case to == &x.Delimiter || to == &x.Escape:
			if err := oneCharacter(*to, position); err != nil {
				return err
			}
		case to != &x.Null && *to != "\n" && *to != "\r\n":
			return FeatureNotSupported.at(position, "lines can be terminated by '\\n' only")
		}
	}
}

func oneCharacter(s string, position int) error {
	if len(s) != 1 || s[0] >= 0x80 || s == "\n" || s == "\r" {
		return InvalidParameterValue.at(position, "\"%s\" is not one ASCII character other than a line end", s)
	}
	return nil
}

// unescapeHive reads \n, \t, \001 and \u0001 in the strings of ROW FORMAT.
func unescapeHive(s string) string {
	if s == defaultNull {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		rest := s[i+1:]
		if len(rest) >= 3 {
			if n, err := strconv.ParseUint(rest[:3], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		if len(rest) >= 5 && rest[0] == 'u' {
			if n, err := strconv.ParseUint(rest[1:5], 16, 16); err == nil {
				b.WriteRune(rune(n))
				i += 5
				continue
			}
		}
		i++
		b.WriteByte(unescape(s[i]))
	}
	return b.String()
}

func (p *parser) serde(x *External) error {
	position := p.peek().start + 1
	class, err := p.str()
	if err != nil {
		return err
	}
	with := map[string]string{}
	if p.take("with", "serdeproperties") {
		if with, err = p.pairs(); err != nil {
			return err
		}
	}
	switch class {
	case "org.apache.hadoop.hive.serde2.OpenCSVSerde":
		x.Format, x.Delimiter, x.Quote, x.Escape, x.Null = FormatCSV, ",", `"`, `\`, ""
		for name, to := range map[string]*string{"separatorChar": &x.Delimiter, "quoteChar": &x.Quote, "escapeChar": &x.Escape} {
			if v, ok := with[name]; ok {
				*to = unescapeHive(v)
				if err := oneCharacter(*to, position); err != nil {
					return err
				}
				delete(with, name)
			}
		}
	case "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe":
		for _, name := range []string{"field.delim", "serialization.format"} {
			if v, ok := with[name]; ok {
				x.Delimiter = unescapeHive(v)
				if err := oneCharacter(x.Delimiter, position); err != nil {
					return err
				}
				delete(with, name)
			}
		}
	case "org.openx.data.jsonserde.JsonSerDe", "org.apache.hive.hcatalog.data.JsonSerDe":
		x.Format = FormatJSON
	case "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe":
		x.Format = FormatParquet
		delete(with, "serialization.format")
	default:
		return FeatureNotSupported.at(position, "the SerDe %s is not supported", class).
			hint("Supported are OpenCSVSerde, LazySimpleSerDe, the JSON SerDes and Parquet.")
	}
	for name := range with {
		return FeatureNotSupported.at(position, "the SerDe property \"%s\" is not supported", name)
	}
	return nil
}

func (p *parser) storedAs(x *External) error {
	position := p.peek().start + 1
	switch {
	case p.take("textfile"):
		return nil
	case p.take("parquet"):
		x.Format = FormatParquet
		return nil
	case p.take("inputformat"):
		input, err := p.str()
		if err != nil {
			return err
		}
		if err := p.expect("outputformat"); err != nil {
			return err
		}
		if _, err := p.str(); err != nil {
			return err
		}
		switch input {
		case "org.apache.hadoop.mapred.TextInputFormat":
			return nil
		case "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat":
			x.Format = FormatParquet
			return nil
		}
		return FeatureNotSupported.at(position, "the input format %s is not supported", input)
	}
	t := p.peek()
	if t.kind != tokenWord {
		return p.unexpected()
	}
	return FeatureNotSupported.at(position, "STORED AS %s is not supported", strings.ToUpper(t.text)).hint("Supported are TEXTFILE and PARQUET.")
}

// pairs reads ('name'='value', …).
func (p *parser) pairs() (map[string]string, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for {
		name, err := p.str()
		if err != nil {
			return nil, err
		}
		if err := p.expect("="); err != nil {
			return nil, err
		}
		if out[name], err = p.str(); err != nil {
			return nil, err
		}
		if p.take(")") {
			return out, nil
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
}

func (p *parser) properties(x *External) error {
	position := p.peek().start + 1
	var err error
	if x.Properties, err = p.pairs(); err != nil {
		return err
	}
	for name, value := range x.Properties {
		invalid := InvalidParameterValue.at(position, "\"%s\" is not a value of the table property \"%s\"", value, name)
		switch strings.ToLower(name) {
		case "skip.header.line.count":
			if x.HeaderLines, err = strconv.Atoi(value); err != nil || x.HeaderLines < 0 || x.HeaderLines > 1000 {
				return invalid
			}
		case "serialization.null.format":
			x.Null = value
		case "column_count_mismatch_handling":
			switch strings.ToLower(value) {
			case "set_to_null":
				x.Mismatch = MismatchFit
			case "fail":
				x.Strict = true
			case "drop_row":
				x.Mismatch = MismatchDrop
			case "disabled":
			default:
				return invalid
			}
		case "sluice.malformed":
			switch strings.ToLower(value) {
			case "fail":
				x.Strict = true
			case "skip":
			default:
				return invalid
			}
		case "numrows", "classification", "has_encrypted_data", "write.parallel", "typeofdata", "comment":
		case "compressiontype", "compression_type":
			if !slices.Contains([]string{"none", "gzip", "snappy"}, strings.ToLower(value)) {
				return invalid
			}
		default:
			return FeatureNotSupported.at(position, "the table property \"%s\" is not supported", name)
		}
	}
	return nil
}
