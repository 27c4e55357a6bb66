package pgwire_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"sluice.dev/sluice/internal/api/pgwire"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/warehouse"
)

func connect(t testing.TB, s *site) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), s.url("AKIATEST", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

// TestPgxTypes sends each type to the engine and back, in both formats.
func TestPgxTypes(t *testing.T) {
	s := serve(t, pgwire.Config{})
	c := connect(t, s)
	day := time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)
	at := time.Date(1999, 12, 31, 23, 59, 59, 123456000, time.UTC)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		var b bool
		var i2 int16
		var i4 int32
		var i8 int64
		var f4 float32
		var f8 float64
		var text string
		var raw []byte
		var d, ts, tz time.Time
		var num pgtype.Numeric
		var id [16]byte
		var null *string
		err := c.QueryRow(t.Context(), `select $1::bool, $2::smallint, $3::int, $4::bigint, $5::real, $6::float8, $7::varchar, $8::bytea, $9::date, $10::timestamp,
			$11::timestamptz, $12::numeric(12,3), $13::uuid, $14::varchar`, mode,
			true, int16(-2), int32(3), int64(-4), float32(1.5), 2.25, "héllo 'x'", []byte{0, 1, 255}, day, at, at,
			pgtype.Numeric{Int: big.NewInt(-12345), Exp: -3, Valid: true}, "00010203-0405-0607-0809-0a0b0c0d0eff", nil).
			Scan(&b, &i2, &i4, &i8, &f4, &f8, &text, &raw, &d, &ts, &tz, &num, &id, &null)
		if err != nil {
			t.Errorf("mode %v: %v", mode, err)
			continue
		}
		n, _ := num.Float64Value()
		if !b || i2 != -2 || i4 != 3 || i8 != -4 || f4 != 1.5 || f8 != 2.25 || text != "héllo 'x'" || string(raw) != "\x00\x01\xff" || !d.Equal(day) ||
			!ts.Equal(at) || !tz.Equal(at) || n.Float64 != -12.345 || id[15] != 0xff || null != nil {
			t.Errorf("mode %v: %v %v %v %v %v %v %q %x %v %v %v %v %x %v", mode, b, i2, i4, i8, f4, f8, text, raw, d, ts, tz, n, id, null)
		}
	}
	rows, err := c.Query(t.Context(), "select i, i * 2.5, 'v' || i, case when i % 2 = 0 then i end, interval (i) day from range(10000) t(i) order by i")
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for rows.Next() {
		var i int64
		var f float64
		var v string
		var half *int64
		var gap pgtype.Interval
		if err := rows.Scan(&i, &f, &v, &half, &gap); err != nil {
			t.Fatal(err)
		}
		if i != n || f != float64(i)*2.5 || v != fmt.Sprint("v", i) || (half == nil) != (i%2 == 1) || gap.Days != int32(i) {
			t.Fatal(i, f, v, half, gap)
		}
		n++
	}
	if err := rows.Err(); err != nil || n != 10000 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestPgxParameters(t *testing.T) {
	s := serve(t, pgwire.Config{})
	c := connect(t, s)
	exec := func(sql string, args ...any) string {
		t.Helper()
		tag, err := c.Exec(t.Context(), sql, args...)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return tag.String()
	}
	exec("create table t(id int not null, name varchar(20), n numeric(10,2), at timestamp, d date)")
	if tag := exec("insert into t values ($1, $2, $3, $4, $5)", 1, "one", "1.25", time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC)); tag != "INSERT 0 1" {
		t.Error(tag)
	}
	exec("insert into t(name, id) select $1, x from range($2::bigint) r(x)", "many", int64(5))
	var n int
	if err := c.QueryRow(t.Context(), "select count(*) from t where id >= $1 and name = $2", 2, "many").Scan(&n); err != nil || n != 3 {
		t.Error(n, err)
	}
	if tag := exec("update t set name = $1 where id = $2 and name = $3", "two", 2, "many"); tag != "UPDATE 1" {
		t.Error(tag)
	}
	if tag := exec("delete from t where id in ($1, $2)", 3, 4); tag != "DELETE 2" {
		t.Error(tag)
	}
	var text string
	if err := c.QueryRow(t.Context(), "select $1", "untyped").Scan(&text); err != nil || text != "untyped" {
		t.Error(text, err)
	}
	if err := c.QueryRow(t.Context(), "select count(*) from t limit $1", 1).Scan(&n); err != nil || n != 4 {
		t.Error(n, err)
	}
	if _, err := c.Exec(t.Context(), "insert into t values ($1)", "x"); err == nil {
		t.Error("a text went into an int")
	}
	if _, err := c.Exec(t.Context(), "select * from nope where a = $1", 1); code(err) != "42P01" {
		t.Error(err)
	}
	// The connection is fit to go on after each of these.
	if err := c.QueryRow(t.Context(), "select 7").Scan(&n); err != nil || n != 7 {
		t.Error(n, err)
	}
	batch := &pgx.Batch{}
	batch.Queue("select $1::int + 1", 1)
	batch.Queue("select name from t where id = $1", 2)
	batch.Queue("select 1/0 from nope")
	results := c.SendBatch(t.Context(), batch)
	if err := results.QueryRow().Scan(&n); err == nil { // pgx describes all first
		t.Log("batch began")
	}
	if err := results.Close(); code(err) != "42P01" {
		t.Error(err)
	}
	if err := c.QueryRow(t.Context(), "select 7").Scan(&n); err != nil || n != 7 {
		t.Error(n, err)
	}
}

