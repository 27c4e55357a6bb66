package warehouse_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/warehouse"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

var statements = []string{
	"select 1", "select top 5 * from t where a = 'it''s' -- x\n and b = $1", "with x as (select 1) select * from x", "select \"Q\"\"x\", $tag$ a;b $tag$ /* c /* d */ */ ;",
	"create table if not exists s.t (a int not null sortkey, b varchar(10) encode lzo, c decimal(10,2), primary key(a)) diststyle key distkey(a) compound sortkey(a,b)",
	"create external table e.t(a int, b timestamp with time zone) row format delimited fields terminated by '\\001' escaped by '\\\\' lines terminated by '\\n' null defined as 'x' stored as textfile location 's3://b/p' table properties ('skip.header.line.count'='1')",
	"create external schema if not exists s from data catalog database 'd' region 'r' iam_role 'x' create external database if not exists",
	"copy t(a,b) from 's3://b/p' iam_role default csv quote as '\"' ignoreheader 1 dateformat 'MM/DD/YYYY' timeformat 'auto' maxerror as 3 null as '\\\\N'",
	"insert into t(a) values ($1, (select 2))", "update t set a = 1, b = (select 2) from u where t.a is distinct from u.a", "delete from t using u where a = 1",
	"select cast(x as varchar(2)), y::char(3), (a||'b')::numeric, 1.5::decimal as n, case when 1=1 then 'x' end::varchar(1) from t union select 2",
	"select a like b || '\\\\%' escape '', x similar to '%(a|b)%' escape '#', y not ilike $1 from t where z similar to q",
	"select overlay('a' placing 'b' from 1 for 2), substring(a from 'x'), extract(second from b), date_part('epoch', c), datepart(second, d), pg_catalog.current_setting('x')",
	"explain verbose select generate_series(1, 2), i from generate_series(1, 2) as i, generate_series(3, 4)", "timestamptz '2001-01-01 10:00 PST', timestamp with time zone 'x', 'y'::timestamp with time zone[]",
	"set search_path to a, \"B\"", "set time zone 'UTC'", "show all", "begin read only", "drop table if exists a.b, c cascade", "truncate t", "vacuum full t", "explain analyze select 1",
	"create table t distkey(a) as select * from u", "select a ~ 'x', pg_catalog.version(), x::pg_catalog.regclass, a operator(pg_catalog.~) b collate pg_catalog.default", "select E'a\\'b', '\\x00ff'::bytea, 1e5, .5, a.b.c",
}

func FuzzParse(f *testing.F) {
	for _, s := range statements {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		session := &warehouse.Session{}
		if _, err := session.Prepare(sql, nil); err != nil {
			p, ok := errors.AsType[*warehouse.Problem](err)
			if !ok || p.Position < 0 || p.Position > len(sql)+1 || p.Fault.Message == "" {
				t.Fatalf("%q: %#v", sql, err)
			}
		}
		texts, err := warehouse.Split(sql)
		if err != nil {
			return
		}
		for _, part := range texts {
			if sql[part.Offset:part.Offset+len(part.SQL)] != part.SQL || part.SQL == "" {
				t.Fatalf("%q: a part %+v that is not there", sql, part)
			}
			if more, err := warehouse.Split(part.SQL); err != nil || len(more) != 1 || more[0].SQL != part.SQL {
				t.Fatalf("%q: the part %q splits again: %+v, %v", sql, part.SQL, more, err)
			}
		}
		out, origin, err := warehouse.Rewrite(sql, []wire.Type{wire.Int32, wire.Text})
		if err != nil {
			return
		}
		before := 0
		for i := range len(out) + 1 {
			at := origin(i + 1)
			if at < 1 || at > len(sql)+1 {
				t.Fatalf("%q became %q: byte %d comes from %d", sql, out, i+1, at)
			}
			if at < before {
				t.Fatalf("%q became %q: the way back is not in order at %d", sql, out, i+1)
			}
			before = at
		}
	})
}

func FuzzAnalyze(f *testing.F) {
	f.Add("select 1", `{"error":false,"statements":[{"node":{"type":"SELECT_NODE","cte_map":{"map":[{"key":"x","value":{"query":{"node":{"type":"RECURSIVE_CTE_NODE"}}}}]},"from_table":{"type":"BASE_TABLE","table_name":"x","query_location":3}}}]}`)
	f.Add("é", `{"error":true,"error_type":"parser","error_message":"m","position":"1"}`)
	f.Fuzz(func(t *testing.T, sql, tree string) {
		err := warehouse.Analyze(sql, []byte(tree))
		if p, ok := errors.AsType[*warehouse.Problem](err); err != nil && !ok || ok && p.Position < 0 {
			t.Fatalf("%#v", err)
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("1,\\N\r\n\\N,x\r\n"), byte(0))
	f.Add([]byte("\"a\\N\",\\N\n\\\\,\\N\n"), byte('\\'))
	columns := []warehouse.Column{{Name: "a", Engine: "INTEGER"}, {Name: "b", Engine: "VARCHAR"}}
	f.Fuzz(func(t *testing.T, in []byte, escape byte) {
		want := strings.ReplaceAll(string(in), "\r\n", "\n")
		text := warehouse.UnixLines(bytes.Clone(in))
		if string(text) != want {
			t.Fatalf("%q: got %q, want %q", in, text, want)
		}
		x := warehouse.External{Delimiter: ",", Null: `\N`}
		if escape != 0 && escape != '\n' && escape != ',' {
			x.Escape = string(rune(escape & 0x7f))
		}
		out := warehouse.MendNulls(x, columns, bytes.Clone(text))
		if bytes.Count(out, []byte("\n")) != bytes.Count(text, []byte("\n")) {
			t.Fatalf("%q: lines came or went: %q", text, out)
		}
		if !bytes.Contains(text, []byte(`\N`)) && !bytes.Equal(out, text) {
			t.Fatalf("%q without a marker became %q", text, out)
		}
	})
}

// folded is what FoldMembers should make of an object: a decoder says where the names of its
// first level are, their ASCII letters are lowered, and every other byte is as it was.
func folded(t *testing.T, in []byte) []byte {
	t.Helper()
	out := bytes.Clone(in)
	d := json.NewDecoder(bytes.NewReader(in))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		before := int(d.InputOffset())
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
		name := out[before+bytes.IndexByte(in[before:], '"') : d.InputOffset()]
		for i := 0; i < len(name); i++ {
			if name[i] == '\\' {
				i++ // what it escapes is no letter of the name
			} else if 'A' <= name[i] && name[i] <= 'Z' {
				name[i] |= 0x20
			}
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func FuzzFoldMembers(f *testing.F) {
	f.Add([]byte(`{"A":{"B":"\"C\""},"D\u0041":[{"E":1}],"F":"G"}`))
	f.Add([]byte(`{"A":[1,{"B":"C"}],"D":{},"E\"F":"G:H,I","J":[[],"K"],"L":null}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		in = bytes.TrimSpace(in)
		if len(in) == 0 || in[0] != '{' || !json.Valid(in) {
			return
		}
		out := bytes.Clone(in)
		warehouse.FoldMembers(out)
		if want := folded(t, in); !bytes.Equal(out, want) {
			t.Fatalf("%q became %q, want %q", in, out, want)
		}
	})
}
