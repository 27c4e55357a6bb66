package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/work"
)

// Faults of the store.
var (
	Unreachable = &fault.Reason{Kind: fault.Unavailable, Name: "ControlStoreUnreachable"}
	WrongKey    = &fault.Reason{Kind: fault.Invalid, Name: "ControlStoreWrongKey"}
	NewerFormat = &fault.Reason{Kind: fault.Invalid, Name: "ControlStoreNewerFormat"}
	BadURL      = &fault.Reason{Kind: fault.Invalid, Name: "ControlStoreBadURL"}
	Damaged     = &fault.Reason{Kind: fault.Corrupt, Name: "ControlStoreDamaged"}
	DiskFull    = &fault.Reason{Kind: fault.Unavailable, Name: "DiskFull"}
)

// Config says where the store is and how it is sealed.
type Config struct {
	// URL names the database: sqlite:///absolute/path, postgres://… or mysql://user:pw@host:port/db
	// (MariaDB too).
	URL string
	// Key seals bodies and hashes keys. All nodes of a cluster share it.
	Key [32]byte
	// Connections is the most that are open to an external database; 4 if zero.
	Connections int
	// Poll is how often the revision is read where no push arrives; 250 ms if zero.
	Poll time.Duration
	// Keep is how many revisions of the feed are kept for nodes that fell behind; 10,000 if zero.
	Keep int64
	// Room returns an error while the disk has no room for what is written; nil if it always
	// has. It is asked where the store is a file of this machine. Deleting needs no room, nor
	// do rows that replace others, which is what agents report all the time.
	Room func() error
	// Clock tells the time; the machine's if nil.
	Clock clock.Clock
	// Log receives what goes wrong in the background; discarded if nil.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Poll == 0 {
		c.Poll = 250 * time.Millisecond
	}
	if c.Keep == 0 {
		c.Keep = 10_000
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Store is an open control store.
type Store struct {
	cfg  Config
	db   *sql.DB
	dia  *dialect
	seal *sealer

	// requests carries transactions and catch-ups to the one goroutine that owns work.
	requests chan *request
	stop     chan struct{}
	stopped  chan struct{}
	once     sync.Once

	published atomic.Pointer[Snapshot]
	contact   atomic.Int64 // unix nanoseconds of the last successful word with the database

	pushed chan struct{} // somebody says that there is a new revision
	// committed, if set, is told of each revision that this node committed.
	committed atomic.Pointer[func(revision int64)]

	mu          sync.Mutex // guards definitions and subscribers
	definitions map[string]*definition
	subscribers map[int]func(*Snapshot, []Change)
	nextSub     int
}

// Open connects, migrates the schema forward, and loads everything into memory.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := newStore(c)
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		_ = s.db.Close() // the first error is the one to report
		return nil, err
	}
	go s.serve()
	return s, nil
}

func newStore(c Config) (*Store, error) {
	c = c.withDefaults()
	dia, db, err := openURL(c.URL, c.Connections)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: c, db: db, dia: dia,
		requests:    make(chan *request, 1024),
		pushed:      make(chan struct{}, 1),
		stop:        make(chan struct{}),
		stopped:     make(chan struct{}),
		definitions: map[string]*definition{},
		subscribers: map[int]func(*Snapshot, []Change){},
	}
	s.seal, err = newSealer(c.Key)
	return s, err
}

// reach connects, and migrates the schema forward.
func (s *Store) reach(ctx context.Context) error {
	ping, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := s.db.PingContext(ping); err != nil {
		return s.dia.unreachable(err, "cannot reach the control store ("+s.dia.name+")")
	}
	return s.dia.migrate(ctx, s.db)
}

func (s *Store) open(ctx context.Context) error {
	if err := s.reach(ctx); err != nil {
		return err
	}
	if err := s.checkKey(ctx); err != nil {
		return err
	}
	snap, err := s.load(ctx)
	if err != nil {
		return err
	}
	s.published.Store(snap)
	s.contacted()
	return nil
}

// probe is sealed in a database that is in use, to know its key by.
const probe = "sluice control store"

