package batch_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/batch"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// server takes batches, and fails or stands still when it is told to.
type server struct {
	mu      sync.Mutex
	batches [][]int
	at      []time.Time
	fail    func(call int) error
	hold    chan struct{}
	calls   int
}

func (s *server) send(ctx context.Context, b []int) error {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.at = append(s.at, time.Now())
	if s.fail != nil {
		if err := s.fail(s.calls); err != nil {
			return err
		}
	}
	s.batches = append(s.batches, slices.Clone(b))
	return nil
}

func queue(s *server, c batch.Config, log *slog.Logger) *batch.Queue[int] {
	if log == nil {
		log = gatewaytest.Log()
	}
	return batch.New(c, batch.Deps[int]{Clock: clock.System{}, Log: log, Send: s.send, Size: func(n int) int { return n }})
}

func TestNothingIsLostUnderTheBound(t *testing.T) {
	s := new(server)
	q := queue(s, batch.Config{MaxBatchSize: 7, MaxCoalescingDelay: time.Millisecond, MaxEntries: 1000}, nil)
	for i := range 1000 {
		q.Add(i)
	}
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, b := range s.batches {
		if len(b) > 7 {
			t.Errorf("a batch of %d entries", len(b))
		}
		for _, n := range b {
			if n != want {
				t.Fatalf("entry %d came, %d was next", n, want)
			}
			want++
		}
	}
	if st := q.Stats(); want != 1000 || st.Sent != 1000 || st.Dropped != 0 || st.Waiting != 0 {
		t.Errorf("%d entries arrived; %+v", want, st)
	}
}

func TestFullQueueDropsItsOldest(t *testing.T) {
	for name, c := range map[string]batch.Config{
		"entries": {MaxEntries: 3},
		"bytes":   {MaxBytes: 14}, // 4+5+5; an entry's size is its value
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{hold: make(chan struct{})}
				var said strings.Builder
				q := queue(s, c, slog.New(slog.NewTextHandler(&said, nil)))
				q.Add(1)
				synctest.Wait() // it is under way, and no longer waits
				for _, n := range []int{2, 3, 4, 5, 5} {
					q.Add(n)
				}
				close(s.hold)
				if err := q.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := slices.Concat(s.batches...); !slices.Equal(got, []int{1, 4, 5, 5}) {
					t.Errorf("sent %v", got)
				}
				if st := q.Stats(); st.Dropped != 2 || st.Sent != 4 {
					t.Errorf("%+v", st)
				}
				if n := strings.Count(said.String(), "queue is full"); n != 1 {
					t.Errorf("said %d times that it is full:\n%s", n, said.String())
				}
			})
		})
	}
}

func TestBatchWaitsToFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		start := time.Now()
		q := queue(s, batch.Config{MaxBatchSize: 3, MaxCoalescingDelay: time.Minute}, nil)
		q.Add(1)
		q.Add(2)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s.calls != 0 {
			t.Fatal("it did not wait")
		}
		q.Add(3)
		synctest.Wait()
		if len(s.batches) != 1 || s.at[0].Sub(start) != 10*time.Second {
			t.Fatalf("a whole batch is sent at once: %v", s.batches)
		}
		q.Add(4)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(s.batches) != 2 || s.at[1].Sub(start) != 70*time.Second {
			t.Fatalf("after its delay a batch is sent as it is: %v", s.at)
		}
		q.Add(5)
		if err := q.Close(t.Context()); err != nil || len(s.batches) != 3 || time.Since(start) != 70*time.Second {
			t.Errorf("closing does not wait: %v, %v", err, s.batches)
		}
	})
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{fail: func(int) error { return errors.New("no") }}
		q := queue(s, batch.Config{MaxRetryTime: 10 * time.Second, InitialRetryDelay: time.Second, MaxRetryDelay: 4 * time.Second}, nil)
		q.Add(1)
		time.Sleep(time.Hour)
		synctest.Wait()
		var waits []time.Duration
		for i := 1; i < len(s.at); i++ {
			waits = append(waits, s.at[i].Sub(s.at[i-1]))
		}
		if want := []time.Duration{1e9, 2e9, 4e9, 4e9}; !slices.Equal(waits, want) {
			t.Errorf("waits %v, want %v", waits, want)
		}
		if st := q.Stats(); st.Lost != 1 || st.Sent != 0 {
			t.Errorf("%+v", st)
		}
		s.fail = func(call int) error {
			if call%2 == 0 {
				return errors.New("no")
			}
			return nil
		}
		q.Add(2)
		q.Add(3)
		if err := q.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := slices.Concat(s.batches...); !slices.Equal(got, []int{2, 3}) {
			t.Errorf("sent %v", got)
		}
	})
}

func TestCloseEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{hold: make(chan struct{})}
		q := queue(s, batch.Config{}, nil)
		for i := range 5 {
			q.Add(i)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := q.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		q.Add(6)
		if st := q.Stats(); st.Lost != 5 || st.Dropped != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestUnlimitedConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{hold: make(chan struct{})}
		q := queue(s, batch.Config{MaxBatchSize: 10, MaxCoalescingDelay: time.Hour, Unlimited: true}, nil)
		for i := range 200 {
			q.Add(i)
		}
		synctest.Wait()
		if n := q.Stats().Waiting; n != 200-64 {
			t.Errorf("%d wait: at most 64 are under way at once", n)
		}
		close(s.hold)
		if err := q.Close(t.Context()); err != nil || len(s.batches) != 200 {
			t.Errorf("%d batches, %v", len(s.batches), err)
		}
	})
}

func TestConfigOf(t *testing.T) {
	record := (&schema.Field{Fields: append(batch.Legacy("http-log"), batch.Field(200))})
	for _, tc := range []struct {
		in   schema.Record
		want batch.Config
	}{
		{schema.Record{}, batch.Config{MaxBatchSize: 200, MaxCoalescingDelay: time.Second, MaxEntries: 10000,
			MaxRetryTime: time.Minute, InitialRetryDelay: 10 * time.Millisecond, MaxRetryDelay: time.Minute}},
		{schema.Record{"queue_size": 5.0, "flush_timeout": 0.5, "retry_count": 3.0, "queue": schema.Record{"max_bytes": 9.0, "concurrency_limit": -1.0}},
			batch.Config{MaxBatchSize: 5, MaxCoalescingDelay: 500 * time.Millisecond, MaxEntries: 10000, MaxBytes: 9, Unlimited: true,
				MaxRetryTime: time.Minute, InitialRetryDelay: 10 * time.Millisecond, MaxRetryDelay: time.Minute}},
		{schema.Record{"queue_size": 1.0, "flush_timeout": 2.0, "queue": schema.Record{"max_batch_size": 9.0, "max_coalescing_delay": 3.0}},
			batch.Config{MaxBatchSize: 9, MaxCoalescingDelay: 3 * time.Second, MaxEntries: 10000,
				MaxRetryTime: time.Minute, InitialRetryDelay: 10 * time.Millisecond, MaxRetryDelay: time.Minute}},
	} {
		full := record.Complete(tc.in)
		if bad := record.Validate(full); bad != nil {
			t.Fatal(bad)
		}
		if got := batch.Of(full); got != tc.want {
			t.Errorf("%v:\n got %+v\nwant %+v", tc.in, got, tc.want)
		}
	}
}
