package collector

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Record is one event on its way into a stream.
type Record struct {
	Key   []byte // decides the partition
	Value []byte
	Time  time.Time
}

// Appender puts records into a stream, all of them or none. When it returns nil they are
// durable. It must not keep the slices. Errors of the kinds Throttled, Unavailable and
// Exhausted say that the same call may succeed later.
type Appender interface {
	Append(ctx context.Context, stream string, records []Record) error
}

// References finds the documents that events are checked against. The key is valid only
// during the call.
type References interface {
	Lookup(ctx context.Context, collection, key string) (*gateway.Reference, bool, error)
}

// Tables knows the columns of tables that events will be read as.
type Tables interface {
	// Check returns what says whether a column of the table "schema.name" can hold a JSON
	// value, and of which type it is; a name that is no column's can hold any. ok is false
	// where there is no such table.
	Check(table string) (holds func(column string, value []byte) (kind string, ok bool), ok bool)
}

// Deps is what the collector needs from others.
type Deps struct {
	Appender   Appender
	Tables     Tables     // nil: configurations with "table" are refused
	References References // nil: configurations with "references" are refused
	// Count is told of every request's outcome, for metrics; it may be nil.
	Count func(Outcome)
}

// Outcome says what became of one request.
type Outcome struct {
	Stream   string
	Accepted int // events appended
	Status   int
}

// enrichment names what the collector adds to an event, in the order it stands.
var enrichment = []string{"event_id", "received_at", "client_ip", "user_agent", "request_id"}

var nameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func checkFieldName(v any) string {
	if s := v.(string); !nameForm.MatchString(s) {
		return "invalid value '" + s + "': a letter or underscore, then letters, digits and underscores"
	}
	return ""
}

