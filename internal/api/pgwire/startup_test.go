package pgwire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"sluice.dev/sluice/internal/api/pgwire"
)

// dialRaw opens a connection of bytes, inside TLS where secure says so.
func dialRaw(t *testing.T, s *site, secure bool) (net.Conn, *pgproto3.Frontend) {
	t.Helper()
	c, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if secure {
		if _, err := c.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil { // SSLRequest
			t.Fatal(err)
		}
		var yes [1]byte
		if _, err := c.Read(yes[:]); err != nil || yes[0] != 'S' {
			t.Fatal(string(yes[:]), err)
		}
		encrypted := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		return encrypted, pgproto3.NewFrontend(encrypted, encrypted)
	}
	return c, pgproto3.NewFrontend(c, c)
}

// fatalCode reads up to an error and returns its code; what it says must not be empty.
func fatalCode(t *testing.T, f *pgproto3.Frontend) string {
	t.Helper()
	for {
		m, err := f.Receive()
		if err != nil {
			return "nothing: " + err.Error()
		}
		if e, ok := m.(*pgproto3.ErrorResponse); ok {
			if e.Severity != "FATAL" || e.Message == "" {
				t.Errorf("%+v", e)
			}
			return e.Code
		}
	}
}

func send(t *testing.T, f *pgproto3.Frontend, messages ...pgproto3.FrontendMessage) {
	t.Helper()
	for _, m := range messages {
		f.Send(m)
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
}

func serveTLS(t *testing.T, config pgwire.Config) *site {
	cert, _ := certificate(t)
	config.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	return serve(t, config)
}

// TestRedshiftDrivers signs in as Amazon Redshift's drivers do: in clear text, which only
// they may and only inside TLS.
func TestRedshiftDrivers(t *testing.T) {
	s := serveTLS(t, pgwire.Config{FailDelay: time.Millisecond})
	startup := &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{
		"user": "AKIATEST", "database": "dev", "client_protocol_version": "2", "driver_version": "Redshift Python Driver 2.2.0", "os_version": "Linux",
		"driver_discovery_version": "1", "application_name": "x",
	}}
	for password, want := range map[string]string{"secret": "ready", "wrong": "28P01"} {
		_, f := dialRaw(t, s, true)
		send(t, f, startup)
		if m, err := f.Receive(); err != nil {
			t.Fatal(err)
		} else if _, ok := m.(*pgproto3.AuthenticationCleartextPassword); !ok {
			t.Fatalf("%T", m)
		}
		send(t, f, &pgproto3.PasswordMessage{Password: password})
		if want != "ready" {
			if got := fatalCode(t, f); got != want {
				t.Errorf("a wrong password: %s", got)
			}
			continue
		}
		for {
			m, err := f.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := m.(*pgproto3.ErrorResponse); ok {
				t.Fatalf("%+v", e)
			}
			if _, ok := m.(*pgproto3.ReadyForQuery); ok {
				break
			}
		}
	}
	_, f := dialRaw(t, s, false)
	send(t, f, startup)
	if got := fatalCode(t, f); got != "28000" {
		t.Errorf("a password in clear text without TLS: %s", got)
	}
	// Everybody else gets SCRAM, inside TLS too, and no unknown parameter.
	_, f = dialRaw(t, s, true)
	send(t, f, &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "AKIATEST", "database": "dev", "driver_version": "Redshift"}})
	if m, err := f.Receive(); err != nil {
		t.Fatal(err)
	} else if _, ok := m.(*pgproto3.AuthenticationSASL); !ok {
		t.Errorf("%T for another client", m)
	}
	config, err := pgx.ParseConfig(s.url("AKIATEST", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["os_version"] = "x"
	if _, err := pgx.ConnectConfig(t.Context(), config); code(err) != "42704" {
		t.Errorf("an unknown parameter: %v", err)
	}
	config.RuntimeParams = map[string]string{"client_encoding": "'utf-8'"} // asyncpg
	c, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	// What asyncpg sends before a connection goes back to the pool.
	if _, err := c.PgConn().Exec(t.Context(), "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;").ReadAll(); err != nil {
		t.Error(err)
	}
	var pid uint32
	if err := c.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil || pid == 0 || pid != c.PgConn().PID() {
		t.Errorf("process %d, %d at startup (%v)", pid, c.PgConn().PID(), err)
	}
}

// TestStartupErrors checks that nothing at startup ends a connection in silence.
func TestStartupErrors(t *testing.T) {
	s := serveTLS(t, pgwire.Config{AuthTime: 300 * time.Millisecond, MaxMessage: 1 << 20})
	for _, x := range []struct {
		what  string
		bytes []byte
		code  string
	}{
		{"protocol 2.0", []byte{0, 0, 0, 9, 0, 2, 0, 0, 0}, "0A000"},
		{"a length that is none", []byte{0, 0, 0, 1, 0, 3, 0, 0}, "08P01"},
		{"no parameters", []byte{0, 0, 0, 8, 0, 3, 0, 0}, "08P01"},
		{"no user", []byte{0, 0, 0, 22, 0, 3, 0, 0, 'd', 'a', 't', 'a', 'b', 'a', 's', 'e', 0, 'd', 'e', 'v', 0, 0}, "28000"},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "08P01"},
		{"nothing", nil, "57014"},
	} {
		c, f := dialRaw(t, s, false)
		if _, err := c.Write(x.bytes); err != nil {
			t.Fatal(err)
		}
		if got := fatalCode(t, f); got != x.code {
			t.Errorf("%s: %s, want %s", x.what, got, x.code)
		}
	}
	_, f := dialRaw(t, s, false)
	send(t, f, &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "AKIATEST", "database": "dev"}})
	if got := fatalCode(t, f); got != "57014" {
		t.Errorf("a client that does not answer: %s", got)
	}
}

