package store

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/fault"
)

// InUse: what is to be filled holds something already.
var InUse = &fault.Reason{Kind: fault.Exists, Name: "ControlStoreInUse"}

// Kept is a document or a row as the database holds it: sealed, under its hash. Under the
// same key it can be read in any other database.
type Kept struct {
	Collection string `json:"c"`
	Hash       []byte `json:"h"`
	Body       []byte `json:"b"`
	// Revision is a document's; 0 for a row.
	Revision int64 `json:"r,omitempty"`
	// Group, Stamp (milliseconds since 1970) and Version are a row's.
	Group   []byte `json:"g,omitempty"`
	Stamp   int64  `json:"s,omitempty"`
	Version int64  `json:"v,omitempty"`
}

// row reports whether it is a row.
func (k *Kept) row() bool { return k.Group != nil }

// check opens what is kept, to find damage before it is carried on.
func (s *sealer) check(k *Kept) error {
	collection := k.Collection
	if k.row() {
		collection = "rows " + collection
	}
	_, err := s.openRecord(k.Body, collection, k.Hash, k.Revision)
	return err
}

// Dump is all that a store holds for good: documents and rows, but neither the feed nor
// the nodes' sessions.
type Dump struct {
	// Revision is that of the documents.
	Revision  int64
	Documents []Kept

	s *Store
}

// NewDump reads the documents of a store at one revision, and leaves the rows to Rows. The
// store is not opened beyond that: nodes may work on it. Close ends it.
func NewDump(ctx context.Context, c Config) (*Dump, error) {
	s, err := connect(ctx, c)
	if err != nil {
		return nil, err
	}
	d := &Dump{s: s}
	if err = s.checkKey(ctx); err == nil {
		err = d.documents(ctx)
	}
	for i := range d.Documents { // not before: writers wait for documents
		if err == nil {
			err = s.seal.check(&d.Documents[i])
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return d, nil
}

// Close ends the connections.
func (d *Dump) Close() error { return d.s.db.Close() }

func (d *Dump) documents(ctx context.Context) error {
	tx, err := d.s.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // read only
	d.Revision = tx.revision
	rows, err := tx.QueryContext(ctx, "SELECT collection, keyhash, revision, body FROM sluice_documents")
	if err != nil {
		return Unreachable.Wrap(err, "cannot read the control store")
	}
	defer func() { _ = rows.Close() }() // rows.Err below is the one that counts
	for rows.Next() {
		var k Kept
		if err := rows.Scan(&k.Collection, &k.Hash, &k.Revision, &k.Body); err != nil {
			return Unreachable.Wrap(err, "cannot read the control store")
		}
		d.Documents = append(d.Documents, k)
	}
	if err := rows.Err(); err != nil {
		return Unreachable.Wrap(err, "cannot read the control store")
	}
	return nil
}

// Rows walks all rows of all tables, in order, a page at a time: where nodes work on the
// store, each page is as it was when it was read.
func (d *Dump) Rows(ctx context.Context) iter.Seq2[Kept, error] {
	return func(yield func(Kept, error) bool) {
		tables, err := d.tables(ctx)
		for _, table := range tables {
			for after := make([]byte, 1); ; {
				var page []Kept
				if page, err = d.page(ctx, table, after); err != nil {
					break
				}
				for _, k := range page {
					if !yield(k, nil) {
						return
					}
				}
				if len(page) < maxRowsStatement {
					break
				}
				after = page[len(page)-1].Hash
			}
			if err != nil {
				break
			}
		}
		if err != nil {
			yield(Kept{}, err)
		}
	}
}

func (d *Dump) tables(ctx context.Context) ([]string, error) {
	rows, err := d.s.db.QueryContext(ctx, "SELECT DISTINCT collection FROM sluice_rows")
	if err != nil {
		return nil, Unreachable.Wrap(err, "cannot read the control store")
	}
	defer func() { _ = rows.Close() }() // rows.Err below is the one that counts
	var out []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, Unreachable.Wrap(err, "cannot read the control store")
		}
		out = append(out, name)
	}
	if err := rows.Err(); err != nil {
		return nil, Unreachable.Wrap(err, "cannot read the control store")
	}
	slices.Sort(out)
	return out, nil
}

