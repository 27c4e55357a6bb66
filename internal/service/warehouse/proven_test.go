package warehouse_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/warehouse"
	"sluice.dev/sluice/internal/service/warehouse/warehousetest"
)

// streams reports whether a table is read through a pipe: only there the plan has the
// condition that finds malformed rows, and JSON is always streamed.
func streams(t testing.TB, c *warehouse.Session, table string) bool {
	t.Helper()
	plan := strings.Join(exec(t, c, "explain select count(*) from "+table).rows, "\n")
	return strings.Contains(plan, "FILTER") || strings.Contains(plan, "READ_JSON")
}

// proven reads a table and checks that its objects are proven by it.
func proven(t testing.TB, c *warehouse.Session, table string) {
	t.Helper()
	if !streams(t, c, table) {
		t.Errorf("%s is read directly before its objects were proven", table)
	}
	exec(t, c, "select count(*) from "+table)
	if streams(t, c, table) {
		t.Errorf("%s is still streamed", table)
	}
}

// randomRow writes a well-formed row of any of the values that text can hold.
func randomRow(r *rand.Rand) string {
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	return strings.Join([]string{
		pick("", "0", "-9223372036854775808", "9223372036854775807", fmt.Sprint(r.IntN(50))),
		pick("", "a", " a ", "ü", "日本語", "😀", `"`, `"x"`, `a"b`, `\`, `\n`, `\\`, "'", "NULL", "null", "\x01", "\x01null\x01", "\t", "#", strings.Repeat("x", r.IntN(3000))),
		pick("", "1.5", "-0", "1e300", "1e-300", "nan", "inf", "123456789.123456789", fmt.Sprint(r.Float64())),
		pick("", "1234567890123456.7891", "-0.0001", "3", fmt.Sprintf("%d.%04d", r.IntN(1000), r.IntN(10000))),
		pick("", "2016-01-01", "1969-12-31 23:59:59.999999", fmt.Sprintf("2020-02-%02d 12:%02d:00", 1+r.IntN(29), r.IntN(60))),
		pick("", "2016-02-29", "0001-01-01"),
		pick("", "true", "f", "1"),
	}, "|") + "\n"
}

// TestProvenAnswers asks the same of random objects through a pipe and of the objects
// themselves.
func TestProvenAnswers(t *testing.T) {
	direct := open(t)
	streaming := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Quota = 1 })
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		var b strings.Builder
		for range r.IntN(1200) + 1 {
			b.WriteString(randomRow(r))
		}
		for _, s := range []*site{direct, streaming} {
			s.put(fmt.Sprintf("r/%02d.gz", i), b.String())
		}
	}
	const columns = "(id bigint, v varchar, n double precision, d decimal(20,4), ts timestamp, day date, b boolean)"
	for i, null := range []string{"", " null defined as 'never there'"} {
		tables := fmt.Sprintf("create external table sp.r%d%s row format delimited fields terminated by '|'%s location 's3://lake/r/'", i, columns, null)
		if i == 1 {
			tables += " table properties ('sluice.malformed'='fail')"
		}
		x := fmt.Sprintf("sp.r%d", i)
		a, b := direct.as("a"), streaming.as("a")
		exec(t, a, strings.Replace(external, "schema sp", "schema if not exists sp", 1), tables)
		exec(t, b, strings.Replace(external, "schema sp", "schema if not exists sp", 1), tables)
		proven(t, a, x)
		for _, sql := range []string{
			"select * from %s order by all", "select count(*), count(id), count(v), count(n), count(d), count(ts), count(day), count(b) from %s",
			"select id, sum(d), min(ts), max(day) from %s group by id order by id", "select v, count(*) from %s group by v order by v",
			"select d from %s where v = '' or v is null order by d", "select count(*) from %s where n > 0 and b", "select distinct n from %s order by n",
			"select count(*) from %[1]s x join %[1]s y on x.ts = y.ts and x.d = y.d", "select count(*) from %[1]s where id > (select avg(id) from %[1]s)",
			"with w as not materialized (select id, d from %s where d is not null) select count(*) from w join w x using (id, d)",
			"select count(*) from (select * from %s limit 100) q", "select v from %s order by v desc nulls last, id limit 50",
		} {
			sql = fmt.Sprintf(sql, x)
			got, want := exec(t, a, sql), exec(t, b, sql)
			if strings.Join(got.rows, "\n") != strings.Join(want.rows, "\n") || len(got.notices)+len(want.notices) > 0 {
				t.Errorf("%s: %d rows directly, %d through a pipe, notices %v and %v", sql, len(got.rows), len(want.rows), got.notices, want.notices)
			}
		}
		exec(t, a, "create table kept"+x[3:]+" as select * from "+x)
		if got, want := exec(t, a, "select count(*), sum(d) from kept"+x[3:]), exec(t, b, "select count(*), sum(d) from "+x); got.rows[0] != want.rows[0] {
			t.Errorf("a table made of it has %s, want %s", got.rows, want.rows)
		}
		if !streams(t, b, x) {
			t.Errorf("%s exceeds the quota and is read directly", x)
		}
	}
}

// TestProvenSizes has files end anywhere about the borders of the buffers by which gzip
// is read.
func TestProvenSizes(t *testing.T) {
	s := open(t)
	rest, want := rand.New(rand.NewPCG(3, 4)), 0
	for i := range 240 {
		var b bytes.Buffer
		level := gzip.NoCompression
		if i%2 == 1 {
			level = gzip.BestSpeed
		}
		w, err := gzip.NewWriterLevel(&b, level)
		if err != nil {
			t.Fatal(err)
		}
		if w.Name = ""; i%3 == 0 {
			w.Name = "a name"
		}
		size := (1+i%2)<<15 - 60 + i // 32 and 64 KiB
		line := make([]byte, 0, size)
		for line = append(line, "1,"...); len(line) < size; {
			line = append(line, byte('a'+rest.IntN(26)))
		}
		fmt.Fprintf(w, "%s,1,\n2,b,2,\n", line)
		w.Close()
		s.lake.Put(fmt.Sprintf("s/%03d.gz", i), b.Bytes())
		want += size - 2 + 1
	}
	c, x := s.as("a"), table(t, s, "s", delimited)
	proven(t, c, x)
	rows(t, c, "select count(*), sum(id), sum(n), sum(len(v)) from "+x, fmt.Sprintf("480|720|720|%d", want))
}

// TestProvenLargeObject has lines lie across the borders of the buffers in which the
// engine parses.
func TestProvenLargeObject(t *testing.T) {
	s := open(t)
	r := rand.New(rand.NewPCG(5, 6))
	var b strings.Builder
	lines, letters := 0, 0
	for ; b.Len() < 30<<20; lines++ {
		n := r.IntN(2000)
		letters += n
		fmt.Fprintf(&b, "%d,%s,0.5,\n", lines%7, strings.Repeat("é", n))
	}
	s.put("large/a.gz", b.String())
	s.put("large/b.gz", "1,,,\n")
	c, x := s.as("a"), table(t, s, "large", delimited)
	question := "select count(*), sum(len(v)), sum(n), count(distinct id) from " + x
	want := exec(t, c, question)
	if start := fmt.Sprintf("%d|%d|", lines+1, letters); !strings.HasPrefix(want.rows[0], start) {
		t.Errorf("got %q, want %s", want.rows, start)
	}
	if streams(t, c, x) {
		t.Error("the objects are not proven")
	}
	rows(t, c, question, want.rows...)
}

// gz compresses text with a header of its own.
func gz(text string, header gzip.Header) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Header = header
	_, _ = w.Write([]byte(text))
	w.Close()
	return b.Bytes()
}

func TestNotProvable(t *testing.T) {
	s := open(t)
	c := s.as("a")
	const good = "1,a,1,\n2,b,2,\n"
	none := gzip.Header{OS: 255}
	for i, x := range []struct {
		what   string
		body   []byte
		format string
	}{
		{"not compressed", []byte(good), delimited},
		{"line ends of Windows", gz("1,a,1,\r\n2,b,2,\r\n", none), delimited},
		{"no end of the last line", gz("1,a,1,\n2,b,2,", none), delimited},
		{"a mark of the encoding", gz("\xef\xbb\xbf"+good, none), delimited},
		{"an empty line", gz("1,a,1,\n\n2,b,2,\n", none), delimited},
		{"an empty first line", gz("\n"+good, none), delimited},
		{"a marker of NULL", gz("1,\\N,1,\n2,b,\\N,\n", none), delimited},
		{"another marker", gz("1,-,1,\n2,b,-,\n", none), delimited + " null defined as '-'"},
		{"two members", append(gz("1,a,1,\n", none), gz("2,b,2,\n", none)...), delimited},
		{"an empty member", append(gz(good, none), gz("", none)...), delimited},
		{"a comment", gz(good, gzip.Header{Comment: "x", OS: 255}), delimited},
		{"an extra field", gz(good, gzip.Header{Extra: []byte("x"), OS: 255}), delimited},
		{"escapes", gz(good, none), delimited + ` escaped by '\\'`},
		{"quotes", gz(good, none), "row format serde 'org.apache.hadoop.hive.serde2.OpenCSVSerde'"},
		{"JSON", gz(`{"id":1}`+"\n", none), "row format serde 'org.openx.data.jsonserde.JsonSerDe'"},
		{"a malformed row", gz(good+"x,c,1,\n", none), delimited},
		{"a row too short", gz(good+"3\n", none), delimited},
	} {
		prefix := fmt.Sprintf("p%d", i)
		s.lake.Put(prefix+"/a.gz", x.body)
		s.lake.Put(prefix+"/b.gz", gz("5,b,5,\n", none))
		p := table(t, s, prefix, x.format)
		first := exec(t, c, "select * from "+p+" order by all")
		exec(t, c, "select count(*) from "+p)
		if !streams(t, c, p) {
			t.Errorf("%s: read directly", x.what)
		}
		again := exec(t, c, "select * from "+p+" order by all")
		if fmt.Sprint(first) != fmt.Sprint(again) {
			t.Errorf("%s: %v, then %v", x.what, first, again)
		}
	}
	for i, properties := range []string{"'skip.header.line.count'='1'"} {
		x := fmt.Sprintf("sp.o%d", i)
		s.put("o/a.gz", good)
		exec(t, c, "create external table "+x+"(id int, v varchar, n double precision, ts timestamp) "+delimited+" location 's3://lake/o/' table properties ("+properties+")",
			"select count(*) from "+x)
		if !streams(t, c, x) {
			t.Errorf("%s: read directly", properties)
		}
	}
}

// TestProvenByWholeReads checks that a statement which may not have seen every row
// proves nothing.
func TestProvenByWholeReads(t *testing.T) {
	s := open(t)
	c := s.as("a")
	s.put("w/a.gz", "1,a,1,\n")
	s.put("none/a.gz", "1,a,1,\n")
	none := table(t, s, "none", delimited)
	exec(t, c, "create table vacant(id int)")
	proven(t, c, none)
	x := table(t, s, "w", delimited)
	for _, sql := range []string{
		"select * from %s limit 1", "select 1 from %s where 1 = 0", "select * from %s where id < 1 and id > 2", "select exists (select 1 from %s)",
		"select n.id from " + none + " n left join %s x on false", "select e.id from vacant e join %s x on e.id = x.id",
		"select 1 where exists (select 1 from %s limit 1)", "select * from %s limit 0", "explain select count(*) from %s", "explain analyze select * from %s limit 1",
		"select * from (select 1 as one) q left join (select id from %s limit 1) x on true",
	} {
		if _, err := run(t.Context(), c, fmt.Sprintf(sql, x)); err != nil {
			t.Logf("%s: %v", sql, describe(err))
		}
		if !streams(t, c, x) {
			t.Fatalf("%s: taken for a whole read", sql)
		}
	}
	for i, sql := range []string{
		"select * from %s", "select id from %s where id = 7", "select count(*) from %s", "select v, sum(n) from %s group by v order by 2 limit 1", "select * from %s order by id",
		"select count(*) from %[1]s a join %[1]s b using (id)", "create table made as select id from %s",
	} {
		prefix := fmt.Sprint("y", i)
		s.put(prefix+"/a.gz", "1,a,1,\n")
		y := table(t, s, prefix, delimited)
		exec(t, c, fmt.Sprintf(sql, y))
		if streams(t, c, y) {
			t.Logf("%s: proves nothing", sql)
			if i < 5 {
				t.Errorf("%s: not taken for a whole read", sql)
			}
		}
	}
}

func TestProvenAndChanged(t *testing.T) {
	s := open(t)
	c := s.as("a")
	whole := strings.Repeat("1,a,1,\n", 50_000)
	s.put("ch/a.gz", whole)
	s.put("ch/b.gz", "2,b,2,\n")
	x := table(t, s, "ch", delimited)
	question := "select count(*), sum(id) from " + x
	proven(t, c, x)
	rows(t, c, question, "50001|50002")

	body := encode("a.gz", whole)
	s.lake.Put("ch/a.gz", body[:len(body)/2])
	fails(t, c, question, "BadData", "s3://lake/ch/a.gz is damaged")
	fails(t, c, question, "BadData", "s3://lake/ch/a.gz is damaged")
	flipped := bytes.Clone(body)
	flipped[len(flipped)-6] ^= 1
	s.lake.Put("ch/a.gz", flipped)
	fails(t, c, question, "BadData", "s3://lake/ch/a.gz is damaged")
	s.put("ch/a.gz", "1,a,1,\nbad,a,1,\n")
	for range 2 {
		if got := exec(t, c, question); got.rows[0] != "2|3" || len(got.notices) != 1 {
			t.Errorf("%+v", got)
		}
	}
	s.put("ch/a.gz", "3,a,1,\n")
	proven(t, c, x)

	// Another definition of the same objects: id is the text, v a number.
	exec(t, c, "create external table sp.other(id varchar, v int, n double precision, ts timestamp) "+delimited+" location 's3://lake/ch/'")
	for range 2 {
		if got := exec(t, c, "select count(*) from sp.other"); got.rows[0] != "0" || len(got.notices) != 1 {
			t.Errorf("another definition: %+v", got)
		}
	}

	// Overwritten between its listing and its opening.
	s.lake.OnOpen = func(key string) error {
		if key == "ch/a.gz" {
			s.put("ch/a.gz", "4,a,1,\nbad,a,1,\n")
		}
		return nil
	}
	if got := exec(t, c, question); got.rows[0] != "2|6" || len(got.notices) != 1 {
		t.Errorf("overwritten while it is read: %+v", got)
	}
	s.lake.OnOpen = nil

	// A new object that nobody has read.
	s.put("ch/a.gz", "3,a,1,\n")
	proven(t, c, x)
	s.put("ch/c.gz", "bad,a,1,\n")
	if got := exec(t, c, question); got.rows[0] != "2|5" || len(got.notices) != 1 {
		t.Errorf("a new object: %+v", got)
	}
}

func TestProvenAuthorisation(t *testing.T) {
	s := open(t)
	s.put("za/a.gz", "1,a,1,\n")
	x := table(t, s, "za", delimited)
	c := s.as("a")
	proven(t, c, x)
	for action, refusal := range map[string]string{"s3:GetObject": "permission denied to read s3://lake/za/a.gz", "s3:ListBucket": "permission denied to list"} {
		s.policy.SetDeny(func(_ context.Context, a name.Action, _ name.ARN) bool { return string(a) == action })
		fails(t, c, "select count(*) from "+x, "InsufficientPrivilege", refusal)
		fails(t, s.as("b"), "select count(*) from "+x, "InsufficientPrivilege", refusal)
	}
	s.policy.SetDeny(nil)
	if streams(t, s.as("b"), x) {
		t.Error("what one proves another does not profit from")
	}
}

func TestCancelWhileOpeningProven(t *testing.T) {
	s := open(t)
	c := s.as("a")
	s.put("w/a.gz", "1,a,1,\n")
	x := table(t, s, "w", delimited)
	proven(t, c, x)
	release, reached := make(chan struct{}), make(chan struct{})
	s.lake.Wrap = func(in io.ReadCloser) io.ReadCloser {
		close(reached)
		return &stuck{in, release}
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
		close(release)
	}()
	if _, err := run(ctx, c, "select count(*) from "+x); !warehouse.QueryCanceled.Is(err) {
		t.Errorf("got %v", describe(err))
	}
	s.lake.Wrap = nil
	rows(t, c, "select count(*) from "+x, "1")
}

// forgetful is a store that does not tell one content of an object from another.
type forgetful struct{ warehousetest.Buckets }

func blur(o warehouse.ObjectInfo) warehouse.ObjectInfo {
	o.ETag, o.Modified = "same", time.Time{}
	return o
}

func (f *forgetful) List(ctx context.Context, bucket, prefix string) iter.Seq2[warehouse.ObjectInfo, error] {
	return func(yield func(warehouse.ObjectInfo, error) bool) {
		for o, err := range f.Buckets.List(ctx, bucket, prefix) {
			if !yield(blur(o), err) {
				return
			}
		}
	}
}

func (f *forgetful) Open(ctx context.Context, bucket, key string) (io.ReadCloser, warehouse.ObjectInfo, error) {
	body, o, err := f.Buckets.Open(ctx, bucket, key)
	return body, blur(o), err
}

// TestProvenWrongly has the engine find a malformed row where none can be: the statement
// fails, and the next one finds the row as ever.
func TestProvenWrongly(t *testing.T) {
	s := open(t, func(_ *warehouse.Config, d *warehouse.Deps) {
		d.Objects = &forgetful{*d.Objects.(*warehousetest.Buckets)}
	})
	c := s.as("a")
	s.put("f/a.gz", "1,a,1,\n2,b,2,\n")
	x := table(t, s, "f", delimited)
	proven(t, c, x)
	length := len(s.lake.Body("f/a.gz"))
	body := encode("a.gz", "1,a,1,\nx,b,2,\n")
	if len(body) != length {
		t.Fatalf("%d bytes, want %d", len(body), length)
	}
	s.lake.Put("f/a.gz", body)
	fails(t, c, "select sum(id) from "+x, "BadData", "well formed when it was read before")
	for range 3 {
		if got := exec(t, c, "select sum(id) from "+x); got.rows[0] != "1" || len(got.notices) != 1 {
			t.Errorf("%+v", got)
		}
	}
	s.put("f/a.gz", "1,a,1,\n2,b,2,\n")
	for range 2 { // doubted for good
		rows(t, c, "select sum(id) from "+x, "3")
	}
	if !streams(t, c, x) {
		t.Error("a doubted object was proven again")
	}
}

func TestProvenLimits(t *testing.T) {
	if kept, used := warehouse.Remembered(70_000); kept != 65_536 || !used {
		t.Errorf("%d objects are remembered, the used one %v", kept, used)
	}
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.Files = 64 })
	c := s.as("a")
	for i := range 9 {
		s.put(fmt.Sprintf("many/%d.gz", i), "1,a,1,\n")
	}
	x := table(t, s, "many", delimited)
	for range 2 { // one more than an eighth of the descriptors
		rows(t, c, "select count(*) from "+x, "9")
	}
	if !streams(t, c, x) {
		t.Error("more files than allowed were opened")
	}
}
