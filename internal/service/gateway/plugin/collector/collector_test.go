package collector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// log is a stream in memory.
type log struct {
	mu      sync.Mutex
	stream  string
	keys    []string
	records []string
	err     error
	block   chan struct{}
	entered chan struct{}
}

func (l *log) Append(ctx context.Context, stream string, rs []collector.Record) error {
	if l.block != nil {
		l.entered <- struct{}{}
		select {
		case <-l.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.stream = stream
	for _, r := range rs {
		l.keys, l.records = append(l.keys, string(r.Key)), append(l.records, string(r.Value))
	}
	return nil
}

type refs map[string]string

func (r refs) Lookup(_ context.Context, c, k string) (*gateway.Reference, bool, error) {
	if k == "down" {
		return nil, false, fmt.Errorf("the store is down")
	}
	doc, ok := r[c+"/"+k]
	if !ok {
		return nil, false, nil
	}
	ref, err := gateway.ParseReference([]byte(doc))
	return ref, err == nil, err
}

// tables has one, in whose column x there are numbers.
type tables struct{}

func (tables) Check(table string) (func(string, []byte) (string, bool), bool) {
	return func(column string, value []byte) (string, bool) {
		return "integer", column != "x" && column != "n" || value[0] >= '0' && value[0] <= '9'
	}, table == "public.clicks"
}

type fixed struct{}

func (fixed) Now() time.Time { return time.Date(2026, 11, 21, 10, 20, 30, 123e6, time.UTC) }

func setup(t testing.TB, config schema.Record) (*gateway.Gateway, *log) {
	t.Helper()
	l := &log{}
	g := gatewaytest.New(t, []gateway.Plugin{collector.New(collector.Deps{Appender: l, Tables: tables{}, References: refs{
		"programmes/p1": `{}`, "programmes/off": `{"enabled":false}`, "programmes/past": `{"valid_to":"2026-11-21T10:20:30.123Z"}`,
		"programmes/future": `{"valid_from":1795256431}`, "programmes/now": `{"valid_from":"2026-11-21T00:00:00Z","valid_to":1795256431}`,
	}})}, func(d *gateway.Deps) { d.Clock = fixed{} })
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "r", "paths": []any{"/"}})
	full := schema.Record{"stream": "clicks", "fields": []any{
		schema.Record{"name": "programme", "required": true, "max_length": 20.0},
		schema.Record{"name": "n", "type": "integer"}, schema.Record{"name": "amount", "type": "number"},
		schema.Record{"name": "ok", "type": "boolean"}, schema.Record{"name": "at", "type": "timestamp"},
	}, "programme_field": "programme", "references": "programmes"}
	for k, v := range config {
		full[k] = v
	}
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "collector", "config": full})
	return g, l
}

func post(kind, body string) gatewaytest.Request {
	return gatewaytest.Request{Method: "POST", Target: "/t", Body: body, Header: []string{"Content-Type", kind, "User-Agent", `a "browser"`}, IP: "10.1.2.3"}
}

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestOneEvent(t *testing.T) {
	g, l := setup(t, nil)
	got := gatewaytest.Do(g, post("application/json", ` {"programme":"p1","n":-7,"amount":1.50,"ok":true,"at":"2026-01-01T00:00:00Z","extra":{"a":[1]},"q\"x":"é\u00e9","client_ip":"forged"} `))
	if got.Status != 202 || len(l.records) != 1 || l.stream != "clicks" || !strings.HasSuffix(l.records[0], "}\n") {
		t.Fatalf("%+v %v", got, l.records)
	}
	var rec map[string]any
	if err := json.Unmarshal([]byte(l.records[0]), &rec); err != nil {
		t.Fatal(err)
	}
	id := rec["event_id"].(string)
	if !uuid7.MatchString(id) || l.keys[0] != id {
		t.Errorf("id %q, key %q", id, l.keys[0])
	}
	delete(rec, "event_id")
	if rid := rec["request_id"].(string); len(rid) != 32 {
		t.Errorf("request id %q", rid)
	}
	delete(rec, "request_id")
	want := map[string]any{"programme": "p1", "n": -7.0, "amount": 1.5, "ok": true, "at": "2026-01-01T00:00:00Z", "extra": map[string]any{"a": []any{1.0}},
		`q"x`: "éé", "client_ip": "10.1.2.3", "user_agent": `a "browser"`, "received_at": "2026-11-21T10:20:30.123Z"}
	if fmt.Sprint(rec) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", rec, want)
	}
	var answer struct{ Events []string }
	if err := json.Unmarshal([]byte(got.Body), &answer); err != nil || len(answer.Events) != 1 || answer.Events[0] != id {
		t.Errorf("%s %v", got.Body, err)
	}
	got = gatewaytest.Do(g, post("application/json", `{"programme":"now","event_id":"mine"}`))
	if got.Body != `{"events":["mine"]}` || l.keys[1] != "mine" {
		t.Errorf("%+v", got)
	}
}

