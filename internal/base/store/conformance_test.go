package store_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// engine is a database that the whole suite runs over.
type engine struct {
	url    string
	shared bool           // several nodes may use it at one time
	server *dbtest.Server // nil for SQLite
}

func TestConformance(t *testing.T) {
	for _, e := range []struct {
		name string
		open func(t *testing.T) engine
	}{
		{"SQLite", func(t *testing.T) engine { return engine{url: sqliteURL(t)} }},
		{"PostgreSQL", func(t *testing.T) engine {
			s := dbtest.Postgres(t)
			return engine{url: s.URL, shared: true, server: s}
		}},
		{"MariaDB", func(t *testing.T) engine {
			s := dbtest.MariaDB(t)
			return engine{url: s.URL, shared: true, server: s}
		}},
	} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			engine := e.open(t)
			// In this order: each part leaves its documents to the next.
			t.Run("WritesAreReadBack", engine.testReadBack)
			t.Run("ConcurrentWritersLoseNothing", engine.testConcurrentWriters)
			t.Run("TheFeedHasOrderAndNoGaps", engine.testFeed)
			t.Run("ACompactedFeedMeansAFreshSnapshot", engine.testResnapshot)
			t.Run("ACrashInCommitLeavesNothingHalf", engine.testCrash)
			t.Run("OneRootKeyIsKept", engine.testIdentity)
			t.Run("SessionsLiveByTheDatabasesClock", engine.testSessions)
			t.Run("AFoundDeadSessionStaysDead", engine.testRenewalRace)
			t.Run("RowsAreKeptBesideDocuments", engine.testRows)
			t.Run("AnotherKeyIsRefused", engine.testWrongKey)
			t.Run("ATamperedDocumentIsFound", engine.testTampered)
			t.Run("ANewerFormatIsRefused", engine.testNewerFormat)
			t.Run("ADeadServerIsSurvived", engine.testServerRestart)
		})
	}
}

// counter is a document that writers race for.
type counter struct{ N int }

// counters is one node's view.
type counters struct {
	s    *store.Store
	docs *store.Collection[counter]
	uniq *store.Collection[member]
}

