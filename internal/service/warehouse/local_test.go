package warehouse_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/warehouse"
)

func TestSeed(t *testing.T) {
	s := open(t)
	s.put("CDC/2016/01/02/03/AuroraChangesToS3-1-a.gz", "101,books,2.5,4,2016-01-02,CA,air,web\n102,music,1.5,2,2016-07-03,NY,sea,mail\n")
	s.put("CDC/2016/01/02/04/AuroraChangesToS3-1-b", "103,toys,9.5,1,2016-01-02,WA,air,web\n")
	s.put("lab/2016dates", "20160102,2,1,Saturday,2016-01-02,1,1,2016,Winter,2016\n20160703,3,7,Sunday,2016-07-03,3,2,2016,Summer,2017\n")
	c := s.as("analyst")
	exec(t, c,
		`create external schema if not exists spectrum_schema
from data catalog 
database 'spectrum_db' 
region 'us-east-1'
IAM_ROLE 'arn:aws:iam::XXXXXXXXXXXX:role/RedshiftSpectrumRole'
create external database if not exists;`,
		` CREATE EXTERNAL TABLE IF NOT EXISTS spectrum_schema.ecommerce_sales(
  ItemID int,
  Category varchar,
  Price DOUBLE PRECISION,
  Quantity int,
  OrderDate TIMESTAMP,
  DestinationState varchar,
  ShippingType varchar,
  Referral varchar)
ROW FORMAT DELIMITED
      FIELDS TERMINATED BY ','
LINES TERMINATED BY '\n'
LOCATION 's3://lake/CDC/'`)
	if got := exec(t, c, "select top 10 * from spectrum_schema.ecommerce_sales"); len(got.rows) != 3 || len(got.columns) != 8 || got.columns[4].Name != "orderdate" {
		t.Errorf("top 10: %+v", got)
	}
	exec(t, c, `CREATE TABLE date_dimension (
  d_datekey           integer       not null sortkey,
  d_dayofmonth        integer       not null,
  d_monthnum          integer       not null,
  d_dayofweek                varchar(10)   not null,
  d_prettydate        date       not null,
  d_quarter           integer       not null,
  d_half              integer       not null,
  d_year              integer       not null,
  d_season            varchar(10)   not null,
  d_fiscalyear        integer       not null)
diststyle all;`)
	got := exec(t, c, `copy date_dimension from 's3://lake/lab/2016' 
iam_role 'arn:aws:iam::XXXXXXXXXXXX:role/redshiftspectrum'
DELIMITER ','
dateformat 'auto';`)
	if got.tag != "COPY 2" {
		t.Errorf("tag %q", got.tag)
	}
	for by, want := range map[string][]string{"d_season": {"19.5|Winter", "3|Summer"}, "d_dayofweek": {"19.5|Saturday", "3|Sunday"}} {
		rows(t, c, `select sum(quantity*price) as total_sales, date_dimension.`+by+`
from spectrum_schema.ecommerce_sales 
join date_dimension on spectrum_schema.ecommerce_sales.orderdate = date_dimension.d_prettydate 
group by date_dimension.`+by+` order by 1 desc`, want...)
	}
	rows(t, c, `SELECT Sum(QUANTITY*Price) FROM Spectrum_Schema.ECOMMERCE_SALES`, "22.5")
}

