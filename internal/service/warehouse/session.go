package warehouse

import (
	"context"
	"slices"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/warehouse/wire"
	"sluice.dev/sluice/internal/service/warehouse/worker"
)

// Session is one client's connection: an identity, its settings and its transaction.
// Its methods must not be called at the same time.
type Session struct {
	svc      *Service
	id       caller.Identity
	settings settings
	process  uint32 // what pg_backend_pid returns
	state    TransactionState
	pending  *pendingChange // of the open transaction
}

// TransactionState says where a session stands.
type TransactionState uint8

// The states.
const (
	Autocommit    TransactionState = iota // every statement is its own transaction
	InTransaction                         // between BEGIN and COMMIT
	Failed                                // a statement failed; ROLLBACK is awaited
)

// Open begins a session for the caller in ctx, who needs redshift:GetClusterCredentials.
func (s *Service) Open(ctx context.Context, database string) (*Session, error) {
	if !worker.Available {
		return nil, FeatureNotSupported.new("the warehouse is not in this build: it needs cgo on linux")
	}
	id, err := identity(ctx)
	if err != nil {
		return nil, err
	}
	if database != Database {
		return nil, UndefinedDatabase.new("database \"%s\" does not exist", database).hint("The database is called \"%s\".", Database)
	}
	arn := name.ARN{Service: "redshift", Region: s.cfg.Region, Account: s.cfg.Account, Resource: "dbname:sluice/" + Database}
	if err := s.auth.Authorize(ctx, "redshift:GetClusterCredentials", arn); err != nil {
		return nil, InsufficientPrivilege.wrap(err, "permission denied for database \"%s\"", Database).
			detail("redshift:GetClusterCredentials is not allowed on %s.", arn)
	}
	s.pool.warm()
	return &Session{svc: s, id: id, settings: newSettings(id, s.cfg.Timeout)}, nil
}

// State returns where the session's transaction stands.
func (s *Session) State() TransactionState { return s.state }

// Close ends the session and undoes an open transaction.
func (s *Session) Close() { s.rollback() }

// Statement is a statement that was parsed and can be run many times.
type Statement struct {
	session *Session
	sql     string
	node    node
	types   []wire.Type // of the parameters, Unknown where nobody said

	described bool
	columns   []wire.Column
}

// Prepare parses one statement. types are the parameter types the client declares.
func (s *Session) Prepare(sql string, types []wire.Type) (_ *Statement, err error) {
	defer recovered(&err)
	n, err := parse(sql)
	if err != nil {
		return nil, err
	}
	st := &Statement{session: s, sql: sql, node: n, types: append([]wire.Type(nil), types...)}
	count, err := countParameters(sql)
	if err != nil {
		return nil, err
	}
	for len(st.types) < count {
		st.types = append(st.types, wire.Unknown)
	}
	return st, nil
}

// countParameters returns the highest $n.
func countParameters(sql string) (int, error) {
	tokens, err := lex(sql)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, t := range tokens {
		if t.kind != tokenParameter {
			continue
		}
		n := 0
		for _, c := range []byte(t.text) {
			n = min(n*10+int(c-'0'), 1<<20)
		}
		if n < 1 || n > maxParameters {
			return 0, SyntaxError.at(t.start+1, "there is no parameter $%s", t.text)
		}
		count = max(count, n)
	}
	return count, nil
}

// Types returns the parameters' types as far as they are known.
func (st *Statement) Types() []wire.Type { return st.types }

// Notice is a remark beside a result.
type Notice struct {
	Message string
	Detail  string
	Hint    string
}

// Cursor is the result of a statement: rows as they come, then a tag.
type Cursor struct {
	Columns []wire.Column // nil where the statement returns no rows
	tag     string
	notices []Notice

	rows [][]wire.Cell // of a result made here
	at   int
	run  *run // of a result that streams
}

// done is the result of a statement without rows.
func done(tag string, notices ...Notice) *Cursor { return &Cursor{tag: tag, notices: notices} }

// Next returns the next row, valid until the following call, or nil at the end.
func (c *Cursor) Next() (_ []wire.Cell, err error) {
	defer recovered(&err)
	if c.run != nil {
		row, err := c.run.next()
		if row == nil && err == nil {
			c.tag, c.notices = c.run.tag(), c.run.notices()
		}
		return row, err
	}
	if c.at == len(c.rows) {
		return nil, nil
	}
	c.at++
	return c.rows[c.at-1], nil
}

// Tag returns the command tag, complete once Next has returned nil.
func (c *Cursor) Tag() string { return c.tag }

// Notices returns what there is to remark, complete once Next has returned nil.
func (c *Cursor) Notices() []Notice { return c.notices }

// Close ends the statement, also in the middle of its rows.
func (c *Cursor) Close() {
	if c.run != nil {
		c.run.close()
	}
}

