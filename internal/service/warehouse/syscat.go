package warehouse

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// catalogColumns declares the catalogue tables: name and type of each column. Tables
// without rows exist because clients join them.
var catalogColumns = map[string]string{
	"pg_namespace": "oid INTEGER, nspname VARCHAR, nspowner INTEGER, nspacl VARCHAR[]",
	"pg_class": "oid INTEGER, relname VARCHAR, relnamespace INTEGER, reltype INTEGER, reloftype INTEGER, relowner INTEGER, relam INTEGER, " +
		"relfilenode INTEGER, reltablespace INTEGER, relpages INTEGER, reltuples FLOAT, reltoastrelid INTEGER, relhasindex BOOLEAN, " +
		"relisshared BOOLEAN, relpersistence VARCHAR, relkind VARCHAR, relnatts SMALLINT, relchecks SMALLINT, relhasoids BOOLEAN, " +
		"relhasrules BOOLEAN, relhastriggers BOOLEAN, relhassubclass BOOLEAN, relrowsecurity BOOLEAN, relforcerowsecurity BOOLEAN, " +
		"relispartition BOOLEAN, relispopulated BOOLEAN, relreplident VARCHAR, relacl VARCHAR[], reloptions VARCHAR[], relpartbound VARCHAR",
	"pg_attribute": "attrelid INTEGER, attname VARCHAR, atttypid INTEGER, attstattarget INTEGER, attlen SMALLINT, attnum SMALLINT, attndims INTEGER, " +
		"atttypmod INTEGER, attstorage VARCHAR, attnotnull BOOLEAN, atthasdef BOOLEAN, attisdropped BOOLEAN, attislocal BOOLEAN, attidentity VARCHAR, " +
		"attgenerated VARCHAR, attcollation INTEGER, attacl VARCHAR[], attoptions VARCHAR[], attfdwoptions VARCHAR[]",
	"pg_type": "oid INTEGER, typname VARCHAR, typnamespace INTEGER, typowner INTEGER, typlen SMALLINT, typbyval BOOLEAN, typtype VARCHAR, typcategory VARCHAR, " +
		"typdelim VARCHAR, typrelid INTEGER, typelem INTEGER, typarray INTEGER, typbasetype INTEGER, typtypmod INTEGER, typcollation INTEGER, " +
		"typnotnull BOOLEAN, typinput VARCHAR, typreceive VARCHAR",
	"pg_database":          "oid INTEGER, datname VARCHAR, datdba INTEGER, encoding INTEGER, datcollate VARCHAR, datctype VARCHAR, datistemplate BOOLEAN, datallowconn BOOLEAN, datconnlimit INTEGER, dattablespace INTEGER, datacl VARCHAR[]",
	"pg_roles":             "oid INTEGER, rolname VARCHAR, rolsuper BOOLEAN, rolinherit BOOLEAN, rolcreaterole BOOLEAN, rolcreatedb BOOLEAN, rolcanlogin BOOLEAN, rolreplication BOOLEAN, rolbypassrls BOOLEAN, rolconnlimit INTEGER, rolvaliduntil TIMESTAMPTZ",
	"pg_user":              "usename VARCHAR, usesysid INTEGER, usecreatedb BOOLEAN, usesuper BOOLEAN",
	"pg_tables":            "schemaname VARCHAR, tablename VARCHAR, tableowner VARCHAR, tablespace VARCHAR, hasindexes BOOLEAN, hasrules BOOLEAN, hastriggers BOOLEAN",
	"pg_settings":          "name VARCHAR, setting VARCHAR, unit VARCHAR, category VARCHAR, short_desc VARCHAR",
	"pg_am":                "oid INTEGER, amname VARCHAR",
	"pg_attrdef":           "oid INTEGER, adrelid INTEGER, adnum SMALLINT, adbin VARCHAR, adsrc VARCHAR",
	"pg_collation":         "oid INTEGER, collname VARCHAR, collnamespace INTEGER, collencoding INTEGER",
	"pg_constraint":        "oid INTEGER, conname VARCHAR, connamespace INTEGER, contype VARCHAR, condeferrable BOOLEAN, condeferred BOOLEAN, convalidated BOOLEAN, conrelid INTEGER, conindid INTEGER, confrelid INTEGER, confupdtype VARCHAR, confdeltype VARCHAR, conkey SMALLINT[], confkey SMALLINT[]",
	"pg_description":       "objoid INTEGER, classoid INTEGER, objsubid INTEGER, description VARCHAR",
	"pg_enum":              "oid INTEGER, enumtypid INTEGER, enumsortorder FLOAT, enumlabel VARCHAR",
	"pg_index":             "indexrelid INTEGER, indrelid INTEGER, indnatts SMALLINT, indisunique BOOLEAN, indisprimary BOOLEAN, indisclustered BOOLEAN, indisvalid BOOLEAN, indisready BOOLEAN, indisreplident BOOLEAN, indkey SMALLINT[], indexprs VARCHAR, indpred VARCHAR",
	"pg_inherits":          "inhrelid INTEGER, inhparent INTEGER, inhseqno INTEGER",
	"pg_policy":            "oid INTEGER, polname VARCHAR, polrelid INTEGER, polcmd VARCHAR, polpermissive BOOLEAN, polroles INTEGER[], polqual VARCHAR, polwithcheck VARCHAR",
	"pg_proc":              "oid INTEGER, proname VARCHAR, pronamespace INTEGER, proowner INTEGER, prolang INTEGER, prorettype INTEGER, proargtypes INTEGER[], prosrc VARCHAR, proisagg BOOLEAN, proiswindow BOOLEAN",
	"pg_range":             "rngtypid INTEGER, rngsubtype INTEGER",
	"pg_tablespace":        "oid INTEGER, spcname VARCHAR, spcowner INTEGER",
	"pg_trigger":           "oid INTEGER, tgrelid INTEGER, tgname VARCHAR, tgenabled VARCHAR, tgisinternal BOOLEAN, tgconstraint INTEGER",
	"pg_views":             "schemaname VARCHAR, viewname VARCHAR, viewowner VARCHAR, definition VARCHAR",
	"pg_matviews":          "schemaname VARCHAR, matviewname VARCHAR",
	"pg_rewrite":           "oid INTEGER, rulename VARCHAR, ev_class INTEGER, ev_type VARCHAR, ev_enabled VARCHAR, is_instead BOOLEAN",
	"pg_extension":         "oid INTEGER, extname VARCHAR, extversion VARCHAR, extnamespace INTEGER",
	"pg_event_trigger":     "oid INTEGER, evtname VARCHAR",
	"pg_auth_members":      "roleid INTEGER, member INTEGER, grantor INTEGER, admin_option BOOLEAN",
	"pg_db_role_setting":   "setdatabase INTEGER, setrole INTEGER, setconfig VARCHAR[]",
	"svv_external_schemas": "esoid INTEGER, eskind INTEGER, schemaname VARCHAR, esowner INTEGER, databasename VARCHAR, esoptions VARCHAR",
	"svv_external_tables":  "schemaname VARCHAR, tablename VARCHAR, location VARCHAR, input_format VARCHAR, serialization_lib VARCHAR, compressed INTEGER",
}

