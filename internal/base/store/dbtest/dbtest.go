// Package dbtest starts real database servers for tests: PostgreSQL and MariaDB, each in a
// directory and on a port of its own, on loopback, ended with the test.
package dbtest

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Server is a running database server.
type Server struct {
	URL string // of an empty database
	cmd func() *exec.Cmd
	run *exec.Cmd
	up  func() error
}

// Stop ends the server as kill -9 does.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.run.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	_ = s.run.Wait() // it was killed
}

// Start starts the server again after Stop.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.run = s.cmd()
	var log bytes.Buffer
	s.run.Stdout, s.run.Stderr = &log, &log
	if err := s.run.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := s.up()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Stop(t)
			t.Fatalf("the server did not come up: %v\n%s", err, log.String())
		}
	}
}

// account is who the server runs as: the package's own user where the test is root.
func account(t testing.TB, name, dir string) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		return attr
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Skipf("there is no user %s to run the server as", name)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return attr
}

// newDir makes a directory that other users can reach.
func newDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-db-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // best effort
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // only asked
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func ping(driver, dsn string) func() error {
	return func() error {
		db, err := sql.Open(driver, dsn)
		if err != nil {
			return err
		}
		return errors.Join(db.Ping(), db.Close())
	}
}

func command(t testing.TB, attr *syscall.SysProcAttr, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr, cmd.Dir = attr, dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Postgres starts a PostgreSQL server, or skips the test by name.
func Postgres(t testing.TB) *Server {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		t.Skip("PostgreSQL is not installed")
	}
	bin := filepath.Dir(found[len(found)-1])
	dir := newDir(t)
	attr := account(t, "postgres", dir)
	data := filepath.Join(dir, "data")
	command(t, attr, dir, filepath.Join(bin, "initdb"), "-D", data, "-U", "sluice", "--auth=trust", "-N", "--locale=C", "-E", "UTF8")
	port := freePort(t)
	base := fmt.Sprintf("postgres://sluice@127.0.0.1:%s/", port)
	s := &Server{URL: base + "sluice?sslmode=disable", up: ping("pgx", base+"postgres?sslmode=disable")}
	s.cmd = func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-h", "127.0.0.1", "-k", dir)
		cmd.SysProcAttr, cmd.Dir = attr, dir
		return cmd
	}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	exec1(t, "pgx", base+"postgres?sslmode=disable", "CREATE DATABASE sluice")
	return s
}

// MariaDB starts a MariaDB server, or skips the test by name.
func MariaDB(t testing.TB) *Server {
	t.Helper()
	bin, err := exec.LookPath("mariadbd")
	if err != nil {
		if bin = "/usr/sbin/mariadbd"; !exists(bin) {
			t.Skip("MariaDB is not installed")
		}
	}
	dir := newDir(t)
	attr := account(t, "mysql", dir)
	data := filepath.Join(dir, "data")
	command(t, attr, dir, "mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	port := freePort(t)
	dsn := fmt.Sprintf("root@tcp(127.0.0.1:%s)/", port)
	s := &Server{URL: fmt.Sprintf("mysql://root@127.0.0.1:%s/sluice", port), up: ping("mysql", dsn)}
	s.cmd = func() *exec.Cmd {
		cmd := exec.Command(bin, "--no-defaults", "--datadir="+data, "--port="+port, "--bind-address=127.0.0.1", "--socket="+filepath.Join(dir, "s"),
			"--pid-file="+filepath.Join(dir, "pid"), "--innodb-flush-log-at-trx-commit=1")
		cmd.SysProcAttr, cmd.Dir = attr, dir
		return cmd
	}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	exec1(t, "mysql", dsn, "CREATE DATABASE sluice")
	return s
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func exec1(t testing.TB, driver, dsn, statement string) {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // the statement is done
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}
