package wire

// The kinds of frame. Capital letters go to the worker.
const (
	frameDescriptors = 0 // carries descriptors for the next frame; Read hides it

	FrameParse    = 'P' // Parse    -> FrameParsed
	FrameBegin    = 'B' // Begin; no answer
	FrameTable    = 'T' // Table with descriptors; no answer, a failure is told by the next answer
	FrameDescribe = 'D' // Describe -> FrameDescribed
	FrameExecute  = 'X' // Execute  -> FrameColumns, FrameRows*, FrameDone
	FrameCancel   = 'C' // interrupt what runs; no answer of its own
	FrameReset    = 'R' // forget everything -> FrameReady

	FrameParsed    = 'p'
	FrameDescribed = 'd'
	FrameColumns   = 'c'
	FrameRows      = 'b'
	FrameDone      = 'z'
	FrameError     = 'e' // Failure: ends any request
	FrameReady     = 'k'
)

// Parse asks for the engine's own parse of one statement.
type Parse struct {
	SQL string `json:"sql"`
}

// Begin prepares a fresh engine for one statement and locks its configuration.
type Begin struct {
	TimeZone   string   `json:"timeZone"`
	Database   string   `json:"database"`
	SearchPath []string `json:"searchPath"`
	Schemas    []string `json:"schemas"` // to create, in order
	// Prelude is SQL of the node's own, run before the lock: the functions that
	// PostgreSQL and Redshift have and the engine has not.
	Prelude string `json:"prelude"`
}

// The sources of a table.
const (
	SourceNone    = "none"    // columns only, no rows
	SourceParquet = "parquet" // each descriptor is a Parquet file
	SourceText    = "text"    // each descriptor is a pipe of delimited text
	SourceJSON    = "json"    // each descriptor is a pipe of JSON lines
	SourceProven  = "proven"  // each descriptor is a gzip file of delimited text, all of whose rows are well formed
	SourceValues  = "values"  // Rows holds the rows
)

// Table makes one table known to the engine.
type Table struct {
	Schema  string        `json:"schema"`
	Name    string        `json:"name"`
	Columns []TableColumn `json:"columns"`
	Source  string        `json:"source"`
	Files   int           `json:"files"` // descriptors sent with this frame

	// Own makes a real table that a data-modifying statement can change. Without it the
	// table is a view that streams from its descriptors.
	Own bool `json:"own,omitempty"`
	// Gather reads the pipes into memory first, because the statement reads the table
	// more than once and a pipe can be read once only. Needed lists the columns to keep.
	Gather bool     `json:"gather,omitempty"`
	Needed []string `json:"needed,omitempty"`

	Text *TextFormat `json:"text,omitempty"`
	Rows [][]*string `json:"rows,omitempty"` // of SourceValues, as text
}

// TableColumn is one declared column with the engine's name of its type.
type TableColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Path is the column's name in the files where it differs from Name.
	Path string `json:"path,omitempty"`
}

// TextFormat says how delimited text is read.
type TextFormat struct {
	Delimiter string `json:"delimiter"`
	Quote     string `json:"quote,omitempty"`
	Escape    string `json:"escape,omitempty"`
	Null      string `json:"null"`
	// EmptyAsNull makes empty fields of character columns NULL too; those of all other
	// types always are.
	EmptyAsNull bool   `json:"emptyAsNull,omitempty"`
	DateFormat  string `json:"dateFormat,omitempty"`
	TimeFormat  string `json:"timeFormat,omitempty"`
	Return      string `json:"return,omitempty"` // stands for a carriage return that ends no line
}

// Describe asks for the parameters and columns of a statement.
type Describe struct {
	SQL string `json:"sql"`
}

// Described answers Describe.
type Described struct {
	Parameters []Type   `json:"parameters"`
	Columns    []Column `json:"columns"`
}

// Execute runs a statement.
type Execute struct {
	SQL        string      `json:"sql"`
	Parameters []Parameter `json:"parameters,omitempty"`
	// Output, when true, writes the result as Parquet to the one descriptor sent with
	// this frame and sends no rows.
	Output bool `json:"output,omitempty"`
	// Then is run after SQL in the same engine, before the rows are taken; used to hand
	// out a table that SQL has modified. The count of changed rows stays that of SQL.
	Then string `json:"then,omitempty"`
	// Pipes is how many pipes the plan may read, each once. A plan that would read more
	// often is refused with FailureReread before anything has been read; 0 does not look.
	Pipes int `json:"pipes,omitempty"`
}

// Parameter is one bound value; a nil Value is NULL.
type Parameter struct {
	Type  Type `json:"type"`
	Value Cell `json:"value"`
}

// Done ends an execution that succeeded.
type Done struct {
	Rows    int64    `json:"rows"`    // returned, written or changed
	Written int64    `json:"written"` // of an Output: rows in the file
	Rejects []Reject `json:"rejects,omitempty"`
	// Drained says that the plan of an Execute with Pipes has one input, a pipe of text,
	// and could not end before it had read all rows of it.
	Drained bool `json:"drained,omitempty"`
}

// Reject tells of the malformed rows of one pipe.
type Reject struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	Count  int64  `json:"count"`
	// The first one: which of the table's pipes, the byte of the pipe where its line
	// starts, the line counted from 1, and what is wrong with it.
	File   int    `json:"file"`
	Offset int64  `json:"offset"`
	Line   int64  `json:"line"`
	Column string `json:"column,omitempty"`
	Reason string `json:"reason"`
}

// Failure ends a request that failed.
type Failure struct {
	Class    string `json:"class"`              // the engine's class of error, such as "parser"
	Message  string `json:"message"`            // without the engine's decoration
	Position int    `json:"position,omitempty"` // byte of the statement, from 1; 0 when unknown
	Subtype  string `json:"subtype,omitempty"`
	// Where the message speaks of a file it was handed, FileMark stands for its path and
	// these say which it is.
	Schema string `json:"schema,omitempty"`
	Table  string `json:"table,omitempty"`
	File   int    `json:"file,omitempty"`
}

// FileMark stands for a file in the message of a Failure.
const FileMark = "\x00"

// Classes of failure that the worker itself adds to the engine's.
const (
	FailureReread   = "reread"   // the plan would read a pipe twice
	FailureProtocol = "protocol" // a frame made no sense
)
