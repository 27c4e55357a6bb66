//go:build cgo && linux

package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

func (s *session) execute(x wire.Execute, files []*os.File) error {
	if s.failed != nil {
		return s.failed
	}
	// Prepared first without more, for the places in its errors are those of the text.
	plain, err := s.engine.prepare(x.SQL)
	if err != nil {
		return err
	}
	_, cast := preparedColumns(plain)
	duckdb.DestroyPrepare(&plain)
	var done wire.Done
	if x.Pipes > 0 {
		if done.Drained, err = s.readsOnce(x); err != nil {
			return err
		}
	}
	var changed int64
	if x.Then != "" {
		if changed, err = s.change(x.SQL, x.Parameters); err != nil {
			return err
		}
		x.SQL, x.Parameters = x.Then, nil
	}
	if x.Output {
		done.Rows, err = s.output(x, files)
		done.Written = done.Rows
	} else {
		done.Rows, err = s.rows(x, cast)
	}
	if err != nil {
		return err
	}
	if x.Then != "" {
		done.Rows = changed
	}
	if done.Rejects, err = s.rejects(); err != nil {
		return err
	}
	return s.conn.WriteJSON(wire.FrameDone, done)
}

// start prepares, binds and begins sql. The caller destroys the result, also after an error.
func (s *session) start(sql string, parameters []wire.Parameter, streaming bool) (r duckdb.Result, err error) {
	p, err := s.engine.prepare(sql)
	if err != nil {
		return r, err
	}
	defer duckdb.DestroyPrepare(&p)
	if err := bind(p, parameters); err != nil {
		return r, err
	}
	var pending duckdb.PendingResult
	begin := duckdb.PendingPrepared
	if streaming {
		begin = duckdb.PendingPreparedStreaming
	}
	state := begin(p, &pending)
	defer duckdb.DestroyPending(&pending)
	if state != duckdb.StateSuccess {
		return r, failure(duckdb.ErrorTypeInvalid, duckdb.PendingError(pending))
	}
	if duckdb.ExecutePending(pending, &r) != duckdb.StateSuccess {
		return r, failure(duckdb.ResultErrorType(&r), duckdb.ResultError(&r))
	}
	return r, nil
}

// change runs a data-modifying statement and returns how many rows it changed.
func (s *session) change(sql string, parameters []wire.Parameter) (int64, error) {
	r, err := s.start(sql, parameters, false)
	defer duckdb.DestroyResult(&r)
	if err != nil {
		return 0, err
	}
	return int64(duckdb.RowsChanged(&r)), nil
}

// output writes the result as Parquet to the one descriptor of the frame.
func (s *session) output(x wire.Execute, files []*os.File) (int64, error) {
	if len(files) != 1 {
		return 0, errors.New("an output needs one descriptor")
	}
	sql := "COPY (" + x.SQL + "\n) TO " + quote(s.path(files[0])) + " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
	r, err := s.start(sql, x.Parameters, false)
	defer duckdb.DestroyResult(&r)
	if err != nil {
		return 0, err
	}
	// The node sees the end of the file when the last writer is gone.
	files[0].Close()
	return int64(duckdb.RowsChanged(&r)), nil
}