func TestManyEvents(t *testing.T) {
	g, l := setup(t, schema.Record{"max_events": 3.0, "partition_key_field": "n", "success_status": 200.0})
	if got := gatewaytest.Do(g, post("application/json", `[{"programme":"p1","n":1},{"programme":"p1","n":2}]`)); got.Status != 200 || len(l.records) != 2 || fmt.Sprint(l.keys) != "[1 2]" {
		t.Errorf("%+v %v", got, l.keys)
	}
	if got := gatewaytest.Do(g, post("application/x-ndjson; charset=utf-8", "{\"programme\":\"p1\"}\r\n\n{\"programme\":\"p1\"}")); got.Status != 200 || len(l.records) != 4 {
		t.Errorf("%+v", got)
	}
	if got := gatewaytest.Do(g, post("application/json", `[]`)); got.Status != 200 || got.Body != `{"events":[]}` {
		t.Errorf("%+v", got)
	}
	for name, body := range map[string]string{"array": `[{"programme":"p1"},{"programme":"p1"},{"programme":"p1"},{"programme":"p1"}]`, "lines": strings.Repeat(`{"programme":"p1"}`+"\n", 4)} {
		kind := map[string]string{"array": "application/json", "lines": "application/x-ndjson"}[name]
		if got := gatewaytest.Do(g, post(kind, body)); got.Status != 413 || len(l.records) != 4 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	g, l := setup(t, schema.Record{"max_body_size": 300.0, "unknown_fields": "refuse"})
	for body, want := range map[string]struct {
		status int
		event  float64
		field  string
	}{
		`{`:                                     {400, -1, ""},
		`"x"`:                                   {400, 0, ""},
		`[{"programme":"p1"},[]]`:               {400, 1, ""},
		`{"n":1}`:                               {400, 0, "programme"},
		`{"programme":null}`:                    {400, 0, "programme"},
		`{"programme":""}`:                      {400, 0, "programme"},
		`{"programme":1}`:                       {400, 0, "programme"},
		`{"programme":"123456789012345678901"}`: {400, 0, "programme"},
		`[{"programme":"p1"},{"programme":"p1","n":1.5}]`:  {400, 1, "n"},
		`{"programme":"p1","n":9223372036854775808}`:       {400, 0, "n"},
		`{"programme":"p1","n":"1"}`:                       {400, 0, "n"},
		`{"programme":"p1","amount":"1"}`:                  {400, 0, "amount"},
		`{"programme":"p1","amount":1e999}`:                {400, 0, "amount"},
		`{"programme":"p1","ok":1}`:                        {400, 0, "ok"},
		`{"programme":"p1","at":"yesterday"}`:              {400, 0, "at"},
		`{"programme":"p1","n":1,"n":2}`:                   {400, 0, "n"},
		`{"programme":"p1","event_id":1}`:                  {400, 0, "event_id"},
		`{"programme":"p1","zzz":1}`:                       {400, 0, "zzz"},
		`{"programme":"unknown"}`:                          {422, 0, "programme"},
		`{"programme":"off"}`:                              {422, 0, "programme"},
		`{"programme":"past"}`:                             {422, 0, "programme"},
		`[{"programme":"p1"},{"programme":"future"}]`:      {422, 1, "programme"},
		"{\"programme\":\"p1\",\"at\":\"\xff\"}":           {400, -1, ""},
		`{"programme":"p1","at":"2026-02-30T00:00:00Z"}`:   {400, 0, "at"},
		`{"programme":"p1","at":"2026-02-03T1:00:00Z"}`:    {400, 0, "at"},
		`{"programme":"p1","at":"2026-02-03T01:00:00,5Z"}`: {400, 0, "at"},
		`[{"programme":"p1"},{"programme":"\ud800"}]`:      {400, 1, "programme"},
		`{"programme":"\ude00\ud83d"}`:                     {400, 0, "programme"},
		`{"programme":"\ud83d\u0041"}`:                     {400, 0, "programme"},
		`{"programme":"p\u0000"}`:                          {400, 0, "programme"},
		`{"programme":"p1","event_id":"\u0000"}`:           {400, 0, "event_id"},
		strings.Repeat("[", 100):                           {400, -1, ""},
		strings.Repeat("[", 65) + strings.Repeat("]", 65):  {400, -1, ""},
	} {
		got := gatewaytest.Do(g, post("application/json", body))
		var answer map[string]any
		if err := json.Unmarshal([]byte(got.Body), &answer); err != nil {
			t.Errorf("%s: %s", body, got.Body)
			continue
		}
		field, _ := answer["field"].(string)
		event, told := answer["event"].(float64)
		if !told {
			event = -1
		}
		if got.Status != want.status || event != want.event || field != want.field {
			t.Errorf("%s: %d %s, want %+v", body, got.Status, got.Body, want)
		}
	}
	for name, c := range map[string]struct {
		request gatewaytest.Request
		status  int
	}{
		"large":      {post("application/json", `{"programme":"`+strings.Repeat("x", 400)+`"}`), 413},
		"media type": {post("application/xml", `<x/>`), 415},
		"method":     {gatewaytest.Request{Method: "DELETE"}, 405},
		"references": {post("application/json", `{"programme":"down"}`), 503},
	} {
		if got := gatewaytest.Do(g, c.request); got.Status != c.status {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if len(l.records) != 0 {
		t.Errorf("refused events were appended: %q", l.records)
	}
}

// TestTable refuses what the table's columns cannot hold, in declared and in other members.
func TestTable(t *testing.T) {
	g, l := setup(t, schema.Record{"table": "public.clicks"})
	for body, want := range map[string]int{
		`{"programme":"p1","x":5,"y":"any"}`: 202, `{"programme":"p1","x":"five"}`: 400, `{"programme":"p1","n":-5}`: 400,
		`[{"programme":"p1","x":5},{"programme":"p1","x":"five"}]`: 400,
	} {
		got := gatewaytest.Do(g, post("application/json", body))
		if got.Status != want || want == 400 && !strings.Contains(got.Body, "the column of public.clicks is of type integer") {
			t.Errorf("%s: %d %s", body, got.Status, got.Body)
		}
	}
	if len(l.records) != 1 {
		t.Errorf("%q", l.records)
	}
	g, l = setup(t, schema.Record{"table": "public.nothing"})
	if got := gatewaytest.Do(g, post("application/json", `{"programme":"p1"}`)); got.Status != 500 || len(l.records) != 0 {
		t.Errorf("a table that does not exist: %+v", got)
	}
}

func TestPixel(t *testing.T) {
	g, l := setup(t, nil)
	for target, accept := range map[string]string{"/t.gif?programme=p1&n=5&ok=1&x=a%20b": "", "/t?programme=p1": "image/avif,image/*"} {
		got := gatewaytest.Do(g, gatewaytest.Request{Target: target, Header: []string{"Accept", accept}})
		if got.Status != 200 || got.Header.Get("Content-Type") != "image/gif" || !strings.HasPrefix(got.Body, "GIF89a") {
			t.Errorf("%s: %+v", target, got)
		}
	}
	if got := gatewaytest.Do(g, gatewaytest.Request{Target: "/t?programme=p1&n=5&ok=1&x=a%20b"}); got.Status != 202 {
		t.Errorf("%+v", got)
	}
	var rec map[string]any
	if err := json.Unmarshal([]byte(l.records[2]), &rec); err != nil || rec["n"] != 5.0 || rec["ok"] != true || rec["x"] != "a b" {
		t.Errorf("%v %v", rec, err)
	}
	for _, target := range []string{"/t.gif?n=1", "/t.gif?programme=p1&n=x", "/t.gif?programme=p1&programme=p1", "/t.gif?programme=%zz", "/t.gif?programme=p1&ok=yes",
		"/t.gif?programme=p1&amount=1%0A", "/t.gif?programme=p1&amount=+1", "/t.gif?programme=p1&amount=1e999", "/t.gif?programme=p1%00"} {
		if got := gatewaytest.Do(g, gatewaytest.Request{Target: target}); got.Status != 400 {
			t.Errorf("%s: %+v", target, got)
		}
	}
}

func TestDelimited(t *testing.T) {
	g, l := setup(t, schema.Record{"format": "delimited", "columns": []any{"event_id", "programme", "n", "at", "client_ip", "user_agent", "received_at"}, "newline": false, "delimiter": ","})
	gatewaytest.Do(g, post("application/json", `{"programme":"now","event_id":"a,b\\c\td","at":17}`))
	if want := `a\,b\\c	d,now,,17,10.1.2.3,a "browser",2026-11-21T10:20:30.123Z`; len(l.records) != 1 || l.records[0] != want {
		t.Errorf("got  %q\nwant %q", l.records, want)
	}
	for _, body := range []string{`{"programme":"no\nw"}`, `{"programme":"now","event_id":"\r"}`} {
		if got := gatewaytest.Do(g, post("application/json", body)); got.Status != 400 || len(l.records) != 1 {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

// TestOneRecordIsOneLine: whatever an event holds, its record is one line of JSON.
func TestOneRecordIsOneLine(t *testing.T) {
	g, l := setup(t, nil)
	body := "{\"programme\":\"p1\",\"a\" :\n{ \"b c\" : [ 1 ,\r\n\t\"x \\\" \\\\\" ] } ,\"n\": 1, \"deep\":" +
		strings.Repeat("[", 63) + strings.Repeat("]", 63) + ", \"pair\": \"\\ud83d\\ude00\"}"
	if got := gatewaytest.Do(g, post("application/json", body)); got.Status != 202 || strings.Count(l.records[0], "\n") != 1 {
		t.Fatalf("%+v %q", got, l.records)
	}
	if want := `"a":{"b c":[1,"x \" \\"]},"deep":[`; !strings.Contains(l.records[0], want) {
		t.Errorf("%q lacks %q", l.records[0], want)
	}
	gatewaytest.Do(g, gatewaytest.Request{Target: "/t?programme=p1&x=a%0Ab&%22=%5C"})
	var rec map[string]any
	if err := json.Unmarshal([]byte(l.records[1]), &rec); err != nil || rec["x"] != "a\nb" || rec[`"`] != `\` || strings.Count(l.records[1], "\n") != 1 {
		t.Errorf("%q %v", l.records[1], err)
	}
}

func TestBackPressure(t *testing.T) {
	g, l := setup(t, schema.Record{"max_in_flight": 2.0})
	for _, kind := range []fault.Kind{fault.Throttled, fault.Exhausted, fault.Unavailable} {
		l.err = (&fault.Reason{Kind: kind, Name: "X"}).New("not now")
		if got := gatewaytest.Do(g, post("application/json", `{"programme":"p1"}`)); got.Status != 503 || got.Header.Get("Retry-After") == "" {
			t.Errorf("%v: %+v", kind, got)
		}
	}
	l.err = (&fault.Reason{Kind: fault.NotFound, Name: "NoStream"}).New("no such stream")
	if got := gatewaytest.Do(g, post("application/json", `{"programme":"p1"}`)); got.Status != 500 || got.Header.Get("Retry-After") != "" || !strings.Contains(got.Body, "does not exist") {
		t.Errorf("a stream that does not exist is reported as a passing error: %+v", got)
	}
	l.err = fmt.Errorf("broken")
	if got := gatewaytest.Do(g, post("application/json", `{"programme":"p1"}`)); got.Status != 500 || strings.Contains(got.Body, "broken") {
		t.Errorf("%+v", got)
	}
	l.err = nil
	l.block, l.entered = make(chan struct{}), make(chan struct{}, 10)
	results := make(chan int, 2)
	for range 2 {
		go func() { results <- gatewaytest.Do(g, post("application/json", `{"programme":"p1"}`)).Status }()
	}
	<-l.entered
	<-l.entered
	if got := gatewaytest.Do(g, post("application/json", `{"programme":"p1"}`)); got.Status != 503 {
		t.Errorf("a third waits: %+v", got)
	}
	close(l.block)
	if a, b := <-results, <-results; a != 202 || b != 202 {
		t.Errorf("%d %d", a, b)
	}
}

func TestSilentStream(t *testing.T) {
	g, l := setup(t, schema.Record{"timeout": 20.0})
	l.block, l.entered = make(chan struct{}), make(chan struct{}, 1)
	if got := gatewaytest.Do(g, post("application/json", `{"programme":"p1"}`)); got.Status != 503 {
		t.Errorf("%+v", got)
	}
}

func TestConfiguration(t *testing.T) {
	g, _ := setup(t, nil)
	e, _ := g.Entity("plugins")
	field := func(name string) schema.Record { return schema.Record{"name": name} }
	for want, config := range map[string]schema.Record{
		"listed twice":              {"fields": []any{field("a"), field("a")}},
		"filled by":                 {"fields": []any{field("client_ip")}},
		"not one of":                {"fields": []any{field("a")}, "partition_key_field": "b"},
		"neither one of":            {"fields": []any{field("a")}, "columns": []any{"b"}},
		"all or none":               {"fields": []any{field("a")}, "programme_field": "a"},
		"required field":            {},
		"length must be at least 1": {"fields": []any{}},
		"must be one ASCII":         {"fields": []any{field("a")}, "delimiter": "\\"},
		"letter or digit":           {"fields": []any{field("a")}, "delimiter": "n"},
		"expected one of":           {"fields": []any{schema.Record{"name": "a", "type": "uuid"}}},
	} {
		config["stream"] = "s"
		err := g.Validate(e, schema.Record{"name": "collector", "config": config})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", config, err, want)
		}
	}
}

// FuzzEvents: whatever comes in, a record that goes out is one line of valid JSON; what is
// refused appends nothing, and an answer names what was appended.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{`{"programme":"p1"}`, `[{"programme":"p1","a\u0000":"\ud800"}]`, `{"programme":"p1","x":{"y":[null,1e5]}}`} {
		f.Add(s, "q=1&programme=p1")
	}
	const plain = `{"programme":"p1"}`
	f.Add("["+plain+"]", "programme=now")
	f.Add(plain+"\n"+plain, "programme=p1&n=x")
	g, l := setup(f, nil)
	f.Fuzz(func(t *testing.T, body, query string) {
		l.records = nil
		if strings.ContainsAny(query, "#") {
			query = ""
		}
		for _, r := range []gatewaytest.Request{post("application/json", body), post("application/x-ndjson", body), {Target: "/t?" + query}} {
			before := len(l.records)
			got := gatewaytest.Do(g, r)
			if got.Status == 0 || got.Status >= 500 {
				t.Fatalf("%q %q: %d", body, query, got.Status)
			}
			appended := l.records[before:]
			if got.Status >= 300 {
				if len(appended) > 0 {
					t.Fatalf("%q %q is refused with %d, and %q is appended", body, query, got.Status, appended)
				}
				// What is surely an event is not refused.
				if r.Method == "POST" && (body == plain || body == "["+plain+"]" && r.Header[1] == "application/json") {
					t.Fatalf("%q is refused: %d %s", body, got.Status, got.Body)
				}
				continue
			}
			if r.Method != "POST" {
				if len(appended) != 1 {
					t.Fatalf("%q: %d events of one query", query, len(appended))
				}
				continue
			}
			// The answer lists what was appended: the ids, in order, and no others.
			var answer struct{ Events []string }
			if err := json.Unmarshal([]byte(got.Body), &answer); err != nil || len(answer.Events) != len(appended) {
				t.Fatalf("%q: %d events are appended, and the answer is %q: %v", body, len(appended), got.Body, err)
			}
			for i, record := range appended {
				var v struct {
					ID string `json:"event_id"`
				}
				if err := json.Unmarshal([]byte(record), &v); err != nil || v.ID != answer.Events[i] {
					t.Fatalf("%q: event %d is %q, and the answer names %q: %v", body, i, record, answer.Events[i], err)
				}
			}
		}
		for _, r := range l.records {
			var v map[string]any
			if err := json.Unmarshal([]byte(r), &v); err != nil || v["event_id"] == nil || v["programme"] == nil || strings.IndexByte(r, '\n') != len(r)-1 {
				t.Fatalf("%q %q gave %q: %v", body, query, r, err)
			}
		}
	})
}

func BenchmarkCollect(b *testing.B) {
	l := discard{}
	g := gatewaytest.New(b, []gateway.Plugin{collector.New(collector.Deps{Appender: l, References: refs{}})})
	gatewaytest.Create(b, g, "routes", schema.Record{"paths": []any{"/"}})
	gatewaytest.Create(b, g, "plugins", schema.Record{"name": "collector", "config": schema.Record{"stream": "s", "fields": []any{
		schema.Record{"name": "programme", "required": true}, schema.Record{"name": "n", "type": "integer"}, schema.Record{"name": "url"},
	}}})
	r := post("application/json", `{"programme":"p1","n":17,"url":"https://example.com/some/page","referrer":"https://example.org/"}`)
	b.ReportAllocs()
	for b.Loop() {
		if got := gatewaytest.Do(g, r); got.Status != 202 {
			b.Fatal(got)
		}
	}
}

type discard struct{}

func (discard) Append(context.Context, string, []collector.Record) error { return nil }
