package pgwire

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/warehouse"
)

// codes maps the warehouse's reasons to PostgreSQL's error codes.
var codes = map[*fault.Reason]string{
	&warehouse.SyntaxError.Reason:               "42601",
	&warehouse.UndefinedTable.Reason:            "42P01",
	&warehouse.UndefinedColumn.Reason:           "42703",
	&warehouse.UndefinedFunction.Reason:         "42883",
	&warehouse.UndefinedObject.Reason:           "42704",
	&warehouse.UndefinedDatabase.Reason:         "3D000",
	&warehouse.InvalidSchemaName.Reason:         "3F000",
	&warehouse.DuplicateTable.Reason:            "42P07",
	&warehouse.DuplicateSchema.Reason:           "42P06",
	&warehouse.DuplicateDatabase.Reason:         "42P04",
	&warehouse.DuplicateColumn.Reason:           "42701",
	&warehouse.DependentObjects.Reason:          "2BP01",
	&warehouse.WrongObjectType.Reason:           "42809",
	&warehouse.DatatypeMismatch.Reason:          "42804",
	&warehouse.InvalidTextRepresentation.Reason: "22P02",
	&warehouse.InvalidDatetime.Reason:           "22007",
	&warehouse.DatetimeFieldOverflow.Reason:     "22008",
	&warehouse.InvalidParameterValue.Reason:     "22023",
	&warehouse.NumericOutOfRange.Reason:         "22003",
	&warehouse.DivisionByZero.Reason:            "22012",
	&warehouse.CardinalityViolation.Reason:      "21000",
	&warehouse.NotNullViolation.Reason:          "23502",
	&warehouse.DataException.Reason:             "22000",
	&warehouse.BadData.Reason:                   "58030",
	&warehouse.InsufficientPrivilege.Reason:     "42501",
	&warehouse.FeatureNotSupported.Reason:       "0A000",
	&warehouse.ActiveTransaction.Reason:         "25001",
	&warehouse.FailedTransaction.Reason:         "25P02",
	&warehouse.SerializationFailure.Reason:      "40001",
	&warehouse.OutOfMemory.Reason:               "53200",
	&warehouse.ProgramLimitExceeded.Reason:      "54000",
	&warehouse.TooManyQueries.Reason:            "53300",
	&warehouse.QueryCanceled.Reason:             "57014",
	&warehouse.WorkerLost.Reason:                "57P02",
	&warehouse.ShuttingDown.Reason:              "57P03",
	&warehouse.EngineError.Reason:               "XX000",
}

// kinds is the fall-back for the reasons of others.
var kinds = map[fault.Kind]string{
	fault.Invalid: "22023", fault.Denied: "42501", fault.Unauthenticated: "28000", fault.NotFound: "42704", fault.Exists: "42710",
	fault.Conflict: "55000", fault.Exhausted: "53000", fault.Throttled: "53300", fault.Unavailable: "57P03", fault.Unsupported: "0A000",
	fault.TooLarge: "54000", fault.Corrupt: "58030", fault.Canceled: "57014",
}

// protocolError is a mistake in the use of the protocol itself.
type protocolError struct{ code, message string }

func (e *protocolError) Error() string { return e.message }

func protocolErrorf(code, format string, args ...any) error {
	return &protocolError{code, fmt.Sprintf(format, args...)}
}

func unsupported(what string) error { return protocolErrorf("0A000", "%s", what) }
func parameterMissing() error       { return protocolErrorf("42P02", "there is no parameter $1") }
func noStatement(name string) error {
	return protocolErrorf("26000", "prepared statement \"%s\" does not exist", name)
}
func noPortal(name string) error {
	return protocolErrorf("34000", "portal \"%s\" does not exist", name)
}
func duplicatePortal(name string) error {
	return protocolErrorf("42P03", "portal \"%s\" already exists", name)
}
func badParameter(n int, err error) error {
	return protocolErrorf("22P03", "incorrect binary data in parameter %d: %v", n, err)
}
func badFormat(f int16) error { return protocolErrorf("08P01", "unsupported format code: %d", f) }
func unknownType(oid uint32) error {
	return protocolErrorf("42704", "type with OID %d is not supported for parameters", oid)
}
func tooManyStatements() error {
	return protocolErrorf("53400", "too many prepared statements or portals on this connection")
}
func duplicateStatement(name string) error {
	return protocolErrorf("42P05", "prepared statement \"%s\" already exists", name)
}
func wrongParameterCount(got int, name string, want int) error {
	return protocolErrorf("08P01", "bind message supplies %d parameters, but prepared statement \"%s\" requires %d", got, name, want)
}

// fail sends an error. sql is the client's whole text, in which the failing statement
// begins at offset; with it the place of the error can be told.
func (c *conn) fail(err error, severity, sql string, offset int) {
	r := &pgproto3.ErrorResponse{Severity: severity, SeverityUnlocalized: severity, Code: "XX000", Message: fault.MessageOf(err)}
	if p, ok := errors.AsType[*protocolError](err); ok {
		r.Code, r.Message = p.code, p.message
		c.be.Send(r)
		return
	}
	if code, ok := codes[fault.ReasonOf(err)]; ok {
		r.Code = code
	} else if code, ok := kinds[fault.KindOf(err)]; ok {
		r.Code = code
	}
	if p, ok := errors.AsType[*warehouse.Problem](err); ok {
		r.Detail, r.Hint = p.Detail, p.Hint
		if at := p.Position - 1 + offset; p.Position > 0 && at <= len(sql) {
			r.Position = int32(utf8.RuneCountInString(sql[:at])) + 1
		}
	}
	if r.Code == "XX000" {
		c.server.deps.Log.Error("a SQL statement failed", "error", err)
	}
	c.be.Send(r)
}
