package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the peer
	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/gzip"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/s3"
)

const sqlFiles = 16

// makeCSV writes about size bytes of gzip CSV.
func makeCSV(seed uint64, size int) ([]byte, error) {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // test data
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	var line []byte
	for i := 0; out.Len() < size; i++ {
		line = fmt.Appendf(line[:0], "%d,%016x%016x,category-%d,%d.%02d,%d,2026-01-%02d 12:%02d:00,note %d\n", i, r.Uint64(), r.Uint64(),
			r.IntN(50), r.IntN(1000), r.IntN(100), r.IntN(20), 1+r.IntN(28), r.IntN(60), r.IntN(1_000_000))
		if _, err := z.Write(line); err != nil {
			return nil, err
		}
	}
	err = z.Close()
	return out.Bytes(), err
}

const sqlQuestion = `select category, count(*), sum(price), sum(quantity) from %s group by category order by category`

func benchSQL(ctx context.Context, o options) error {
	n, err := startNode(ctx, o, filepath.Join(o.dir, "sql"))
	if err != nil {
		return err
	}
	defer func() { _ = n.Stop(syscall.SIGTERM) }() // the figures are out by then
	clear := filepath.Join(o.dir, "clear")
	if err := os.MkdirAll(clear, 0o700); err != nil {
		return err
	}
	c := s3.Client{Client: n.aws}
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new("lake")}); err != nil {
		return err
	}
	total := 0
	for i := range sqlFiles {
		raw, err := makeCSV(uint64(i), o.sqlMB<<20/sqlFiles)
		if err != nil {
			return err
		}
		total += len(raw)
		file := fmt.Sprintf("part-%02d.csv.gz", i)
		if err := os.WriteFile(filepath.Join(clear, file), raw, 0o600); err != nil {
			return err
		}
		if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: new("lake"), Key: new("sales/" + file),
			Body: awswire.NewBody(bytes.NewReader(raw), int64(len(raw)))}); err != nil {
			return err
		}
	}
	u, err := url.Parse(n.URLs.SQL)
	if err != nil {
		return err
	}
	u.User = url.UserPassword(n.aws.AccessKeyID, n.aws.Secret)
	ours, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return err
	}
	defer func() { _ = ours.Close(ctx) }() // the node goes away too
	for _, q := range []string{
		`create external schema lake from data catalog database 'lake' region 'us-east-1' create external database if not exists`,
		`create external table lake.sales (id bigint, token varchar, category varchar, price double precision, quantity int, sold timestamp, note varchar)
			row format delimited fields terminated by ',' location 's3://lake/sales/'`,
	} {
		if _, err := ours.Exec(ctx, q); err != nil {
			return err
		}
	}
	peer, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer func() { _ = peer.Close() }() // in memory
	theirs := fmt.Sprintf(sqlQuestion, `read_csv('`+clear+`/*.csv.gz', header=false, auto_detect=false, delim=',', columns={'id':'BIGINT','token':'VARCHAR',
		'category':'VARCHAR','price':'DOUBLE','quantity':'INTEGER','sold':'TIMESTAMP','note':'VARCHAR'})`)
	// The first read of an object goes another way than the later ones: it shows whether
	// the object is what it seems.
	mine, its, ratios := make([]float64, o.rounds+1), make([]float64, o.rounds+1), make([]float64, o.rounds+1)
	for i := range mine {
		began := time.Now()
		a, err := rowsOf(func(scan func(...any)) error {
			rows, err := peer.QueryContext(ctx, theirs)
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }() // rows.Err below is the one that counts
			for rows.Next() {
				var category string
				var count, quantity int64
				var price float64
				if err := rows.Scan(&category, &count, &price, &quantity); err != nil {
					return err
				}
				scan(category, count, quantity)
			}
			return rows.Err()
		})
		if err != nil {
			return err
		}
		its[i] = time.Since(began).Seconds()
		began = time.Now()
		b, err := rowsOf(func(scan func(...any)) error {
			rows, err := ours.Query(ctx, fmt.Sprintf(sqlQuestion, "lake.sales"))
			if err != nil {
				return err
			}
			for rows.Next() {
				var category string
				var count, quantity int64
				var price float64
				if err := rows.Scan(&category, &count, &price, &quantity); err != nil {
					return err
				}
				scan(category, count, quantity)
			}
			return rows.Err()
		})
		if err != nil {
			return err
		}
		mine[i] = time.Since(began).Seconds()
		ratios[i] = mine[i] / its[i]
		if a != b {
			return fmt.Errorf("the answers differ:\n%s\n%s", a, b)
		}
	}
	rig.Report("sql", fmt.Sprintf("DuckDB's own reader, %d MB of gzip CSV in %d clear files", total/1e6, sqlFiles), rig.Median(its[1:]), "s")
	rig.Report("sql", "through the bucket, decrypted and authorised, first read", mine[0], "s")
	rig.Report("sql", "first read against DuckDB's own reader", ratios[0], "×")
	rig.Report("sql", "through the bucket, decrypted and authorised, later reads", rig.Median(mine[1:]), "s")
	rig.Judge("sql", "later reads against DuckDB's own reader", rig.Median(ratios[1:]), "×", "≤ 1.3", rig.Median(ratios[1:]) <= 1.3)
	return nil
}

// rowsOf renders an answer, so that two can be compared.
func rowsOf(query func(scan func(...any)) error) (string, error) {
	var b bytes.Buffer
	err := query(func(v ...any) { fmt.Fprintln(&b, v...) })
	return b.String(), err
}
