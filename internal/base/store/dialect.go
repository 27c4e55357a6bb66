package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // registers the driver "sqlite" too

	"sluice.dev/sluice/internal/base/work"
)

//go:embed migrations
var migrations embed.FS

// notifyChannel is where PostgreSQL nodes tell each other of a commit.
const notifyChannel = "sluice_changes"

// dialect is all that differs between the databases.
type dialect struct {
	name       string
	driver     string
	goose      goose.Dialect
	local      bool // part of this process: nobody else writes
	maxConns   int
	isolation  sql.IsolationLevel
	upsert     string // a document: collection, keyhash, revision, body
	now        string // the database's clock, in milliseconds
	forUpdate  string // holds the rows that a SELECT read, where others could write them
	replaceRow string // ends an INSERT of rows that replaces those there are
	keepRow    string // ends an INSERT that leaves the row there is
	newerRow   string // ends an INSERT of rows that replaces those of a lower version
	numbered   bool   // placeholders are $1, $2 …
	notify     string // run inside each writing transaction; optional
	listen     func(ctx context.Context, c Config, pushed chan<- struct{})
}

// unreachable is the error of a database that did not do what it was asked; that of a full
// or failing disk says so.
func (d *dialect) unreachable(err error, doing string) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		const full, broken = 13, 10 // SQLITE_FULL; SQLITE_IOERR and its extended codes
		switch {
		case e.Code()&0xff == full || errors.Is(err, syscall.ENOSPC):
			return DiskFull.Wrap(err, "%s: the disk is full; free some space", doing)
		case e.Code()&0xff == broken:
			return Unreachable.Wrap(err, "%s: the disk failed a read or a write, as one that is full does too", doing)
		}
	}
	return Unreachable.Wrap(err, "%s", doing)
}

// lockRevision reads revision, compacted and the time, and holds the row until the
// transaction's end.
func (d *dialect) lockRevision() string {
	return "SELECT revision, compacted, " + d.now + " FROM sluice_meta WHERE id = 1" + d.forUpdate
}

