//go:build cgo && linux

package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime/cgo"
	"strconv"
	"strings"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// engine is one DuckDB instance with one connection.
type engine struct {
	db      duckdb.Database
	conn    duckdb.Connection
	handles []cgo.Handle // of the casts
}

// openEngine returns a DuckDB in memory that can load nothing and reach no file outside
// directory.
func openEngine(l Limits, directory string) (*engine, error) {
	settings := [][2]string{
		{"errors_as_json", "true"},
		{"threads", strconv.Itoa(l.Threads)},
		{"memory_limit", strconv.FormatInt(l.Memory, 10) + "B"},
		{"temp_directory", ""}, // a spill would put clear data on a disk
		{"autoinstall_known_extensions", "false"},
		{"autoload_known_extensions", "false"},
		{"allow_community_extensions", "false"},
		{"allow_unsigned_extensions", "false"},
		{"allow_persistent_secrets", "false"},
		{"preserve_identifier_case", "false"}, // unquoted names are folded, as in PostgreSQL
		{"integer_division", "true"},          // 1/2 is 0, as in PostgreSQL
		{"scalar_subquery_error_on_multiple_rows", "true"},
		{"default_null_order", "nulls_last_on_asc_first_on_desc"}, // as in PostgreSQL, also in windows
	}
	var config duckdb.Config
	if duckdb.CreateConfig(&config) != duckdb.StateSuccess {
		return nil, errors.New("the engine has no configuration")
	}
	defer duckdb.DestroyConfig(&config)
	e := &engine{}
	var message string
	if duckdb.OpenExt(":memory:", &e.db, config, &message) != duckdb.StateSuccess {
		return nil, fmt.Errorf("open the engine: %s", message)
	}
	if duckdb.Connect(e.db, &e.conn) != duckdb.StateSuccess {
		duckdb.Close(&e.db)
		return nil, errors.New("connect to the engine")
	}
	var b strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&b, "SET %s = %s;", s[0], quote(s[1]))
	}
	fmt.Fprintf(&b, "SET allowed_directories = [%s]; SET enable_external_access = false;", quote(directory))
	if err := e.exec(b.String()); err != nil {
		e.close()
		return nil, fmt.Errorf("configure the engine: %w", err)
	}
	return e, nil
}

func (e *engine) close() {
	duckdb.Disconnect(&e.conn)
	duckdb.Close(&e.db)
	for _, h := range e.handles {
		h.Delete()
	}
	e.handles = nil
}

// exec runs statements of our own.
func (e *engine) exec(sql string) error {
	var r duckdb.Result
	defer duckdb.DestroyResult(&r)
	if duckdb.Query(e.conn, sql, &r) != duckdb.StateSuccess {
		return failure(duckdb.ResultErrorType(&r), duckdb.ResultError(&r))
	}
	return nil
}

// prepare compiles one statement. The caller destroys it.
func (e *engine) prepare(sql string) (duckdb.PreparedStatement, error) {
	var p duckdb.PreparedStatement
	if duckdb.Prepare(e.conn, sql, &p) != duckdb.StateSuccess {
		err := failure(duckdb.ErrorTypeInvalid, duckdb.PrepareError(p))
		duckdb.DestroyPrepare(&p)
		return p, err
	}
	return p, nil
}

// strings runs a query of our own and returns its rows as text.
func (e *engine) strings(sql string) ([][]string, error) {
	p, err := e.prepare(sql)
	if err != nil {
		return nil, err
	}
	defer duckdb.DestroyPrepare(&p)
	var r duckdb.Result
	defer duckdb.DestroyResult(&r)
	if duckdb.ExecutePrepared(p, &r) != duckdb.StateSuccess {
		return nil, failure(duckdb.ResultErrorType(&r), duckdb.ResultError(&r))
	}
	columns, encode, err := resultColumns(&r)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	decoder := wire.NewDecoder(columns)
	var batch wire.Encoder
	for {
		chunk := duckdb.FetchChunk(r)
		if chunk.Ptr == nil {
			return rows, nil
		}
		batch.Reset()
		encodeChunk(&batch, chunk, encode)
		duckdb.DestroyDataChunk(&chunk)
		for decoder.Load(batch.Bytes()); ; {
			cells, err := decoder.Next()
			if err != nil {
				return nil, err
			}
			if cells == nil {
				break
			}
			row := make([]string, len(cells))
			for i, c := range cells {
				row[i] = string(c)
			}
			rows = append(rows, row)
		}
	}
}

// engineError is a failure as the engine tells it.
type engineError wire.Failure

func (e *engineError) Error() string { return e.Class + ": " + e.Message }

// failure reads the engine's JSON error text; the type is the fall-back for its class.
func failure(t duckdb.ErrorType, text string) error {
	e := &engineError{Message: text, Class: classes[t]}
	start := strings.IndexByte(text, '{')
	var told struct {
		Type     string `json:"exception_type"`
		Message  string `json:"exception_message"`
		Position string `json:"position"`
		Subtype  string `json:"error_subtype"`
	}
	if start >= 0 && json.Unmarshal([]byte(text[start:]), &told) == nil && told.Message != "" {
		e.Class, e.Message, e.Subtype = strings.ToLower(told.Type), told.Message, told.Subtype
		if n, err := strconv.Atoi(told.Position); err == nil {
			e.Position = n + 1
		}
	}
	if e.Class == "" {
		e.Class = "internal"
	}
	return e
}

var classes = map[duckdb.ErrorType]string{
	duckdb.ErrorTypeInterrupt:   "interrupt",
	duckdb.ErrorTypeOutOfMemory: "out of memory",
	duckdb.ErrorTypeErrorIO:     "io",
	duckdb.ErrorTypeParser:      "parser",
	duckdb.ErrorTypeBinder:      "binder",
	duckdb.ErrorTypeCatalog:     "catalog",
	duckdb.ErrorTypeConversion:  "conversion",
	duckdb.ErrorTypePermission:  "permission",
}

// quote writes s as a SQL string.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// ident writes s as a quoted SQL name.
func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
