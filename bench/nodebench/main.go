// Command nodebench measures a whole node, the real program with durable acknowledgements,
// against the peer or the limit of each path, in turns within one run:
//
//	collector  events through the gateway, against the same node's plain proxy (wrk)
//	records    PutRecords of 500 × 1 KiB, against fio writing as much before each fdatasync
//	puts       S3 puts of 4 KiB to 1 MiB alone and beside busy loops, beside VersityGW if it is installed
//	sql        count/sum/group by over gzip CSV, against DuckDB's own reader on the clear files
//	start      time to ready after a clean stop and after SIGKILL, and idle memory
//	routes     memory of 10,000 routes, consumers and keys, and latency while routes change
//
// It prints one JSON object per figure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	program  string
	dir      string
	rounds   int
	duration time.Duration
	sqlMB    int
	logMB    int
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/sluice", "the program under measurement")
	flag.StringVar(&o.dir, "dir", "", "directory for data, on the disk to measure (default: a new one here)")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "length of one measurement")
	flag.IntVar(&o.sqlMB, "sql-mb", 200, "MiB of gzip CSV for the SQL measurement")
	flag.IntVar(&o.logMB, "log-mb", 1024, "MiB in the log for the start after SIGKILL")
	only := flag.String("only", "", "comma-separated: collector,records,puts,sql,start,routes")
	flag.Parse()
	if err := run(context.Background(), o, *only); err != nil {
		fmt.Fprintln(os.Stderr, "nodebench:", err)
		if errors.Is(err, exec.ErrNotFound) {
			os.Exit(3)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, only string) (err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp(".", "nodebench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	for _, b := range []struct {
		name string
		run  func(context.Context, options) error
	}{{"collector", benchCollector}, {"records", benchRecords}, {"puts", benchPuts}, {"sql", benchSQL}, {"start", benchStart}, {"routes", benchRoutes}} {
		if only != "" && !slices.Contains(strings.Split(only, ","), b.name) {
			continue
		}
		if err := b.run(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}