var informationColumns = map[string]string{
	"schemata": "catalog_name VARCHAR, schema_name VARCHAR, schema_owner VARCHAR",
	"tables":   "table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, table_type VARCHAR, is_insertable_into VARCHAR",
	"columns": "table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, column_name VARCHAR, ordinal_position INTEGER, column_default VARCHAR, " +
		"is_nullable VARCHAR, data_type VARCHAR, character_maximum_length INTEGER, numeric_precision INTEGER, numeric_scale INTEGER, datetime_precision INTEGER, udt_name VARCHAR",
	"views":                   "table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, view_definition VARCHAR",
	"table_constraints":       "constraint_catalog VARCHAR, constraint_schema VARCHAR, constraint_name VARCHAR, table_schema VARCHAR, table_name VARCHAR, constraint_type VARCHAR",
	"key_column_usage":        "constraint_schema VARCHAR, constraint_name VARCHAR, table_schema VARCHAR, table_name VARCHAR, column_name VARCHAR, ordinal_position INTEGER",
	"referential_constraints": "constraint_schema VARCHAR, constraint_name VARCHAR, unique_constraint_schema VARCHAR, unique_constraint_name VARCHAR",
}

// macro is one function of catalogMacros.
type macro struct{ name, sql string }

var macros = splitMacros(catalogMacros)

func splitMacros(sql string) []macro {
	var out []macro
	for _, part := range strings.Split(sql, "CREATE MACRO ")[1:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(part, "%[1]s."), "(")
		out = append(out, macro{strings.Trim(name, `"`), "CREATE MACRO " + part})
	}
	return out
}

