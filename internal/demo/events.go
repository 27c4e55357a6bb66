package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

//go:embed data/flights.csv.gz
var flights []byte

const (
	posters   = 8  // connections
	perBatch  = 25 // events of a request
	killAfter = 0.5
)

// sent is what became of the events.
type sent struct {
	acked      map[string]time.Time // event id → when the acknowledgement came
	unanswered int                  // events of requests that got no answer
	took       time.Duration
	down       time.Duration // from the kill to ready again
}

// readFlights returns the rows of the data set, without its header.
func readFlights() ([][]string, error) {
	z, err := gzip.NewReader(bytes.NewReader(flights))
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		return nil, err
	}
	return rows[1:], nil
}

// newID returns an event id that no other event has.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// appendEvent writes one row as a JSON line.
func appendEvent(b *bytes.Buffer, id string, row []string) {
	tail := row[3]
	if tail == "" {
		tail = "unknown"
	}
	fmt.Fprintf(b, `{"event_id":%q,"time_hour":%q,"carrier":%q,"flight":%s,"tailnum":%q,"origin":%q,"dest":%q,"distance":%s`,
		id, row[0], row[1], row[2], tail, row[4], row[5], row[10])
	if row[7] != "" {
		fmt.Fprintf(b, `,"dep_delay":%s`, row[7])
	}
	b.WriteString("}\n")
}

// postBody sends events to the gateway.
func (d *demo) postBody(ctx context.Context, key string, body []byte) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.api.proxy+"/departures", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	if key != "" {
		req.Header.Set("Apikey", key)
	}
	res, err := d.api.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	_ = res.Body.Close() // read already
	return res.StatusCode, string(raw), err
}

// refusals sends what the gateway must not take. What the trial consumer may send within its
// limit is an unknown carrier, so that none of this becomes an event.
func (d *demo) refusals(ctx context.Context) error {
	rows, err := readFlights()
	if err != nil {
		return err
	}
	var good, unknown bytes.Buffer
	appendEvent(&good, newID(), rows[0])
	stranger := append([]string(nil), rows[0]...)
	stranger[1] = "ZZ"
	appendEvent(&unknown, newID(), stranger)
	for _, c := range []struct {
		what, key, body string
		want            int
	}{
		{"no key", "", good.String(), http.StatusUnauthorized},
		{"a key nobody has", "not-a-key", good.String(), http.StatusUnauthorized},
		{"an unknown carrier", goodKey, unknown.String(), http.StatusUnprocessableEntity},
		{"a malformed body", goodKey, `{"carrier": `, http.StatusBadRequest},
		{"a flight number in words", goodKey, strings.Replace(good.String(), `"flight":`+rows[0][2], `"flight":"many"`, 1), http.StatusBadRequest},
	} {
		status, answer, err := d.postBody(ctx, c.key, []byte(c.body))
		if err != nil {
			return err
		}
		if status != c.want {
			return unexpected(fmt.Sprintf("%s should be answered %d", c.what, c.want), fmt.Sprintf("%d %s", status, answer))
		}
		d.note("%d  %-26s %s", status, c.what, oneLine(answer))
	}
	for i := range trialLimit + 1 {
		status, answer, err := d.postBody(ctx, limitedKey, unknown.Bytes())
		if err != nil {
			return err
		}
		if status == http.StatusTooManyRequests {
			d.note("%d  %-26s %s", status, fmt.Sprintf("the trial's request %d", i+1), oneLine(answer))
			return nil
		}
	}
	return errors.New("the trial consumer was not limited")
}

// oneLine folds an answer, which Kong's own style spreads over several lines.
func oneLine(answer string) string { return strings.Join(strings.Fields(answer), " ") }

// post sends the events, kills the node on the way and starts it again. An event of a
// request without an answer may have been taken or not: its row is sent again as a new event.
func (d *demo) post(ctx context.Context) (*sent, error) {
	rows, err := readFlights()
	if err != nil {
		return nil, err
	}
	out := &sent{acked: make(map[string]time.Time, d.Events)}
	screen := d.Out
	if f, ok := d.Out.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		screen = io.Discard // a bar is for a person who watches; a log gets its last line alone
	}
	bar := progressbar.NewOptions(d.Events, progressbar.OptionSetWriter(screen), progressbar.OptionSetDescription("   events"),
		progressbar.OptionSetWidth(40), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(200*time.Millisecond))
	var next, done atomic.Int64
	var mu sync.Mutex
	up := newGate()
	began := time.Now()
	batch := func() error {
		first := int(next.Add(perBatch)) - perBatch
		if first >= d.Events {
			return io.EOF
		}
		n := min(perBatch, d.Events-first)
		for {
			up.wait()
			ids := make([]string, n)
			var body bytes.Buffer
			for i := range n {
				ids[i] = newID()
				appendEvent(&body, ids[i], rows[(first+i)%len(rows)])
			}
			status, answer, err := d.postBody(ctx, goodKey, body.Bytes())
			now := time.Now()
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				mu.Lock()
				out.unanswered += n
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
				continue
			case status == http.StatusServiceUnavailable:
				time.Sleep(100 * time.Millisecond) // as Retry-After asks, for the impatient
				continue
			case status != http.StatusAccepted:
				return unexpected("an event was not accepted", fmt.Sprintf("%d %s", status, answer))
			}
			mu.Lock()
			for _, id := range ids {
				out.acked[id] = now
			}
			mu.Unlock()
			done.Add(int64(n))
			_ = bar.Add(n) // it is only shown
			return nil
		}
	}
	failed := make(chan error, posters+1)
	var workers sync.WaitGroup
	for range posters {
		workers.Go(func() {
			for {
				if err := batch(); err != nil {
					if !errors.Is(err, io.EOF) {
						failed <- err
					}
					return
				}
			}
		})
	}
	workers.Go(func() {
		for float64(done.Load()) < killAfter*float64(d.Events) && len(failed) == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		killed := time.Now()
		up.shut()
		err := d.node.kill()
		if err == nil {
			err = d.node.launch(ctx)
		}
		out.down = time.Since(killed)
		up.open()
		if err != nil {
			failed <- err
		}
	})
	workers.Wait()
	out.took = time.Since(began)
	_ = bar.Finish() // it is only shown
	fmt.Fprintln(d.Out)
	select {
	case err := <-failed:
		return nil, err
	default:
	}
	d.say("4. Killed with SIGKILL in the middle, and started again")
	d.note("ready again %s after the kill; %d events had no answer and were sent again as new ones", out.down.Round(time.Millisecond), out.unanswered)
	d.note("%d events acknowledged in %s: %s events/s", len(out.acked), out.took.Round(time.Millisecond),
		strconv.FormatFloat(float64(len(out.acked))/(out.took-out.down).Seconds(), 'f', 0, 64))
	return out, nil
}

// gate holds the posters back while the node is down.
type gate struct {
	mu   sync.Mutex
	cond *sync.Cond
	down bool
}

func newGate() *gate {
	g := new(gate)
	g.cond = sync.NewCond(&g.mu)
	return g
}

func (g *gate) wait() {
	g.mu.Lock()
	for g.down {
		g.cond.Wait()
	}
	g.mu.Unlock()
}

func (g *gate) shut() {
	g.mu.Lock()
	g.down = true
	g.mu.Unlock()
}

func (g *gate) open() {
	g.mu.Lock()
	g.down = false
	g.cond.Broadcast()
	g.mu.Unlock()
}
