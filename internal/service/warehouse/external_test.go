package warehouse_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/warehouse/warehousetest"
)

// table makes an external table of (id int, v varchar, n double precision, ts timestamp)
// over s3://lake/<name>/.
func table(t testing.TB, s *site, name, format string) string {
	t.Helper()
	c := s.as("maker")
	exec(t, c, strings.Replace(external, "schema sp", "schema if not exists sp", 1),
		"create external table sp."+name+"(id int, v varchar, n double precision, ts timestamp) "+format+" location 's3://lake/"+name+"/'")
	return "sp." + name
}

const delimited = "row format delimited fields terminated by ','"

func TestTextObjects(t *testing.T) {
	s := open(t)
	c := s.as("a")
	s.put("x/2016/a.csv.gz", "1,a,1.5,2016-01-01 00:00:00\n2,b,2.5,2016-01-02 00:00:00\n")
	s.lake.Put("x/2016/magic", encode("m.gz", "3,c,3.5,2016-01-03 00:00:00")) // gzip without the suffix, no line end
	s.lake.Put("x/2016/members.gz", append(encode("m.gz", "4,d,,"), encode("m.gz", "\n5,,,\n")...))
	s.put("x/crlf", "6,f,1,2016-01-03\r\n7,g,,\r\n")
	s.put("x/bom", "\xef\xbb\xbf8,h,1,\n")
	s.put("x/_SUCCESS", "hidden\n")
	s.put("x/.hidden", "hidden\n")
	s.put("x/empty", "")
	s.put("x/dir/", "")
	s.put("xother/no", "99,z,1,\n")
	x := table(t, s, "x", delimited)
	rows(t, c, "select id, v, n from "+x+" order by id", "1|a|1.5", "2|b|2.5", "3|c|3.5", "4|d|NULL", "5||NULL", "6|f|1", "7|g|NULL", "8|h|1")
	rows(t, c, "select count(*) from "+x, "8")
	rows(t, c, "select id from "+x+" where ts = date '2016-01-03' order by 1", "3", "6")
}

func TestHeaders(t *testing.T) {
	s := open(t)
	s.put("h/a", "id,v,n,ts\n1,a,,\n")
	s.put("h/b.gz", "id,v,n,ts\n2,b,,\n")
	s.put("h/c", "id,v,n,ts")
	x := table(t, s, "h", delimited+" stored as textfile")
	c := s.as("a")
	if got := exec(t, c, "select count(*) from "+x); got.rows[0] != "2" || len(got.notices) != 1 || !strings.HasPrefix(got.notices[0].Message, "3 malformed rows of sp.h") {
		t.Errorf("headers as rows: %+v", got)
	}
	exec(t, c, "create external table sp.h2(id int, v varchar, n double precision, ts timestamp) "+delimited+" location 's3://lake/h/' table properties ('skip.header.line.count'='1')")
	if got := exec(t, c, "select count(*) from sp.h2"); got.rows[0] != "2" || len(got.notices) != 0 {
		t.Errorf("headers skipped: %+v", got)
	}
}