func (d *Dump) page(ctx context.Context, table string, after []byte) ([]Kept, error) {
	rows, err := d.s.db.QueryContext(ctx, d.s.dia.rebind(
		"SELECT keyhash, grouphash, stamp, version, body FROM sluice_rows WHERE collection = ? AND keyhash > ? ORDER BY keyhash LIMIT ?"), table, after, maxRowsStatement)
	if err != nil {
		return nil, Unreachable.Wrap(err, "cannot read %s", table)
	}
	defer func() { _ = rows.Close() }() // rows.Err below is the one that counts
	var out []Kept
	for rows.Next() {
		k := Kept{Collection: table}
		if err := rows.Scan(&k.Hash, &k.Group, &k.Stamp, &k.Version, &k.Body); err != nil {
			return nil, Unreachable.Wrap(err, "cannot read %s", table)
		}
		if err := d.s.seal.check(&k); err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	if err := rows.Err(); err != nil {
		return nil, Unreachable.Wrap(err, "cannot read %s", table)
	}
	return out, nil
}

// Filling is what an unused store is filled with.
type Filling struct {
	// Revision is that of the documents, which the store goes on from.
	Revision int64
	// Root is the root key of a cluster's nodes, sealed by them; nil where a node keeps its
	// own.
	Root []byte
	// Content are the documents and rows; its first error ends the filling.
	Content iter.Seq2[Kept, error]
}

// Fill puts into an unused store what a Dump of another had, in one transaction: all of it
// or nothing. An InUse error says that the store holds something; filled reports whether
// that is this key's, at this revision, as after a Fill whose end was not heard of.
func Fill(ctx context.Context, c Config, f Filling) (filled bool, err error) {
	s, err := connect(ctx, c)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.db.Close()) }()
	tx, err := s.begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	used, sealed, err := s.used(ctx, tx)
	switch {
	case err != nil:
		return false, err
	case used:
		return tx.revision == f.Revision && s.checkProbe(sealed) == nil, InUse.New("the %s database is in use: it holds what a node has written", s.dia.name)
	}
	if err := s.fill(ctx, tx, f.Content); err != nil {
		return false, err
	}
	// What was compacted makes every node that knows less take it all.
	if _, err := tx.ExecContext(ctx, s.dia.rebind("UPDATE sluice_meta SET revision = ?, compacted = ?, probe = ? WHERE id = 1"),
		f.Revision, f.Revision, s.seal.seal([]byte(probe), "meta", nil, 0)); err != nil {
		return false, Unreachable.Wrap(err, "cannot write the control store")
	}
	if _, err := s.dia.identifyIn(ctx, tx.Tx, f.Root); err != nil {
		return false, Unreachable.Wrap(err, "cannot keep the root key in the control store")
	}
	if err := tx.Commit(); err != nil {
		return false, Unreachable.Wrap(err, "cannot write the control store")
	}
	return true, nil
}

// connect reaches a store, and does not ask whose it is.
func connect(ctx context.Context, c Config) (*Store, error) {
	s, err := newStore(c)
	if err != nil {
		return nil, err
	}
	if err := s.reach(ctx); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return s, nil
}

// used reports whether anything was ever put into the store, and returns its probe.
func (s *Store) used(ctx context.Context, tx *lockedTx) (used bool, sealed []byte, err error) {
	var documents, rows, roots int
	if err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM sluice_documents), (SELECT count(*) FROM sluice_rows),
		(SELECT count(*) FROM sluice_cluster WHERE root IS NOT NULL), probe FROM sluice_meta WHERE id = 1`).Scan(&documents, &rows, &roots, &sealed); err != nil {
		return false, nil, Unreachable.Wrap(err, "cannot read the control store")
	}
	another := len(sealed) > 0 && s.checkProbe(sealed) != nil // a node begins with a key of its own
	return tx.revision > 0 || documents+rows+roots > 0 || another, sealed, nil
}

// maxFillBytes bounds one statement, which a server may take up to a limit of its own.
const maxFillBytes = 1 << 20

func (s *Store) fill(ctx context.Context, tx *lockedTx, content iter.Seq2[Kept, error]) error {
	var batch []Kept
	size := 0
	for k, err := range content {
		if err != nil {
			return err
		}
		if err := s.seal.check(&k); err != nil {
			return err
		}
		if len(batch) > 0 && (batch[0].row() != k.row() || len(batch) == maxRowsStatement || size+len(k.Body) > maxFillBytes) {
			if err := s.fillBatch(ctx, tx, batch); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
		batch, size = append(batch, k), size+len(k.Body)
	}
	return s.fillBatch(ctx, tx, batch)
}

// fillBatch writes documents or rows, all of one sort.
func (s *Store) fillBatch(ctx context.Context, tx *lockedTx, batch []Kept) error {
	if len(batch) == 0 {
		return nil
	}
	q, one := "INSERT INTO sluice_documents (collection, keyhash, revision, body) VALUES ", "(?, ?, ?, ?), "
	if batch[0].row() {
		q, one = "INSERT INTO sluice_rows (collection, keyhash, grouphash, stamp, version, body) VALUES ", "(?, ?, ?, ?, ?, ?), "
	}
	var args []any
	for _, k := range batch {
		if k.row() {
			args = append(args, k.Collection, k.Hash, k.Group, k.Stamp, k.Version, k.Body)
		} else {
			args = append(args, k.Collection, k.Hash, k.Revision, k.Body)
		}
	}
	q += strings.TrimSuffix(strings.Repeat(one, len(batch)), ", ")
	if _, err := tx.ExecContext(ctx, s.dia.rebind(q), args...); err != nil {
		return Unreachable.Wrap(err, "cannot write the control store")
	}
	return nil
}
