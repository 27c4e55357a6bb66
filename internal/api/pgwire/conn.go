package pgwire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"sluice.dev/sluice/internal/service/warehouse"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// flushBytes is how much is gathered before it is written to the client.
const flushBytes = 64 << 10

// conn is one client.
type conn struct {
	server    *Server
	net       net.Conn
	in        *bufio.Reader
	out       *counter
	be        *pgproto3.Backend
	ctx       context.Context
	encrypted bool
	session   *warehouse.Session
	pid       uint32
	key       []byte

	statements map[string]*prepared
	portals    map[string]*portal
	told       bool // the client knows why its connection ends
	skipping   bool // after an error of the extended protocol, until Sync

	mu     sync.Mutex
	cancel context.CancelFunc // of the statement that runs
}

// counter counts what is waiting to be written; the backend does not tell.
type counter struct {
	w       io.Writer
	pending int
}

func (c *counter) Write(b []byte) (int, error) {
	c.pending = 0
	return c.w.Write(b)
}

// attach makes nc, clear or TLS, the connection.
func (c *conn) attach(nc net.Conn) {
	c.net = nc
	c.in = bufio.NewReaderSize(nc, 16<<10)
	c.out = &counter{w: nc}
	c.be = pgproto3.NewBackend(c.in, c.out)
	c.be.SetMaxBodyLen(c.server.cfg.MaxMessage)
}

// run serves the client to its end.
func (c *conn) run() error {
	defer c.server.unregister(c)
	defer func() {
		if c.session != nil {
			c.closePortals()
			c.session.Close()
		}
	}()
	if err := c.startup(); err != nil {
		if errors.Is(err, errGone) {
			return nil
		}
		return err
	}
	for {
		if idle := c.server.cfg.IdleTime; idle > 0 && c.ctx.Err() == nil {
			_ = c.net.SetReadDeadline(time.Now().Add(idle))
		}
		message, err := c.be.Receive()
		if err != nil {
			return c.farewell(err)
		}
		if idle := c.server.cfg.IdleTime; idle > 0 && c.ctx.Err() == nil {
			_ = c.net.SetReadDeadline(time.Time{})
		}
		if _, ok := message.(*pgproto3.Terminate); ok {
			return nil
		}
		if err := c.handle(message); err != nil {
			return err
		}
	}
}

// farewell tells a client that is still there why its connection ends.
func (c *conn) farewell(err error) error {
	code, text := "", ""
	var big *pgproto3.ExceededMaxBodyLenErr
	switch {
	case c.ctx.Err() != nil:
		code, text = "57P01", "terminating connection due to administrator command"
	case errors.Is(err, os.ErrDeadlineExceeded):
		code, text = "57P05", "terminating connection due to idle-session timeout"
	case errors.As(err, &big):
		code, text = "54000", "a message is larger than this server accepts"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return nil
	default:
		code, text = "08P01", "invalid message: "+err.Error()
	}
	_ = c.net.SetDeadline(time.Now().Add(lingerTime))
	_ = c.fatal(code, "%s", text)
	if big != nil {
		c.linger()
	}
	return err
}

const (
	lingerTime  = 5 * time.Second
	lingerBytes = 256 << 20
)

// linger takes what the client still sends of a message that is not wanted: closing a
// connection with unread bytes resets it, and the client loses the error.
func (c *conn) linger() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, c.in, lingerBytes)
}

// handle serves one message. An error it returns ends the connection.
func (c *conn) handle(message pgproto3.FrontendMessage) error {
	if c.skipping {
		if _, ok := message.(*pgproto3.Sync); !ok {
			return nil
		}
	}
	switch m := message.(type) {
	case *pgproto3.Query:
		return c.simple(m.String)
	case *pgproto3.Parse:
		return c.extended(c.parse(m))
	case *pgproto3.Bind:
		return c.extended(c.bind(m))
	case *pgproto3.Describe:
		return c.extended(c.describe(m))
	case *pgproto3.Execute:
		return c.extended(c.execute(m))
	case *pgproto3.Close:
		c.close(m)
		return nil
	case *pgproto3.Sync:
		c.skipping = false
		if c.session.State() == warehouse.Autocommit {
			c.closePortals()
		}
		return c.ready()
	case *pgproto3.Flush:
		return c.be.Flush()
	case *pgproto3.FunctionCall:
		c.fail(unsupported("function calls are not supported"), "ERROR", "", 0)
		return c.ready()
	case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
		return nil // the remains of a COPY that was refused
	}
	return errors.New("a message of an unexpected kind")
}