// TestTooLargeInTLS checks that the error reaches a client that still sends.
func TestTooLargeInTLS(t *testing.T) {
	s := serveTLS(t, pgwire.Config{})
	for _, mode := range []string{"disable", "require"} {
		c, err := pgconn.Connect(t.Context(), strings.Replace(s.url("AKIATEST", "secret"), "disable", mode, 1))
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Exec(t.Context(), "select '"+strings.Repeat("x", 40<<20)+"'").ReadAll()
		if code(err) != "54000" {
			t.Errorf("sslmode=%s: %.200s", mode, err.Error())
		}
		_ = c.Close(context.Background())
	}
}

// TestWrongPasswords checks that each further one takes longer, and a right one does not.
func TestWrongPasswords(t *testing.T) {
	s := serve(t, pgwire.Config{FailDelay: 20 * time.Millisecond})
	try := func(password string) (time.Duration, error) {
		begun := time.Now()
		c, err := pgconn.Connect(t.Context(), s.url("AKIATEST", password))
		if err == nil {
			_ = c.Close(context.Background())
		}
		return time.Since(begun), err
	}
	for i := range 6 {
		took, err := try("wrong")
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "28P01" {
			t.Fatal(err)
		}
		if least := 20 * time.Millisecond << i; took < least {
			t.Errorf("wrong password %d was refused within %v, want %v at least", i+1, took, least)
		}
	}
	if _, err := try("secret"); err != nil {
		t.Error(err)
	}
}

// TestExplain checks the shape of a plan in both protocols.
func TestExplain(t *testing.T) {
	c := connect(t, serve(t, pgwire.Config{}))
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
		for _, sql := range []string{"explain select 1 as a", "explain analyze select count(*) from generate_series(1, 10) i", "explain verbose values (1)"} {
			rows, err := c.Query(t.Context(), sql, mode)
			if err != nil {
				t.Fatal(err)
			}
			fields := rows.FieldDescriptions()
			if len(fields) != 1 || fields[0].Name != "QUERY PLAN" || fields[0].DataTypeOID != 25 {
				t.Errorf("%s: %+v", sql, fields)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil || len(lines) < 3 || strings.ContainsAny(strings.Join(lines, ""), "\n") || rows.CommandTag().String() != "EXPLAIN" {
				t.Errorf("%s: %q, %v, %v", sql, lines, rows.CommandTag(), err)
			}
		}
	}
}

// A panic while a connection is served is the end of that connection, which is told why.
func TestPanicEndsTheConnection(t *testing.T) {
	s := serve(t, pgwire.Config{})
	_, err := pgx.Connect(t.Context(), s.url("panic", "x"))
	if p, ok := errors.AsType[*pgconn.PgError](err); !ok || p.Code != "XX000" || p.Severity != "FATAL" {
		t.Errorf("connecting answered %v", err)
	}
	conn, err := pgx.Connect(t.Context(), s.url("AKIATEST", "secret"))
	if err != nil {
		t.Fatalf("the next connection: %v", err)
	}
	conn.Close(t.Context())
}