// checkDelimiter refuses what a reader could not tell from a value's own bytes: behind a
// backslash a letter may mean something, and digits stand in numbers and times.
func checkDelimiter(v any) string {
	c := v.(string)[0]
	if c == '\\' || c == '\n' || c == '\r' || c == 0 || c >= 0x80 || isAlphanumeric(c) {
		return "must be one ASCII character, no line end, NUL, backslash, letter or digit"
	}
	return ""
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

var tableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*\.[A-Za-z_][A-Za-z0-9_$]*$`)

func checkTable(v any) string {
	if s := v.(string); !tableForm.MatchString(s) {
		return "invalid value '" + s + "': a schema and a table, as in public.events"
	}
	return ""
}

// New returns the kind.
func New(d Deps) gateway.Plugin {
	values := func(v ...any) []any { return v }
	field := &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		{Name: "name", Kind: schema.String, Required: true, Check: checkFieldName},
		{Name: "type", Kind: schema.String, Default: "string", Required: true,
			OneOf:       values("string", "integer", "number", "boolean", "timestamp"),
			Description: "A timestamp is RFC 3339 text, or milliseconds since 1970."},
		{Name: "required", Kind: schema.Boolean, Default: false, Required: true},
		{Name: "max_length", Kind: schema.Integer, Between: []float64{1, 1 << 20}, Default: 8192,
			Description: "Of a string, in bytes."},
	}}
	size := func(name string, by, least, most float64, what string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Integer, Required: true, Default: by,
			Between: []float64{least, most}, Description: what}
	}
	return gateway.Plugin{
		Name: "collector", Version: gateway.Version, Priority: 755, NoScopes: []string{"consumer"},
		Protocols: []string{"http", "https"},
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "stream", Kind: schema.String, Required: true, Description: "Name of the stream."},
			{Name: "format", Kind: schema.String, Required: true, Default: "json", OneOf: values("json", "delimited")},
			{Name: "delimiter", Kind: schema.String, Required: true, Default: "|", LenMax: schema.Ptr(1),
				Description: "Between columns; inside them a backslash stands before it, as before backslashes.",
				Check:       checkDelimiter},
			{Name: "newline", Kind: schema.Boolean, Required: true, Default: true,
				Description: "End each record with a line end, so that records can be laid end to end."},
			{Name: "fields", Kind: schema.Array, Required: true, LenMin: schema.Ptr(1), LenMax: schema.Ptr(256), Elements: field},
			{Name: "unknown_fields", Kind: schema.String, Required: true, Default: "keep",
				OneOf: values("keep", "drop", "refuse"), Description: "What to do with members that fields does not list."},
			{Name: "table", Kind: schema.String, Check: checkTable,
				Description: "Table, as schema.name, that the events will be read as: what its columns cannot hold is refused."},
			{Name: "programme_field", Kind: schema.String, Check: checkFieldName,
				Description: "Field that holds the key of the programme among the references."},
			{Name: "references", Kind: schema.String, Description: "Collection of the programmes."},
			{Name: "partition_key_field", Kind: schema.String, Check: checkFieldName,
				Description: "Field whose value decides the partition; without it events spread evenly."},
			{Name: "columns", Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Check: checkFieldName},
				Description: "Columns of the delimited format, from fields and from event_id, received_at, client_ip, user_agent, request_id."},
			size("success_status", 202, 200, 202, "200 or 202.").With("success_status", func(f *schema.Field) {
				f.Between, f.OneOf = nil, values(200.0, 202.0)
			}),
			size("max_body_size", 1<<20, 1, 64<<20, "Bytes of a request's body."),
			size("max_events", 500, 1, 10_000, "Events of a request."),
			size("max_in_flight", 4096, 1, 1<<20, "Requests that may wait for the stream."),
			size("timeout", 10_000, 1, 600_000, "Milliseconds to wait for the stream."),
			{Name: "pixel", Kind: schema.Boolean, Required: true, Default: false, Description: "Answer every GET with a picture."},
		}, Checks: []schema.Check{
			{AllOrNone: []string{"programme_field", "references"}},
			{Custom: func(r schema.Record, bad func(field, msg string)) {
				checkNames(r, bad, d.References != nil)
				if r["table"] != nil && d.Tables == nil {
					bad("table", "this node knows no tables")
				}
			}},
		}},
		New: func(config schema.Record, env gateway.Env) (any, error) { return newInstance(config, env, d) },
	}
}

// checkNames sees that fields are named once, and that what refers to a field finds it.
func checkNames(r schema.Record, bad func(field, msg string), hasReferences bool) {
	var names []string
	for _, e := range r["fields"].([]any) {
		name := e.(schema.Record)["name"].(string)
		if slices.Contains(names, name) {
			bad("fields", "field '"+name+"' is listed twice")
			return
		}
		if name != "event_id" && slices.Contains(enrichment, name) {
			bad("fields", "'"+name+"' is filled by the collector")
			return
		}
		names = append(names, name)
	}
	for _, ref := range []string{"programme_field", "partition_key_field"} {
		if v, ok := r[ref].(string); ok && !slices.Contains(names, v) {
			bad(ref, "'"+v+"' is not one of the fields")
		}
	}
	columns, _ := r["columns"].([]any)
	for _, c := range columns {
		if s := c.(string); !slices.Contains(names, s) && !slices.Contains(enrichment, s) {
			bad("columns", "'"+s+"' is neither one of the fields nor one the collector adds")
		}
	}
	if r["references"] != nil && !hasReferences {
		bad("references", "this node keeps no reference data")
	}
}

// instance is one configured collector.
type instance struct {
	deps      Deps
	clock     clock.Clock
	log       logger
	stream    string
	delimited bool
	delimiter byte
	newline   bool
	fields    []field
	unknown   string
	table     string // "": none
	programme int    // index of the field, -1: none
	partition int
	refs      string
	columns   []column
	status    int
	maxBody   int
	maxEvents int
	inFlight  atomic.Int64
	maxFlight int64
	timeout   time.Duration
	pixel     bool
	batches   sync.Pool // *batch
}

type logger interface{ Warn(msg string, args ...any) }

type field struct {
	name      string
	kind      kind
	required  bool
	maxLength int
}

type kind uint8

const (
	kindString kind = iota
	kindInteger
	kindNumber
	kindBoolean
	kindTimestamp
)

var kinds = map[string]kind{
	"string": kindString, "integer": kindInteger, "number": kindNumber, "boolean": kindBoolean, "timestamp": kindTimestamp,
}

var kindNames = [...]string{"a string", "an integer", "a number", "a boolean", "a timestamp"}

// column is one column of the delimited format: a field, or an enrichment.
type column struct {
	field int // -1: an enrichment
	added string
}

func newInstance(c schema.Record, env gateway.Env, d Deps) (*instance, error) {
	if d.Appender == nil {
		return nil, fmt.Errorf("the collector has no stream to append to")
	}
	in := &instance{deps: d, clock: env.Clock, log: env.Log, programme: -1, partition: -1}
	num := func(name string) int { n, _ := c[name].(float64); return int(n) }
	in.stream, _ = c["stream"].(string)
	in.delimited = c["format"] == "delimited"
	delimiter, _ := c["delimiter"].(string)
	in.delimiter = delimiter[0]
	in.newline, _ = c["newline"].(bool)
	in.unknown, _ = c["unknown_fields"].(string)
	in.refs, _ = c["references"].(string)
	in.table, _ = c["table"].(string)
	in.status, in.maxBody, in.maxEvents = num("success_status"), num("max_body_size"), num("max_events")
	in.maxFlight, in.timeout = int64(num("max_in_flight")), time.Duration(num("timeout"))*time.Millisecond
	in.pixel, _ = c["pixel"].(bool)
	index := map[string]int{}
	for i, e := range c["fields"].([]any) {
		r := e.(schema.Record)
		f := field{name: r["name"].(string), kind: kinds[r["type"].(string)]}
		f.required, _ = r["required"].(bool)
		n, _ := r["max_length"].(float64)
		f.maxLength = int(n)
		in.fields = append(in.fields, f)
		index[f.name] = i
	}
	if name, ok := c["programme_field"].(string); ok {
		in.programme = index[name]
		in.fields[in.programme].required = true
	}
	if name, ok := c["partition_key_field"].(string); ok {
		in.partition = index[name]
	}
	columns, _ := c["columns"].([]any)
	if len(columns) == 0 {
		columns = []any{"event_id", "received_at"}
		for _, f := range in.fields {
			if f.name != "event_id" {
				columns = append(columns, f.name)
			}
		}
		columns = append(columns, "client_ip", "user_agent", "request_id")
	}
	for _, c := range columns {
		name := c.(string)
		col := column{field: -1, added: name}
		if i, ok := index[name]; ok && name != "event_id" {
			col = column{field: i}
		}
		in.columns = append(in.columns, col)
	}
	return in, nil
}