func TestPgxTransactions(t *testing.T) {
	s := serve(t, pgwire.Config{})
	c := connect(t, s)
	if _, err := c.Exec(t.Context(), "create table t(id int)"); err != nil {
		t.Fatal(err)
	}
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "insert into t values (1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "insert into t values (2)"); code(err) != "0A000" {
		t.Error(err)
	}
	if _, err := tx.Exec(t.Context(), "select 1"); code(err) != "25P02" {
		t.Error(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	var n int
	if err := c.QueryRow(t.Context(), "select count(*) from t").Scan(&n); err != nil || n != 0 {
		t.Error(n, err)
	}
}

func TestPortals(t *testing.T) {
	s := serve(t, pgwire.Config{})
	c := connect(t, s)
	hijacked, err := c.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	fe := hijacked.Frontend
	defer hijacked.Conn.Close()
	fe.Send(&pgproto3.Query{String: "begin"})
	fe.Send(&pgproto3.Parse{Name: "s", Query: "select i from range(10) t(i)"})
	fe.Send(&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s"})
	fe.Send(&pgproto3.Describe{ObjectType: 'P', Name: "p"})
	fe.Send(&pgproto3.Execute{Portal: "p", MaxRows: 4})
	fe.Send(&pgproto3.Sync{})
	fe.Send(&pgproto3.Execute{Portal: "p", MaxRows: 4})
	fe.Send(&pgproto3.Execute{Portal: "p"})
	fe.Send(&pgproto3.Execute{Portal: "nope"})
	fe.Send(&pgproto3.Parse{Query: "select 1"}) // skipped until Sync
	fe.Send(&pgproto3.Sync{})
	fe.Send(&pgproto3.Query{String: "rollback"})
	fe.Send(&pgproto3.Parse{Query: ""})
	fe.Send(&pgproto3.Bind{})
	fe.Send(&pgproto3.Execute{})
	fe.Send(&pgproto3.Close{ObjectType: 'S', Name: "s"})
	fe.Send(&pgproto3.Bind{PreparedStatement: "s"})
	fe.Send(&pgproto3.Sync{})
	if err := fe.Flush(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for ready := 0; ready < 5; {
		m, err := fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			got = append(got, string(m.Values[0]))
		case *pgproto3.ReadyForQuery:
			ready++
			got = append(got, "Z"+string(m.TxStatus))
		case *pgproto3.ErrorResponse:
			got = append(got, m.Code)
		case *pgproto3.CommandComplete:
			got = append(got, string(m.CommandTag))
		default:
			got = append(got, strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3."))
		}
	}
	want := "BEGIN ZT ParseComplete BindComplete RowDescription 0 1 2 3 PortalSuspended ZT 4 5 6 7 PortalSuspended 8 9 SELECT 10 34000 ZE ROLLBACK ZI " +
		"ParseComplete BindComplete EmptyQueryResponse CloseComplete 26000 ZI"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestCancelRequest(t *testing.T) {
	s := serve(t, pgwire.Config{})
	c := connect(t, s)
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	start := time.Now()
	done := make(chan error, 1)
	go func() {
		_, err := c.Exec(t.Context(), "select count(*) from range(100000) a, range(100000) b where a.range * b.range % 7 = 100")
		done <- err
	}()
	<-ctx.Done()
	for {
		if err := c.PgConn().CancelRequest(t.Context()); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if code(err) != "57014" {
				t.Errorf("got %v", err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("it took %s", d)
			}
			var n int
			if err := c.QueryRow(t.Context(), "select 1").Scan(&n); err != nil {
				t.Error(err)
			}
			return
		case <-time.After(50 * time.Millisecond): // the statement may not have begun yet
		}
	}
}

func TestClientGone(t *testing.T) {
	s := serve(t, pgwire.Config{}, func(c *warehouse.Config) { c.Concurrency = 1 })
	c := connect(t, s)
	if err := c.PgConn().Exec(t.Context(), "select 1").Close(); err != nil {
		t.Fatal(err)
	}
	hijacked, err := c.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	hijacked.Frontend.Send(&pgproto3.Query{String: "select count(*) from range(100000) a, range(100000) b where a.range * b.range % 7 = 100"})
	if err := hijacked.Frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	hijacked.Conn.Close()
	// The only slot is free again as soon as the front has noticed.
	var n int
	if err := connect(t, s).QueryRow(t.Context(), "select 5").Scan(&n); err != nil || n != 5 {
		t.Error(n, err)
	}
}

func TestSignIn(t *testing.T) {
	s := serve(t, pgwire.Config{MaxConnections: 2})
	try := func(user, password, database string) error {
		c, err := pgx.Connect(t.Context(), strings.Replace(s.url(user, password), "/dev?", "/"+database+"?", 1))
		if err == nil {
			c.Close(context.Background())
		}
		return err
	}
	wrong, unknown := try("AKIATEST", "wrong", "dev"), try("AKIANOBODY", "secret", "dev")
	if code(wrong) != "28P01" || code(unknown) != "28P01" {
		t.Errorf("wrong password: %v; unknown user: %v", wrong, unknown)
	}
	if a, b := strings.ReplaceAll(wrong.Error(), "AKIATEST", "U"), strings.ReplaceAll(unknown.Error(), "AKIANOBODY", "U"); a != b {
		t.Errorf("an unknown user can be told from a wrong password:\n%s\n%s", a, b)
	}
	if err := try("AKIATEST", "secret", "other"); code(err) != "3D000" {
		t.Errorf("another database: %v", err)
	}
	s.policy.SetDeny(func(_ context.Context, action name.Action, _ name.ARN) bool {
		return action == "redshift:GetClusterCredentials"
	})
	if err := try("AKIATEST", "secret", "dev"); code(err) != "42501" {
		t.Errorf("not allowed to connect: %v", err)
	}
	s.policy.SetDeny(nil)
	connect(t, s)
	connect(t, s)
	if err := try("AKIATEST", "secret", "dev"); code(err) != "53300" {
		t.Errorf("a connection too many: %v", err)
	}
}

func TestProtocolLimits(t *testing.T) {
	s := serve(t, pgwire.Config{MaxMessage: 10_000, AuthTime: 300 * time.Millisecond, IdleTime: 500 * time.Millisecond, MaxStatements: 3})
	c := connect(t, s)
	for i := range 4 {
		_, err := c.Prepare(t.Context(), fmt.Sprint("s", i), "select 1")
		if i < 3 && err != nil || i == 3 && code(err) != "53400" {
			t.Errorf("statement %d: %v", i, err)
		}
	}
	if _, err := c.Exec(t.Context(), "select '"+strings.Repeat("x", 20_000)+"'", pgx.QueryExecModeSimpleProtocol); code(err) != "54000" {
		t.Errorf("a large message: %v", err)
	}
	silent, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := io.ReadAll(silent); err != nil { // ends when the server gives up
		t.Errorf("a silent client: %v", err)
	}
	idle, err := pgx.Connect(t.Context(), s.url("AKIATEST", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	hijacked, err := idle.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	m, err := hijacked.Frontend.Receive()
	if e, ok := m.(*pgproto3.ErrorResponse); !ok || e.Code != "57P05" {
		t.Errorf("an idle client: %T, %v", m, err)
	}
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x00\x00\x00\x08\x04\xd2\x16\x2fxxxxxxxx", "\xff\xff\xff\xff", "\x00\x00\x00\x09\x00\x03\x00\x00\x00"} {
		bad, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = bad.Write([]byte(garbage))
		_, _ = io.ReadAll(bad)
		bad.Close()
	}
}

// certificate is a self-signed one for 127.0.0.1.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	cert, pool := certificate(t)
	s := serve(t, pgwire.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, RequireTLS: true})
	if _, err := pgx.Connect(t.Context(), s.url("AKIATEST", "secret")); code(err) != "28000" {
		t.Errorf("clear: %v", err)
	}
	config, err := pgx.ParseConfig(strings.Replace(s.url("AKIATEST", "secret"), "disable", "require", 1))
	if err != nil {
		t.Fatal(err)
	}
	config.TLSConfig = &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	c, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for range 20 { // each one is watched for the client's end by an interrupted read
		var n int
		if err := c.QueryRow(t.Context(), "select 3").Scan(&n); err != nil || n != 3 {
			t.Fatal(n, err)
		}
	}
	if bin, err := exec.LookPath("psql"); err == nil {
		out, err := exec.Command(bin, "-X", "-A", "-t", strings.Replace(s.url("AKIATEST", "secret"), "disable", "require", 1), "-c", "select 4").CombinedOutput()
		if string(out) != "4\n" {
			t.Errorf("psql: %s %v", out, err)
		}
	}
}