// openURL opens a database; the first word with it is a ping.
func openURL(url string, connections int) (*dialect, *sql.DB, error) {
	d, dsn, err := parseURL(url)
	if err != nil {
		return nil, nil, err
	}
	db, err := sql.Open(d.driver, dsn)
	if err != nil {
		return nil, nil, BadURL.Wrap(err, "the control store's URL is not valid")
	}
	if connections == 0 || d.local {
		connections = d.maxConns
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return d, db, nil
}

func (d *dialect) rebind(query string) string {
	if !d.numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r == '?' {
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// parseURL chooses the dialect and makes the driver's own connection string.
func parseURL(raw string) (*dialect, string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, "", BadURL.New("the control store's URL cannot be parsed") // err would repeat a password
	}
	switch u.Scheme {
	case "sqlite":
		if u.Path == "" {
			return nil, "", BadURL.New("the control store's sqlite URL needs an absolute path: sqlite:///var/lib/sluice/control.db")
		}
		q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"}, "_txlock": {"immediate"}}
		return &dialect{name: "SQLite", driver: "sqlite", goose: goose.DialectSQLite3, local: true, maxConns: 1,
			now: "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
			upsert: `INSERT INTO sluice_documents (collection, keyhash, revision, body) VALUES (?, ?, ?, ?)
				ON CONFLICT (collection, keyhash) DO UPDATE SET revision = excluded.revision, body = excluded.body`,
			replaceRow: ` ON CONFLICT (collection, keyhash) DO UPDATE SET grouphash = excluded.grouphash, stamp = excluded.stamp,
				version = sluice_rows.version + 1, body = excluded.body`,
			keepRow: " ON CONFLICT DO NOTHING",
			newerRow: ` ON CONFLICT (collection, keyhash) DO UPDATE SET grouphash = excluded.grouphash, stamp = excluded.stamp,
				version = excluded.version, body = excluded.body WHERE sluice_rows.version <= excluded.version`,
		}, "file:" + u.Path + "?" + q.Encode(), nil
	case "postgres", "postgresql":
		return &dialect{name: "PostgreSQL", driver: "pgx", goose: goose.DialectPostgres, maxConns: 4, numbered: true,
			isolation: sql.LevelReadCommitted,
			now:       "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
			forUpdate: " FOR UPDATE",
			upsert: `INSERT INTO sluice_documents (collection, keyhash, revision, body) VALUES (?, ?, ?, ?)
				ON CONFLICT (collection, keyhash) DO UPDATE SET revision = excluded.revision, body = excluded.body`,
			replaceRow: ` ON CONFLICT (collection, keyhash) DO UPDATE SET grouphash = excluded.grouphash, stamp = excluded.stamp,
				version = sluice_rows.version + 1, body = excluded.body`,
			keepRow: " ON CONFLICT DO NOTHING",
			newerRow: ` ON CONFLICT (collection, keyhash) DO UPDATE SET grouphash = excluded.grouphash, stamp = excluded.stamp,
				version = excluded.version, body = excluded.body WHERE sluice_rows.version <= excluded.version`,
			notify: "SELECT pg_notify('" + notifyChannel + "', '')",
			listen: listenPostgres,
		}, raw, nil
	case "mysql", "mariadb":
		c := mysql.NewConfig()
		c.User = u.User.Username()
		c.Passwd, _ = u.User.Password()
		c.Net, c.Addr = "tcp", u.Host
		if sock := u.Query().Get("socket"); sock != "" {
			c.Net, c.Addr = "unix", sock
		}
		c.DBName = strings.TrimPrefix(u.Path, "/")
		c.MultiStatements = false
		c.InterpolateParams = false
		c.Timeout = 10 * time.Second
		if u.Query().Get("tls") != "" {
			c.TLSConfig = u.Query().Get("tls")
		}
		if c.DBName == "" {
			return nil, "", BadURL.New("the control store's mysql URL needs a database: mysql://user:password@host:3306/database")
		}
		return &dialect{name: "MySQL/MariaDB", driver: "mysql", goose: goose.DialectMySQL, maxConns: 4,
			// REPEATABLE READ would read the feed from a snapshot taken before the row lock was granted.
			isolation: sql.LevelReadCommitted,
			now:       "CAST(unix_timestamp(sysdate(3)) * 1000 AS SIGNED)",
			forUpdate: " FOR UPDATE",
			upsert: `INSERT INTO sluice_documents (collection, keyhash, revision, body) VALUES (?, ?, ?, ?)
				ON DUPLICATE KEY UPDATE revision = VALUES(revision), body = VALUES(body)`,
			replaceRow: ` ON DUPLICATE KEY UPDATE grouphash = VALUES(grouphash), stamp = VALUES(stamp), version = version + 1, body = VALUES(body)`,
			keepRow:    " ON DUPLICATE KEY UPDATE version = version", // INSERT IGNORE would hide other errors too
			// Assignments see those to their left, so the version comes last.
			newerRow: ` ON DUPLICATE KEY UPDATE grouphash = IF(VALUES(version) >= version, VALUES(grouphash), grouphash),
				stamp = IF(VALUES(version) >= version, VALUES(stamp), stamp), body = IF(VALUES(version) >= version, VALUES(body), body),
				version = GREATEST(version, VALUES(version))`,
		}, c.FormatDSN(), nil
	default:
		return nil, "", BadURL.New("the control store's URL begins with sqlite://, postgres:// or mysql://, not %q", u.Scheme+"://")
	}
}

// How often the schema's migration is begun: another node may do the same at this moment, and
// then one of them fails.
const (
	maxMigrations = 10
	migrateAgain  = 100 * time.Millisecond
)

// migrate brings the schema forward.
func (d *dialect) migrate(ctx context.Context, db *sql.DB) (err error) {
	for range maxMigrations {
		if err = d.migrateOnce(ctx, db); err == nil || NewerFormat.Is(err) || d.local {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(migrateAgain):
		}
	}
	return err
}

func (d *dialect) migrateOnce(ctx context.Context, db *sql.DB) error {
	dir := map[goose.Dialect]string{
		goose.DialectSQLite3: "sqlite", goose.DialectPostgres: "postgres", goose.DialectMySQL: "mysql",
	}[d.goose]
	files, err := fs.Sub(migrations, "migrations/"+dir)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(d.goose, db, files, goose.WithTableName("sluice_migrations"))
	if err != nil {
		return d.unreachable(err, "cannot read the control store's format")
	}
	sources := p.ListSources()
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return d.unreachable(err, "cannot read the control store's format")
	}
	if known := sources[len(sources)-1].Version; have > known {
		return NewerFormat.New("the control store has format %d, newer than this program's %d: use a newer sluice", have, known)
	}
	if _, err := p.Up(ctx); err != nil {
		return d.unreachable(err, "cannot bring the control store to this program's format")
	}
	return nil
}

// write puts a batch's documents and changes, and the revision they lead to.
func (d *dialect) write(ctx context.Context, tx *sql.Tx, revision int64, writes []sealedWrite) error {
	upsert, err := tx.PrepareContext(ctx, d.rebind(d.upsert))
	if err != nil {
		return err
	}
	defer func() { _ = upsert.Close() }() // ends with the transaction anyway
	change, err := tx.PrepareContext(ctx, d.rebind(
		"INSERT INTO sluice_changes (revision, ord, collection, keyhash, body) VALUES (?, ?, ?, ?, ?)"))
	if err != nil {
		return err
	}
	defer func() { _ = change.Close() }() // ends with the transaction anyway
	for _, w := range writes {
		if w.deleted {
			_, err = tx.ExecContext(ctx, d.rebind("DELETE FROM sluice_documents WHERE collection = ? AND keyhash = ?"), w.collection, w.hash)
		} else {
			_, err = upsert.ExecContext(ctx, w.collection, w.hash, w.revision, w.body)
		}
		if err != nil {
			return err
		}
		if _, err := change.ExecContext(ctx, w.revision, w.ord, w.collection, w.hash, w.body); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, d.rebind("UPDATE sluice_meta SET revision = ? WHERE id = 1"), revision); err != nil {
		return err
	}
	if d.notify != "" {
		_, err = tx.ExecContext(ctx, d.notify)
	}
	return err
}

// listenPostgres turns notifications into pushes, and connects again when the line breaks.
// The poll covers the time without it.
func listenPostgres(ctx context.Context, c Config, pushed chan<- struct{}) {
	retry := work.Retry{Log: c.Log, What: "control store: listening for changes, without which it polls,", First: time.Second}
	for ctx.Err() == nil {
		err := func() error {
			conn, err := pgx.Connect(ctx, c.URL)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing left to do about it
			if _, err := conn.Exec(ctx, "LISTEN "+notifyChannel); err != nil {
				return err
			}
			retry.Worked()
			for {
				if _, err := conn.WaitForNotification(ctx); err != nil {
					return err
				}
				select {
				case pushed <- struct{}{}:
				default: // one is waiting already
				}
			}
		}()
		if ctx.Err() == nil {
			retry.Wait(ctx, err)
		}
	}
}
