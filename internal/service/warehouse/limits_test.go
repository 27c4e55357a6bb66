package warehouse_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/warehouse"
)

// TestMemoryHardLimit checks that what the engine allocates beside its own count ends a
// statement, and not the machine's memory.
func TestMemoryHardLimit(t *testing.T) {
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Memory, c.Idle = 64<<20, 1 })
	c := s.as("a")
	for _, sql := range []string{
		"select length(repeat('x', 2000000000))", "select length(repeat(repeat('x', 1000000), 4000))",
		"select length(string_agg(repeat('x', 1000000), '')) from generate_series(1, 3000) i",
	} {
		_, err := run(t.Context(), c, sql)
		if !warehouse.OutOfMemory.Is(err) {
			t.Errorf("%s: %s", sql, describe(err))
		}
		for pid := range s.service.Served() {
			if peak := peakMemory(t, pid); peak > 64<<20*5/4+600<<20 {
				t.Errorf("%s: the worker came to %d MiB", sql, peak>>20)
			}
		}
	}
	rows(t, c, "select 1", "1")
}

// peakMemory returns the most resident memory that a process ever had.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // it was ended
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// TestTableTwice checks that a table which a statement names twice is read twice, not
// copied into memory, and that EXPLAIN reads nothing.
func TestTableTwice(t *testing.T) {
	s := open(t, func(c *warehouse.Config, d *warehouse.Deps) { c.Memory, c.Threads = 96<<20, 2 })
	c := s.as("a")
	exec(t, c, "create table big(id int, v varchar)")
	for range 4 {
		exec(t, c, "insert into big select i, md5(i::varchar) || md5((i + 1)::varchar) || md5((i + 2)::varchar) from generate_series(1, 400000) i")
	}
	rows(t, c, "select count(*), (select max(v) > 'f' from big) from big where v > (select min(v) from big)", "1599996|true")
	var first strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&first, "%d,%0100d,1,\n", i, i)
	}
	for i := range 8 {
		s.put(fmt.Sprintf("t/%d", i), first.String())
	}
	x := table(t, s, "t", delimited)
	if got := exec(t, c, "explain select a.v from "+x+" a join "+x+" b using (v)"); len(got.rows) == 0 || got.tag != "EXPLAIN" {
		t.Errorf("%+v", got)
	}
}

// TestTimeoutByDefault checks the node's time-out and a session's own.
func TestTimeoutByDefault(t *testing.T) {
	const slow = "select count(*) from generate_series(1, 4000000) a, generate_series(1, 4000000) b where a + b < 0"
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Timeout = 100 * time.Millisecond })
	c := s.as("a")
	rows(t, c, "show statement_timeout", "100ms")
	fails(t, c, slow, "QueryCanceled", "statement timeout")
	exec(t, c, "set statement_timeout = '2min'")
	rows(t, c, "show statement_timeout", "2min")
	exec(t, c, "set statement_timeout = 0")
	rows(t, c, "show statement_timeout", "0")
	exec(t, c, "reset statement_timeout")
	rows(t, c, "show statement_timeout", "100ms")
	exec(t, c, "set statement_timeout = 0", "discard all")
	fails(t, c, slow, "QueryCanceled", "statement timeout")
}

// TestConcurrentUpdates checks that statements of their own wait for each other: none
// fails, and none is lost.
func TestConcurrentUpdates(t *testing.T) {
	s := open(t)
	exec(t, s.as("a"), "create table n(id int, v int)", "insert into n values (1, 0), (2, 0)")
	const sessions, each = 8, 5
	var wg sync.WaitGroup
	failed := make(chan error, sessions*each)
	for i := range sessions {
		c := s.as("a")
		wg.Go(func() {
			for range each {
				if _, err := run(t.Context(), c, fmt.Sprintf("update n set v = v + 1 where id = %d", 1+i%2)); err != nil {
					failed <- err
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(describe(err))
	}
	rows(t, s.as("a"), "select id, v from n order by 1", "1|20", "2|20")
}