// ready tells the client that the next statement may come.
func (c *conn) ready() error {
	status := byte('I')
	switch c.session.State() {
	case warehouse.InTransaction:
		status = 'T'
	case warehouse.Failed:
		status = 'E'
	}
	c.be.Send(&pgproto3.ReadyForQuery{TxStatus: status})
	return c.be.Flush()
}

// simple runs the statements of one Query message.
func (c *conn) simple(sql string) error {
	c.closePortals()
	delete(c.statements, "")
	texts, err := warehouse.Split(sql)
	if err != nil {
		c.fail(err, "ERROR", sql, 0)
		c.session.Fail()
		return c.ready()
	}
	if len(texts) == 0 {
		c.be.Send(&pgproto3.EmptyQueryResponse{})
		return c.ready()
	}
	for _, t := range texts {
		failed, err := c.one(sql, t)
		if err != nil {
			return err
		}
		if failed {
			break
		}
	}
	return c.ready()
}

// one runs one statement of a simple query. failed means that the client was told.
func (c *conn) one(sql string, t warehouse.Text) (failed bool, err error) {
	ctx, done := c.statement()
	defer done()
	problem := func(err error) (bool, error) {
		c.session.Fail()
		c.fail(err, "ERROR", sql, t.Offset)
		return true, nil
	}
	st, err := c.session.Prepare(t.SQL, nil)
	if err != nil {
		return problem(err)
	}
	if len(st.Types()) > 0 {
		return problem(parameterMissing())
	}
	cursor, err := c.session.Run(ctx, st, nil)
	if err != nil {
		return problem(err)
	}
	defer cursor.Close()
	if cursor.Columns != nil {
		c.be.Send(rowDescription(cursor.Columns, nil))
	}
	_, err = c.rows(cursor, nil, 0)
	if _, ok := errors.AsType[*sendError](err); ok {
		return false, err
	}
	if err != nil {
		return problem(err)
	}
	c.finish(cursor)
	return false, nil
}

// finish sends what follows the rows.
func (c *conn) finish(cursor *warehouse.Cursor) {
	for _, n := range cursor.Notices() {
		c.be.Send(&pgproto3.NoticeResponse{
			Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "00000", Message: n.Message, Detail: n.Detail, Hint: n.Hint,
		})
	}
	c.be.Send(&pgproto3.CommandComplete{CommandTag: []byte(cursor.Tag())})
}

// sendError is a failure to write to the client.
type sendError struct{ err error }

func (e *sendError) Error() string { return "write to the client: " + e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// rows sends rows, at most limit unless that is 0. more says that the limit was reached.
func (c *conn) rows(cursor *warehouse.Cursor, formats []int16, limit uint32) (more bool, err error) {
	enc := newEncoder(cursor.Columns, formats, c.session.Parameter("timezone"))
	for n := uint32(0); limit == 0 || n < limit; n++ {
		row, err := cursor.Next()
		if err != nil {
			return false, err
		}
		if row == nil {
			return false, nil
		}
		message, size := enc.row(row)
		c.be.Send(message)
		if c.out.pending += size; c.out.pending >= flushBytes {
			if err := c.be.Flush(); err != nil {
				return false, &sendError{err}
			}
		}
	}
	return true, nil
}

// statement returns the context of one statement. It ends when the client cancels the
// statement or goes away.
func (c *conn) statement() (context.Context, func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	c.mu.Lock()
	c.cancel = cancel
	c.mu.Unlock()
	unwatch := c.watch(cancel)
	return ctx, func() {
		unwatch()
		c.mu.Lock()
		c.cancel = nil
		c.mu.Unlock()
		cancel()
	}
}

func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}

// watch calls gone when the client closes the connection while a statement runs. It
// looks at the next byte without taking it; the function it returns makes it stop.
func (c *conn) watch(gone func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := c.in.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			gone()
		}
	}()
	return func() {
		_ = c.net.SetReadDeadline(time.Unix(1, 0))
		<-done
		if c.ctx.Err() == nil {
			_ = c.net.SetReadDeadline(time.Time{})
		}
	}
}

func rowDescription(columns []wire.Column, formats []int16) *pgproto3.RowDescription {
	d := &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, len(columns))}
	for i, col := range columns {
		t := types[col.Type]
		d.Fields[i] = pgproto3.FieldDescription{
			Name: []byte(col.Name), DataTypeOID: t.oid, DataTypeSize: t.size, TypeModifier: modifier(col), Format: format(formats, i),
		}
	}
	return d
}