// isMacro reports whether a function of pg_catalog is one of ours.
func isMacro(name string) bool {
	return slices.ContainsFunc(macros, func(m macro) bool { return m.name == name })
}

// prelude is the SQL that gives an engine the functions PostgreSQL and Redshift have, as
// far as a statement mentions them: making them all would cost more than most queries.
func (s *Session) prelude(sql string, visible []int) string {
	sql = strings.ToLower(sql)
	var used strings.Builder
	for _, m := range macros {
		// The engine's parser turns ~ into a function that wants the whole text to match.
		if strings.Contains(sql, m.name) || m.name == "regexp_full_match" && strings.Contains(sql, "~") {
			used.WriteString(m.sql)
		}
	}
	oids := make([]string, len(visible))
	for i, o := range visible {
		oids[i] = strconv.Itoa(o)
	}
	settings := make([]string, 0, len(s.settings.values))
	for _, name := range slices.Sorted(maps.Keys(s.settings.values)) {
		settings = append(settings, quoteText(name)+": "+quoteText(s.settings.values[name]))
	}
	return strings.NewReplacer(
		"%[5]s", strconv.FormatUint(uint64(s.process), 10),
		"%[6]s", "MAP {"+strings.Join(settings, ", ")+"}",
		"%[1]s", catalogSchema,
		"%[2]s", quoteText("PostgreSQL "+ServerVersion+" on Sluice, with DuckDB"),
		"%[3]s", quoteText(userName(s.id)),
		"%[4]s", "["+strings.Join(oids, ",")+"]::INTEGER[]",
	).Replace(used.String())
}

// seen is one table a session may see.
type seen struct {
	schema string
	oid    int
	doc    *Table
}

// seenTables returns the schemas and tables the session may see: those whose
// glue:GetTable or glue:GetDatabase it has.
func (s *Session) seenTables(ctx context.Context, snapshot *store.Snapshot) (schemas []string, tables []seen) {
	for name, schema := range s.svc.cat.allSchemas(snapshot) {
		found := false
		for id, t := range s.svc.cat.tables.Find(snapshot, ruleNamespace, schema.Namespace) {
			if s.svc.authorize(ctx, "glue:GetTable", tableResource(t), t.Name, 0) == nil {
				tables = append(tables, seen{name, oidOf(name + "/" + id), t})
				found = true
			}
		}
		_, container, _ := strings.Cut(schema.Namespace, "/")
		if found || name == publicSchema || s.svc.authorize(ctx, "glue:GetDatabase", "database/"+container, name, 0) == nil {
			schemas = append(schemas, name)
		}
	}
	return schemas, tables
}

// oidOf returns a number that stays the same for a name, above PostgreSQL's own.
func oidOf(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return 16384 + int(h.Sum32()&0x3fffffff)
}

// visibleTables returns the oids that are reached without their schema's name.
func (s *Session) visibleTables(tables []seen) []int {
	var out []int
	names := map[string]bool{}
	for _, schema := range s.settings.searchPath {
		for _, t := range tables {
			if t.schema == schema && !names[t.doc.Name] {
				names[t.doc.Name] = true
				out = append(out, t.oid)
			}
		}
	}
	return out
}

const (
	ownerOID          = 10
	pgCatalogOID      = 11
	informationOID    = 13000
	databaseOID       = 1
	defaultTableSpace = 0
)

func namespaceOID(schema string) int {
	switch schema {
	case "pg_catalog":
		return pgCatalogOID
	case "information_schema":
		return informationOID
	case publicSchema:
		return 2200
	}
	return oidOf("schema/" + schema)
}

// catalogTable returns one of PostgreSQL's catalogue tables as this session may see it.
func (s *Session) catalogTable(ctx context.Context, snapshot *store.Snapshot, schema, name string) (*wire.Table, bool) {
	declared, ok := catalogColumns[name]
	if schema == informationSchema {
		declared, ok = informationColumns[name]
	}
	if !ok {
		return nil, false
	}
	t := &wire.Table{Schema: schema, Name: name, Source: wire.SourceValues}
	for _, c := range strings.Split(declared, ", ") {
		column, kind, _ := strings.Cut(c, " ")
		t.Columns = append(t.Columns, wire.TableColumn{Name: column, Type: kind})
	}
	add := func(values map[string]any) {
		row := make([]*string, len(t.Columns))
		for i, c := range t.Columns {
			if v, ok := values[c.Name]; ok {
				text := fmt.Sprint(v)
				row[i] = &text
			}
		}
		t.Rows = append(t.Rows, row)
	}
	if schema == informationSchema {
		s.informationRows(ctx, snapshot, name, add)
	} else {
		s.catalogRows(ctx, snapshot, name, add)
	}
	return t, true
}

