package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of one statement over rows.
const (
	maxRowsStatement = 200
	// MaxScan is the most rows that one Scan returns.
	MaxScan = 1000
)

// Rows is a table of documents that do not belong in memory: there may be hundreds of
// thousands, and nobody follows their changes. They are sealed as documents are, but have
// no rules, no feed and no revision; each belongs to one group and tells how long ago it
// was last written or touched, by the database's clock.
//
// Rows are ordered by their keys' hashes. That order is even and says nothing of the keys,
// so the first hundred rows of a group are as good a sample as any.
type Rows[T any] struct {
	s     *Store
	name  string
	group func(*T) string
	reads reads[T]
}

// OpenRows returns the table called name, whose documents belong to the group that group
// tells.
func OpenRows[T any](s *Store, name string, group func(*T) string) *Rows[T] {
	return &Rows[T]{s: s, name: name, group: group, reads: newReads[T]()}
}

// Row is one document of a table.
type Row[T any] struct {
	Key string
	Doc *T
	// Age is how long ago the row was written or touched.
	Age time.Duration
	// Place is where the row stands in the order.
	Place Place
}

// Place is a place in the order of a table's rows.
type Place [32]byte

// Part is the place as a part of the whole order, 0 to 1 << 64 - 1.
func (p Place) Part() uint64 { return binary.BigEndian.Uint64(p[:]) }

// Place is where the row under key stands, or would stand.
func (r *Rows[T]) Place(key string) Place { return Place(r.s.seal.hash("rows "+r.name, key)) }

func (r *Rows[T]) groupHash(group string) []byte { return r.s.seal.hash("groups "+r.name, group) }

// Scan is what to read of a table.
type Scan struct {
	// Group is the group that the rows belong to; of all groups if nil.
	Group *string
	// After is the place after which to begin; at the beginning if zero.
	After Place
	// Older, if not 0, leaves out rows that were written or touched since then.
	Older time.Duration
	// Limit is how many rows are returned, MaxScan at most; MaxScan if 0.
	Limit int
}

// Scan returns rows in order.
func (r *Rows[T]) Scan(ctx context.Context, q Scan) ([]Row[T], error) {
	where, args := []string{"keyhash > ?"}, []any{q.After[:]}
	if q.Group != nil {
		where, args = append(where, "grouphash = ?"), append(args, r.groupHash(*q.Group))
	}
	if q.Older != 0 {
		where, args = append(where, "stamp < "+r.s.dia.now+" - ?"), append(args, q.Older.Milliseconds())
	}
	if q.Limit <= 0 || q.Limit > MaxScan {
		q.Limit = MaxScan
	}
	return r.query(ctx, strings.Join(where, " AND "), q.Limit, args...)
}

func (r *Rows[T]) query(ctx context.Context, where string, limit int, args ...any) ([]Row[T], error) {
	s := r.s
	q := fmt.Sprintf("SELECT keyhash, %s - stamp, body FROM sluice_rows WHERE collection = ? AND %s ORDER BY keyhash LIMIT %d", s.dia.now, where, limit)
	rows, err := s.db.QueryContext(ctx, s.dia.rebind(q), append([]any{r.name}, args...)...)
	if err != nil {
		return nil, Unreachable.Wrap(err, "cannot read %s", r.name)
	}
	defer func() { _ = rows.Close() }() // rows.Err below is the one that counts
	var out []Row[T]
	for rows.Next() {
		var place, body []byte
		var age int64
		if err := rows.Scan(&place, &age, &body); err != nil {
			return nil, Unreachable.Wrap(err, "cannot read %s", r.name)
		}
		row, err := r.open(place, body)
		if err != nil {
			return nil, err
		}
		row.Age = max(0, time.Duration(age)*time.Millisecond)
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		return nil, Unreachable.Wrap(err, "cannot read %s", r.name)
	}
	s.contacted()
	return out, nil
}

