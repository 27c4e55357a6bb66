package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
)

// Identity is what can be known of a database without the key that seals it.
type Identity struct {
	// Instance is a random name that the database got when it was first used.
	Instance string
	// Root is the root key of its nodes, sealed by them; nil if none was kept.
	Root []byte
	// Used reports whether documents were ever written.
	Used bool
	// Directory is the id of the data directory that holds what the documents describe; ""
	// if none was noted.
	Directory string
	// Describes reports whether there are documents of buckets or streams, whose contents
	// are in a data directory.
	Describes bool
}

// Identify connects, migrates the schema forward and reads the database's identity. If no
// root key was kept yet and root is not nil, root is kept; of those who race, one is kept
// and all are told which.
func Identify(ctx context.Context, url string, root []byte) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	dia, db, err := openURL(url, 1)
	if err != nil {
		return Identity{}, err
	}
	defer func() { _ = db.Close() }() // all was committed
	if err := db.PingContext(ctx); err != nil {
		return Identity{}, Unreachable.Wrap(err, "cannot reach the control store (%s)", dia.name)
	}
	if err := dia.migrate(ctx, db); err != nil {
		return Identity{}, err
	}
	id, err := dia.identify(ctx, db, root)
	if err != nil {
		return Identity{}, Unreachable.Wrap(err, "cannot read the control store's identity")
	}
	return id, nil
}

func (d *dialect) identify(ctx context.Context, db *sql.DB, root []byte) (id Identity, err error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: d.isolation})
	if err != nil {
		return id, err
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	if id, err = d.identifyIn(ctx, tx, root); err != nil {
		return id, err
	}
	return id, tx.Commit()
}

func (d *dialect) identifyIn(ctx context.Context, tx *sql.Tx, root []byte) (id Identity, err error) {
	var revision, compacted, now int64
	if err := tx.QueryRowContext(ctx, d.lockRevision()).Scan(&revision, &compacted, &now); err != nil { // serialises the race
		return id, err
	}
	id.Used = revision > 0
	var described int64
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sluice_documents WHERE collection IN ('buckets', 'streams')").Scan(&described); err != nil {
		return id, err
	}
	id.Describes = described > 0
	err = tx.QueryRowContext(ctx, "SELECT directory FROM sluice_directory WHERE id = 1").Scan(&id.Directory)
	if errors.Is(err, sql.ErrNoRows) {
		_, err = tx.ExecContext(ctx, "INSERT INTO sluice_directory (id, directory) VALUES (1, '')")
	}
	if err != nil {
		return id, err
	}
	err = tx.QueryRowContext(ctx, "SELECT instance, root FROM sluice_cluster WHERE id = 1").Scan(&id.Instance, &id.Root)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		id.Instance, id.Root = rand.Text(), root
		_, err = tx.ExecContext(ctx, d.rebind("INSERT INTO sluice_cluster (id, instance, root) VALUES (1, ?, ?)"), id.Instance, id.Root)
	case err == nil && id.Root == nil && root != nil:
		id.Root = root
		_, err = tx.ExecContext(ctx, d.rebind("UPDATE sluice_cluster SET root = ? WHERE id = 1"), root)
	}
	return id, err
}

// NoteDirectory notes the id of the data directory that holds what the documents describe,
// in the place of old; false if another one was noted.
func NoteDirectory(ctx context.Context, url, old, id string) (bool, error) {
	if _, err := Identify(ctx, url, nil); err != nil { // there must be a row
		return false, err
	}
	noted, err := replace(ctx, url, "UPDATE sluice_directory SET directory = ? WHERE id = 1 AND directory = ?", id, old, "cannot note the data directory in the control store")
	return noted || err == nil && old == id, err // MySQL counts rows that changed
}

// ReplaceRoot puts a root key sealed anew in the place of old; false if another was there.
func ReplaceRoot(ctx context.Context, url string, old, sealed []byte) (bool, error) {
	return replace(ctx, url, "UPDATE sluice_cluster SET root = ? WHERE id = 1 AND root = ?", sealed, old, "cannot keep the root key in the control store")
}

// replace puts a value in the place of old by query, on a store that is not open; false if
// another was there.
func replace(ctx context.Context, url, query string, value, old any, failure string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	dia, db, err := openURL(url, 1)
	if err != nil {
		return false, err
	}
	defer func() { _ = db.Close() }() // all was committed
	res, err := db.ExecContext(ctx, dia.rebind(query), value, old)
	if err != nil {
		return false, Unreachable.Wrap(err, "%s", failure)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, Unreachable.Wrap(err, "%s", failure)
	}
	return n == 1, nil
}
