package warehouse_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/warehouse"
	"sluice.dev/sluice/internal/service/warehouse/warehousetest"
	"sluice.dev/sluice/internal/service/warehouse/wire"
	"sluice.dev/sluice/internal/service/warehouse/worker"
)

// TestMain lets the test binary be its own worker process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sql-worker" {
		os.Exit(worker.Main())
	}
	os.Exit(m.Run())
}

const account = "123456789012"

// site is a warehouse over memory.
type site struct {
	t       testing.TB
	area    *warehousetest.Memory
	lake    *warehousetest.Memory
	policy  *warehousetest.Policy
	service *warehouse.Service
	store   *store.Store
}

func open(t testing.TB, adjust ...func(*warehouse.Config, *warehouse.Deps)) *site {
	t.Helper()
	if !worker.Available {
		t.Skip("the warehouse is not in this build")
	}
	s := &site{t: t, area: warehousetest.NewMemory(), lake: warehousetest.NewMemory(), policy: &warehousetest.Policy{}}
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	db, err := store.Open(t.Context(), store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "control.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := warehouse.Config{Account: account, Region: "us-east-1", Worker: []string{exe, "sql-worker"}}
	deps := warehouse.Deps{
		Store: db, Area: s.area, Authorizer: s.policy, Clock: clock.System{}, Log: log,
		Objects: &warehousetest.Buckets{Sets: map[string]*warehousetest.Memory{"lake": s.lake}, Auth: s.policy},
	}
	for _, a := range adjust {
		a(&config, &deps)
	}
	if s.service, err = warehouse.New(config, deps); err != nil {
		t.Fatal(err)
	}
	s.store = db
	t.Cleanup(func() {
		s.service.Close()
		db.Close()
	})
	return s
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (s *site) put(key, text string) { s.lake.Put(key, encode(key, text)) }

// encode compresses text where the key says so.
func encode(key, text string) []byte {
	if !strings.HasSuffix(key, ".gz") {
		return []byte(text)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	w.Close()
	return b.Bytes()
}

// as opens a session for a user.
func (s *site) as(user string) *warehouse.Session {
	s.t.Helper()
	session, err := s.service.Open(identity(s.t.Context(), user), warehouse.Database)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(session.Close)
	return session
}

func identity(ctx context.Context, user string) context.Context {
	return caller.With(ctx, caller.Identity{Account: account, ARN: "arn:aws:iam::" + account + ":user/" + user, UserName: user})
}

// result is what a statement gave, its values as text.
type result struct {
	columns []wire.Column
	rows    []string // values joined by |
	tag     string
	notices []warehouse.Notice
}

func run(ctx context.Context, session *warehouse.Session, sql string, args ...string) (result, error) {
	var r result
	st, err := session.Prepare(sql, nil)
	if err != nil {
		return r, err
	}
	parameters := make([]wire.Parameter, len(args))
	if len(args) > 0 {
		if _, _, err := st.Describe(ctx); err != nil {
			return r, err
		}
	}
	for i, a := range args {
		parameters[i] = wire.Parameter{Type: wire.Text, Value: wire.Cell(a)}
	}
	cursor, err := session.Run(ctx, st, parameters)
	if err != nil {
		return r, err
	}
	defer cursor.Close()
	r.columns = cursor.Columns
	for {
		row, err := cursor.Next()
		if err != nil {
			return r, err
		}
		if row == nil {
			break
		}
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = show(c, cursor.Columns[i].Type)
		}
		r.rows = append(r.rows, strings.Join(cells, "|"))
	}
	r.tag, r.notices = cursor.Tag(), cursor.Notices()
	return r, nil
}

func show(c wire.Cell, t wire.Type) string {
	if c == nil {
		return "NULL"
	}
	switch t {
	case wire.Bool:
		return fmt.Sprint(c.Bool())
	case wire.Int16:
		return fmt.Sprint(c.Int16())
	case wire.Int32, wire.Date:
		return fmt.Sprint(c.Int32())
	case wire.Int64, wire.Time, wire.Timestamp, wire.TimestampTZ:
		return fmt.Sprint(c.Int64())
	case wire.Float64:
		return fmt.Sprint(c.Float64())
	case wire.Float32:
		return fmt.Sprint(c.Float32())
	}
	return string(c)
}

// exec runs statements that must succeed and returns the last result.
func exec(t testing.TB, session *warehouse.Session, statements ...string) result {
	t.Helper()
	var last result
	for _, sql := range statements {
		var err error
		if last, err = run(t.Context(), session, sql); err != nil {
			t.Fatalf("%s\n%v", sql, describe(err))
		}
	}
	return last
}

// rows checks the rows of a query.
func rows(t testing.TB, session *warehouse.Session, sql string, want ...string) {
	t.Helper()
	got := exec(t, session, sql)
	if strings.Join(got.rows, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\ngot  %q\nwant %q", sql, got.rows, want)
	}
}

// fails checks that a statement fails for a reason with a text in its message.
func fails(t testing.TB, session *warehouse.Session, sql, reason, message string) *warehouse.Problem {
	t.Helper()
	_, err := run(t.Context(), session, sql)
	r := fault.ReasonOf(err)
	if err == nil || r == nil || r.Name != reason || !strings.Contains(fault.MessageOf(err), message) {
		t.Errorf("%s\ngot %v, want %s with %q", sql, describe(err), reason, message)
		return &warehouse.Problem{}
	}
	p, _ := errors.AsType[*warehouse.Problem](err)
	return p
}

func describe(err error) string {
	if err == nil {
		return "no error"
	}
	name := "no reason"
	if r := fault.ReasonOf(err); r != nil {
		name = r.Name
	}
	out := name + ": " + err.Error()
	if p, ok := errors.AsType[*warehouse.Problem](err); ok {
		out += fmt.Sprintf(" (position %d, detail %q, hint %q)", p.Position, p.Detail, p.Hint)
	}
	return out
}

const external = `create external schema sp from data catalog database 'spdb' create external database if not exists`

// TestIsolation refuses the levels that transactions do not have.
func TestIsolation(t *testing.T) {
	c := open(t).as("a")
	for _, sql := range []string{
		"begin isolation level serializable", "start transaction isolation level repeatable read", "set transaction isolation level serializable",
		"set session characteristics as transaction isolation level serializable", "set default_transaction_isolation = 'serializable'", "set transaction_isolation to 'repeatable read'",
	} {
		fails(t, c, sql, "FeatureNotSupported", "isolation level")
	}
	exec(t, c, "begin isolation level read committed", "commit", "set default_transaction_isolation = 'read committed'", "begin transaction isolation level read uncommitted", "rollback")
}
