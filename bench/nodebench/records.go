package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/kinesis"
)

const (
	putRecords = 500
	putBytes   = 1024
	putters    = 4
)

// putLoad sends signed PutRecords calls from several connections and returns the MB/s of
// record data that were acknowledged. The requests are made and signed beforehand, so that
// the two processors are the node's.
func (n *node) putLoad(ctx context.Context, stream string, duration time.Duration) (float64, error) {
	var body bytes.Buffer
	body.WriteString(`{"StreamName":"` + stream + `","Records":[`)
	data := make([]byte, putBytes)
	for i := range putRecords {
		_, _ = rand.Read(data) // never fails
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"Data":"%s","PartitionKey":"key-%d"}`, base64.StdEncoding.EncodeToString(data), i)
	}
	body.WriteString("]}")
	signed, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URLs.AWS+"/", nil)
	if err != nil {
		return 0, err
	}
	signed.Header.Set("Content-Type", "application/x-amz-json-1.1")
	signed.Header.Set("X-Amz-Target", "Kinesis_20131202.PutRecords")
	awswire.Signer{AccessKeyID: n.aws.AccessKeyID, Secret: n.aws.Secret, Region: "us-east-1", Service: "kinesis"}.Sign(signed, body.Bytes(), time.Now())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: putters}}
	var acked atomic.Int64
	deadline := time.Now().Add(duration)
	began := time.Now()
	errs := make(chan error, putters)
	var all sync.WaitGroup
	for range putters {
		all.Go(func() {
			for time.Now().Before(deadline) {
				req := signed.Clone(ctx)
				req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body.Bytes())), int64(body.Len())
				res, err := client.Do(req)
				if err != nil {
					errs <- err
					return
				}
				var out struct{ FailedRecordCount int64 }
				err = json.NewDecoder(res.Body).Decode(&out)
				_, _ = io.Copy(io.Discard, res.Body) // so that the connection is used again
				_ = res.Body.Close()                 // read already
				if err != nil || res.StatusCode != http.StatusOK || out.FailedRecordCount > 0 {
					errs <- fmt.Errorf("PutRecords: %d, %d failed, %v", res.StatusCode, out.FailedRecordCount, err)
					return
				}
				acked.Add(putRecords * putBytes)
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
	}
	return float64(acked.Load()) / 1e6 / time.Since(began).Seconds(), nil
}

// fio writes blocks of one call's record data, each followed by fdatasync.
func fio(ctx context.Context, o options) (float64, error) {
	out, err := exec.CommandContext(ctx, "fio", "--name=log", "--directory="+o.dir, "--rw=write", "--bs="+strconv.Itoa(putRecords*putBytes),
		"--size=2g", "--fdatasync=1", "--ioengine=psync", "--runtime="+strconv.Itoa(int(o.duration.Seconds())), "--time_based=1",
		"--fallocate=none", "--unlink=1", "--output-format=json").Output()
	if err != nil {
		return 0, err
	}
	var res struct {
		Jobs []struct {
			Write struct {
				BwBytes float64 `json:"bw_bytes"`
			} `json:"write"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(out, &res); err != nil {
		return 0, err
	}
	return res.Jobs[0].Write.BwBytes / 1e6, nil
}

func benchRecords(ctx context.Context, o options) error {
	n, err := startNode(ctx, o, filepath.Join(o.dir, "records"))
	if err != nil {
		return err
	}
	defer func() { _ = n.Stop(syscall.SIGTERM) }() // the figures are out by then
	k := kinesis.Client{Client: n.aws}
	if _, err := k.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: new("load"), ShardCount: new(int64(1))}); err != nil {
		return err
	}
	var rates, disks, ratios, costs []float64
	for range o.rounds {
		disk, err := fio(ctx, o)
		if err != nil {
			return err
		}
		before, err := n.CPU()
		if err != nil {
			return err
		}
		rate, err := n.putLoad(ctx, "load", o.duration)
		if err != nil {
			return err
		}
		after, err := n.CPU()
		if err != nil {
			return err
		}
		rates, disks, ratios = append(rates, rate), append(disks, disk), append(ratios, rate/disk)
		costs = append(costs, float64((after-before).Milliseconds())/(rate*o.duration.Seconds()))
	}
	rig.Report("records", "fio, 500 KiB before each fdatasync", rig.Median(disks), "MB/s")
	rig.Judge("records", "PutRecords 500 × 1 KiB, durable", rig.Median(rates), "MB/s", "≥ 50", rig.Median(rates) >= 50)
	rig.Judge("records", "against fio", rig.Median(ratios), "×", "≥ 0.5", rig.Median(ratios) >= 0.5)
	rig.Report("records", "CPU of the node", rig.Median(costs), "ms/MB")
	return nil
}
