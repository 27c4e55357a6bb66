//go:build cgo && linux

package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"sluice.dev/sluice/internal/service/warehouse/pgtext"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// batchBytes is the size at which a batch of rows is sent.
const batchBytes = 64 << 10

// session is the worker's side of the conversation.
type session struct {
	conn   *wire.Conn
	limits Limits
	box    sandbox
	busy   atomic.Bool

	mu     sync.Mutex // guards engine against interrupt
	engine *engine

	files  []*os.File // everything the statement was handed
	inputs []input    // of those, what tables are read from
	pipes  int        // of those, what can be read once
	failed error      // of a frame that has no answer of its own
}

// input remembers which table a descriptor feeds, to name it when something is wrong.
type input struct {
	schema, table string
	path          string
	index         int
}

// reset replaces the engine by a fresh one and closes all descriptors.
func (s *session) reset() error {
	s.mu.Lock()
	old := s.engine
	s.engine = nil
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	for _, f := range s.files {
		f.Close()
	}
	s.files, s.inputs, s.pipes, s.failed = nil, nil, 0, nil
	e, err := openEngine(s.limits, s.box.directory)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.engine = e
	s.mu.Unlock()
	return s.conn.WriteJSON(wire.FrameReady, s.box.skipped)
}

func (s *session) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine != nil {
		duckdb.Interrupt(s.engine.conn)
	}
}

// handle answers one frame. An error it returns ends the process.
func (s *session) handle(f wire.Frame) error {
	s.files = append(s.files, f.Files...)
	switch f.Kind {
	case wire.FrameReset:
		return s.reset()
	case wire.FrameBegin:
		return decode(f, func(b wire.Begin) error { return s.note(s.begin(b)) })
	case wire.FrameTable:
		return decode(f, func(t wire.Table) error { return s.note(s.table(t, f.Files)) })
	case wire.FrameParse:
		return decode(f, func(p wire.Parse) error { return s.answer(s.parse(p)) })
	case wire.FrameDescribe:
		return decode(f, func(d wire.Describe) error { return s.answer(s.describe(d)) })
	case wire.FrameExecute:
		return decode(f, func(x wire.Execute) error { return s.answer(s.execute(x, f.Files)) })
	}
	return fmt.Errorf("a frame of unknown kind %q", f.Kind)
}

func decode[T any](f wire.Frame, then func(T) error) error {
	var v T
	if err := json.Unmarshal(f.Payload, &v); err != nil {
		return fmt.Errorf("frame %q: %w", f.Kind, err)
	}
	return then(v)
}

// note keeps the first failure for the next answer.
func (s *session) note(err error) error {
	if s.failed == nil {
		s.failed = err
	}
	return nil
}

// answer sends the failure of a request, if it had one.
func (s *session) answer(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*engineError](err)
	if !ok {
		e = &engineError{Class: wire.FailureProtocol, Message: err.Error()}
	}
	told := wire.Failure(*e)
	for _, in := range s.inputs {
		if quoted := "\"" + in.path + "\""; strings.Contains(told.Message, quoted) || strings.Contains(told.Message, "'"+in.path+"'") {
			told.Message = strings.NewReplacer(quoted, wire.FileMark, "'"+in.path+"'", wire.FileMark).Replace(told.Message)
			told.Schema, told.Table, told.File = in.schema, in.table, in.index
			break
		}
	}
	return s.conn.WriteJSON(wire.FrameError, told)
}

func (s *session) begin(b wire.Begin) error {
	var sql strings.Builder
	fmt.Fprintf(&sql, "ATTACH ':memory:' AS %s;", ident(b.Database))
	for _, schema := range b.Schemas {
		fmt.Fprintf(&sql, "CREATE SCHEMA IF NOT EXISTS %s.%s;", ident(b.Database), ident(schema))
	}
	path := make([]string, len(b.SearchPath))
	for i, schema := range b.SearchPath {
		path[i] = ident(b.Database) + "." + ident(schema)
	}
	fmt.Fprintf(&sql, "USE %s.%s;", ident(b.Database), ident(b.SearchPath[0]))
	fmt.Fprintf(&sql, "SET search_path = %s; SET TimeZone = %s;", quote(strings.Join(path, ",")), quote(b.TimeZone))
	zone, err := time.LoadLocation(b.TimeZone)
	if err != nil {
		return err
	}
	if err := s.engine.registerOverloads(); err != nil {
		return err
	}
	if err := s.engine.registerCasts(pgtext.Reader{Zone: zone, Now: time.Now}); err != nil {
		return err
	}
	sql.WriteString(b.Prelude)
	sql.WriteString("SET lock_configuration = true;")
	return s.engine.exec(sql.String())
}

func (s *session) table(t wire.Table, files []*os.File) error {
	if s.failed != nil {
		return nil
	}
	if t.Files != len(files) {
		return fmt.Errorf("table %s.%s announced %d descriptors and brought %d", t.Schema, t.Name, t.Files, len(files))
	}
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = s.path(f)
		s.inputs = append(s.inputs, input{t.Schema, t.Name, paths[i], i})
		if t.Source == wire.SourceText || t.Source == wire.SourceJSON {
			s.pipes++
		}
	}
	return s.engine.exec(statements(t, paths))
}

// path is how the engine opens a descriptor.
func (s *session) path(f *os.File) string {
	return s.box.directory + strconv.Itoa(int(f.Fd()))
}

func (s *session) parse(p wire.Parse) error {
	rows, err := s.engine.strings("SELECT json_serialize_sql(" + quote(p.SQL) + ")::VARCHAR")
	if err != nil {
		return err
	}
	return s.conn.Write(wire.FrameParsed, []byte(rows[0][0]))
}

func (s *session) describe(d wire.Describe) error {
	if s.failed != nil {
		return s.failed
	}
	p, err := s.engine.prepare(d.SQL)
	if err != nil {
		return err
	}
	defer duckdb.DestroyPrepare(&p)
	var out wire.Described
	for i := range duckdb.NParams(p) {
		t := duckdb.ParamLogicalType(p, i+1)
		c, _, _ := columnType(t)
		duckdb.DestroyLogicalType(&t)
		out.Parameters = append(out.Parameters, c.Type)
	}
	if duckdb.PreparedStatementType(p) == duckdb.StatementTypeSelect || duckdb.PreparedStatementType(p) == duckdb.StatementTypeExplain {
		out.Columns, _ = preparedColumns(p)
	}
	return s.conn.WriteJSON(wire.FrameDescribed, out)
}

// preparedColumns describes what a prepared statement will return; cast lists the
// columns that must be cast to text first.
func preparedColumns(p duckdb.PreparedStatement) (columns []wire.Column, cast []int) {
	for i := range duckdb.PreparedStatementColumnCount(p) {
		t := duckdb.PreparedStatementColumnLogicalType(p, i)
		c, _, ok := columnType(t)
		duckdb.DestroyLogicalType(&t)
		if !ok {
			c.Type = wire.Text
			cast = append(cast, int(i))
		}
		c.Name = duckdb.PreparedStatementColumnName(p, i)
		columns = append(columns, c)
	}
	return columns, cast
}