func TestMalformed(t *testing.T) {
	s := open(t)
	s.put("m/a", "1,a,1,2016-01-01\n2,b,1,\n")
	s.put("m/b.gz", "id,v\n3,c,1,2016-13-45\n4,d\n5,e,1,,extra\nx,f,1,\n7,g,1,\n\xff,h,1,\n8,\xff,1,\n")
	x := table(t, s, "m", delimited)
	c := s.as("a")
	for _, sql := range []string{"select * from %s", "select count(*) as n, 1 from %s", "select v from %s", "select * from %[1]s a join %[1]s b using (id)", "select sum(id) from %s"} {
		got := exec(t, c, fmt.Sprintf(sql, x))
		if len(got.notices) != 1 || !strings.HasPrefix(got.notices[0].Message, "5 malformed rows of sp.m skipped") {
			t.Errorf("%s: %+v", sql, got.notices)
			continue
		}
		if want := "First: s3://lake/m/b.gz line 1"; !strings.HasPrefix(got.notices[0].Detail, want) {
			t.Errorf("%s: %q, want %q", sql, got.notices[0].Detail, want)
		}
	}
	// Whether a row is malformed does not depend on the columns a query asks for.
	rows(t, c, "select count(*) from "+x, "5")
	rows(t, c, "select v from "+x+" order by 1", "a", "b", "d", "e", "g")
	exec(t, c, "create external table sp.strict(id int, v varchar, n double precision, ts timestamp) "+delimited+" location 's3://lake/m/' table properties ('sluice.malformed'='fail')")
	fails(t, c, "select count(*) from sp.strict", "BadData", "s3://lake/m/b.gz line 1")
	exec(t, c, "create external table sp.pad(id int, v varchar, n double precision, ts timestamp) "+delimited+" location 's3://lake/m/' table properties ('column_count_mismatch_handling'='set_to_null')")
	rows(t, c, "select id from sp.pad order by 1", "1", "2", "4", "5", "7")
	exec(t, c, "create external table sp.dropped(id int, v varchar, n double precision, ts timestamp) "+delimited+" location 's3://lake/m/' table properties ('column_count_mismatch_handling'='drop_row')")
	rows(t, c, "select id from sp.dropped order by 1", "1", "2", "7")

	s.put("one/a", "1,a,1,\nbad,b,1,\n")
	one := table(t, s, "one", delimited)
	got := exec(t, c, "select id from "+one)
	if n := got.notices; len(n) != 1 || n[0].Message != "1 malformed row of sp.one skipped" || n[0].Detail != `First: s3://lake/one/a line 2, column id: Error when converting column "id". Could not convert string "bad" to 'INTEGER'` {
		t.Errorf("%+v", n)
	}
}

func TestNullMarker(t *testing.T) {
	s := open(t)
	s.put("n/a", "1,\\N,\\N,\\N\n\\N,,1,\n3,\\Nx,2,\n4,a\\N,,\\N")
	x := table(t, s, "n", delimited)
	c := s.as("a")
	rows(t, c, "select id, v, n, ts from "+x, "1|NULL|NULL|NULL", "NULL||1|NULL", "3|\\Nx|2|NULL", "4|a\\N|NULL|NULL")
	s.put("e/a", "1,a\\,b,1,\n2,\\N,\\N,\n3,c\\\\,1,\n")
	e := table(t, s, "e", delimited+` escaped by '\\'`)
	rows(t, c, "select id, v, n from "+e, `1|a,b|1`, "2|NULL|NULL", `3|c\|1`)
	s.put("d/a", "1,-,-,\n2,--,1,\n")
	d := table(t, s, "d", delimited+` null defined as '-'`)
	rows(t, c, "select id, v, n from "+d, "1|NULL|NULL", "2|--|1")
	// A marker on the border of two blocks, and after very many lines without one.
	line := "1," + strings.Repeat("x", 100) + ",1,\n"
	s.put("big/a", strings.Repeat(line, 3000)+"2,\\N,\\N,\n"+strings.Repeat(line, 3000)+"3,\\N,\\N,\\N")
	b := table(t, s, "big", delimited)
	rows(t, c, "select count(*), count(v), count(n) from "+b, "6002|6000|6000")
}

func TestQuotedCSV(t *testing.T) {
	s := open(t)
	s.put("q/a", "1,\"a,b\",\"1.5\",\n2,\"say \\\"hi\\\"\",2,\n3,plain,,\n")
	x := table(t, s, "q", "row format serde 'org.apache.hadoop.hive.serde2.OpenCSVSerde'")
	rows(t, s.as("a"), "select id, v, n from "+x, "1|a,b|1.5", `2|say "hi"|2`, "3|plain|NULL")
}

