package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"sluice.dev/sluice/bench/rig"
)

// benchRoutes makes routes on one node and asks the others for them until they serve.
func benchRoutes(ctx context.Context, o options) error {
	c, err := o.three(ctx)
	if err != nil {
		return err
	}
	defer c.Stop()
	a := c.Nodes[0]
	if err := a.Admin("PUT", "/services/up", map[string]any{"url": a.URLs.Status}); err != nil {
		return err
	}
	var whole, after []float64 // ms, of each change on each of the others
	for i := range o.changes {
		path := fmt.Sprintf("/r%d", i)
		asked := time.Now()
		if err := a.Admin("PUT", fmt.Sprintf("/routes/r%d", i), map[string]any{"paths": []string{path}, "service": map[string]string{"name": "up"}}); err != nil {
			return err
		}
		answered := time.Now()
		others := c.Nodes[1:]
		served, errs := make([]time.Time, len(others)), make([]error, len(others))
		var all sync.WaitGroup
		for k, n := range others {
			all.Go(func() { served[k], errs[k] = serves(n.URLs.Proxy + path + "/status/live") })
		}
		all.Wait()
		for k := range others {
			if errs[k] != nil {
				return errs[k]
			}
			whole, after = append(whole, ms(served[k].Sub(asked))), append(after, ms(served[k].Sub(answered)))
		}
	}
	median := rig.Median(whole)
	rig.Judge("routes", fmt.Sprintf("a route is asked for on one node until it serves on another, %d changes, median", o.changes), median, "ms", "< 200", median < 200)
	rig.Report("routes", "the same, p99", rig.P99(whole), "ms")
	rig.Report("routes", "from the change's answer, median", rig.Median(after), "ms")
	return nil
}

// serves is when a URL answers.
func serves(url string) (time.Time, error) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		res, err := http.Get(url)
		if err != nil {
			return time.Time{}, err
		}
		_ = res.Body.Close() // its status is enough
		if res.StatusCode == http.StatusOK {
			return time.Now(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s did not serve within ten seconds", url)
}
