package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/s3"
)

const (
	putClients = 16
	busyLoops  = 8
	peerKey    = "versity"
	peerSecret = "versity-secret"
)

// objectSizes is the mix of a client's puts, in turns.
var objectSizes = []int{4 << 10, 64 << 10, 4 << 10, 256 << 10, 4 << 10, 16 << 10, 4 << 10, 1 << 20}

// puts sends puts from several clients, and returns how long each took, in milliseconds.
func puts(ctx context.Context, c *awswire.Client, bucket string, round int, duration time.Duration) ([]float64, error) {
	body := make([]byte, 1<<20)
	_, _ = rand.Read(body) // never fails
	deadline := time.Now().Add(duration)
	var mu sync.Mutex
	var took []float64
	var failed error
	var all sync.WaitGroup
	for i := range putClients {
		all.Go(func() {
			var own []float64
			var err error
			for n := 0; err == nil && time.Now().Before(deadline); n++ {
				key, size := fmt.Sprintf("%d/%d/%d", round, i, n), objectSizes[(n+i)%len(objectSizes)]
				began := time.Now()
				_, err = s3.Client{Client: c}.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: awswire.NewBody(bytes.NewReader(body[:size]), int64(size))})
				own = append(own, float64(time.Since(began).Microseconds())/1000)
			}
			mu.Lock()
			defer mu.Unlock()
			took, failed = append(took, own...), errors.Join(failed, err)
		})
	}
	all.Wait()
	return took, failed
}

// contend starts busy loops beside what is measured, and returns what ends them.
func contend(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var all []*exec.Cmd
	stop = func() {
		cancel()
		for _, cmd := range all {
			_ = cmd.Wait() // it was killed
		}
	}
	for range busyLoops {
		cmd := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			stop()
			return nil, err
		}
		all = append(all, cmd)
	}
	return stop, nil
}

// startVersity starts the peer over a directory, if it is installed.
func startVersity(ctx context.Context, dir string) (c *awswire.Client, stop func(), err error) {
	program, err := exec.LookPath("versitygw")
	if err != nil {
		return nil, func() {}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	address := ln.Addr().String()
	_ = ln.Close() // the peer takes it
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, "--access", peerKey, "--secret", peerSecret, "--port", address, "--quiet", "posix", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, nil, err
	}
	stop = func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close() // it answers
			break
		}
		if time.Now().After(deadline) {
			stop()
			return nil, nil, err
		}
	}
	return &awswire.Client{Endpoint: "http://" + address, Region: "us-east-1", AccessKeyID: peerKey, Secret: peerSecret}, stop, nil
}

func benchPuts(ctx context.Context, o options) error {
	n, err := startNode(ctx, o, filepath.Join(o.dir, "puts"))
	if err != nil {
		return err
	}
	defer func() { _ = n.Stop(syscall.SIGTERM) }() // the figures are out by then
	peer, stopPeer, err := startVersity(ctx, filepath.Join(o.dir, "versity"))
	if err != nil {
		return err
	}
	defer stopPeer()
	type server struct {
		name   string
		client *awswire.Client
	}
	servers := []server{{"Sluice", n.aws}}
	if peer != nil {
		servers = append(servers, server{"VersityGW (posix, no syncs)", peer})
	}
	for _, s := range servers {
		if _, err := (s3.Client{Client: s.client}).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new("puts")}); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	round := 0
	for _, condition := range []string{"alone", fmt.Sprintf("beside %d busy loops", busyLoops)} {
		stop := func() {}
		if strings.HasPrefix(condition, "beside") {
			if stop, err = contend(ctx); err != nil {
				return err
			}
		}
		figures := map[string][]float64{}
		for range o.rounds {
			for _, s := range servers {
				round++
				took, err := puts(ctx, s.client, "puts", round, o.duration)
				if err != nil {
					stop()
					return fmt.Errorf("%s: %w", s.name, err)
				}
				for figure, v := range map[string]float64{"median": rig.Median(took), "p99": rig.P99(took), "rate": float64(len(took)) / o.duration.Seconds()} {
					figures[s.name+figure] = append(figures[s.name+figure], v)
				}
			}
		}
		stop()
		for _, s := range servers {
			rig.Report("puts", s.name+", "+condition+", median", rig.Median(figures[s.name+"median"]), "ms")
			rig.Report("puts", s.name+", "+condition+", p99", rig.Median(figures[s.name+"p99"]), "ms")
			rig.Report("puts", s.name+", "+condition, rig.Median(figures[s.name+"rate"]), "puts/s")
		}
	}
	return nil
}
