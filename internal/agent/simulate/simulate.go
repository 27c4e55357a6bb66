package simulate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what is simulated.
type Config struct {
	// URLs are the addresses of nodes, such as http://10.0.0.1:10090/efm/api; agents are
	// spread over them.
	URLs   []string
	Agents int
	Class  string
	// Prefix begins the agents' ids.
	Prefix string
	// Period is the time between an agent's heartbeats, Duration how long all of it lasts.
	Period, Duration time.Duration
	// Connections bounds the requests that are under way at one time.
	Connections int
	// Burst sends the first heartbeat of all agents at once; else they are spread over the
	// first period.
	Burst bool
	// Roam makes each agent report to the next node every time, as behind a balancer that
	// keeps nobody; else it stays with one.
	Roam bool
	// Manifest is what agents tell when they are asked; a small one if nil. Hash is its hash.
	Manifest json.RawMessage
	Hash     string
	// TLS is for https URLs.
	TLS *tls.Config
	// Progress, if not nil, is called about every second.
	Progress func(Report)
}

// Report is what was seen.
type Report struct {
	Elapsed    time.Duration `json:"elapsed_ns"`
	Heartbeats int64         `json:"heartbeats"`
	Failed     int64         `json:"failed"`
	LastError  string        `json:"last_error,omitempty"`
	Rate       float64       `json:"heartbeats_per_second"`
	// P50, P99 and Max are of the times from when a heartbeat was due until it was answered.
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
	// Operations are those that were carried out, by what they are.
	Operations map[string]int64 `json:"operations"`
	// Flows counts the agents by the flow they believe to run.
	Flows map[string]int `json:"flows"`
}

// member is one agent.
type member struct {
	id    string
	mu    sync.Mutex
	node  int // which URL it reports to next
	flow  string
	files string
}

// crowd is the agents of a run.
type crowd struct {
	cfg     Config
	client  *http.Client
	members []member
	began   time.Time

	heartbeats, failed atomic.Int64
	mu                 sync.Mutex
	last               error
	took               []time.Duration // a sample
	operations         map[string]int64
}

// maxSample bounds the times that percentiles are of; after it, every other is dropped.
const maxSample = 1 << 20

// smallManifest is what simulated agents tell of themselves.
const smallManifest = `{"identifier":"simulated","agentType":"minifi-java","version":"1",
"bundles":[{"group":"sluice","artifact":"simulated","version":"1","componentManifest":{"processors":[
 {"type":"org.apache.nifi.processors.standard.GenerateFlowFile","group":"sluice","artifact":"simulated","version":"1","supportedRelationships":[{"name":"success"}]},
 {"type":"org.apache.nifi.processors.standard.LogAttribute","group":"sluice","artifact":"simulated","version":"1","supportedRelationships":[{"name":"success"}]}]}}],
"supportedOperations":[{"type":"DESCRIBE","properties":{"operand":{"value":"MANIFEST"}}},{"type":"UPDATE","properties":{"CONFIGURATION":{},"ASSET":{},"PROPERTIES":{}}},
 {"type":"START","properties":{"FLOW":{},"PROCESSOR":{}}},{"type":"STOP","properties":{"FLOW":{},"PROCESSOR":{}}},{"type":"SYNC","properties":{"RESOURCE":{}}}]}`

// Run simulates until the time is up or ctx ends.
func Run(ctx context.Context, c Config) (Report, error) {
	if c.Manifest == nil {
		c.Manifest, c.Hash = json.RawMessage(smallManifest), cmp.Or(c.Hash, "simulated-1")
	}
	if c.Agents < 1 || c.Period <= 0 || c.Connections < 1 || len(c.URLs) == 0 || c.Class == "" {
		return Report{}, fmt.Errorf("simulate: there must be agents, a class, a period, connections and a URL")
	}
	w := &crowd{cfg: c, members: make([]member, c.Agents), began: time.Now(), operations: map[string]int64{},
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: c.Connections, MaxConnsPerHost: c.Connections, TLSClientConfig: c.TLS}}}
	defer w.client.CloseIdleConnections()
	for i := range w.members {
		w.members[i].id, w.members[i].node = fmt.Sprintf("%s%06d", c.Prefix, i), i
	}
	if c.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Duration)
		defer cancel()
	}
	due := make(chan turn, c.Agents)
	var all sync.WaitGroup
	for range c.Connections {
		all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case t := <-due:
					w.beat(ctx, t)
				}
			}
		})
	}
	all.Go(func() { w.schedule(ctx, due) })
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			if c.Progress != nil {
				c.Progress(w.report())
			}
		}
	}
	all.Wait()
	return w.report(), nil
}

// turn is when an agent is to report.
type turn struct {
	agent int
	due   time.Time
}