// rows streams the result. The socket blocks when the node does not read, and with it
// the engine.
func (s *session) rows(x wire.Execute, cast []int) (int64, error) {
	sql, err := s.castToText(x.SQL, cast)
	if err != nil {
		return 0, err
	}
	r, err := s.start(sql, x.Parameters, true)
	defer duckdb.DestroyResult(&r)
	if err != nil {
		return 0, err
	}
	if duckdb.ResultReturnType(r) != duckdb.ResultTypeQueryResult {
		if err := s.conn.WriteJSON(wire.FrameColumns, []wire.Column{}); err != nil {
			return 0, err
		}
		return int64(duckdb.RowsChanged(&r)), nil
	}
	columns, encode, err := resultColumns(&r)
	if err != nil {
		return 0, err
	}
	if err := s.conn.WriteJSON(wire.FrameColumns, columns); err != nil {
		return 0, err
	}
	var batch wire.Encoder
	var rows int64
	flush := func() error {
		if batch.Rows() == 0 {
			return nil
		}
		rows += int64(batch.Rows())
		err := s.conn.Write(wire.FrameRows, batch.Bytes())
		batch.Reset()
		return err
	}
	for {
		chunk := duckdb.FetchChunk(r)
		if chunk.Ptr == nil {
			if text := duckdb.ResultError(&r); text != "" {
				return 0, failure(duckdb.ResultErrorType(&r), text)
			}
			return rows, flush()
		}
		encodeChunk(&batch, chunk, encode)
		duckdb.DestroyDataChunk(&chunk)
		// The first rows go out at once, so that a client sees a slow query begin.
		if batch.Len() >= batchBytes || rows == 0 {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
}

// castToText wraps a query whose columns have types the wire does not know.
func (s *session) castToText(sql string, cast []int) (string, error) {
	if len(cast) == 0 {
		return sql, nil
	}
	p, err := s.engine.prepare(sql)
	if err != nil {
		return "", err
	}
	columns, _ := preparedColumns(p)
	duckdb.DestroyPrepare(&p)
	names, items := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i] = "c" + strconv.Itoa(i)
		items[i] = names[i]
		if slices.Contains(cast, i) {
			items[i] += "::VARCHAR"
		}
		items[i] += " AS " + ident(c.Name)
	}
	return "SELECT " + strings.Join(items, ", ") + " FROM (" + sql + "\n) AS q(" + strings.Join(names, ", ") + ")", nil
}

// readsOnce refuses a plan that would read a pipe more often than once: the second
// reader would find it empty and the answer would be wrong without a word. It tells
// whether the plan reads the pipe to its end.
func (s *session) readsOnce(x wire.Execute) (drained bool, err error) {
	p, err := s.engine.prepare("EXPLAIN (FORMAT json) " + x.SQL)
	if err != nil {
		return false, err
	}
	defer duckdb.DestroyPrepare(&p)
	if err := bind(p, x.Parameters); err != nil {
		return false, err
	}
	var r duckdb.Result
	defer duckdb.DestroyResult(&r)
	if duckdb.ExecutePrepared(p, &r) != duckdb.StateSuccess {
		return false, failure(duckdb.ResultErrorType(&r), duckdb.ResultError(&r))
	}
	columns, encode, err := resultColumns(&r)
	if err != nil {
		return false, err
	}
	chunk := duckdb.FetchChunk(r)
	if chunk.Ptr == nil {
		return false, errors.New("the engine explains nothing")
	}
	defer duckdb.DestroyDataChunk(&chunk)
	var batch wire.Encoder
	encodeChunk(&batch, chunk, encode)
	decoder := wire.NewDecoder(columns)
	decoder.Load(batch.Bytes())
	row, err := decoder.Next()
	if err != nil || len(row) != 2 {
		return false, errors.Join(errors.New("the engine explains in another form"), err)
	}
	if n := strings.Count(string(row[1]), `"Function": "READ_`); n > x.Pipes {
		return false, &engineError{Class: wire.FailureReread, Message: "the plan reads a table twice"}
	}
	var plan []operator
	if err := json.Unmarshal(row[1], &plan); err != nil {
		return false, fmt.Errorf("the engine's plan: %w", err)
	}
	return drains(plan), nil
}

// operator is a part of the engine's plan.
type operator struct {
	Name     string     `json:"name"`
	Children []operator `json:"children"`
}

// drains reports whether a plan is one chain over one reader of text whose operators
// take all rows there are. A limit may stop what it stands on, but not what is below an
// operator that gathers first.
func drains(plan []operator) bool {
	limited := false
	for len(plan) == 1 {
		switch strings.TrimSpace(plan[0].Name) {
		case "READ_CSV":
			return !limited
		case "PROJECTION", "FILTER":
		case "LIMIT", "STREAMING_LIMIT", "TOP_N":
			limited = true
		case "UNGROUPED_AGGREGATE", "HASH_GROUP_BY", "PERFECT_HASH_GROUP_BY", "ORDER_BY":
			limited = false
		default:
			return false
		}
		plan = plan[0].Children
	}
	return false
}

