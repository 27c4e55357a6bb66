package warehouse

import (
	"slices"
	"strconv"
	"strings"
)

const (
	maxName    = 127  // bytes of a name, Redshift's limit
	maxColumns = 1600 // of a table, Redshift's limit
)

func (p *parser) create() (node, error) {
	p.at++
	switch {
	case p.take("external", "schema"):
		return p.createExternalSchema()
	case p.take("schema"):
		return p.createSchema()
	case p.take("external", "table"):
		return p.createExternalTable()
	case p.take("table"):
		return p.createTable()
	case p.peekIs("temp"), p.peekIs("temporary"), p.peekIs("local"), p.peekIs("#"):
		return nil, FeatureNotSupported.at(p.peek().start+1, "temporary tables are not supported").hint("Use WITH, or a table in a schema of your own.")
	}
	t := p.peek()
	if t.kind != tokenWord {
		return nil, p.unexpected()
	}
	return nil, FeatureNotSupported.at(t.start+1, "CREATE %s is not supported", strings.ToUpper(t.text))
}

func (p *parser) ifNotExists() bool { return p.take("if", "not", "exists") }

func (p *parser) createSchema() (node, error) {
	s := &createSchema{ifNotExists: p.ifNotExists()}
	var err error
	if s.name, err = p.identifier(); err != nil {
		return nil, err
	}
	if p.take("authorization") {
		if _, err := p.identifier(); err != nil {
			return nil, err
		}
	}
	return s, p.end(nil)
}

// createExternalSchema reads Redshift's CREATE EXTERNAL SCHEMA … FROM DATA CATALOG; the
// clauses come in any order.
func (p *parser) createExternalSchema() (node, error) {
	s := &createSchema{external: true, ifNotExists: p.ifNotExists()}
	var err error
	if s.name, err = p.identifier(); err != nil {
		return nil, err
	}
	if !p.take("from", "data", "catalog") {
		if p.peekIs("from") {
			return nil, FeatureNotSupported.at(p.peek().start+1, "external schemas are supported FROM DATA CATALOG only")
		}
		return nil, p.unexpected()
	}
	for !p.done() && err == nil {
		switch {
		case p.take("database"):
			s.database, err = p.str()
			s.database = strings.ToLower(s.database)
		case p.take("region"):
			s.region, err = p.str()
		case p.take("iam_role"):
			s.role, err = p.role()
		case p.take("create", "external", "database", "if", "not", "exists"):
			s.makeDB = true
		case p.take("catalog_role"):
			_, err = p.role()
		default:
			err = p.unexpected()
		}
	}
	if err == nil && s.database == "" {
		err = SyntaxError.at(len(p.sql)+1, "an external schema needs DATABASE 'name'")
	}
	return s, err
}

// role reads an ARN or the word default.
func (p *parser) role() (string, error) {
	if p.take("default") {
		return "default", nil
	}
	return p.str()
}

// createTable reads CREATE TABLE with Redshift's attributes of columns and tables.
func (p *parser) createTable() (node, error) {
	c := &createTable{ifNotExists: p.ifNotExists()}
	var err error
	if c.name, err = p.objectName(); err != nil {
		return nil, err
	}
	if p.peekIs("(") && !p.columnListOnly() {
		if c.columns, err = p.columns(&c.layout, false); err != nil {
			return nil, err
		}
		if err := p.tableAttributes(&c.layout); err != nil {
			return nil, err
		}
		if !p.done() {
			return nil, p.unexpected()
		}
		return c, nil
	}
	as := &createTableAs{name: c.name, ifNotExists: c.ifNotExists}
	if p.peekIs("(") {
		if as.names, err = p.names(); err != nil {
			return nil, err
		}
	}
	if err := p.tableAttributes(&as.layout); err != nil {
		return nil, err
	}
	if err := p.expect("as"); err != nil {
		return nil, err
	}
	if p.done() {
		return nil, p.unexpected()
	}
	as.body = p.peek().start
	return as, nil
}

// columnListOnly looks past a group of names that is followed by AS or attributes.
func (p *parser) columnListOnly() bool {
	for i := 1; ; i += 2 {
		t := p.ahead(i)
		if t.kind != tokenWord && t.kind != tokenQuoted {
			return false
		}
		if p.aheadIs(i+1, ")") {
			return true
		}
		if !p.aheadIs(i+1, ",") {
			return false
		}
	}
}