func (e engine) open(t testing.TB) counters {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{URL: e.url, Key: [32]byte{9}, Poll: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // some tests close it before
	return counters{s, store.Register[counter](s, "counters"),
		store.Register(s, "names", store.Unique("email", func(m *member) []string { return []string{m.Email} }))}
}

func (c counters) add(key string) error {
	return c.s.Update(context.Background(), func(tx *store.Tx) error {
		n := counter{}
		if d, ok := c.docs.Get(tx, key); ok {
			n = *d
		}
		n.N++
		return c.docs.Put(tx, key, &n)
	})
}

func (c counters) value(key string) int {
	d, ok := c.docs.Get(c.s.Snapshot(), key)
	if !ok {
		return 0
	}
	return d.N
}

func (e engine) testReadBack(t *testing.T) {
	c := e.open(t)
	for range 3 {
		if err := c.add("a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.value("a"); got != 3 {
		t.Fatalf("own writes show %d, want 3", got)
	}
	err := c.s.Update(t.Context(), func(tx *store.Tx) error {
		if err := c.docs.Put(tx, "a", &counter{100}); err != nil {
			return err
		}
		return errors.New("changed my mind")
	})
	if err == nil || c.value("a") != 3 {
		t.Fatalf("a failed transaction left %d (%v)", c.value("a"), err)
	}
	if err := c.s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := e.open(t).value("a"); got != 3 {
		t.Fatalf("after reopening %d, want 3", got)
	}
}

func (e engine) testConcurrentWriters(t *testing.T) {
	nodes := []counters{e.open(t)}
	if e.shared {
		nodes = append(nodes, e.open(t), e.open(t))
	}
	const writers, rounds = 8, 20
	before := nodes[0].value("shared")
	var all sync.WaitGroup
	var mu sync.Mutex
	winners := map[string]int{}
	for w := range writers {
		n := nodes[w%len(nodes)]
		all.Go(func() {
			for i := range rounds {
				if err := n.add("shared"); err != nil {
					t.Error(err)
					return
				}
				// Everybody wants the same name; one gets it.
				email := fmt.Sprintf("round-%d", i)
				err := n.s.Update(context.Background(), func(tx *store.Tx) error {
					return n.uniq.Insert(tx, fmt.Sprintf("%d-%d", w, i), &member{Email: email})
				})
				if err == nil {
					mu.Lock()
					winners[email]++
					mu.Unlock()
				} else if v, ok := errors.AsType[*store.Violation](err); !ok || v.Reason() != store.Duplicate {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for i, n := range nodes {
		if err := n.s.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := n.value("shared") - before; got != writers*rounds {
			t.Errorf("node %d sees %d additions, want %d", i, got, writers*rounds)
		}
	}
	for i := range rounds {
		if n := winners[fmt.Sprintf("round-%d", i)]; n != 1 {
			t.Errorf("round %d has %d winners", i, n)
		}
	}
}

func (e engine) testFeed(t *testing.T) {
	writer := e.open(t)
	reader := writer
	if e.shared {
		reader = e.open(t)
	}
	var mu sync.Mutex
	var seen []int64
	done := make(chan struct{})
	const n = 60
	from := writer.s.Snapshot().Revision()
	reader.s.Subscribe(func(snap *store.Snapshot, changes []store.Change) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range changes {
			if c.Revision > snap.Revision() {
				t.Errorf("change %d is told before the snapshot shows it (%d)", c.Revision, snap.Revision())
			}
			seen = append(seen, c.Revision)
		}
		if len(seen) == n {
			close(done)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- reader.s.Run(ctx) }()
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for range n / 4 {
				if err := writer.add(fmt.Sprintf("feed-%d", w)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	wrote := time.Now()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("the reader saw %d of %d changes", len(seen), n)
	}
	if late := time.Since(wrote); late > time.Second {
		t.Errorf("the last change came %s after the write, want under 1s", late)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for i, r := range seen {
		if r != from+int64(i)+1 {
			t.Fatalf("change %d has revision %d, want %d: order or gap", i, r, from+int64(i)+1)
		}
	}
}

func (e engine) testResnapshot(t *testing.T) {
	if !e.shared {
		t.Log("one process alone never falls behind")
		return
	}
	writer, reader := e.open(t), e.open(t)
	fresh := 0
	reader.s.Subscribe(func(_ *store.Snapshot, changes []store.Change) {
		if len(changes) == 0 {
			fresh++
		}
	})
	for range 10 {
		if err := writer.add("snap"); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.s.Update(t.Context(), func(tx *store.Tx) error {
		_, err := writer.docs.Delete(tx, "a")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := writer.s.Compact(t.Context(), writer.s.Snapshot().Revision()); err != nil {
		t.Fatal(err)
	}
	if err := writer.add("snap"); err != nil {
		t.Fatal(err)
	}
	if err := reader.s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := reader.value("snap"); got != 11 || fresh != 1 || reader.docs.Has(reader.s.Snapshot(), "a") {
		t.Fatalf("after a compacted feed: %d additions, %d fresh snapshots, deleted document there: %v",
			got, fresh, reader.docs.Has(reader.s.Snapshot(), "a"))
	}
}

// childVariable makes the test binary the process that testCrash kills.
const childVariable = "SLUICE_STORE_TEST_URL"

// TestMain runs the children of testCrash and killInTheMiddle.
func TestMain(m *testing.M) {
	if url := os.Getenv(moveVariable); url != "" {
		fmt.Println("error", fillAndHang(url))
		os.Exit(1)
	}
	url := os.Getenv(childVariable)
	if url == "" {
		os.Exit(m.Run())
	}
	s, err := store.Open(context.Background(), store.Config{URL: url, Key: [32]byte{9}})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	docs := store.Register[counter](s, "counters")
	for i := 0; ; i++ {
		// Two documents that belong together.
		err := s.Update(context.Background(), func(tx *store.Tx) error {
			if err := docs.Put(tx, fmt.Sprintf("crash-%d-left", os.Getpid()), &counter{i}); err != nil {
				return err
			}
			return docs.Put(tx, fmt.Sprintf("crash-%d-right", os.Getpid()), &counter{i})
		})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("acked", i)
	}
}

func (e engine) testCrash(t *testing.T) {
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childVariable+"="+e.url)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acked := -1
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			word, rest, _ := strings.Cut(lines.Text(), " ")
			if word != "acked" {
				t.Fatal(lines.Text())
			}
			if acked, err = strconv.Atoi(rest); err != nil {
				t.Fatal(err)
			}
			if acked == 20+round*7 {
				if err := cmd.Process.Kill(); err != nil { // somewhere in the next commit
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		c := e.open(t)
		left, right := c.value(fmt.Sprintf("crash-%d-left", cmd.Process.Pid)), c.value(fmt.Sprintf("crash-%d-right", cmd.Process.Pid))
		if left != right || left < acked {
			t.Fatalf("acknowledged %d; after the crash there are %d and %d", acked, left, right)
		}
		if err := c.add("after-crash"); err != nil {
			t.Fatal(err)
		}
		if err := c.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (e engine) testWrongKey(t *testing.T) {
	_, err := store.Open(t.Context(), store.Config{URL: e.url, Key: [32]byte{8}})
	if !store.WrongKey.Is(err) {
		t.Fatalf("got %v, want WrongKey", err)
	}
}

// raw opens the database behind the store's back.
func (e engine) raw(t *testing.T) *sql.DB {
	t.Helper()
	var db *sql.DB
	var err error
	switch scheme, rest, _ := strings.Cut(e.url, "://"); scheme {
	case "sqlite":
		db, err = sql.Open("sqlite", rest)
	case "mysql":
		at, path, _ := strings.Cut(strings.TrimPrefix(rest, "root@"), "/")
		db, err = sql.Open("mysql", "root@tcp("+at+")/"+path)
	default:
		db, err = sql.Open("pgx", e.url)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // only looked
	return db
}

func (e engine) testTampered(t *testing.T) {
	db := e.raw(t)
	var names int
	row := db.QueryRow("SELECT count(*) FROM sluice_documents WHERE body LIKE '%shared%'")
	if strings.HasPrefix(e.url, "postgres") {
		row = db.QueryRow("SELECT count(*) FROM sluice_documents WHERE position('shared'::bytea in body) > 0")
	}
	if err := row.Scan(&names); err != nil || names != 0 {
		t.Fatalf("%d documents show a key in the clear (%v)", names, err)
	}
	// Give one document the body of another, as somebody with the database's password could.
	for _, q := range []string{
		"CREATE TABLE keep AS SELECT collection, keyhash, body FROM sluice_documents WHERE collection = 'counters'",
		"UPDATE sluice_documents SET body = (SELECT body FROM keep ORDER BY keyhash LIMIT 1) WHERE collection = 'counters'",
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	_, err := store.Open(t.Context(), store.Config{URL: e.url, Key: [32]byte{9}})
	if fault.KindOf(err) != fault.Corrupt {
		t.Errorf("a moved body: got %v, want a Corrupt fault", err)
	}
	for _, q := range []string{
		"UPDATE sluice_documents SET body = (SELECT body FROM keep WHERE keep.keyhash = sluice_documents.keyhash) WHERE collection = 'counters'",
		"DROP TABLE keep",
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	e.open(t)
}

func (e engine) testNewerFormat(t *testing.T) {
	db := e.raw(t)
	insert := "INSERT INTO sluice_migrations (version_id, is_applied) VALUES (99, "
	value := "true"
	if strings.HasPrefix(e.url, "sqlite") {
		value = "1"
	}
	if _, err := db.Exec(insert + value + ")"); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Config{URL: e.url, Key: [32]byte{9}})
	if !store.NewerFormat.Is(err) {
		t.Errorf("got %v, want NewerFormat", err)
	}
	if _, err := db.Exec("DELETE FROM sluice_migrations WHERE version_id = 99"); err != nil {
		t.Fatal(err)
	}
}

func (e engine) testServerRestart(t *testing.T) {
	if e.server == nil {
		t.Log("SQLite has no server")
		return
	}
	c := e.open(t)
	before := c.value("shared")
	e.server.Stop(t)
	if err := c.add("shared"); !store.Unreachable.Is(err) {
		t.Fatalf("without a server: %v, want Unreachable", err)
	}
	if got := c.value("shared"); got != before {
		t.Fatalf("reads changed to %d without a server", got)
	}
	if c.s.Silence() <= 0 {
		t.Error("the silence of the server is not seen")
	}
	e.server.Start(t)
	if err := c.add("shared"); err != nil {
		t.Fatalf("after the server came back: %v", err)
	}
	if got := c.value("shared"); got != before+1 {
		t.Fatalf("after the server came back %d, want %d", got, before+1)
	}
}

func TestBadURLsAreRefusedWithoutSecrets(t *testing.T) {
	for _, url := range []string{"", "sqlite:", "oracle://u:hunter2@h/d", "mysql://u:hunter2@h", "postgres://u:hunter2@127.0.0.1:1/x", "mysql://u:hunter2@127.0.0.1:1/x", "postgres://u:hunter2@h:port/x",
		"postgres://u@127.0.0.1:1/x?password=hunter2", "postgres://u@127.0.0.1:1/x?password=hunter2&sslmode=nonsense", "postgres://u:hunter2@127.0.0.1:1/x?sslmode=nonsense",
		"postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=x", "postgres://u:hunter2@127.0.0.1:1/x?sslcert=/nowhere&sslkey=/nowhere", "postgres://u:hunter2@127.0.0.1:1/x?sslpassword=hunter2&sslmode=nonsense",
		"mysql://u:hunter2@127.0.0.1:1/x?tls=nonsense", "mysql://u:hunter2@127.0.0.1:x/x", "postgres://u:hunter2%zz@h/x", "postgres://u:hunter2/@h/x", "mysql://u:hunter2#@h/x", "postgres://u:hun ter2hunter2@h/x"} {
		_, err := store.Open(t.Context(), store.Config{URL: url})
		if err == nil {
			t.Errorf("%q was accepted", url)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error tells the password: %v", url, err)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	e := engine{url: "sqlite://" + filepath.Join(b.TempDir(), "control.db")}
	c := e.open(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := c.add("bench"); err != nil {
				b.Error(err)
			}
		}
	})
}
