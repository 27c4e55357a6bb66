package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/bench/rig"
)

// manyRoutes is how many routes, consumers and keys the node holds.
const manyRoutes = 10_000

// benchRoutes fills a node with routes, consumers and keys, and compares the latency of
// requests while routes change all the time with that of quiet times.
func benchRoutes(ctx context.Context, o options) error {
	data := filepath.Join(o.dir, "routes")
	n, err := startNode(ctx, o, data)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	upstream := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })}
	go func() { _ = upstream.Serve(ln) }()  // until it is closed
	defer func() { _ = upstream.Close() }() // nothing is under way
	if err := n.fillRoutes("http://" + ln.Addr().String()); err != nil {
		return err
	}
	if err := n.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	if n, err = startNode(ctx, o, data); err != nil {
		return err
	}
	rig.Report("routes", "ready with 10,000 routes, consumers and keys", n.Took.Seconds()*1000, "ms")
	time.Sleep(3 * time.Second) // idle is what it is after the start's own work
	rss, err := n.RSS()
	if err != nil {
		return err
	}
	rig.Judge("routes", "memory with 10,000 routes, consumers and keys", rss, "MB", "< 200", rss < 200)

	var quiet, changing, seen []float64
	for range o.rounds {
		for _, updates := range []bool{false, true} {
			p99, visible, err := n.latency(o.duration, updates)
			if err != nil {
				return err
			}
			if updates {
				changing, seen = append(changing, p99), append(seen, visible...)
			} else {
				quiet = append(quiet, p99)
			}
		}
	}
	slices.Sort(seen)
	worst := seen[len(seen)-1]
	ratio := rig.Median(changing) / rig.Median(quiet)
	rig.Report("routes", "p99, quiet", rig.Median(quiet), "ms")
	rig.Report("routes", "p99, ten changes a second", rig.Median(changing), "ms")
	rig.Judge("routes", "p99, changing by quiet", ratio, "×", "≤ 1.5", ratio <= 1.5)
	rig.Judge("routes", "a change is seen after the answer, at worst", worst, "ms", "< 50", worst < 50)
	rss, err = n.RSS()
	if err != nil {
		return err
	}
	rig.Report("routes", "memory after the load", rss, "MB")
	return n.Stop(syscall.SIGTERM)
}

// fillRoutes creates everything by the Admin API.
func (n *node) fillRoutes(url string) error {
	if err := n.Admin("PUT", "/services/many", map[string]any{"url": url}); err != nil {
		return err
	}
	const workers = 32
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < manyRoutes && errs[w] == nil; i += workers {
				errs[w] = errors.Join(
					n.Admin("PUT", fmt.Sprintf("/routes/r%d", i), map[string]any{"paths": []string{fmt.Sprintf("/s%d/v%d", i/3, i%3)},
						"service": map[string]string{"name": "many"}}),
					n.Admin("PUT", fmt.Sprintf("/consumers/c%d", i), map[string]any{}),
					n.Admin("POST", fmt.Sprintf("/consumers/c%d/key-auth", i), map[string]any{"key": fmt.Sprintf("key-of-consumer-%d", i)}))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// latency sends requests at a steady pace over kept connections and returns the 99th
// percentile of their times, and with updates how long each change took to be seen, counted
// from the Admin API's answer. Times are milliseconds.
func (n *node) latency(d time.Duration, updates bool) (p99 float64, visible []float64, err error) {
	const clients, pause = 8, 8 * time.Millisecond
	end := time.Now().Add(d)
	times := make([][]float64, clients)
	errs := make([]error, clients+1)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for next := time.Now(); next.Before(end) && errs[c] == nil; next = next.Add(pause) {
				time.Sleep(time.Until(next))
				i := manyRoutes/2 + rand.IntN(manyRoutes/2) // changes are to the first half
				began := time.Now()
				var status int
				if status, errs[c] = get(client, fmt.Sprintf("%s/s%d/v%d/x", n.URLs.Proxy, i/3, i%3)); errs[c] == nil && status != 200 {
					errs[c] = fmt.Errorf("route %d answers %d", i, status)
				}
				times[c] = append(times[c], time.Since(began).Seconds()*1000)
			}
		})
	}
	if updates {
		wg.Go(func() {
			for next := time.Now(); next.Before(end); next = next.Add(100 * time.Millisecond) {
				time.Sleep(time.Until(next))
				path := fmt.Sprintf("/changed-%d", rand.Uint64())
				if errs[clients] = n.Admin("PATCH", fmt.Sprintf("/routes/r%d", rand.IntN(manyRoutes/2)), map[string]any{"paths": []string{path}}); errs[clients] != nil {
					return
				}
				began := time.Now()
				for status := 0; status != 200; {
					if status, errs[clients] = get(http.DefaultClient, n.URLs.Proxy+path); errs[clients] != nil {
						return
					}
				}
				visible = append(visible, time.Since(began).Seconds()*1000)
			}
		})
	}
	wg.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return 0, nil, fmt.Errorf("no figure: %w", err)
	}
	return all[len(all)*99/100], visible, nil
}

// get asks once and returns the status.
func get(c *http.Client, url string) (int, error) {
	res, err := c.Get(url)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, errors.Join(err, res.Body.Close())
}