// columns reads the parenthesised column definitions.
func (p *parser) columns(layout *Layout, external bool) ([]Column, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	var out []Column
	for {
		if p.peekIs("primary") || p.peekIs("foreign") || p.peekIs("unique") || p.peekIs("constraint") {
			// Redshift records these and enforces none; we keep only what is true.
			if err := p.skipConstraint(); err != nil {
				return nil, err
			}
		} else {
			c, err := p.column(layout, external)
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(out, func(o Column) bool { return o.Name == c.Name }) {
				return nil, DuplicateColumn.new("column \"%s\" specified more than once", c.Name)
			}
			if out = append(out, c); len(out) > maxColumns {
				return nil, ProgramLimitExceeded.new("a table can have at most %d columns", maxColumns)
			}
		}
		if p.take(")") {
			break
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, SyntaxError.at(p.peek().start+1, "a table needs a column")
	}
	return out, nil
}

func (p *parser) skipConstraint() error {
	for !p.done() && !p.peekIs(",") && !p.peekIs(")") {
		if p.peekIs("(") {
			if err := p.skipParens(); err != nil {
				return err
			}
			continue
		}
		p.at++
	}
	return nil
}

func (p *parser) column(layout *Layout, external bool) (Column, error) {
	var c Column
	var err error
	if c.Name, err = p.identifier(); err != nil {
		return c, err
	}
	if c.Type, c.Engine, err = p.dataType(); err != nil {
		return c, err
	}
	for !p.done() && !p.peekIs(",") && !p.peekIs(")") {
		switch {
		case p.take("not", "null"):
			c.NotNull = true
		case p.take("null"):
		case p.take("sortkey"):
			layout.SortKey = append(layout.SortKey, c.Name)
		case p.take("distkey"):
			layout.DistKey, layout.DistStyle = c.Name, "key"
		case p.take("encode"):
			if _, err := p.identifier(); err != nil {
				return c, err
			}
		case p.take("primary", "key"):
			c.NotNull = true
		case p.take("unique"):
		case p.take("collate"):
			return c, FeatureNotSupported.at(p.peek().start+1, "COLLATE is not supported")
		case p.peekIs("default"), p.peekIs("identity"), p.peekIs("generated"), p.peekIs("references"), p.peekIs("check"):
			return c, FeatureNotSupported.at(p.peek().start+1, "%s is not supported for columns", strings.ToUpper(p.peek().text))
		default:
			return c, p.unexpected()
		}
	}
	if external && c.NotNull {
		return c, SyntaxError.at(p.peek().start+1, "a column of an external table cannot be NOT NULL")
	}
	return c, nil
}

func (p *parser) tableAttributes(l *Layout) error {
	for !p.done() && !p.peekIs("as") {
		var err error
		switch {
		case p.take("backup"):
			if !p.takeAny("yes", "no") {
				return p.unexpected()
			}
		case p.take("diststyle"):
			t := p.peek()
			if !p.takeAny("even", "all", "key", "auto") {
				return p.unexpected()
			}
			l.DistStyle = t.text
		case p.take("distkey"):
			var names []string
			if names, err = p.names(); err == nil {
				l.DistKey = names[0]
			}
		case p.peekIs("compound"), p.peekIs("interleaved"), p.peekIs("sortkey"):
			p.takeAny("compound", "interleaved")
			if err = p.expect("sortkey"); err != nil {
				return err
			}
			if p.take("auto") {
				continue
			}
			l.SortKey, err = p.names()
		case p.take("encode", "auto"):
		default:
			return p.unexpected()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dataType reads a type as PostgreSQL, Redshift and Hive write it and returns its
// canonical SQL name and the engine's.
func (p *parser) dataType() (sql, engine string, err error) {
	position := p.peek().start + 1
	word, err := p.identifier()
	if err != nil {
		return "", "", err
	}
	var args []int
	arguments := func() error {
		if !p.take("(") {
			return nil
		}
		for {
			t := p.next()
			if t.is("max") {
				args = append(args, 65535)
			} else if n, err := strconv.Atoi(t.text); err == nil && t.kind == tokenNumber {
				args = append(args, n)
			} else {
				p.at--
				return p.unexpected()
			}
			if p.take(")") {
				return nil
			}
			if err := p.expect(","); err != nil {
				return err
			}
		}
	}
	sized := func(name string) string {
		if len(args) == 0 {
			return name
		}
		return name + "(" + strconv.Itoa(args[0]) + ")"
	}
	switch word {
	case "smallint", "int2", "tinyint":
		return "smallint", "SMALLINT", nil
	case "integer", "int", "int4":
		return "integer", "INTEGER", nil
	case "bigint", "int8", "long":
		return "bigint", "BIGINT", nil
	case "real", "float4":
		return "real", "FLOAT", nil
	case "double":
		p.take("precision")
		return "double precision", "DOUBLE", nil
	case "float", "float8":
		if err := arguments(); err != nil {
			return "", "", err
		}
		if len(args) == 1 && args[0] <= 24 {
			return "real", "FLOAT", nil
		}
		return "double precision", "DOUBLE", nil
	case "boolean", "bool":
		return "boolean", "BOOLEAN", nil
	case "decimal", "numeric", "dec":
		if err := arguments(); err != nil {
			return "", "", err
		}
		width, scale := 18, 0
		if len(args) > 0 {
			width = args[0]
		}
		if len(args) > 1 {
			scale = args[1]
		}
		if len(args) > 2 || width < 1 || width > 38 || scale < 0 || scale > width {
			return "", "", InvalidParameterValue.at(position, "numeric precision must be from 1 to 38 and its scale from 0 to the precision")
		}
		s := "(" + strconv.Itoa(width) + "," + strconv.Itoa(scale) + ")"
		return "numeric" + s, "DECIMAL" + s, nil
	case "character", "char", "nchar", "bpchar":
		varying := word == "character" && p.take("varying")
		if err := arguments(); err != nil {
			return "", "", err
		}
		if varying {
			return sized("character varying"), "VARCHAR", nil
		}
		return sized("character"), "VARCHAR", nil
	case "varchar", "nvarchar", "text", "string":
		if err := arguments(); err != nil {
			return "", "", err
		}
		return sized("character varying"), "VARCHAR", nil
	case "date":
		return "date", "DATE", nil
	case "time", "timetz", "timestamp", "timestamptz", "datetime":
		if err := arguments(); err != nil {
			return "", "", err
		}
		zone := word == "timestamptz" || p.take("with", "time", "zone")
		if !zone {
			p.take("without", "time", "zone")
		}
		switch {
		case word == "timetz" || word == "time" && zone:
			return "", "", FeatureNotSupported.at(position, "time with time zone is not supported")
		case word == "time":
			return "time without time zone", "TIME", nil
		case zone:
			return "timestamp with time zone", "TIMESTAMPTZ", nil
		}
		return "timestamp without time zone", "TIMESTAMP", nil
	case "varbyte", "varbinary", "binary", "bytea":
		if word == "binary" {
			p.take("varying")
		}
		if err := arguments(); err != nil {
			return "", "", err
		}
		return "binary varying", "BLOB", nil
	case "uuid":
		return "uuid", "UUID", nil
	case "json", "super":
		return "super", "JSON", nil
	case "interval":
		return "interval", "INTERVAL", nil
	}
	return "", "", UndefinedObject.at(position, "type \"%s\" does not exist", word)
}

func (p *parser) drop() (node, error) {
	p.at++
	switch {
	case p.take("schema"):
		d := &dropSchema{ifExists: p.take("if", "exists")}
		var err error
		if d.name, err = p.identifier(); err != nil {
			return nil, err
		}
		d.dropDB = p.take("drop", "external", "database")
		if !p.take("restrict") {
			d.cascade = p.take("cascade")
		}
		return d, p.end(nil)
	case p.take("table"):
		d := &dropTable{ifExists: p.take("if", "exists")}
		for {
			name, err := p.objectName()
			if err != nil {
				return nil, err
			}
			if d.names = append(d.names, name); !p.take(",") {
				break
			}
		}
		p.takeAny("cascade", "restrict")
		return d, p.end(nil)
	}
	if t := p.peek(); t.kind == tokenWord {
		return nil, FeatureNotSupported.at(t.start+1, "DROP %s is not supported", strings.ToUpper(t.text))
	}
	return nil, p.unexpected()
}
