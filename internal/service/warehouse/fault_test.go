package warehouse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/warehouse"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// workers returns the process ids of this test's workers.
func workers(t testing.TB) []int {
	t.Helper()
	children, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, path := range children {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(os.Getpid()) {
			if cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.Contains(cmd, []byte("sql-worker")) {
				out = append(out, pid)
			}
		}
	}
	return out
}

// slow is a query that runs far longer than any test.
const slow = "select count(*) from range(100000) a, range(100000) b, range(1000) c where a.range * b.range % 7 = c.range"

func TestConfinement(t *testing.T) {
	s := open(t)
	c := s.as("a")
	exec(t, c, "select 1")
	found := workers(t)
	if len(found) == 0 {
		t.Fatal("no worker is running")
	}
	pid := found[0]
	read := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, v := range strings.Split(strings.TrimRight(read("environ"), "\x00"), "\x00") {
		if !strings.HasPrefix(v, "GOMAXPROCS=") {
			t.Errorf("the worker inherited %q", v)
		}
	}
	// The one found may be a spare that is still starting: it takes no statement before its
	// filter, the last thing it puts on, is there.
	status := read("status")
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(status, "Seccomp:\t2") && time.Now().Before(deadline); status = read("status") {
		runtime.Gosched()
	}
	if !strings.Contains(status, "Seccomp:\t2") || !strings.Contains(status, "NoNewPrivs:\t1") {
		t.Errorf("no system call filter:\n%s", status)
	}
	if !strings.Contains(read("limits"), "Max core file size        0") {
		t.Error("core dumps are possible")
	}
	if os.Getuid() != 0 {
		return
	}
	if !strings.Contains(status, "Uid:\t65534\t65534\t65534\t65534") || !strings.Contains(status, "CapEff:\t0000000000000000") {
		t.Errorf("the worker has privileges:\n%s", status)
	}
	if root, err := os.Readlink(fmt.Sprintf("/proc/%d/root", pid)); err != nil || !strings.HasSuffix(root, "/fd") {
		t.Errorf("the worker's root is %q (%v)", root, err)
	}
	for _, ns := range []string{"net", "pid", "ipc"} {
		ours, _ := os.Readlink("/proc/self/ns/" + ns)
		theirs, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if ours == theirs {
			t.Errorf("the worker shares our %s namespace", ns)
		}
	}
}

func TestKilledWorker(t *testing.T) {
	s := open(t)
	c := s.as("a")
	exec(t, c, "create table t(id int)", "insert into t values (1)")
	for _, sql := range []string{slow, "insert into t " + slow, "update t set id = (" + slow + ")", "create table u as " + slow} {
		// The killer strikes whatever works longest: only the slow statement is there then.
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					for _, pid := range workers(t) {
						_ = syscall.Kill(pid, syscall.SIGKILL)
					}
				}
			}
		})
		fails(t, c, sql, "WorkerLost", "worker")
		close(stop)
		wg.Wait()
		rows(t, c, "select count(*) from t", "1")
	}
	fails(t, c, "select * from u", "UndefinedTable", "")
}

func TestKilledUnderLoad(t *testing.T) {
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Concurrency = 4 })
	for i := range 8 {
		s.put(fmt.Sprintf("l/%d.gz", i), strings.Repeat("1,a,1,\n", 20000))
	}
	x := table(t, s, "l", delimited)
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	var wg sync.WaitGroup
	var good, lost int
	var mu sync.Mutex
	for i := range 4 {
		session := s.as(fmt.Sprintf("u%d", i))
		wg.Go(func() {
			for ctx.Err() == nil {
				got, err := run(t.Context(), session, "select count(*), sum(n) from "+x)
				mu.Lock()
				switch {
				case err == nil && strings.Join(got.rows, "") == "160000|160000":
					good++
				case warehouse.WorkerLost.Is(err):
					lost++
				default:
					t.Errorf("got %q, %v", got.rows, describe(err))
				}
				mu.Unlock()
			}
		})
	}
	for ctx.Err() == nil {
		time.Sleep(30 * time.Millisecond) // the pace of the killing; nothing depends on it
		if w := workers(t); len(w) > 0 {
			_ = syscall.Kill(w[len(w)-1], syscall.SIGKILL)
		}
	}
	wg.Wait()
	if good == 0 || lost == 0 {
		t.Errorf("%d good and %d lost: the test shows nothing", good, lost)
	}
	t.Logf("%d good, %d lost", good, lost)
	rows(t, s.as("u0"), "select count(*) from "+x, "160000")
}

