package schema

// Record is a document in the shape of JSON.
type Record = map[string]any

// Kind is the type of a field, by Kong's names.
type Kind string

// The kinds.
const (
	String  Kind = "string"
	Integer Kind = "integer"
	Number  Kind = "number"
	Boolean Kind = "boolean"
	Array   Kind = "array"
	Set     Kind = "set" // an array whose values are distinct
	Map     Kind = "map"
	Nested  Kind = "record"
	JSON    Kind = "json"    // any value
	Foreign Kind = "foreign" // {"id": …} of an entity of Reference
)

// Field describes one value. The zero value of every attribute means that it does not
// constrain.
type Field struct {
	Name        string
	Kind        Kind
	Description string

	Required bool
	Default  any  // a value, or a Record or []any; copied for every record
	Auto     bool // the platform fills it where the client does not: ids, timestamps

	OneOf      []any
	Between    []float64 // two bounds, both allowed
	Gt         *float64
	LenMin     *int // for strings the default is 1
	LenMax     *int
	StartsWith string
	UUID       bool
	Timestamp  bool
	// Check looks at a value that has passed everything else and returns what is wrong
	// with it, or "".
	Check func(v any) string

	Elements   *Field      // of an array or set
	Keys       *Field      // of a map
	Values     *Field      // of a map
	Fields     []*Field    // of a record
	Checks     []Check     // of a record
	Shorthands []Shorthand // of a record
	// Subsets lists the sets from which all values of a set must come together.
	Subsets [][]string

	Reference string // the collection a foreign field points into, or of an array's strings: whose ids they are
	Cascade   bool   // of a foreign field: deleting what it points at deletes this too
	// NoEndpoint leaves out the path that leads from a record to what a foreign field
	// points at.
	NoEndpoint bool
	Unique     bool
	// EqNull refuses any value; Kong describes a scope a plugin does not have so.
	EqNull        bool
	Encrypted     bool
	Referenceable bool
	// Seal turns a value that a client sent into what is stored of it; r is the valid record.
	// A password becomes its hash.
	Seal func(v string, r Record) string
	// Secret marks a value that authenticates by itself; it is indexed by its digest.
	Secret bool

	// Unserved is the reason why no value but the default is accepted yet.
	Unserved string
	// Deprecated says that, and from when on, the field is without effect, and what to use
	// instead.
	Deprecated string
}

// Field returns the field of a record called name, or nil.
func (f *Field) Field(name string) *Field {
	for _, c := range f.Fields {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// With returns a copy of the field under another name, changed by edits.
func (f Field) With(name string, edits ...func(*Field)) *Field {
	f.Name = name
	for _, e := range edits {
		e(&f)
	}
	return &f
}

// Default sets the default value.
func Default(v any) func(*Field) { return func(f *Field) { f.Default = v } }

// Required makes the field required.
func Required(f *Field) { f.Required = true }

// Describe sets the description.
func Describe(s string) func(*Field) { return func(f *Field) { f.Description = s } }

// Ptr returns a pointer to v, for the optional bounds.
func Ptr[T any](v T) *T { return &v }

// Entity is a collection of records with an id and, mostly, a name to be addressed by.
type Entity struct {
	Name        string // of the collection: "services"
	Path        string // in the Admin API where it differs from Name: "key-auths"
	NestedPath  string // under a parent where that differs again: "key-auth"
	EndpointKey string // unique field that stands in for the id in paths; "" for none
	Record      *Field
	// KeyUnder is a field that stands in for the id in paths under the parent, with which
	// it is unique together; "" for none.
	KeyUnder string
	// OnlyNested entities are reached under their parents alone.
	OnlyNested bool
	// UniqueTogether lists fields that must be unique in combination; nil counts as a value.
	UniqueTogether []string
	// Shorthands turn a convenience field such as "url" into real ones before validation.
	Shorthands map[string]func(v any, r Record) string
	// Prepare adjusts a new record before its defaults are filled in.
	Prepare func(r Record)
	// Variant picks the description by the record's content; the plugins entity has one,
	// because "config" is another record for every kind of plugin. The text says what is
	// wrong with the content where there is no description for it.
	Variant func(r Record) (*Field, []Check, string)
	// Private keeps the collection out of the Admin API.
	Private bool
	// Expires lets a record carry "ttl", seconds after which it is gone.
	Expires bool
	// Derive fills the fields of a valid record that follow from others.
	Derive func(r Record)
	// Labels are names of a record that are kept as entities of their own; nil for none.
	Labels *Labels
}

// Labels are the endpoint keys of those records of another entity that point at a record.
// They show in the record as a list, are created, moved and removed by setting it, and
// address the record beside its id. The SNIs of a certificate are such.
type Labels struct {
	Field   *Field // the list; it is not stored with the record
	Entity  string // which holds the labels
	Foreign string // that entity's field that points at the record
}

// AdminPath returns the first path segment of the entity's collection.
func (e *Entity) AdminPath() string {
	if e.Path != "" {
		return e.Path
	}
	return e.Name
}

// PathUnder returns the path segment of the collection under a parent.
func (e *Entity) PathUnder() string {
	if e.NestedPath != "" {
		return e.NestedPath
	}
	return e.AdminPath()
}