// Run runs a statement with its parameters. The cursor must be closed; until then the
// session can run no other statement that changes anything.
func (s *Session) Run(ctx context.Context, st *Statement, args []wire.Parameter) (c *Cursor, err error) {
	ctl, isControl := st.node.(*control)
	if s.state == Failed && !(isControl && (ctl.verb == "ROLLBACK" || ctl.verb == "COMMIT")) {
		return nil, FailedTransaction.new("current transaction is aborted, commands ignored until end of transaction block")
	}
	ctx = caller.With(ctx, s.id)
	defer func() {
		if err != nil {
			s.Fail()
		}
	}()
	defer recovered(&err)
	if len(args) != len(st.types) {
		return nil, InvalidParameterValue.new("the statement needs %d parameters and was given %d", len(st.types), len(args))
	}
	if args, err = s.readArguments(st.types, args); err != nil {
		return nil, err
	}
	if s.pending != nil && !isControl && st.node.kind() != kindSession {
		return nil, FeatureNotSupported.new("a transaction that has changed something can only be committed or rolled back").
			hint("COMMIT first. One change per transaction is atomic; more than one would not be.")
	}
	switch st.node.kind() {
	case kindQuery:
		return s.query(ctx, st, args)
	case kindSession:
		return s.command(ctx, st.node)
	case kindDefine:
		return s.commit(ctx, func(ctx context.Context) (*pendingChange, error) { return s.define(ctx, st.node) })
	}
	return s.commit(ctx, func(ctx context.Context) (*pendingChange, error) { return s.modify(ctx, st, args) })
}

// readArguments brings timestamps with time zone that came as text to the engine's form: for
// this type alone the engine has a reader that cannot be replaced.
func (s *Session) readArguments(types []wire.Type, args []wire.Parameter) ([]wire.Parameter, error) {
	out := args
	for i, a := range args {
		if types[i] != wire.TimestampTZ || a.Type != wire.Text || a.Value == nil {
			continue
		}
		v, err := s.reader().TimestampTZ(string(a.Value))
		if err != nil {
			return nil, InvalidDatetime.new("%s", err)
		}
		if &out[0] == &args[0] {
			out = slices.Clone(args)
		}
		out[i].Value = wire.Cell(instantText(v))
	}
	return out, nil
}

// Fail notes that something went wrong, which aborts an open transaction.
func (s *Session) Fail() {
	if s.state == InTransaction {
		s.state = Failed
	}
}

// pendingChange is a change made ready whose last, atomic step is still to come.
type pendingChange struct {
	tag     string
	table   string // id of the table whose rows it changes; empty where running it again helps nobody
	notices []Notice
	commit  func(ctx context.Context) error // nil where nothing is to do
	abort   func()                          // undoes the preparation; may be nil
	after   func(ctx context.Context) error // upkeep behind the commit; may be nil
}

// commit makes a change ready and takes its last step, now or with the transaction.
func (s *Session) commit(ctx context.Context, prepare func(context.Context) (*pendingChange, error)) (*Cursor, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	change, err := prepare(ctx)
	if err != nil {
		return nil, err
	}
	if s.state == InTransaction {
		s.pending = change
		return done(change.tag, change.notices...), nil
	}
	if err = change.finish(ctx); SerializationFailure.Is(err) && change.table != "" {
		change, err = s.redo(ctx, change.table, prepare)
	}
	if err != nil {
		return nil, err
	}
	if change.after != nil {
		if err := change.after(ctx); err != nil { // the change itself stands
			s.svc.log.Warn("the small files of a table stay apart", "error", err)
		}
	}
	return done(change.tag, change.notices...), nil
}

// redo runs a statement again whose table was changed under it, until it is the one that
// comes first. Those that lost once wait for each other.
func (s *Session) redo(ctx context.Context, table string, prepare func(context.Context) (*pendingChange, error)) (*pendingChange, error) {
	unlock, err := s.svc.turns.lock(ctx, table)
	if err != nil {
		return nil, canceled(ctx)
	}
	defer unlock()
	for tries := 0; ; tries++ {
		change, err := prepare(ctx)
		if err != nil {
			return nil, err
		}
		if err = change.finish(ctx); !SerializationFailure.Is(err) || tries == maxTries {
			return change, err
		}
	}
}

// maxTries bounds how often a statement gives way to others.
const maxTries = 100

func (c *pendingChange) finish(ctx context.Context) error {
	if c.commit == nil {
		return nil
	}
	err := c.commit(ctx)
	if err != nil && c.abort != nil {
		c.abort()
	}
	return err
}

func (s *Session) rollback() {
	if s.pending != nil && s.pending.abort != nil {
		s.pending.abort()
	}
	s.pending, s.state = nil, Autocommit
}

// deadline bounds a statement by the session's timeout.
func (s *Session) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := s.settings.timeout
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, limit, errTimeout)
}

var errTimeout = QueryCanceled.new("canceling statement due to statement timeout")

// canceled is the error of a statement whose context ended.
func canceled(ctx context.Context) error {
	if context.Cause(ctx) == error(errTimeout) {
		return errTimeout
	}
	return QueryCanceled.new("canceling statement due to user request")
}