// TestFittedRows checks Hive's rules for rows with other numbers of fields than the table
// has columns, doubled quotes, carriage returns, and the NULL of the default delimiter.
func TestFittedRows(t *testing.T) {
	s := open(t)
	c := s.as("a")
	table(t, s, "fit", delimited) // makes the schema
	csv := "row format serde 'org.apache.hadoop.hive.serde2.OpenCSVSerde'"
	for i, x := range []struct {
		text, format string
		want         []string
	}{
		{"1,a\n2,b,1,,more,\n3\n", delimited, []string{"1|a|NULL", "2|b|1", "3|NULL|NULL"}},
		{"1,a\\,b\n2,b\\,c,1,,more\n3\n", delimited + ` escaped by '\\'`, []string{"1|a,b|NULL", "2|b,c|1", "3|NULL|NULL"}},
		{"2,\"say \"\"hi\"\"\",2,\n3,\"\"\"\",3,\n4,\"\",4,\n5,\"a,\"\"b\"\"\"\n6,x,6,,\"more,\"\"\"\n", csv,
			[]string{`2|say "hi"|2`, `3|"|3`, "4||4", `5|a,"b"|NULL`, "6|x|6"}},
		{"1,\"two\nlines, \"\"quoted\"\"\",1,\n2,\"a\nb\"\n", csv, []string{"1|two\nlines, \"quoted\"|1", "2|a\nb|NULL"}},
		{"1,a\rb,1,\n2,\r,2,\r\n3,c\r\r,3,\r\n", delimited, []string{"1|a\rb|1", "2|\r|2", "3|c\r\r|3"}},
		{"1,\"a\rb\",1,\n", csv, []string{"1|a\rb|1"}},
		{"1\x01\\N\x01\\N\n2\x01b\n3\x01c\rd\x013\n", "row format delimited", []string{"1|NULL|NULL", "2|b|NULL", "3|c\rd|3"}},
		{"1,a,1,\n2,b,2\n", delimited + " table properties ('column_count_mismatch_handling'='drop_row')", []string{"1|a|1"}},
		{"1,a,1,\n2,b,2,,x\n", delimited + ` escaped by '\\' table properties ('column_count_mismatch_handling'='drop_row')`, []string{"1|a|1"}},
	} {
		prefix := fmt.Sprintf("fit%d", i)
		s.put(prefix+"/a", x.text)
		s.put(prefix+"/b.gz", x.text)
		format, properties, found := strings.Cut(x.format, "table properties")
		location := " location 's3://lake/" + prefix + "/a'"
		if found {
			location += " table properties" + properties
		}
		exec(t, c, "create external table sp."+prefix+"(id int, v varchar, n double precision, ts timestamp) "+format+location)
		rows(t, c, "select id, v, n from sp."+prefix+" order by id", x.want...)
	}
}

func TestJSONLines(t *testing.T) {
	s := open(t)
	s.put("j/a.gz", `{"ID":1,"V":"a","n":1.5,"Ts":"2016-01-01 00:00:00"}`+"\n\n"+`not json`+"\n"+`{"id":2,"v":{"Deep":[1,2]}}`+"\n"+`[1]`+"\n")
	s.put("j/b", `{"id":3,"v":"quote \" , {"}`)
	x := table(t, s, "j", "row format serde 'org.openx.data.jsonserde.JsonSerDe'")
	c := s.as("a")
	got := exec(t, c, "select id, v, n, ts from "+x+" order by id")
	if want := "1|a|1.5|1451606400000000\n2|{\"Deep\":[1,2]}|NULL|NULL\n3|quote \" , {|NULL|NULL"; strings.Join(got.rows, "\n") != want {
		t.Errorf("got %q", got.rows)
	}
	if len(got.notices) != 1 || got.notices[0].Message != "2 malformed rows of sp.j skipped" || got.notices[0].Detail != "First: s3://lake/j/a.gz line 3: not a JSON object" {
		t.Errorf("%+v", got.notices)
	}
	rows(t, c, "select count(*) from "+x+" a join "+x+" b on a.id = b.id", "3")
	s.put("j/c", `{"id":"x"}`)
	rows(t, c, "select count(*) from "+x, "3")
}

