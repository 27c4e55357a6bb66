package warehouse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/fault"
)

// TestEscapes tries to reach what a query must not: files, the environment, other
// tables, the network, the engine's settings.
func TestEscapes(t *testing.T) {
	s := open(t)
	c := s.as("mallory")
	secret := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(secret, []byte("a\nTOPSECRET\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	s.put("d/x", "1,a\n2,b\n")
	exec(t, c, external, "create external table sp.t(id int, v varchar) row format delimited fields terminated by ',' location 's3://lake/d/'",
		"create table own(a varchar)")
	t.Setenv("SLUICE_TEST_SECRET", "TOPSECRET")
	for _, sql := range []string{
		"select * from '" + secret + "'",
		`select * from "` + secret + `"`,
		"select * from read_csv('" + secret + "')",
		"select * from read_csv_auto('" + secret + "')",
		"select * from read_text('" + secret + "')",
		"select * from read_blob('" + secret + "')",
		"select * from read_json('" + secret + "')",
		"select * from read_parquet('" + secret + "')",
		"select * from parquet_metadata('" + secret + "')",
		"select * from sniff_csv('" + secret + "')",
		"select * from glob('/*')",
		"select * from main.read_csv('" + secret + "')",
		"select * from system.main.read_text('" + secret + "')",
		"select (select content from read_text('" + secret + "'))",
		"with x as (from read_text('" + secret + "')) select * from x",
		"select * from own where a in (select content from read_text('" + secret + "'))",
		"select 1 union all select content from read_text('" + secret + "')",
		"select * from (values (1)) v(x), lateral (select * from read_text('" + secret + "')) l",
		"explain analyze select * from read_text('" + secret + "')",
		"select * from '/proc/self/environ'",
		"select * from '/proc/self/fd/3'",
		"select * from '/proc/1/environ'",
		"select * from '/3'", "select * from '/4'", "select * from '/5'", "select * from '/0'",
		"select * from '../etc/passwd'", "select * from 'passwd.csv'",
		"select * from 's3://lake/d/x'",
		"select * from 'http://127.0.0.1/x.csv'",
		"select getenv('SLUICE_TEST_SECRET')",
		"select current_setting('home_directory')",
		"select getvariable('x')",
		"from duckdb_settings()", "from duckdb_settings", "from duckdb_secrets()", "from duckdb_databases()", "from duckdb_logs",
		"from pragma_database_list()", "from pragma_database_list", "from sqlite_master", "from duckdb_extensions()",
		"select * from query('select content from read_text(''" + secret + "'')')",
		"select * from query_table('own')", "from query_table(['own'])",
		"select json_execute_serialized_sql('{}')", "from json_execute_serialized_sql('{}')",
		"attach '" + secret + "' as x", "attach ':memory:' as x", "detach dev", "use system",
		"copy own to '/tmp/x'", "copy (select 1) to '/tmp/x'", "copy own from '" + secret + "'", "export database '/tmp/x'", "import database '/tmp/x'",
		"install httpfs", "load httpfs", "load '" + secret + "'", "force install json",
		"pragma enable_external_access", "pragma database_list", "call pragma_version()", "checkpoint", "vacuum",
		"set enable_external_access = true", "set allowed_directories = ['/']", "set lock_configuration = false", "set temp_directory = '/tmp'",
		"set memory_limit = '100GB'", "reset enable_external_access", "set global threads = 100", "set variable x = 1",
		"create secret (type s3)", "create macro m() as 1", "create view v as select 1", "create function f() as 1", "create temp table x(a int)",
		"create table x as select * from read_text('" + secret + "')", "insert into own select content from read_text('" + secret + "')",
		"update own set a = (select content from read_text('" + secret + "'))", "delete from own where a = (select content from read_text('" + secret + "'))",
		"update own set a = a from read_text('" + secret + "') r", "delete from own using read_text('" + secret + "') r where true",
		"insert into own values ((select content from read_text('" + secret + "')))",
		"select 1; select * from read_text('" + secret + "')",
		"prepare p as select 1", "execute p", "pivot own on a", "from own select * ; attach ':memory:' as y",
		"select * from temp.main.reject_errors", "select * from sluice_copy.own", "select * from system.information_schema.tables",
		"select * from memory.main.x", "show databases", "show all tables", "show tables", "describe",
		"select * from which_secret('x', 's3')", "select write_log('x')", "select * from enable_logging()", "select nextval('x')",
		"select * from test_all_types()", "select * from repeat_row(1)", "select * from checkpoint()", "select * from force_checkpoint()",
		"merge into own using (select 1) on true when matched then delete", "alter table own rename to o2", "grant all on own to public",
		"select * from seq_scan('own')", "select * from arrow_scan(1,2,3)", "select * from pandas_scan(1)", "select * from parquet_scan('/3')",
	} {
		got, err := run(t.Context(), c, sql)
		if err == nil {
			t.Errorf("%s\nwas allowed: %q", sql, got.rows)
			continue
		}
		if k := fault.KindOf(err); k == fault.Internal || k == fault.Unavailable {
			t.Errorf("%s\nfailed with %v", sql, describe(err))
		}
		if strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s\nthe error tells the secret: %v", sql, err)
		}
	}
	rows(t, c, "select count(*) from sp.t", "2")
	rows(t, c, "select count(*) from own", "0")
}