// checkKey makes sure that Config.Key is the one this database was sealed with.
func (s *Store) checkKey(ctx context.Context) error {
	var sealed []byte
	if err := s.db.QueryRowContext(ctx, "SELECT probe FROM sluice_meta WHERE id = 1").Scan(&sealed); err != nil {
		return Unreachable.Wrap(err, "cannot read the control store")
	}
	if len(sealed) == 0 {
		sealed = s.seal.seal([]byte(probe), "meta", nil, 0)
		res, err := s.db.ExecContext(ctx, s.dia.rebind("UPDATE sluice_meta SET probe = ? WHERE id = 1 AND probe IS NULL"), sealed)
		if err != nil {
			return Unreachable.Wrap(err, "cannot initialise the control store")
		}
		if n, err := res.RowsAffected(); err == nil && n == 1 {
			return nil
		}
		// Another node was first: check against its probe.
		if err := s.db.QueryRowContext(ctx, "SELECT probe FROM sluice_meta WHERE id = 1").Scan(&sealed); err != nil {
			return Unreachable.Wrap(err, "cannot read the control store")
		}
	}
	return s.checkProbe(sealed)
}

func (s *Store) checkProbe(sealed []byte) error {
	if plain, err := s.seal.open(sealed, "meta", nil, 0); err != nil || string(plain) != probe {
		return WrongKey.New("the control store is sealed with another root key than this node's")
	}
	return nil
}

// Close ends the background work and the connections. Transactions still queued fail.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.stop) })
	<-s.stopped
	return s.db.Close()
}

// Snapshot returns the newest state this node knows, including all its own transactions.
func (s *Store) Snapshot() *Snapshot { return s.published.Load() }

// room refuses a write that the disk has no room for.
func (s *Store) room() error {
	if !s.dia.local || s.cfg.Room == nil {
		return nil
	}
	if err := s.cfg.Room(); err != nil {
		return DiskFull.New("%s", fault.MessageOf(err))
	}
	return nil
}

// Silence is how long ago the database last answered. It stays zero for SQLite, which is
// part of this process. Services that must fail closed without the store compare it to
// their limit.
func (s *Store) Silence() time.Duration {
	if s.dia.local {
		return 0
	}
	return s.cfg.Clock.Now().Sub(time.Unix(0, s.contact.Load()))
}

func (s *Store) contacted() { s.contact.Store(s.cfg.Clock.Now().UnixNano()) }

// Change is one changed document in the feed.
type Change struct {
	Revision   int64
	Collection string
	Key        string
	Deleted    bool
}

// Subscribe calls fn with each batch of changes, in revision order, after memory shows
// them and before the Update that made them returns. fn must be quick and must not call
// Update. After a fresh snapshot of a compacted feed, fn is called with no changes: read all again.
func (s *Store) Subscribe(fn func(*Snapshot, []Change)) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.nextSub
	s.nextSub++
	s.subscribers[id] = fn
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, id)
	}
}

// Run follows the changes of other nodes and trims the feed until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	trim := time.NewTicker(time.Minute)
	defer trim.Stop()
	if s.dia.local {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-trim.C:
				s.trim(ctx)
			}
		}
	}
	if s.dia.listen != nil {
		go s.dia.listen(ctx, s.cfg, s.pushed)
	}
	poll := time.NewTicker(s.cfg.Poll)
	defer poll.Stop()
	// It looks as often while it fails: a database that is back must be seen at once.
	follow := work.Retry{Log: s.cfg.Log, What: "control store: following the feed", First: s.cfg.Poll, Last: s.cfg.Poll}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-trim.C:
			s.trim(ctx)
			continue
		case <-s.pushed:
		case <-poll.C:
		}
		if err := s.Refresh(ctx); err == nil {
			follow.Worked()
		} else if ctx.Err() == nil {
			follow.Failed(err)
		}
	}
}

// OnCommit calls fn with each revision that this node committed. fn must be quick: it may
// tell other nodes, whose Poke then makes them look.
func (s *Store) OnCommit(fn func(revision int64)) { s.committed.Store(&fn) }