func TestParquetObjects(t *testing.T) {
	s := open(t)
	c := s.as("a")
	exec(t, c, "create table src(id int, v varchar, n double precision, ts timestamp)", "insert into src values (1,'a',1.5,'2016-01-01'),(2,'b',null,null)")
	for _, key := range s.area.Keys("") {
		if strings.HasSuffix(key, ".parquet") {
			s.lake.Put("p/one.parquet", s.area.Body(key))
			s.lake.Put("p/two", s.area.Body(key))
		}
	}
	x := table(t, s, "p", "stored as parquet")
	rows(t, c, "select count(*), sum(id), max(v) from "+x, "4|6|b")
	s.put("p/bad.parquet", "PAR1 this is not a parquet file")
	fails(t, c, "select count(*) from "+x, "BadData", "s3://lake/p/bad.parquet")
}

func TestBrokenObjects(t *testing.T) {
	s := open(t)
	c := s.as("a")
	whole := encode("x.gz", strings.Repeat("1,a,1,\n", 100000))
	s.put("g/a", "1,a,1,\n")
	s.lake.Put("g/cut.gz", whole[:len(whole)/2])
	x := table(t, s, "g", delimited)
	fails(t, c, "select count(*) from "+x, "BadData", "s3://lake/g/cut.gz is damaged")
	flipped := append([]byte(nil), whole...)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	s.lake.Put("g/cut.gz", flipped)
	fails(t, c, "select count(*) from "+x, "BadData", "s3://lake/g/cut.gz is damaged")
	fails(t, c, "select * from "+x+" a, "+x+" b", "BadData", "s3://lake/g/cut.gz is damaged")
	s.lake.OnOpen = func(key string) error {
		if key == "g/cut.gz" {
			return warehousetest.AccessDenied.New("not yours")
		}
		return nil
	}
	fails(t, c, "select count(*) from "+x, "InsufficientPrivilege", "permission denied to read s3://lake/g/cut.gz")
	s.lake.OnOpen = nil
	exec(t, c, "create external table sp.nobucket(id int) location 's3://nobucket/x'")
	fails(t, c, "select * from sp.nobucket", "UndefinedObject", "s3://nobucket/x does not exist")
}

func TestReadMoreThanOnce(t *testing.T) {
	s := open(t)
	c := s.as("a")
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "%d,v%d,%d,2016-01-01\n", i, i%10, i)
	}
	for i := range 4 {
		s.put(fmt.Sprintf("r/%d", i), b.String())
	}
	x := table(t, s, "r", delimited)
	rows(t, c, "select count(*) from "+x+" a join "+x+" b on a.id = b.id", "80000")
	rows(t, c, "with w as (select id, v from "+x+") select count(*) from w a join w b on a.id = b.id", "80000")
	twice := "with w as not materialized (select id, v from " + x + ") select count(*) as n from w a join w b on a.id = b.id"
	rows(t, c, twice, "80000")
	exec(t, c, "create table made as "+twice, "insert into made "+twice, "create table ids as with w as not materialized (select id from "+x+") select a.id from w a join w b on a.id = b.id where a.id < 10")
	rows(t, c, "select sum(n) from made", "160000")
	rows(t, c, "select count(*) from ids", "160")
	rows(t, c, "select count(*) from "+x+" where n > (select avg(n) from "+x+")", "10000")
	rows(t, c, "select (select count(*) from "+x+"), (select max(id) from "+x+")", "20000|4999")
	rows(t, c, "select count(*) from "+x+" union all select count(*) from "+x, "20000", "20000")
	rows(t, c, "with recursive q(n) as (select 1 union all select n + 1 from q where n < 3 and (select count(*) from "+x+") = 20000) select max(n) from q", "3")
	rows(t, c, "select count(*) from "+x+" t where exists (select 1 from "+x+" u where u.id = t.id + 1)", "19996")
	rows(t, c, "select v, count(*) from "+x+" group by v order by v limit 1", "v0|2000")
	rows(t, c, "select id from "+x+" order by id desc limit 2", "4999", "4999")
	rows(t, c, "select count(*) from (select * from "+x+" limit 7) q", "7")
	rows(t, c, "select x.id, y.id from "+x+" x join lateral (select id from "+x+" z where z.id = x.id limit 1) y on true where x.id = 3 limit 1", "3|3")
	rows(t, c, "select count(*) from (select id, row_number() over (partition by v order by id) r from "+x+") q where r = 1", "10")
	rows(t, c, "select count(distinct id) from (select id from "+x+" intersect select id from "+x+" where id < 10) q", "10")
}

