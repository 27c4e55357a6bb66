package warehouse

import (
	"errors"
	"fmt"
	"strings"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// badRows tells of the malformed rows of one table.
type badRows struct {
	malformed
	table  *boundTable
	bucket string
	strict bool
}

func (m badRows) String() string {
	where := fmt.Sprintf("s3://%s/%s line %d", m.bucket, m.key, m.line)
	if m.column != "" {
		where += ", column " + m.column
	}
	return fmt.Sprintf("%s: %s", where, m.reason)
}

// malformed gathers what the worker and the feeds refused, per table.
func (r *run) malformed() []badRows {
	var out []badRows
	for _, in := range r.inputs {
		if in.feed == nil {
			continue
		}
		m := badRows{table: in.table, bucket: in.feed.bucket, strict: in.feed.format.Strict}
		in.feed.mu.Lock()
		m.malformed = in.feed.skipped
		in.feed.mu.Unlock()
		for _, reject := range r.done.Rejects {
			if reject.Schema != in.table.schema || reject.Table != in.table.name {
				continue
			}
			if m.count == 0 {
				m.key, m.line = in.feed.place(reject.Offset, reject.Line)
				m.column, m.reason = reject.Column, strings.TrimSpace(reject.Reason)
			}
			m.count += reject.Count
		}
		if m.count > 0 {
			out = append(out, m)
		}
	}
	return out
}

func (r *run) notices() []Notice {
	if r.done == nil {
		return nil
	}
	var out []Notice
	for _, m := range r.malformed() {
		rows := "rows"
		if m.count == 1 {
			rows = "row"
		}
		out = append(out, Notice{
			Message: fmt.Sprintf("%d malformed %s of %s skipped", m.count, rows, m.table),
			Detail:  "First: " + m.String(),
			Hint:    "The table property 'sluice.malformed'='fail' makes them an error.",
		})
	}
	return out
}

// explain turns the engine's failure into a problem of the statement.
func (r *run) explain(f wire.Failure) error {
	if r.ctx.Err() != nil {
		return r.stopped()
	}
	if f.Class == wire.FailureReread {
		return errReread
	}
	message := f.Message
	if f.Table != "" {
		for _, in := range r.inputs {
			if in.table.schema == f.Schema && in.table.name == f.Table && f.File < len(in.keys) {
				message = strings.ReplaceAll(message, wire.FileMark, in.keys[f.File])
			}
		}
	}
	for internal, known := range map[string]string{catalogSchema + ".": "pg_catalog.", informationSchema + ".": "information_schema."} {
		message = strings.ReplaceAll(message, internal, known)
	}
	message, rest, _ := strings.Cut(message, "\n")
	p := reasonOf(f).new("%s", message)
	// Advice that speaks of the engine's settings is of no use here.
	if rest = strings.TrimSpace(rest); rest != "" && !strings.Contains(rest, "SET ") && !strings.Contains(rest, "Possible fixes") {
		p.Detail = rest
	}
	if f.Position > 0 {
		p.Position = r.text.origin(f.Position + r.body)
	}
	return p
}

var errReread = errors.New("the plan reads a pipe twice")

// reasonOf maps the engine's classes of error.
func reasonOf(f wire.Failure) *reason {
	has := func(s string) bool { return strings.Contains(strings.ToLower(f.Message), s) }
	switch f.Class {
	case "parser", "syntax":
		return SyntaxError
	case "catalog":
		if has("function with name") {
			return UndefinedFunction
		}
		if has("type with name") {
			return UndefinedObject
		}
		return UndefinedTable
	case "binder", "mismatch type", "parameter not resolved":
		switch {
		case has("referenced update column"):
			return UndefinedColumn
		case f.Subtype == "COLUMN_NOT_FOUND" || has("referenced column") || has("not found in from clause"):
			return UndefinedColumn
		case has("no function matches"), has("could not choose a best candidate"):
			return UndefinedFunction
		case has("cannot compare"), has("cast"), has("type"):
			return DatatypeMismatch
		}
		return SyntaxError
	case "conversion":
		switch {
		case has("date/time field value out of range"), has("interval field value out of range"):
			return DatetimeFieldOverflow
		case has("out of range"), has("could not cast value") && has("decimal"):
			return NumericOutOfRange
		}
		if has("date") || has("timestamp") || has("time field") {
			return InvalidDatetime
		}
		return InvalidTextRepresentation
	case "out of range":
		return NumericOutOfRange
	case "divide by zero":
		return DivisionByZero
	case "out of memory":
		return OutOfMemory
	case "interrupt":
		return QueryCanceled
	case "constraint":
		return NotNullViolation
	case "not implemented":
		return FeatureNotSupported
	case "permission":
		return InsufficientPrivilege
	case "io", "serialization":
		return BadData
	case "invalid input":
		switch {
		case has("division by zero"):
			return DivisionByZero
		case has("unrecognized configuration parameter"):
			return UndefinedObject
		case has("field overflow"), has("quotient is out of range"):
			return NumericOutOfRange
		case f.Table != "":
			return BadData
		case has("more than one row returned"):
			return CardinalityViolation
		case has("violates not-null"):
			return NotNullViolation
		case has("parquet"), has("magic bytes"), has("thrift"), has("json"):
			return BadData
		}
		return DataException
	}
	return EngineError
}