func (r *Rows[T]) open(place, body []byte) (Row[T], error) {
	rec, err := r.s.seal.openRecord(body, "rows "+r.name, place, 0)
	if err != nil {
		return Row[T]{}, err
	}
	doc := new(T)
	if err := json.Unmarshal(rec.Doc, doc); err != nil {
		return Row[T]{}, Damaged.Wrap(err, "a row of %s does not decode", r.name)
	}
	return Row[T]{Key: rec.Key, Doc: doc, Place: Place(place)}, nil
}

// Count returns how many rows a group has.
func (r *Rows[T]) Count(ctx context.Context, group string) (n int, err error) {
	err = r.s.db.QueryRowContext(ctx, r.s.dia.rebind("SELECT count(*) FROM sluice_rows WHERE collection = ? AND grouphash = ?"), r.name, r.groupHash(group)).Scan(&n)
	if err != nil {
		return 0, Unreachable.Wrap(err, "cannot read %s", r.name)
	}
	return n, nil
}

// Nth returns the place of a group's n-th row, counted from 1; false if it has fewer.
func (r *Rows[T]) Nth(ctx context.Context, group string, n int) (Place, bool, error) {
	var place []byte
	err := r.s.db.QueryRowContext(ctx, r.s.dia.rebind("SELECT keyhash FROM sluice_rows WHERE collection = ? AND grouphash = ? ORDER BY keyhash LIMIT 1 OFFSET ?"),
		r.name, r.groupHash(group), n-1).Scan(&place)
	if errors.Is(err, sql.ErrNoRows) {
		return Place{}, false, nil
	}
	if err != nil {
		return Place{}, false, Unreachable.Wrap(err, "cannot read %s", r.name)
	}
	return Place(place), true, nil
}

// Put writes documents, whatever was there before. Each row is written whole or not at
// all, but an error may leave some written.
func (r *Rows[T]) Put(ctx context.Context, docs map[string]*T) error {
	return r.put(ctx, docs, func(*T) int64 { return 1 }, r.s.dia.replaceRow)
}

// PutNewer writes documents that are not older than what is there: rank, which must not be
// negative, says of two which is newer. Whoever writes in whatever order, the newest stays.
// Rows of a table that it writes are written by nothing else.
func (r *Rows[T]) PutNewer(ctx context.Context, docs map[string]*T, rank func(*T) int64) error {
	return r.put(ctx, docs, rank, r.s.dia.newerRow)
}

func (r *Rows[T]) put(ctx context.Context, docs map[string]*T, rank func(*T) int64, replace string) error {
	type sealed struct {
		place, group, body []byte
		version            int64
	}
	writes := make([]sealed, 0, len(docs))
	for key, doc := range docs {
		place := r.Place(key)
		body, err := r.seal(key, place, doc)
		if err != nil {
			return err
		}
		writes = append(writes, sealed{place[:], r.groupHash(r.group(doc)), body, rank(doc)})
	}
	// One order for all writers, so that two never wait for each other.
	slices.SortFunc(writes, func(a, b sealed) int { return bytes.Compare(a.place, b.place) })
	for chunk := range slices.Chunk(writes, maxRowsStatement) {
		args := make([]any, 0, 5*len(chunk))
		for _, w := range chunk {
			args = append(args, r.name, w.place, w.group, w.version, w.body)
		}
		values := strings.TrimSuffix(strings.Repeat("(?, ?, ?, "+r.s.dia.now+", ?, ?), ", len(chunk)), ", ")
		q := "INSERT INTO sluice_rows (collection, keyhash, grouphash, stamp, version, body) VALUES " + values + replace
		if _, err := r.s.db.ExecContext(ctx, r.s.dia.rebind(q), args...); err != nil {
			return Unreachable.Wrap(err, "cannot write %s", r.name)
		}
	}
	if len(writes) > 0 {
		r.s.contacted()
	}
	return nil
}

func (r *Rows[T]) seal(key string, place Place, doc *T) ([]byte, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("store: encoding a row of %s: %w", r.name, err)
	}
	return r.s.seal.sealRecord(record{Key: key, Doc: raw}, "rows "+r.name, place[:], 0)
}