func TestManyObjects(t *testing.T) {
	s := open(t)
	for i := range 3000 {
		s.put(fmt.Sprintf("many/%04d.gz", i), fmt.Sprintf("%d,a,1,\n", i))
	}
	x := table(t, s, "many", delimited)
	rows(t, s.as("a"), "select count(*), sum(id) from "+x, "3000|4498500")
}

func TestAuthorisation(t *testing.T) {
	s := open(t)
	s.put("z/a", "1,a,1,\n")
	x := table(t, s, "z", delimited)
	c := s.as("a")
	exec(t, c, "create table own(id int)", "create table other(id int)")
	deny := func(action, resource string) {
		s.policy.SetDeny(func(_ context.Context, a name.Action, r name.ARN) bool {
			return string(a) == action && strings.Contains(r.String(), resource)
		})
	}
	deny("glue:GetTable", ":table/spdb/z")
	p := fails(t, c, "select 1 from own, "+x, "InsufficientPrivilege", "permission denied for relation z")
	if p.Position != 20 {
		t.Errorf("position %d", p.Position)
	}
	deny("s3:ListBucket", "lake")
	fails(t, c, "select * from "+x, "InsufficientPrivilege", "permission denied to list s3://lake/z/")
	deny("s3:GetObject", "lake/z/a")
	fails(t, c, "select * from "+x, "InsufficientPrivilege", "permission denied to read s3://lake/z/a")
	fails(t, c, "copy own from 's3://lake/z/' delimiter ','", "InsufficientPrivilege", "permission denied to read s3://lake/z/a")
	deny("glue:UpdateTable", "table/public/own")
	for _, sql := range []string{"insert into own values (1)", "update own set id = 1", "delete from own", "truncate own", "vacuum own", "copy own from 's3://lake/z/'"} {
		fails(t, c, sql, "InsufficientPrivilege", "permission denied for relation own")
	}
	deny("glue:GetTable", "table/public/other")
	for _, sql := range []string{
		"insert into own select * from other", "update own set id = (select max(id) from other)", "delete from own using other", "delete from own where id in (select id from other)",
		"create table stolen as select * from other", "update own set id = o.id from other o",
	} {
		fails(t, c, sql, "InsufficientPrivilege", "permission denied for relation other")
	}
	for action, sql := range map[string]string{
		"glue:CreateTable": "create table n(a int)", "glue:DeleteTable": "drop table own", "glue:CreateDatabase": "create schema n", "glue:DeleteDatabase": "drop schema sp",
	} {
		deny(action, "")
		fails(t, c, sql, "InsufficientPrivilege", "permission denied")
	}
	deny("redshift:GetClusterCredentials", "dbname:sluice/dev")
	if _, err := s.service.Open(identity(t.Context(), "a"), "dev"); err == nil {
		t.Error("a session was opened without redshift:GetClusterCredentials")
	}
	if _, err := s.service.Open(t.Context(), "dev"); err == nil {
		t.Error("a session was opened without an identity")
	}
}