func TestCancel(t *testing.T) {
	s := open(t)
	c := s.as("a")
	exec(t, c, "select 1")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	if _, err := run(ctx, c, slow); !warehouse.QueryCanceled.Is(err) {
		t.Errorf("got %v", describe(err))
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("the cancellation took %s", d)
	}
	rows(t, c, "select 1", "1")

	exec(t, c, "set statement_timeout to 100")
	fails(t, c, slow, "QueryCanceled", "statement timeout")
	exec(t, c, "set statement_timeout to default")
	rows(t, c, "select 1", "1")

	// A result nobody reads to its end.
	st, err := c.Prepare("select i, repeat('x', 1000) from range(10000000) t(i)", nil)
	if err != nil {
		t.Fatal(err)
	}
	cursor, err := c.Run(t.Context(), st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if row, err := cursor.Next(); err != nil || row == nil {
		t.Fatal(row, err)
	}
	start = time.Now()
	cursor.Close()
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("closing took %s", d)
	}
	rows(t, c, "select 1", "1")
}

func TestCancelWhileFeeding(t *testing.T) {
	s := open(t)
	c := s.as("a")
	s.put("w/a", "1,a,1,\n")
	x := table(t, s, "w", delimited)
	release := make(chan struct{})
	s.lake.Wrap = func(in io.ReadCloser) io.ReadCloser { return &stuck{in, release} }
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, func() {
		cancel()
		time.AfterFunc(100*time.Millisecond, func() { close(release) })
	})
	if _, err := run(ctx, c, "select count(*) from "+x); !warehouse.QueryCanceled.Is(err) {
		t.Errorf("got %v", describe(err))
	}
	s.lake.Wrap = nil
	rows(t, c, "select count(*) from "+x, "1")
}

// stuck gives one byte and then waits.
type stuck struct {
	io.ReadCloser
	release chan struct{}
}

func (s *stuck) Read(b []byte) (int, error) {
	<-s.release
	return s.ReadCloser.Read(b)
}

func TestMemoryLimits(t *testing.T) {
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Memory, c.Quota = 64<<20, 100_000 })
	c := s.as("a")
	fails(t, c, "select count(*) from (select distinct i, md5(i::varchar) from range(3000000) t(i)) q", "OutOfMemory", "")
	rows(t, c, "select 1", "1")
	exec(t, c, "create table t as select md5(i::varchar) as m from range(10000) t(i)")
	fails(t, c, "select count(*) from t", "OutOfMemory", "memory quota of 100000 bytes")
	rows(t, c, "select count(*) from (select 1) q", "1")
}

func TestQueue(t *testing.T) {
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Concurrency, c.Queue = 1, 1 })
	a, b, c := s.as("a"), s.as("b"), s.as("c")
	st, err := a.Prepare("select i from range(10000000) t(i)", nil)
	if err != nil {
		t.Fatal(err)
	}
	cursor, err := a.Run(t.Context(), st, nil)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := run(ctx, b, "select 2")
		for warehouse.TooManyQueries.Is(err) { // the third one was first for a moment
			_, err = run(ctx, b, "select 2")
		}
		second <- err
	}()
	var third error
	for third == nil { // until the second one waits
		short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, third = run(short, c, "select 3"); warehouse.QueryCanceled.Is(third) {
			third = nil
		}
		stop()
	}
	if !warehouse.TooManyQueries.Is(third) {
		t.Errorf("got %v", describe(third))
	}
	cancel()
	if err := <-second; !warehouse.QueryCanceled.Is(err) {
		t.Errorf("got %v", describe(err))
	}
	cursor.Close()
	rows(t, c, "select 3", "3")
}

func TestBackPressure(t *testing.T) {
	s := open(t)
	c := s.as("a")
	st, err := c.Prepare("select repeat('x', 1000) from range(200000) t(i)", nil) // 200 MB
	if err != nil {
		t.Fatal(err)
	}
	cursor, err := c.Run(t.Context(), st, []wire.Parameter{})
	if err != nil {
		t.Fatal(err)
	}
	defer cursor.Close()
	n := 0
	for {
		row, err := cursor.Next()
		if err != nil {
			t.Fatal(err)
		}
		if row == nil {
			break
		}
		n++
	}
	if n != 200000 || cursor.Tag() != "SELECT 200000" {
		t.Errorf("%d rows, %q", n, cursor.Tag())
	}
}

