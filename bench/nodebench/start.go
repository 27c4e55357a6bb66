package main

import (
	"context"
	"path/filepath"
	"syscall"
	"time"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/api/aws/kinesis"
)

func benchStart(ctx context.Context, o options) error {
	data := filepath.Join(o.dir, "start")
	n, err := startNode(ctx, o, data)
	if err != nil {
		return err
	}
	rig.Report("start", "ready, first start", n.Took.Seconds()*1000, "ms")
	time.Sleep(3 * time.Second) // idle is what it is after the start's own work
	rss, err := n.RSS()
	if err != nil {
		return err
	}
	rig.Judge("start", "idle memory", rss, "MB", "< 150", rss < 150)
	if err := n.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	var clean []float64
	for range o.rounds {
		if n, err = startNode(ctx, o, data); err != nil {
			return err
		}
		clean = append(clean, n.Took.Seconds()*1000)
		if err := n.Stop(syscall.SIGTERM); err != nil {
			return err
		}
	}
	rig.Judge("start", "ready after a clean stop", rig.Median(clean), "ms", "< 500", rig.Median(clean) < 500)

	if n, err = startNode(ctx, o, data); err != nil {
		return err
	}
	k := kinesis.Client{Client: n.aws}
	if _, err := k.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: new("filler"), ShardCount: new(int64(4))}); err != nil {
		return err
	}
	written := 0.0
	for written < float64(o.logMB) {
		rate, err := n.putLoad(ctx, "filler", time.Second)
		if err != nil {
			return err
		}
		written += rate
	}
	if err := n.Stop(syscall.SIGKILL); err != nil {
		return err
	}
	if n, err = startNode(ctx, o, data); err != nil {
		return err
	}
	took := n.Took.Seconds() * 1000
	rig.Report("start", "in the log at the SIGKILL", written, "MB")
	rig.Judge("start", "ready after SIGKILL", took, "ms", "< 3000", took < 3000)
	// Ready means that records are served: the log is opened by its first use.
	k = kinesis.Client{Client: n.aws}
	began := time.Now()
	it, err := k.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{StreamName: new("filler"), ShardId: new("shardId-000000000000"), ShardIteratorType: new("LATEST")})
	if err != nil {
		return err
	}
	rig.Report("start", "first use of a shard after SIGKILL", time.Since(began).Seconds()*1000, "ms")
	if _, err := k.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: it.ShardIterator}); err != nil {
		return err
	}
	return n.Stop(syscall.SIGTERM)
}