// TestMalformedJSON checks that a value which its column cannot hold costs its row and not
// the table, with a NOTICE that names object and line.
func TestMalformedJSON(t *testing.T) {
	s := open(t)
	c := s.as("a")
	table(t, s, "fit", delimited) // makes the schema
	s.put("jm/a.gz", `{"id":1,"amount":1.5}`+"\n"+`{"id":"x","amount":2}`+"\n"+`{"ID":3,"amount":"three"}`+"\n"+`{"id":4,"amount":"4.25","note":"n"}`+"\n")
	exec(t, c, "create external table sp.jm(id int, amount double precision) row format serde 'org.openx.data.jsonserde.JsonSerDe' location 's3://lake/jm/'")
	got := exec(t, c, "select id, amount from sp.jm order by id")
	if strings.Join(got.rows, " ") != "1|1.5 4|4.25" || len(got.notices) != 1 || got.notices[0].Message != "2 malformed rows of sp.jm skipped" ||
		got.notices[0].Detail != "First: s3://lake/jm/a.gz line 2, column id: the value is not of type integer" {
		t.Errorf("%+v", got)
	}
	exec(t, c, "create table j(id int, amount double precision)")
	fails(t, c, "copy j from 's3://lake/jm/' iam_role default json 'auto'", "BadData", "s3://lake/jm/a.gz line 2, column id")

	values := []string{`1`, `-1`, `1.5`, `1.0`, `1e2`, `1e999`, `-0`, `123456789012345678901234567890`, `32768`, `true`, `false`, `null`, `""`, `"x"`, `"1"`, `" 2 "`, `"1.5"`, `"true"`, `"NaN"`,
		`"infinity"`, `"2016-01-02"`, `"2016-01-02T03:04:05Z"`, `"2016-01-02 03:04:05.123+02"`, `"1/2/2016"`, `"2016-13-01"`, `"10:11:12"`, `"1 day"`, `"\u0031"`, `[1]`, `{"a":1}`, `"00010203-0405-0607-0809-0a0b0c0d0e0f"`, `"\"q\""`}
	kinds := []string{"smallint", "int", "bigint", "real", "double precision", "numeric(5,2)", "numeric(38,10)", "boolean", "varchar", "date", "timestamp", "timestamptz", "time", "interval", "uuid", "super"}
	var declared []string
	for i, kind := range kinds {
		declared = append(declared, fmt.Sprintf("c%d %s", i, kind))
		for j, v := range values {
			s.put("jv/a", fmt.Sprintf(`{"c%d": %s, "other": [{"c%d":"no"}], "n": 1}`+"\n"+`{"n":2}`, i, v, i))
			if j == 0 {
				exec(t, c, fmt.Sprintf("create external table sp.jv%d(%s, n int) row format serde 'org.openx.data.jsonserde.JsonSerDe' location 's3://lake/jv/'", i, declared[i]))
			}
			name := fmt.Sprintf("sp.jv%d", i)
			if got, err := run(t.Context(), c, fmt.Sprintf("select c%d, n from %s", i, name)); err != nil || len(got.rows)+len(got.notices) != 2 {
				t.Errorf("%s as %s: %v %v %s", v, kind, got.rows, got.notices, describe(err))
			}
		}
	}
}

// TestTablesCheck asks what a table's columns can hold.
func TestTablesCheck(t *testing.T) {
	s := open(t)
	exec(t, s.as("a"), "create table events(id int, at timestamp, note varchar)")
	holds, ok := s.service.Tables().Check("public.Events")
	if !ok {
		t.Fatal("the table is not found")
	}
	for _, x := range []struct {
		column, value string
		want          bool
	}{{"id", `5`, true}, {"ID", `"x"`, false}, {"id", `null`, true}, {"at", `"2016-01-02"`, true}, {"at", `5`, false}, {"note", `[1]`, true}, {"other", `"x"`, true}} {
		if kind, ok := holds(x.column, []byte(x.value)); ok != x.want || !ok && kind == "" {
			t.Errorf("%s in %s: %v %q", x.value, x.column, ok, kind)
		}
	}
	for _, missing := range []string{"public.nothing", "nothing.events", "events"} {
		if _, ok := s.service.Tables().Check(missing); ok {
			t.Errorf("%s was found", missing)
		}
	}
}