// schedule sends agents to report when it is their time.
func (w *crowd) schedule(ctx context.Context, due chan<- turn) {
	step := w.cfg.Period / time.Duration(len(w.members))
	begin := time.Now()
	if w.cfg.Burst {
		for i := range w.members {
			due <- turn{i, begin}
		}
		begin = begin.Add(w.cfg.Period)
	}
	for n := 0; ; n++ {
		at := begin.Add(time.Duration(n) * step)
		if wait := time.Until(at); wait > time.Millisecond {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
		select {
		case due <- turn{n % len(w.members), time.Now()}:
		case <-ctx.Done():
			return
		}
	}
}

// operation is what an agent is told.
type operation struct {
	Identifier string         `json:"identifier"`
	Operation  string         `json:"operation"`
	Operand    string         `json:"operand"`
	Args       map[string]any `json:"args"`
}

func (w *crowd) beat(ctx context.Context, t turn) {
	m := &w.members[t.agent]
	m.mu.Lock()
	at := strings.TrimSuffix(w.cfg.URLs[m.node%len(w.cfg.URLs)], "/")
	if w.cfg.Roam {
		m.node++
	}
	body := w.report1(m, nil)
	m.mu.Unlock()
	raw, err := w.post(ctx, at+"/c2-protocol/heartbeat", body)
	took := time.Since(t.due)
	if ctx.Err() != nil {
		return
	}
	w.heartbeats.Add(1)
	var answer struct {
		Requested []operation `json:"requestedOperations"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &answer)
	}
	w.note(took, err)
	for _, o := range answer.Requested {
		w.obey(ctx, m, at, o)
	}
}

// report1 is one agent's report, with its manifest if it is asked for.
func (w *crowd) report1(m *member, manifest json.RawMessage) map[string]any {
	agent := map[string]any{"identifier": m.id, "agentClass": w.cfg.Class, "agentManifestHash": w.cfg.Hash,
		"status": map[string]any{"uptime": time.Since(w.began).Milliseconds()}}
	if manifest != nil {
		agent["agentManifest"] = manifest
	}
	r := map[string]any{"identifier": m.id, "created": time.Now().UnixMilli(), "agentInfo": agent,
		"deviceInfo": map[string]any{"identifier": "device-" + m.id, "networkInfo": map[string]any{"hostname": m.id, "ipAddress": "127.0.0.1"}},
		"flowInfo":   map[string]any{"flowId": m.flow, "runStatus": "RUNNING"}}
	if m.files != "" {
		r["resourceInfo"] = map[string]any{"hash": m.files}
	}
	return r
}

// obey believes to have carried out an operation, and says so to the node at an address. A
// flow it does fetch.
func (w *crowd) obey(ctx context.Context, m *member, at string, o operation) {
	what := strings.ToUpper(o.Operation) + " " + strings.ToLower(o.Operand)
	var err error
	if path, ok := o.Args["relativeFlowUrl"].(string); ok {
		_, err = w.send(ctx, http.MethodGet, at+path, nil)
	}
	m.mu.Lock()
	ack := map[string]any{}
	switch what {
	case "DESCRIBE manifest":
		ack = w.report1(m, w.cfg.Manifest)
	case "UPDATE configuration":
		m.flow, _ = o.Args["flowId"].(string)
	case "SYNC resource":
		if h, ok := o.Args["globalHash"].(map[string]any); ok {
			m.files, _ = h["digest"].(string)
		}
	}
	ack["operationId"], ack["identifier"] = o.Identifier, m.id
	ack["operationState"] = map[string]any{"state": "FULLY_APPLIED"}
	m.mu.Unlock()
	if err == nil {
		_, err = w.post(ctx, at+"/c2-protocol/acknowledge", ack)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.operations[what]++
	if err != nil && ctx.Err() == nil {
		w.failed.Add(1)
		w.last = err
	}
}

func (w *crowd) post(ctx context.Context, url string, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return w.send(ctx, http.MethodPost, url, bytes.NewReader(raw))
}

func (w *crowd) send(ctx context.Context, method, url string, in io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the node answered %s: %.200s", resp.Status, body)
	}
	return body, err
}

func (w *crowd) note(took time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed.Add(1)
		w.last = err
		return
	}
	if len(w.took) >= maxSample {
		for i := range len(w.took) / 2 {
			w.took[i] = w.took[2*i]
		}
		w.took = w.took[:len(w.took)/2]
	}
	w.took = append(w.took, took)
}

func (w *crowd) report() Report {
	r := Report{Elapsed: time.Since(w.began), Heartbeats: w.heartbeats.Load(), Failed: w.failed.Load(), Operations: map[string]int64{}, Flows: map[string]int{}}
	r.Rate = float64(r.Heartbeats) / r.Elapsed.Seconds()
	w.mu.Lock()
	took := slices.Clone(w.took)
	for k, n := range w.operations {
		r.Operations[k] = n
	}
	if w.last != nil {
		r.LastError = w.last.Error()
	}
	w.mu.Unlock()
	for i := range w.members {
		m := &w.members[i]
		m.mu.Lock()
		r.Flows[m.flow]++
		m.mu.Unlock()
	}
	if len(took) > 0 {
		slices.Sort(took)
		r.P50, r.P99, r.Max = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	}
	return r
}
