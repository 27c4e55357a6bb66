package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"sluice.dev/sluice/internal/base/fault"
)

// Faults of sessions.
var (
	// NameTaken: another node that is alive has the name.
	NameTaken = &fault.Reason{Kind: fault.Exists, Name: "NodeNameTaken"}
	// SessionLost: the session expired, or another has taken its place. It cannot be
	// renewed; what it held is free for others.
	SessionLost = &fault.Reason{Kind: fault.Conflict, Name: "SessionLost"}
)

// Session is a node's life as the database sees it. It ends when it is closed or when it
// was not renewed for its time to live, counted by the database's clock alone: no two
// nodes' clocks are ever compared.
type Session struct {
	s    *Store
	name string
	id   string
	ttl  time.Duration
}

// SessionConfig describes a session.
type SessionConfig struct {
	// Name of the node, unique among those that live.
	Name string
	// Owner is an id that the node keeps over restarts. It alone may begin a new session
	// under Name while the one before has not expired, as it knows that its process is gone.
	Owner string
	// TTL is how long the session lives without a renewal.
	TTL time.Duration
	// About is what the node tells of itself; sealed like a document.
	About json.RawMessage
}

// OpenSession begins a session; a NameTaken error if the name belongs to a living node.
func (s *Store) OpenSession(ctx context.Context, c SessionConfig) (*Session, error) {
	tx, err := s.begin(ctx) // the revision row serialises those who race for one name
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	var owner string
	var alive bool
	err = tx.QueryRowContext(ctx, s.dia.rebind("SELECT owner, expires > "+s.dia.now+" FROM sluice_nodes WHERE name = ?"), c.Name).Scan(&owner, &alive)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return nil, Unreachable.Wrap(err, "cannot read the nodes")
	case alive && owner != c.Owner:
		return nil, NameTaken.New("another node is called %q", c.Name)
	}
	ses := &Session{s: s, name: c.Name, id: rand.Text(), ttl: c.TTL}
	if _, err := tx.ExecContext(ctx, s.dia.rebind("DELETE FROM sluice_nodes WHERE name = ?"), c.Name); err != nil {
		return nil, Unreachable.Wrap(err, "cannot begin a session")
	}
	if _, err := tx.ExecContext(ctx, s.dia.rebind("INSERT INTO sluice_nodes (name, owner, session, expires, body) VALUES (?, ?, ?, "+s.dia.now+" + ?, ?)"),
		c.Name, c.Owner, ses.id, c.TTL.Milliseconds(), ses.sealed(c.About)); err != nil {
		return nil, Unreachable.Wrap(err, "cannot begin a session")
	}
	if err := tx.Commit(); err != nil {
		return nil, Unreachable.Wrap(err, "cannot begin a session")
	}
	return ses, nil
}

// ID names the session; no other ever has the same.
func (ses *Session) ID() string { return ses.id }

func (ses *Session) sealed(about json.RawMessage) []byte {
	return ses.s.seal.seal(about, "nodes", []byte(ses.name), 0)
}

// Renew lets the session live for another TTL from now. After a SessionLost error it has
// ended; after any other it is not known whether the renewal took place.
func (ses *Session) Renew(ctx context.Context, about json.RawMessage) error {
	s := ses.s
	res, err := s.db.ExecContext(ctx, s.dia.rebind("UPDATE sluice_nodes SET expires = "+s.dia.now+" + ?, body = ? WHERE name = ? AND session = ? AND expires > "+s.dia.now),
		ses.ttl.Milliseconds(), ses.sealed(about), ses.name, ses.id)
	if err != nil {
		return Unreachable.Wrap(err, "cannot renew the session")
	}
	s.contacted()
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return SessionLost.New("the session of node %q has ended", ses.name)
	}
	return nil
}

// Close ends the session at once. The node stays known, as one that is down.
func (ses *Session) Close(ctx context.Context) error {
	s := ses.s
	if _, err := s.db.ExecContext(ctx, s.dia.rebind("UPDATE sluice_nodes SET expires = 0 WHERE name = ? AND session = ?"), ses.name, ses.id); err != nil {
		return Unreachable.Wrap(err, "cannot end the session")
	}
	return nil
}

// Node is a node that has or had a session.
type Node struct {
	Name    string
	Session string
	// Left is how long the session lives on without a renewal; not positive if it ended.
	Left  time.Duration
	About json.RawMessage
}

// Nodes lists the nodes that have or had a session, by name.
func (s *Store) Nodes(ctx context.Context) ([]Node, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT name, session, expires - "+s.dia.now+", body FROM sluice_nodes ORDER BY name")
	if err != nil {
		return nil, Unreachable.Wrap(err, "cannot read the nodes")
	}
	defer func() { _ = rows.Close() }() // rows.Err below is the one that counts
	var out []Node
	for rows.Next() {
		var n Node
		var left int64
		var body []byte
		if err := rows.Scan(&n.Name, &n.Session, &left, &body); err != nil {
			return nil, Unreachable.Wrap(err, "cannot read the nodes")
		}
		n.Left = time.Duration(left) * time.Millisecond
		if n.About, err = s.seal.open(body, "nodes", []byte(n.Name), 0); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	if err := rows.Err(); err != nil {
		return nil, Unreachable.Wrap(err, "cannot read the nodes")
	}
	s.contacted()
	return out, nil
}

// ForgetNode removes a node whose session has ended; a Conflict if it is alive.
func (s *Store) ForgetNode(ctx context.Context, name string) (found bool, err error) {
	res, err := s.db.ExecContext(ctx, s.dia.rebind("DELETE FROM sluice_nodes WHERE name = ? AND expires <= "+s.dia.now), name)
	if err != nil {
		return false, Unreachable.Wrap(err, "cannot forget the node")
	}
	if n, err := res.RowsAffected(); err == nil && n == 1 {
		return true, nil
	}
	var n int
	if err := s.db.QueryRowContext(ctx, s.dia.rebind("SELECT count(*) FROM sluice_nodes WHERE name = ?"), name).Scan(&n); err != nil {
		return false, Unreachable.Wrap(err, "cannot read the nodes")
	}
	if n != 0 {
		return true, NameTaken.New("node %q is alive", name)
	}
	return false, nil
}

// Alive reports whether a session lives. If it does not, it is dead for good: a renewal
// that comes at the same time waits for the transaction's end, and fails.
func (tx *Tx) Alive(session string) (alive bool, err error) {
	err = tx.sql.QueryRowContext(tx.ctx, tx.dia.rebind("SELECT expires > "+tx.dia.now+" FROM sluice_nodes WHERE session = ?"+tx.dia.forUpdate), session).Scan(&alive)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, Unreachable.Wrap(err, "cannot read the nodes")
	}
	return alive, nil
}