func TestLocalTables(t *testing.T) {
	s := open(t)
	c := s.as("a")
	exec(t, c, "create table t(id int not null, name varchar(5), at timestamp, n numeric(10,2), u uuid, j super, b varbyte)")
	if got := exec(t, c, "insert into t values (1,'a','2020-01-01 10:00:00',1.25,'00000000-0000-0000-0000-000000000001','{\"x\":1}','ab'),(2,null,null,null,null,null,null)"); got.tag != "INSERT 0 2" {
		t.Errorf("tag %q", got.tag)
	}
	rows(t, c, "select id, name, n, u::varchar, j, b from t order by id", "1|a|1.25|00000000-0000-0000-0000-000000000001|{\"x\":1}|ab", "2|NULL|NULL|NULL|NULL|NULL")
	exec(t, c, "insert into t(name, id) select 'x'||id, id+10 from t")
	rows(t, c, "select count(*), sum(id) from t", "4|26")
	rows(t, c, "select a.id from t a join t b on a.id = b.id+10 order by 1", "11", "12")
	if got := exec(t, c, "update t set name = 'new', n = n + 1 where id = 1"); got.tag != "UPDATE 1" {
		t.Errorf("tag %q", got.tag)
	}
	rows(t, c, "select name, n from t where id = 1", "new|2.25")
	if got := exec(t, c, "delete from t using (select 11 as k) d where t.id = d.k"); got.tag != "DELETE 1" {
		t.Errorf("tag %q", got.tag)
	}
	if got := exec(t, c, "delete from t where id in (select id + 999 from t)"); got.tag != "DELETE 0" {
		t.Errorf("tag %q", got.tag)
	}
	rows(t, c, "select id from t order by id", "1", "2", "12")
	exec(t, c, "create schema m", "create table m.copy diststyle even as select id, name as Label, 1.5 as x, now() as ts, [1,2] as l from t")
	rows(t, c, "select label, x, l from m.copy order by id", "new|1.5|[1, 2]", "NULL|1.5|[1, 2]", "x2|1.5|[1, 2]")
	exec(t, c, "vacuum t")
	rows(t, c, "select count(*) from t", "3")
	exec(t, c, "truncate table t")
	rows(t, c, "select count(*) from t", "0")

	fails(t, c, "insert into t(name) values ('x')", "NotNullViolation", "null value in column \"id\"")
	fails(t, c, "insert into t(id, name) values (1, 'toolong')", "DataException", "value too long for type character varying(5)")
	fails(t, c, "insert into t values (1,2,3,4,5,6,7,8)", "SyntaxError", "more expressions")
	fails(t, c, "insert into t(id, name) values (1)", "SyntaxError", "more target columns")
	fails(t, c, "insert into t(nope) values (1)", "UndefinedColumn", "nope")
	fails(t, c, "insert into t(id) values ('x')", "InvalidTextRepresentation", "")
	fails(t, c, "update t set nope = 1", "UndefinedColumn", "nope")
	fails(t, c, "create table t(a int)", "DuplicateTable", "already exists")
	fails(t, c, "drop schema m", "DependentObjects", "other objects depend")
	exec(t, c, "drop schema m cascade", "drop table t", "drop table if exists t")
	fails(t, c, "select * from t", "UndefinedTable", "relation \"t\" does not exist")
	fails(t, c, "select * from m.copy", "UndefinedTable", "relation \"m.copy\" does not exist")
	for _, key := range s.area.Keys("") {
		if !strings.HasPrefix(key, "tables/") {
			t.Errorf("key %q", key)
		}
	}
}

func TestTransactions(t *testing.T) {
	s := open(t)
	c, other := s.as("a"), s.as("b")
	exec(t, c, "create table t(id int)", "begin", "insert into t values (1)")
	rows(t, other, "select count(*) from t", "0")
	fails(t, c, "select * from t", "FeatureNotSupported", "can only be committed")
	fails(t, c, "select 1", "FailedTransaction", "aborted")
	exec(t, c, "rollback")
	rows(t, c, "select count(*) from t", "0")
	exec(t, c, "begin", "select 1", "insert into t values (1)", "commit")
	rows(t, other, "select count(*) from t", "1")

	// A change computed from what another has changed meanwhile must not win.
	exec(t, c, "begin", "update t set id = 2")
	exec(t, other, "update t set id = 3")
	fails(t, c, "commit", "SerializationFailure", "concurrent update")
	rows(t, c, "select id from t order by 1", "3")
	// What another adds meanwhile comes after it.
	exec(t, c, "begin", "update t set id = 1")
	exec(t, other, "insert into t values (7)")
	exec(t, c, "commit")
	rows(t, c, "select id from t order by 1", "1", "7")
	// Two appends both stand.
	exec(t, c, "begin", "insert into t values (8)")
	exec(t, other, "insert into t values (9)")
	exec(t, c, "commit")
	rows(t, c, "select id from t order by 1", "1", "7", "8", "9")
}

func TestSmallFiles(t *testing.T) {
	s := open(t, func(c *warehouse.Config, _ *warehouse.Deps) { c.SmallFiles = 4 })
	c := s.as("a")
	exec(t, c, "create table t(id int not null, at time, u uuid)")
	for i := range 14 {
		exec(t, c, fmt.Sprintf("insert into t values (%d, '10:00:00', null)", i))
	}
	rows(t, c, "select count(*), sum(id), min(at)::varchar from t", "14|91|10:00:00")
	added, removed := 0, 0
	for _, key := range s.area.Keys("") {
		if strings.HasSuffix(key, ".json") {
			added += strings.Count(string(s.area.Body(key)), `{"add":`)
			removed += strings.Count(string(s.area.Body(key)), `{"remove":`)
		}
	}
	if left := added - removed; left > 5 {
		t.Errorf("%d files are left", left)
	}
}