// bind binds the parameters in order.
func bind(p duckdb.PreparedStatement, parameters []wire.Parameter) error {
	if n := int(duckdb.NParams(p)); n != len(parameters) {
		return &engineError{Class: "invalid input", Message: fmt.Sprintf("the statement needs %d parameters and was given %d", n, len(parameters))}
	}
	for i, v := range parameters {
		at := duckdb.IdxT(i + 1)
		if err := v.Value.Check(v.Type); err != nil {
			return err
		}
		var state duckdb.State
		switch {
		case v.Value == nil:
			state = duckdb.BindNull(p, at)
		case v.Type == wire.Bool:
			state = duckdb.BindBoolean(p, at, v.Value.Bool())
		case v.Type == wire.Int16:
			state = duckdb.BindInt16(p, at, v.Value.Int16())
		case v.Type == wire.Int32:
			state = duckdb.BindInt32(p, at, v.Value.Int32())
		case v.Type == wire.Int64:
			state = duckdb.BindInt64(p, at, v.Value.Int64())
		case v.Type == wire.Float32:
			state = duckdb.BindFloat(p, at, v.Value.Float32())
		case v.Type == wire.Float64:
			state = duckdb.BindDouble(p, at, v.Value.Float64())
		case v.Type == wire.Date:
			state = duckdb.BindDate(p, at, duckdb.NewDate(v.Value.Int32()))
		case v.Type == wire.Time:
			state = duckdb.BindTime(p, at, duckdb.NewTime(v.Value.Int64()))
		case v.Type == wire.Timestamp:
			state = duckdb.BindTimestamp(p, at, duckdb.NewTimestamp(v.Value.Int64()))
		case v.Type == wire.TimestampTZ:
			state = duckdb.BindTimestampTZ(p, at, duckdb.NewTimestamp(v.Value.Int64()))
		case v.Type == wire.Interval:
			months, days, micros := v.Value.Interval()
			state = duckdb.BindInterval(p, at, duckdb.NewInterval(months, days, micros))
		case v.Type == wire.Bytes:
			state = duckdb.BindBlob(p, at, v.Value)
		default: // text in the engine's own spelling; the statement casts it
			state = duckdb.BindVarcharLength(p, at, string(v.Value), duckdb.IdxT(len(v.Value)))
		}
		if state != duckdb.StateSuccess {
			return &engineError{Class: "invalid input", Message: fmt.Sprintf("parameter %d of type %s cannot be bound", i+1, v.Type)}
		}
	}
	return nil
}

// rejects gathers what the text reader refused, per table.
func (s *session) rejects() ([]wire.Reject, error) {
	if s.pipes == 0 {
		return nil, nil
	}
	found, err := s.engine.strings("SELECT count(*)::VARCHAR FROM duckdb_tables() WHERE temporary AND table_name = 'reject_errors'")
	if err != nil || found[0][0] == "0" {
		return nil, err
	}
	rows, err := s.engine.strings(`SELECT file_path, count(DISTINCT line)::VARCHAR, min(line)::VARCHAR,
			arg_min(line_byte_position, line)::VARCHAR, arg_min(coalesce(column_name, ''), line), arg_min(error_message, line)
		FROM temp.main.reject_errors JOIN temp.main.reject_scans USING (scan_id, file_id) GROUP BY file_path`)
	if err != nil {
		return nil, err
	}
	var out []wire.Reject
	for _, row := range rows {
		i := slices.IndexFunc(s.inputs, func(in input) bool { return in.path == row[0] })
		if i < 0 {
			continue
		}
		r := wire.Reject{Schema: s.inputs[i].schema, Table: s.inputs[i].table, File: s.inputs[i].index, Column: row[4], Reason: row[5]}
		for n, at := range []*int64{&r.Count, &r.Line, &r.Offset} {
			if *at, err = strconv.ParseInt(row[n+1], 10, 64); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	return out, nil
}