// Poke says that there may be a revision that this node has not seen. Run looks, at once.
func (s *Store) Poke() {
	select {
	case s.pushed <- struct{}{}:
	default: // it is about to look
	}
}

// Refresh brings this node's memory up to the database's newest revision.
func (s *Store) Refresh(ctx context.Context) error {
	var rev int64
	if err := s.db.QueryRowContext(ctx, "SELECT revision FROM sluice_meta WHERE id = 1").Scan(&rev); err != nil {
		return Unreachable.Wrap(err, "cannot read the control store")
	}
	s.contacted()
	if rev <= s.Snapshot().revision {
		return nil
	}
	return s.submit(ctx, &request{})
}

func (s *Store) trim(ctx context.Context) {
	if err := s.Compact(ctx, s.Snapshot().revision-s.cfg.Keep); err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn("control store: cannot trim the feed", "error", err)
	}
}

// Compact deletes the feed up to and including revision upTo. Nodes further behind take a
// fresh snapshot.
func (s *Store) Compact(ctx context.Context, upTo int64) error {
	if upTo <= 0 {
		return nil
	}
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	if upTo > tx.revision {
		upTo = tx.revision
	}
	for _, q := range []string{
		"DELETE FROM sluice_changes WHERE revision <= ?",
		"UPDATE sluice_meta SET compacted = ? WHERE id = 1",
	} {
		if _, err := tx.ExecContext(ctx, s.dia.rebind(q), upTo); err != nil {
			return Unreachable.Wrap(err, "cannot trim the control store's feed")
		}
	}
	if err := tx.Commit(); err != nil {
		return Unreachable.Wrap(err, "cannot trim the control store's feed")
	}
	return nil
}

// lockedTx is a SQL transaction that holds the revision row.
type lockedTx struct {
	*sql.Tx
	revision  int64
	compacted int64
	now       int64 // milliseconds
}

func (s *Store) begin(ctx context.Context) (*lockedTx, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: s.dia.isolation})
	if err != nil {
		return nil, Unreachable.Wrap(err, "cannot reach the control store")
	}
	l := &lockedTx{Tx: tx}
	if err := tx.QueryRowContext(ctx, s.dia.lockRevision()).Scan(&l.revision, &l.compacted, &l.now); err != nil {
		return nil, errors.Join(Unreachable.Wrap(err, "cannot lock the control store"), tx.Rollback())
	}
	return l, nil
}

// load reads every document at one revision.
func (s *Store) load(ctx context.Context) (*Snapshot, error) {
	tx, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // read only
	return s.loadIn(ctx, tx)
}

func (s *Store) loadIn(ctx context.Context, tx *lockedTx) (*Snapshot, error) {
	snap := &Snapshot{revision: tx.revision, collections: map[string]*state{}}
	s.mu.Lock()
	for name, def := range s.definitions {
		snap.collections[name] = newState(def)
	}
	s.mu.Unlock()
	rows, err := tx.QueryContext(ctx, "SELECT collection, keyhash, revision, body FROM sluice_documents")
	if err != nil {
		return nil, Unreachable.Wrap(err, "cannot read the control store")
	}
	defer func() { _ = rows.Close() }() // rows.Err below is the one that counts
	for rows.Next() {
		var collection string
		var hash, body []byte
		var rev int64
		if err := rows.Scan(&collection, &hash, &rev, &body); err != nil {
			return nil, Unreachable.Wrap(err, "cannot read the control store")
		}
		rec, err := s.seal.openRecord(body, collection, hash, rev)
		if err != nil {
			return nil, err
		}
		st := snap.collections[collection]
		if st == nil {
			st = newState(&definition{name: collection})
			snap.collections[collection] = st
		}
		if err := st.load(rec); err != nil {
			return nil, err
		}
	}
	if err := rows.Err(); err != nil {
		return nil, Unreachable.Wrap(err, "cannot read the control store")
	}
	return snap, nil
}

func (s *Store) String() string { return fmt.Sprintf("control store (%s)", s.dia.name) }
