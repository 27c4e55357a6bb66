package warehouse

// kind is what a statement does, decided by its first words.
type kind uint8

const (
	kindQuery   kind = iota // SELECT, WITH, VALUES, TABLE, EXPLAIN of these
	kindModify              // INSERT, UPDATE, DELETE, TRUNCATE, COPY, CREATE TABLE AS
	kindDefine              // other CREATE and DROP
	kindSession             // SET, SHOW, BEGIN and their like
)

// node is a parsed statement: one of the types of this file.
type node interface{ kind() kind }

// query is left to the engine as it stands.
type query struct {
	explain bool // EXPLAIN or EXPLAIN ANALYZE stands in front
	analyze bool // ANALYZE: it runs
	body    int  // byte of the text where the query itself begins
}

// objectName is a table as a statement writes it, folded to lower case.
type objectName struct {
	schema, name string
	position     int // byte, from 1
}

func (n objectName) String() string {
	if n.schema == "" {
		return n.name
	}
	return n.schema + "." + n.name
}

// createSchema is CREATE SCHEMA and CREATE EXTERNAL SCHEMA.
type createSchema struct {
	name        string
	ifNotExists bool
	external    bool
	database    string // of an external schema: the catalogue database
	region      string
	role        string
	makeDB      bool // CREATE EXTERNAL DATABASE IF NOT EXISTS
}

// dropSchema is DROP SCHEMA.
type dropSchema struct {
	name     string
	ifExists bool
	cascade  bool
	dropDB   bool // DROP EXTERNAL DATABASE
}

// createTable is CREATE TABLE with a column list and CREATE EXTERNAL TABLE.
type createTable struct {
	name        objectName
	ifNotExists bool
	columns     []Column
	layout      Layout
	external    *External
}

// createTableAs is CREATE TABLE … AS.
type createTableAs struct {
	name        objectName
	ifNotExists bool
	names       []string // of the columns, where given
	layout      Layout
	body        int // byte where the query begins
}

// dropTable is DROP TABLE.
type dropTable struct {
	names    []objectName
	ifExists bool
}

// insert is INSERT INTO … VALUES or SELECT.
type insert struct {
	name    objectName
	columns []string
	body    int // byte where the query begins
}

// change is UPDATE or DELETE; the engine runs the text as it stands.
type change struct {
	name    objectName
	reading string // a SELECT that reads what the statement reads, for analysis
	update  bool
}

// truncate is TRUNCATE.
type truncate struct{ name objectName }

// vacuum is VACUUM of one table: its files are rewritten into one.
type vacuum struct{ name objectName }

// copyFrom is Redshift's COPY.
type copyFrom struct {
	name      objectName
	columns   []string
	bucket    string
	prefix    string
	format    External // how the objects are read; its location is unused
	maxErrors int64
	position  int // of the location
}

// setParameter is SET and RESET; a nil value resets.
type setParameter struct {
	name  string
	value *string
}

// showParameter is SHOW; "all" shows every one.
type showParameter struct{ name string }

// control is a transaction statement or one that only a session cares for.
type control struct{ verb string }

func (*query) kind() kind         { return kindQuery }
func (*createSchema) kind() kind  { return kindDefine }
func (*dropSchema) kind() kind    { return kindDefine }
func (*createTable) kind() kind   { return kindDefine }
func (*createTableAs) kind() kind { return kindModify }
func (*dropTable) kind() kind     { return kindDefine }
func (*insert) kind() kind        { return kindModify }
func (*change) kind() kind        { return kindModify }
func (*truncate) kind() kind      { return kindModify }
func (*vacuum) kind() kind        { return kindModify }
func (*copyFrom) kind() kind      { return kindModify }
func (*setParameter) kind() kind  { return kindSession }
func (*showParameter) kind() kind { return kindSession }
func (*control) kind() kind       { return kindSession }