func TestWorkersServeOneIdentity(t *testing.T) {
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Idle = 8 })
	seen := map[int]string{}
	for range 3 {
		for _, name := range []string{"a", "b", "c"} { // nothing is warmed for one who comes while others' wait
			exec(t, s.as(name), "select 1")
			for pid, owner := range s.service.Served() {
				if before := seen[pid]; before != "" && before != owner {
					t.Errorf("worker %d served %s and then %s", pid, before, owner)
				}
				seen[pid] = owner
			}
		}
	}
	count := map[string]int{}
	for _, owner := range seen {
		count[owner]++
	}
	delete(count, "")
	if len(count) != 3 {
		t.Errorf("workers by identity: %v", count)
	}
	for owner, n := range count {
		if n != 1 {
			t.Errorf("three statements of %s ran in %d workers", owner, n)
		}
	}
}

func TestIdleWorkersAreBounded(t *testing.T) {
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Idle = 1 })
	for _, name := range []string{"a", "b", "a", "c"} {
		exec(t, s.as(name), "select 1")
		if n := len(s.service.Served()); n != 1 {
			t.Errorf("%d workers wait", n)
		}
	}
	for len(workers(t)) > 1 { // those that were ended take a moment to be gone
		time.Sleep(time.Millisecond)
	}
}

func TestCleaning(t *testing.T) {
	now := time.Now()
	s := open(t, func(_ *warehouse.Config, d *warehouse.Deps) { d.Clock = clock.Fixed(now) })
	c := s.as("a")
	exec(t, c, "create table t(id int)", "insert into t values (1)", "insert into t values (2)", "create table gone(id int)", "insert into gone values (1)", "drop table gone")
	kept := len(s.area.Keys(""))
	if n, err := s.service.Clean(t.Context()); n != 0 || err != nil || len(s.area.Keys("")) != kept {
		t.Errorf("removed %d young files, %v", n, err)
	}
	exec(t, c, "vacuum t")
	for _, key := range s.area.Keys("") {
		s.area.PutAt(key, s.area.Body(key), now.Add(-2*time.Hour))
	}
	s.area.PutAt("tables/feedfacefeedfacefeedfacefeedface/part-left.parquet", []byte("x"), now.Add(-2*time.Hour))
	// Two replaced files of t, the log of two entries and the file of gone, and the leftover.
	if n, err := s.service.Clean(t.Context()); n != 6 || err != nil {
		t.Errorf("removed %d files, %v; left %q", n, err, s.area.Keys(""))
	}
	rows(t, c, "select count(*), sum(id) from t", "2|3")
}

func TestAreaFailures(t *testing.T) {
	s := open(t)
	c := s.as("a")
	exec(t, c, "create table t(id int)")
	full := errors.New("the disk is full")
	s.area.OnCreate = func(key string) error { return full }
	fails(t, c, "insert into t values (1)", "BadData", "could not be written")
	fails(t, c, "create table u as select * from range(1000000) r(i)", "BadData", "could not be written")
	s.area.OnCreate = func(key string) error {
		if strings.Contains(key, "_delta_log") {
			return full
		}
		return nil
	}
	if _, err := run(t.Context(), c, "insert into t values (1)"); !errors.Is(err, full) {
		t.Errorf("got %v", describe(err))
	}
	s.area.OnCreate = nil
	rows(t, c, "select count(*) from t", "0")
	exec(t, c, "insert into t values (5)")
	rows(t, c, "select sum(id) from t", "5")
	for _, key := range s.area.Keys("") {
		if strings.HasSuffix(key, ".parquet") {
			b := bytes.Clone(s.area.Body(key))
			b[len(b)-6] ^= 0xff
			s.area.Put(key, b)
		}
	}
	fails(t, c, "select sum(id) from t", "BadData", "a file of table public.t")
}

func TestConcurrentAppends(t *testing.T) {
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Concurrency = 4 })
	exec(t, s.as("a"), "create table t(id int)")
	var wg sync.WaitGroup
	for i := range 4 {
		c := s.as(fmt.Sprintf("u%d", i))
		wg.Go(func() {
			for j := range 5 {
				if _, err := run(t.Context(), c, fmt.Sprintf("insert into t values (%d)", i*5+j)); err != nil {
					t.Errorf("%v", describe(err))
				}
			}
		})
	}
	wg.Wait()
	rows(t, s.as("a"), "select count(distinct id), sum(id) from t", "20|190")
}