type rowOf = map[string]any

func (s *Session) catalogRows(ctx context.Context, snapshot *store.Snapshot, name string, add func(rowOf)) {
	user := userName(s.id)
	switch name {
	case "pg_database":
		add(rowOf{"oid": databaseOID, "datname": Database, "datdba": ownerOID, "encoding": 6, "datcollate": "C.UTF-8", "datctype": "C.UTF-8",
			"datistemplate": false, "datallowconn": true, "datconnlimit": -1, "dattablespace": defaultTableSpace})
	case "pg_roles":
		add(rowOf{"oid": ownerOID, "rolname": user, "rolsuper": false, "rolinherit": true, "rolcreaterole": false, "rolcreatedb": false,
			"rolcanlogin": true, "rolreplication": false, "rolbypassrls": false, "rolconnlimit": -1})
	case "pg_user":
		add(rowOf{"usename": user, "usesysid": ownerOID, "usecreatedb": false, "usesuper": false})
	case "pg_settings":
		for k, v := range s.settings.values {
			add(rowOf{"name": k, "setting": v, "category": "Sluice", "short_desc": ""})
		}
	case "pg_type":
		for _, t := range pgTypes {
			add(rowOf{"oid": t.oid, "typname": t.name, "typnamespace": pgCatalogOID, "typowner": ownerOID, "typlen": t.size, "typbyval": t.size > 0,
				"typtype": "b", "typcategory": t.category, "typdelim": ",", "typrelid": 0, "typelem": 0, "typarray": 0, "typbasetype": 0,
				"typtypmod": -1, "typcollation": 0, "typnotnull": false, "typinput": t.name + "in", "typreceive": t.name + "recv"})
		}
	case "pg_namespace", "pg_class", "pg_attribute", "pg_tables", "svv_external_schemas", "svv_external_tables":
		s.relationRows(ctx, snapshot, name, add)
	}
}

func (s *Session) relationRows(ctx context.Context, snapshot *store.Snapshot, name string, add func(rowOf)) {
	schemas, tables := s.seenTables(ctx, snapshot)
	user := userName(s.id)
	switch name {
	case "pg_namespace":
		for _, n := range append([]string{"pg_catalog", "information_schema"}, schemas...) {
			add(rowOf{"oid": namespaceOID(n), "nspname": n, "nspowner": ownerOID})
		}
	case "svv_external_schemas":
		for _, n := range schemas {
			if doc, ok := s.svc.cat.schema(snapshot, n); ok && doc.External {
				_, database, _ := strings.Cut(doc.Namespace, "/")
				add(rowOf{"esoid": namespaceOID(n), "eskind": 1, "schemaname": n, "esowner": ownerOID, "databasename": database})
			}
		}
	}
	for _, t := range tables {
		switch name {
		case "pg_class":
			add(rowOf{"oid": t.oid, "relname": t.doc.Name, "relnamespace": namespaceOID(t.schema), "reltype": 0, "reloftype": 0, "relowner": ownerOID,
				"relam": 0, "relfilenode": 0, "reltablespace": 0, "relpages": 0, "reltuples": 0, "reltoastrelid": 0, "relhasindex": false,
				"relisshared": false, "relpersistence": "p", "relkind": "r", "relnatts": len(t.doc.Columns), "relchecks": 0, "relhasoids": false,
				"relhasrules": false, "relhastriggers": false, "relhassubclass": false, "relrowsecurity": false, "relforcerowsecurity": false,
				"relispartition": false, "relispopulated": true, "relreplident": "n"})
		case "pg_attribute":
			for i, c := range t.doc.Columns {
				oid, size, mod := pgTypeOf(c)
				add(rowOf{"attrelid": t.oid, "attname": c.Name, "atttypid": oid, "attstattarget": -1, "attlen": size, "attnum": i + 1, "attndims": 0,
					"atttypmod": mod, "attstorage": "p", "attnotnull": c.NotNull, "atthasdef": false, "attisdropped": false, "attislocal": true,
					"attidentity": "", "attgenerated": "", "attcollation": 0})
			}
		case "pg_tables":
			add(rowOf{"schemaname": t.schema, "tablename": t.doc.Name, "tableowner": user, "hasindexes": false, "hasrules": false, "hastriggers": false})
		case "svv_external_tables":
			if x := t.doc.External; x != nil {
				add(rowOf{"schemaname": t.schema, "tablename": t.doc.Name, "location": "s3://" + x.Bucket + "/" + x.Prefix, "input_format": string(x.Format), "compressed": 0})
			}
		}
	}
}

