// Command nodebench measures a whole node, the real program with durable acknowledgements,
// against the peer or the limit of each path, in turns within one run:
//
//	collector  events through the gate, against the same node's plain proxy (wrk)
//	records    PutRecords of 500 × 1 KiB, against fio writing as much before each fdatasync
//	sql        count/sum/group by over gzip CSV, against DuckDB's own reader on the clear files
//	start      time to ready after a clean stop and after SIGKILL, and idle memory
//	routes     memory of 10,000 routes, consumers and keys, and latency while routes change
//
// It prints one JSON object per figure.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// figure is one line of output.
type figure struct {
	Bench  string  `json:"bench"`
	Figure string  `json:"figure"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Bar    string  `json:"bar,omitempty"`
	Met    *bool   `json:"met,omitempty"`
}

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
	only := flag.String("only", "", "comma-separated: collector,records,sql,start,routes")
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
	}{{"collector", benchCollector}, {"records", benchRecords}, {"sql", benchSQL}, {"start", benchStart}, {"routes", benchRoutes}} {
		if only != "" && !slices.Contains(strings.Split(only, ","), b.name) {
			continue
		}
		if err := b.run(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

func report(bench, name string, value float64, unit string) {
	emit(figure{Bench: bench, Figure: name, Value: value, Unit: unit})
}

// judge reports a figure that has a bar.
func judge(bench, name string, value float64, unit, bar string, met bool) {
	emit(figure{Bench: bench, Figure: name, Value: value, Unit: unit, Bar: bar, Met: &met})
}

func emit(f figure) {
	if err := json.NewEncoder(os.Stdout).Encode(f); err != nil {
		panic(err) // nobody reads what is measured
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
