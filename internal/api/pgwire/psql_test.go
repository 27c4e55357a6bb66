package pgwire_test

import (
	"context"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/pgwire"
	"sluice.dev/sluice/internal/base/name"
)

const sales = `
	create external schema sp from data catalog database 'spdb' create external database if not exists;
	create external table sp.sales(itemid int, category varchar, price double precision, orderdate timestamp)
		row format delimited fields terminated by ',' stored as textfile location 's3://lake/sales/';
	create table public.dim(id integer not null, label varchar(10), amount numeric(12,2)) diststyle all;
	create schema hidden;
	create table hidden.secret(x int);
`

func TestPsqlCatalogue(t *testing.T) {
	s := serve(t, pgwire.Config{})
	if _, errs := s.psql(t, sales); errs != "" {
		t.Fatal(errs)
	}
	s.policy.SetDeny(func(_ context.Context, action name.Action, resource name.ARN) bool {
		return strings.Contains(resource.Resource, "hidden")
	})
	for command, want := range map[string][]string{
		`\l`:               {"dev|AKIATEST|UTF8|"},
		`\dn`:              {"public|AKIATEST", "sp|AKIATEST"},
		`\dt`:              {"public|dim|table|AKIATEST"},
		`\dt *.*`:          {"public|dim|table|AKIATEST", "sp|sales|table|AKIATEST"},
		`\d`:               {"public|dim|table|AKIATEST"},
		`\d dim`:           {"id|integer||not null|", "label|character varying(10)|||", "amount|numeric(12,2)|||"},
		`\d sp.sales`:      {"itemid|integer|||", "category|character varying|||", "price|double precision|||", "orderdate|timestamp without time zone|||"},
		`\d+ dim`:          {"id|integer||not null||plain||", "label|character varying(10)||||plain||", "amount|numeric(12,2)||||plain||"},
		`\du`:              {"AKIATEST||[]"},
		`\dv`:              {},
		`\df`:              {},
		`\d hidden.secret`: {},
		`select table_schema, table_name, table_type from information_schema.tables order by 1;`: {"public|dim|BASE TABLE", "sp|sales|EXTERNAL TABLE"},
		`select column_name, data_type, is_nullable from information_schema.columns where table_name = 'dim' order by ordinal_position;`: {
			"id|integer|NO", "label|character varying|YES", "amount|numeric|YES"},
		`select schemaname, tablename from pg_tables order by 1;`:                        {"public|dim", "sp|sales"},
		`select schemaname, tablename, location from svv_external_tables;`:               {"sp|sales|s3://lake/sales/"},
		`select current_user, current_database(), current_schema(), session_user, user;`: {"AKIATEST|dev|public|AKIATEST|AKIATEST"},
		`select version() like 'PostgreSQL 9.6%';`:                                       {"t"},
		`show search_path;`: {"public"},
		`set search_path to sp, public; select count(*) from sales, dim;`: {"0"},
		`\conninfo`: nil,
	} {
		out, errs := s.psql(t, command)
		if want == nil {
			continue
		}
		got := strings.TrimSpace(out)
		if wanted := strings.Join(want, "\n"); !strings.HasPrefix(got, wanted) || len(want) == 0 && got != "" {
			t.Errorf("%s\ngot  %q\nwant %q\n%s", command, got, wanted, errs)
		}
		if errs != "" && !strings.Contains(errs, "Did not find any relation") {
			t.Errorf("%s: %s", command, errs)
		}
	}
}