func (s *Session) informationRows(ctx context.Context, snapshot *store.Snapshot, name string, add func(rowOf)) {
	if !slices.Contains([]string{"schemata", "tables", "columns"}, name) {
		return
	}
	schemas, tables := s.seenTables(ctx, snapshot)
	if name == "schemata" {
		for _, n := range append([]string{"pg_catalog", "information_schema"}, schemas...) {
			add(rowOf{"catalog_name": Database, "schema_name": n, "schema_owner": userName(s.id)})
		}
		return
	}
	for _, t := range tables {
		if name == "tables" {
			kind, insertable := "BASE TABLE", "YES"
			if t.doc.External != nil {
				kind, insertable = "EXTERNAL TABLE", "NO"
			}
			add(rowOf{"table_catalog": Database, "table_schema": t.schema, "table_name": t.doc.Name, "table_type": kind, "is_insertable_into": insertable})
			continue
		}
		for i, c := range t.doc.Columns {
			oid, _, mod := pgTypeOf(c)
			kind, _, _ := strings.Cut(c.Type, "(")
			row := rowOf{"table_catalog": Database, "table_schema": t.schema, "table_name": t.doc.Name, "column_name": c.Name, "ordinal_position": i + 1,
				"is_nullable": "YES", "data_type": kind, "udt_name": pgTypeName(oid)}
			if c.NotNull {
				row["is_nullable"] = "NO"
			}
			if c.Engine == "VARCHAR" && mod > 0 {
				row["character_maximum_length"] = mod - 4
			}
			if oid == 1700 {
				row["numeric_precision"], row["numeric_scale"] = (mod-4)>>16, (mod-4)&0xffff
			}
			add(row)
		}
	}
}

// pgType is a type as pg_type lists it.
type pgType struct {
	oid      int
	name     string
	size     int
	category string
	engine   string
}

var pgTypes = []pgType{
	{16, "bool", 1, "B", "BOOLEAN"}, {17, "bytea", -1, "U", "BLOB"}, {20, "int8", 8, "N", "BIGINT"}, {21, "int2", 2, "N", "SMALLINT"},
	{23, "int4", 4, "N", "INTEGER"}, {25, "text", -1, "S", ""}, {114, "json", -1, "U", "JSON"}, {700, "float4", 4, "N", "FLOAT"},
	{701, "float8", 8, "N", "DOUBLE"}, {1042, "bpchar", -1, "S", ""}, {1043, "varchar", -1, "S", "VARCHAR"}, {1082, "date", 4, "D", "DATE"},
	{1083, "time", 8, "D", "TIME"}, {1114, "timestamp", 8, "D", "TIMESTAMP"}, {1184, "timestamptz", 8, "D", "TIMESTAMPTZ"},
	{1186, "interval", 16, "T", "INTERVAL"}, {1700, "numeric", -1, "N", "DECIMAL"}, {2950, "uuid", 16, "U", "UUID"},
}

// pgTypeOf returns the oid, size and modifier of a column's type.
func pgTypeOf(c Column) (oid, size, modifier int) {
	engine, _, _ := strings.Cut(c.Engine, "(")
	if strings.HasPrefix(c.Type, "character(") || c.Type == "character" {
		return 1042, -1, c.maxBytes() + 4
	}
	for _, t := range pgTypes {
		if t.engine != engine {
			continue
		}
		modifier = -1
		switch n := c.maxBytes(); {
		case n > 0:
			modifier = n + 4
		case t.oid == 1700:
			var width, scale int
			_, _ = fmt.Sscanf(c.Engine, "DECIMAL(%d,%d)", &width, &scale)
			modifier = width<<16 + scale + 4
		}
		return t.oid, t.size, modifier
	}
	return 25, -1, -1
}

func pgTypeName(oid int) string {
	for _, t := range pgTypes {
		if t.oid == oid {
			return t.name
		}
	}
	return "text"
}
