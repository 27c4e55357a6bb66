//go:build cgo && linux

package worker_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/warehouse"
	"sluice.dev/sluice/internal/service/warehouse/warehousetest"
	"sluice.dev/sluice/internal/service/warehouse/worker"
)

// TestMain lets the test binary be its own worker process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sql-worker" {
		os.Exit(worker.Main())
	}
	os.Exit(m.Run())
}

const salesColumns = "itemid int, category varchar, price double precision, quantity int, orderdate timestamp, state varchar, shipping varchar, referral varchar"

// salesFile returns about n bytes of gzip of made-up sales.
func salesFile(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	categories := []string{"books", "music", "toys", "garden", "tools", "games"}
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.DefaultCompression)
	for out.Len() < n {
		fmt.Fprintf(z, "%d,%s,%d.%02d,%d,2016-%02d-%02d 00:00:00,%c%c,ship%d,%016x%016x\n", 1+r.IntN(100000), categories[r.IntN(6)], r.IntN(100), r.IntN(100),
			1+r.IntN(9), 1+r.IntN(12), 1+r.IntN(28), 'A'+r.IntN(26), 'A'+r.IntN(26), r.IntN(999999), r.Uint64(), r.Uint64())
	}
	z.Close()
	return out.Bytes()
}

// BenchmarkGzipCSV compares queries over gzip objects through the warehouse with DuckDB's
// own read_csv over the same bytes in files, with the same threads and memory. The size in
// MiB of all objects is taken from SLUICE_BENCH_MIB, 32 unless set.
func BenchmarkGzipCSV(b *testing.B) {
	const files = 16
	mib := 32
	if v, err := strconv.Atoi(os.Getenv("SLUICE_BENCH_MIB")); err == nil {
		mib = v
	}
	lake := warehousetest.NewMemory()
	dir := b.TempDir()
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for i := range files {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			body := salesFile(uint64(i), mib<<20/files)
			lake.Put(fmt.Sprintf("sales/%02d.gz", i), body)
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.csv.gz", i)), body, 0o600); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()

	ctx := caller.With(context.Background(), caller.Identity{Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/b", UserName: "b"})
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(ctx, store.Config{URL: "sqlite://" + filepath.Join(b.TempDir(), "control.db"), Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	exe, _ := os.Executable()
	policy := &warehousetest.Policy{}
	service, err := warehouse.New(warehouse.Config{Account: "123456789012", Region: "us-east-1", Worker: []string{exe, "sql-worker"}}, warehouse.Deps{
		Store: db, Area: warehousetest.NewMemory(), Authorizer: policy, Clock: clock.System{}, Log: log,
		Objects: &warehousetest.Buckets{Sets: map[string]*warehousetest.Memory{"lake": lake}},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer service.Close()
	session, err := service.Open(ctx, warehouse.Database)
	if err != nil {
		b.Fatal(err)
	}
	defer session.Close()
	query := func(sql string) string {
		st, err := session.Prepare(sql, nil)
		if err != nil {
			b.Fatal(err)
		}
		cursor, err := session.Run(ctx, st, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer cursor.Close()
		for rows := 0; ; rows++ {
			row, err := cursor.Next()
			if err != nil {
				b.Fatal(err)
			}
			if row == nil {
				return strconv.Itoa(rows)
			}
		}
	}
	query("create external schema sp from data catalog database 'd' create external database if not exists")
	query("create external table sp.sales(" + salesColumns + ") row format delimited fields terminated by ',' location 's3://lake/sales/'")

	var raw duckdb.Database
	var conn duckdb.Connection
	if duckdb.Open("", &raw) != duckdb.StateSuccess || duckdb.Connect(raw, &conn) != duckdb.StateSuccess {
		b.Fatal("DuckDB does not open")
	}
	defer duckdb.Close(&raw)
	defer duckdb.Disconnect(&conn)
	direct := func(sql string) string {
		var r duckdb.Result
		defer duckdb.DestroyResult(&r)
		if duckdb.Query(conn, sql, &r) != duckdb.StateSuccess {
			b.Fatal(duckdb.ResultError(&r))
		}
		rows := 0
		for {
			chunk := duckdb.FetchChunk(r)
			if chunk.Ptr == nil {
				return strconv.Itoa(rows)
			}
			rows += int(duckdb.DataChunkGetSize(chunk))
			duckdb.DestroyDataChunk(&chunk)
		}
	}
	direct(fmt.Sprintf("SET threads = %d; SET memory_limit = '1GiB'", runtime.NumCPU()))
	var types []string
	for _, c := range strings.Split(salesColumns, ", ") {
		name, kind, _ := strings.Cut(c, " ")
		types = append(types, fmt.Sprintf("'%s': '%s'", name, kind))
	}
	from := fmt.Sprintf("read_csv('%s/*.csv.gz', auto_detect = false, header = false, delim = ',', quote = '', escape = '', ignore_errors = true, store_rejects = true, columns = {%s})",
		dir, strings.Join(types, ", "))

	for _, q := range []struct{ name, sql string }{
		{"count", "select count(*) from %s"},
		{"sum", "select sum(price * quantity) from %s"},
		{"group", "select category, count(*), sum(price * quantity) from %s group by category order by 1"},
		{"all", "select count(*) from (select distinct * from %s where itemid < 100) q"},
	} {
		b.Run(q.name+"/sluice", func(b *testing.B) {
			for b.Loop() {
				query(fmt.Sprintf(q.sql, "sp.sales"))
			}
			b.ReportMetric(float64(mib)*float64(b.N)/b.Elapsed().Seconds(), "gzMiB/s")
		})
		b.Run(q.name+"/duckdb", func(b *testing.B) {
			for b.Loop() {
				direct(fmt.Sprintf(q.sql, from))
			}
			b.ReportMetric(float64(mib)*float64(b.N)/b.Elapsed().Seconds(), "gzMiB/s")
		})
	}
}