func TestPsqlErrors(t *testing.T) {
	s := serve(t, pgwire.Config{})
	for _, c := range []struct{ sql, want string }{
		{"select 1 +;", "ERROR:  42601: syntax error at end of input"},
		{"selec 1;", "ERROR:  42601: syntax error at or near \"selec\"\nLINE 1: selec 1;\n        ^"},
		{"select 'é', fro from from;", "ERROR:  42601: syntax error at or near \"from\"\nLINE 1: select 'é', fro from from;\n                             ^"},
		{"select 'é',\n  nope from (select 1 a) t;", "ERROR:  42703: Referenced column \"nope\" not found in FROM clause!\nLINE 2:   nope from"},
		{"select * from nope;", "ERROR:  42P01: relation \"nope\" does not exist\nLINE 1: select * from nope;\n                      ^"},
		{"select 1; select top 3 * from nope;", "ERROR:  42P01: relation \"nope\" does not exist\nLINE 1: select top 3 * from nope;\n                            ^"},
		{"select nofn(1);", "ERROR:  42883: Scalar Function with name nofn does not exist!"},
		{"select 'x'::int;", `ERROR:  22P02: invalid input syntax for type integer: "x"`},
		{"select 9223372036854775807+1;", "ERROR:  22003:"},
		{"select cast('2020-13-45' as date);", `ERROR:  22008: date/time field value out of range: "2020-13-45"`},
		{"copy t from stdin;", "ERROR:  0A000: COPY FROM STDIN is not supported"},
		{"listen x;", "ERROR:  0A000: LISTEN is not supported"},
		{"set nonsense = 1;", "ERROR:  42704: unrecognized configuration parameter \"nonsense\""},
		{"select $1;", "ERROR:  42P02: there is no parameter $1"},
		{"select * from read_csv('/etc/passwd');", "ERROR:  42501: permission denied for table function read_csv"},
		{"drop table nope;", "ERROR:  42P01:"},
		{"select (select a from (values (1),(2)) t(a));", "ERROR:  21000:"},
	} {
		_, errs := s.psql(t, c.sql, "-v", "VERBOSITY=verbose")
		if !strings.HasPrefix(errs, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.sql, errs, c.want)
		}
	}
}

func TestPsqlStatements(t *testing.T) {
	s := serve(t, pgwire.Config{})
	for _, c := range []struct{ sql, want string }{
		{"select 1; select 2", "1\n2\n"},
		{"select 1 as a, 'x' as b, null as c, true as d, 1.50 as e, 2.5::float8 as f;", "1|x||t|1.50|2.5\n"},
		{"select date '2020-02-29', timestamp '2020-01-01 10:00:00.5', interval '1 year 2 months 3 days 04:05:06';", "2020-02-29|2020-01-01 10:00:00.5|1 year 2 mons 3 days 04:05:06\n"},
		{"set timezone to 'Europe/Berlin'; select timestamptz '2020-07-01 00:00:00+00';", "2020-07-01 02:00:00+02\n"},
		{"select 'ab'::bytea, '00000000-0000-0000-0000-00000000000a'::uuid, [1,2], {'a': 1};", "\\x6162|00000000-0000-0000-0000-00000000000a|[1, 2]|{'a': 1}\n"},
		{"select 170141183460469231731687303715884105727::hugeint, 18446744073709551615::ubigint, 1::tinyint, 1e20::float8;", "170141183460469231731687303715884105727|18446744073709551615|1|1e+20\n"},
		{"select sum(i) from range(100) t(i);", "4950\n"},
		{"select 7/2, 7.0/2, getdate() > '2020-01-01', nvl(null, 3), datediff(day, date '2020-01-01', date '2020-01-03'), dateadd(month, 1, date '2020-01-31');", "3|3.5000000000000000|t|3|2|2020-02-29 00:00:00\n"},
		{"begin; select 1; commit;", "1\n"},
		{"select 'xabcx' ~ 'abc', 'xabcx' !~ 'ABC', 'xABCx' ~* 'abc', 'xABCx' !~* 'abc';", "t|t|t|f\n"},
		{"-- nothing\n;", ""},
		{"explain select 1;", ""},
		{"select count(*) from (select top 3 * from range(10)) t;", "3\n"},
		{"with recursive r(n) as (select 1 union all select n+1 from r where n < 5) select sum(n) from r;", "15\n"},
		{"select count(*) from generate_series(1, 100000) t(i);", "100000\n"},
	} {
		out, errs := s.psql(t, c.sql)
		if out != c.want && c.want != "" || errs != "" {
			t.Errorf("%s\ngot  %q %s\nwant %q", c.sql, out, errs, c.want)
		}
	}
}

func TestPsqlOptions(t *testing.T) {
	s := serve(t, pgwire.Config{})
	t.Setenv("PGOPTIONS", "-c search_path=sp,public --statement-timeout=5000")
	if out, errs := s.psql(t, "show search_path; show statement_timeout"); out != "sp,public\n5s\n" || errs != "" {
		t.Errorf("%q %s", out, errs)
	}
	t.Setenv("PGOPTIONS", "-c nonsense=1")
	if _, errs := s.psql(t, "select 1"); !strings.Contains(errs, "unrecognized configuration parameter") {
		t.Errorf("%s", errs)
	}
}