// TestCopyDates loads the forms of dates and times that COPY documents for 'auto', and
// counts from the epoch.
func TestCopyDates(t *testing.T) {
	s := open(t)
	c := s.as("a")
	exec(t, c, "create table t(id int, d date, ts timestamp)")
	s.put("d/a", `1|2016-01-02|2016-01-02 03:04:05
2|01/02/2016|Jan 2 2016 03:04:05
3|17 Dec 1997|17 Dec 1997 07:37:16
4|J2451187|1999-01-08T04:05:06Z
5|1.2.2016|20160102 030405
6|Dec-17-97|Wed Dec 17 07:37:16 1997 PST
7||
8|\N|2016-01-02 3:04 PM
`)
	exec(t, c, "copy t from 's3://lake/d/' iam_role default dateformat 'auto' timeformat 'auto'")
	rows(t, c, "select id, d::varchar, ts::varchar from t order by 1", "1|2016-01-02|2016-01-02 03:04:05", "2|2016-01-02|2016-01-02 03:04:05",
		"3|1997-12-17|1997-12-17 07:37:16", "4|1999-01-08|1999-01-08 04:05:06", "5|2016-01-02|2016-01-02 03:04:05", "6|1997-12-17|1997-12-17 07:37:16",
		"7|NULL|NULL", "8|NULL|2016-01-02 15:04:00")
	s.put("d2/a", "1|13/13/2016|\n")
	fails(t, c, "copy t from 's3://lake/d2/' iam_role default dateformat 'auto'", "BadData", "s3://lake/d2/a line 1, column d")
	exec(t, c, "truncate t")
	s.put("e/a", "1,,1451703845\n2,,1451703845.5\n")
	exec(t, c, "copy t from 's3://lake/e/' iam_role default csv timeformat 'epochsecs'")
	s.put("e2/a", "3||1451703845123\n")
	exec(t, c, "copy t from 's3://lake/e2/' iam_role default timeformat as 'epochmillisecs'")
	rows(t, c, "select id, ts::varchar from t order by 1", "1|2016-01-02 03:04:05", "2|2016-01-02 03:04:05.5", "3|2016-01-02 03:04:05.123")
}

func TestCopy(t *testing.T) {
	s := open(t)
	c := s.as("a")
	exec(t, c, "create table t(id int not null, v varchar(10), d date)")
	s.put("c/a", "id|v|d\n1|one|01/31/2020\n2|\\N|02/28/2020\n")
	exec(t, c, "copy t from 's3://lake/c/a' iam_role default delimiter '|' ignoreheader 1 dateformat 'MM/DD/YYYY'")
	rows(t, c, "select id, v, d::varchar from t order by 1", "1|one|2020-01-31", "2|NULL|2020-02-28")
	s.put("c2/a", "3|three|2020-01-01\nbad|x|2020-01-01\n4|four\n")
	p := fails(t, c, "copy t from 's3://lake/c2/' iam_role default", "BadData", "s3://lake/c2/a line 2, column id")
	if !strings.Contains(p.Detail, "2 malformed rows; MAXERROR is 0") {
		t.Errorf("detail %q", p.Detail)
	}
	rows(t, c, "select count(*) from t", "2")
	got := exec(t, c, "copy t from 's3://lake/c2/' iam_role default maxerror 2")
	if got.tag != "COPY 1" || len(got.notices) != 2 {
		t.Errorf("%+v", got)
	}
	s.put("c3/a.gz", "v,id\n\"a, b\",5\n\"say \"\"x\"\"\",6\n")
	exec(t, c, "copy t(v, id) from 's3://lake/c3/' iam_role default csv gzip ignoreheader as 1")
	rows(t, c, "select v from t where id > 4 order by id", "a, b", `say "x"`)
	s.put("c4/a", `{"ID": 7, "v": "json"}`+"\n")
	exec(t, c, "copy t from 's3://lake/c4/' iam_role default format as json 'auto'")
	rows(t, c, "select id, v from t where id = 7", "7|json")
	fails(t, c, "copy t from 's3://lake/nothing/' iam_role default", "UndefinedObject", "no object below s3://lake/nothing/")
	fails(t, c, "copy t from 's3://lake/c/' access_key_id 'x'", "FeatureNotSupported", "ACCESS_KEY_ID")
	fails(t, c, "copy t(nope) from 's3://lake/c/'", "UndefinedColumn", "nope")
	s.put("c5/a", "|null id|2020-01-01\n")
	fails(t, c, "copy t from 's3://lake/c5/' iam_role default", "NotNullViolation", "null value in column \"id\"")
}