// Insert writes a document if there is none under key, and tells whether it did: of all who
// insert at one time, one is told true.
func (r *Rows[T]) Insert(ctx context.Context, key string, doc *T) (bool, error) {
	if err := r.s.room(); err != nil {
		return false, err
	}
	place := r.Place(key)
	body, err := r.seal(key, place, doc)
	if err != nil {
		return false, err
	}
	q := "INSERT INTO sluice_rows (collection, keyhash, grouphash, stamp, version, body) VALUES (?, ?, ?, " + r.s.dia.now + ", 1, ?)" + r.s.dia.keepRow
	res, err := r.s.db.ExecContext(ctx, r.s.dia.rebind(q), r.name, place[:], r.groupHash(r.group(doc)), body)
	if err != nil {
		return false, Unreachable.Wrap(err, "cannot write %s", r.name)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, Unreachable.Wrap(err, "cannot write %s", r.name)
	}
	return n == 1, nil
}

// Update changes one row in a transaction of its own: fn gets the document, nil if there
// is none, and returns what to write; nil leaves the row as it is, and an error too. fn
// may run again when another changes the row at the same time.
func (r *Rows[T]) Update(ctx context.Context, key string, fn func(*T) (*T, error)) error {
	for range 100 {
		done, err := r.tryUpdate(ctx, key, fn)
		if done || err != nil {
			return err
		}
	}
	return Unreachable.New("a row of %s changes all the time", r.name)
}

func (r *Rows[T]) tryUpdate(ctx context.Context, key string, fn func(*T) (*T, error)) (done bool, err error) {
	s, place := r.s, r.Place(key)
	var old *T
	var version int64
	var body []byte
	err = s.db.QueryRowContext(ctx, s.dia.rebind("SELECT version, body FROM sluice_rows WHERE collection = ? AND keyhash = ?"), r.name, place[:]).Scan(&version, &body)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return false, Unreachable.Wrap(err, "cannot read %s", r.name)
	default:
		row, err := r.open(place[:], body)
		if err != nil {
			return false, err
		}
		old = row.Doc
	}
	doc, err := fn(old)
	if err != nil || doc == nil {
		return true, err
	}
	if old == nil {
		return r.Insert(ctx, key, doc)
	}
	if body, err = r.seal(key, place, doc); err != nil {
		return false, err
	}
	res, err := s.db.ExecContext(ctx, s.dia.rebind("UPDATE sluice_rows SET grouphash = ?, stamp = "+s.dia.now+", version = version + 1, body = ? WHERE collection = ? AND keyhash = ? AND version = ?"),
		r.groupHash(r.group(doc)), body, r.name, place[:], version)
	if err != nil {
		return false, Unreachable.Wrap(err, "cannot write %s", r.name)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, Unreachable.Wrap(err, "cannot write %s", r.name)
	}
	return n == 1, nil
}

// Touch says of rows that they are as they were: they become young again.
func (r *Rows[T]) Touch(ctx context.Context, keys []string) error {
	return r.each(ctx, keys, "UPDATE sluice_rows SET stamp = "+r.s.dia.now+" WHERE collection = ? AND keyhash IN ")
}

// Delete removes rows; it is no error if there are none.
func (r *Rows[T]) Delete(ctx context.Context, keys []string) error {
	return r.each(ctx, keys, "DELETE FROM sluice_rows WHERE collection = ? AND keyhash IN ")
}

func (r *Rows[T]) each(ctx context.Context, keys []string, statement string) error {
	places := make([]Place, len(keys))
	for i, key := range keys {
		places[i] = r.Place(key)
	}
	slices.SortFunc(places, func(a, b Place) int { return bytes.Compare(a[:], b[:]) })
	for chunk := range slices.Chunk(places, maxRowsStatement) {
		args := []any{r.name}
		for _, p := range chunk {
			args = append(args, p[:])
		}
		q := statement + "(" + strings.TrimSuffix(strings.Repeat("?, ", len(chunk)), ", ") + ")"
		if _, err := r.s.db.ExecContext(ctx, r.s.dia.rebind(q), args...); err != nil {
			return Unreachable.Wrap(err, "cannot write %s", r.name)
		}
	}
	return nil
}
