//go:build cgo && linux

package worker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sluice.dev/sluice/internal/service/warehouse/wire"
	"sluice.dev/sluice/internal/service/warehouse/worker"
)

// start runs a worker without namespaces or another user, as on a machine that permits
// neither, and begins a statement in it.
func start(t *testing.T, uid int) *wire.Conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer theirs.Close()
	raw, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	limits := worker.Limits{Memory: 256 << 20, Threads: 2, Files: 256, UID: uid}
	cmd := exec.Command(exe, "sql-worker", limits.Argument())
	cmd.Env = []string{"SECRET=TOPSECRET"}
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn := wire.NewConn(raw.(*net.UnixConn))
	t.Cleanup(func() {
		conn.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	})
	if f, err := conn.Read(); err != nil || f.Kind != wire.FrameReady {
		t.Fatal(f.Kind, err)
	}
	return conn
}

func begin(t *testing.T, conn *wire.Conn) {
	t.Helper()
	if err := conn.WriteJSON(wire.FrameBegin, wire.Begin{TimeZone: "UTC", Database: "dev", SearchPath: []string{"public"}, Schemas: []string{"public"}}); err != nil {
		t.Fatal(err)
	}
}

// execute runs what the node would never send, and returns the rows' bytes or the failure.
func execute(t *testing.T, conn *wire.Conn, x wire.Execute, files ...*os.File) (rows string, failure *wire.Failure) {
	t.Helper()
	if err := conn.WriteJSON(wire.FrameExecute, x, files...); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := conn.Read()
		if err != nil {
			t.Fatal(err)
		}
		switch f.Kind {
		case wire.FrameRows:
			rows += string(f.Payload)
		case wire.FrameDone:
			return rows, nil
		case wire.FrameError:
			failure = new(wire.Failure)
			if err := json.Unmarshal(f.Payload, failure); err != nil {
				t.Fatal(err)
			}
			return rows, failure
		}
	}
}

// TestSandbox asks the engine itself, behind the node's checks, for what it must not reach.
func TestSandbox(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.csv")
	if err := os.WriteFile(secret, []byte("TOPSECRET"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []int{0, 65534} {
		if uid != 0 && os.Getuid() != 0 {
			continue
		}
		conn := start(t, uid)
		begin(t, conn)
		for _, sql := range []string{
			"SELECT * FROM read_text('" + secret + "')",
			"SELECT * FROM read_blob('/proc/self/environ')",
			"SELECT * FROM read_blob('/../../environ')",
			"SELECT * FROM read_text('/etc/passwd')",
			"SELECT * FROM read_text('/0/../etc/passwd')",
			"SELECT * FROM '" + secret + "'",
			"COPY (SELECT 1) TO '" + filepath.Join(dir, "out") + "'",
			"COPY (SELECT 1) TO '/out'",
			"ATTACH '" + filepath.Join(dir, "db") + "' AS x",
			"ATTACH '/db' AS x",
			"EXPORT DATABASE '" + dir + "/x'",
			"INSTALL httpfs", "LOAD httpfs", "LOAD '" + secret + "'",
			"SET enable_external_access = true", "SET allowed_directories = ['/']", "SET lock_configuration = false", "SET temp_directory = '" + dir + "'",
			"SET memory_limit = '100GB'", "RESET allowed_paths", "SET GLOBAL threads = 100",
			"SET log_query_path = '" + dir + "/log'",
			"SELECT getenv('SECRET')",
			"CREATE SECRET (TYPE s3)", "CREATE PERSISTENT SECRET x (TYPE s3)",
			"SELECT * FROM read_csv('http://127.0.0.1:1/x')", "SELECT * FROM 's3://b/k'",
		} {
			rows, failure := execute(t, conn, wire.Execute{SQL: sql})
			// With its descriptors as the root, reading what is not there may just find nothing.
			if failure == nil && (rows != "" || !strings.Contains(sql, "read_")) {
				t.Errorf("uid %d: %s was done: %q", uid, sql, rows)
			}
			if strings.Contains(rows+fmt.Sprint(failure), "TOPSECRET") {
				t.Errorf("uid %d: %s told the secret", uid, sql)
			}
		}
		if found, _ := os.ReadDir(dir); len(found) != 1 {
			t.Errorf("files were made: %v", found)
		}
		if rows, failure := execute(t, conn, wire.Execute{SQL: "SELECT 'alive'"}); failure != nil || !strings.Contains(rows, "alive") {
			t.Errorf("%q, %v", rows, failure)
		}
	}
}

// TestReset checks that nothing of a statement is left for the next.
func TestReset(t *testing.T) {
	conn := start(t, 0)
	for range 3 {
		begin(t, conn)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		table := wire.Table{Schema: "public", Name: "t", Source: wire.SourceText, Files: 1, Text: &wire.TextFormat{Delimiter: ","},
			Columns: []wire.TableColumn{{Name: "a", Type: "INTEGER"}}}
		if err := conn.WriteJSON(wire.FrameTable, table, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
		go func() {
			_, _ = io.WriteString(w, "1\n2\nx\n")
			w.Close()
		}()
		if rows, failure := execute(t, conn, wire.Execute{SQL: "SELECT sum(a)::VARCHAR FROM t", Pipes: 1}); failure != nil || rows != "\x023" {
			t.Errorf("%q, %v", rows, failure)
		}
		if _, failure := execute(t, conn, wire.Execute{SQL: "SELECT * FROM t a, t b", Pipes: 1}); failure == nil || failure.Class != wire.FailureReread {
			t.Errorf("a pipe would be read twice: %v", failure)
		}
		if _, failure := execute(t, conn, wire.Execute{SQL: "CREATE TABLE left_over AS SELECT 1"}); failure != nil {
			t.Error(failure)
		}
		if err := conn.Write(wire.FrameReset, nil); err != nil {
			t.Fatal(err)
		}
		if f, err := conn.Read(); err != nil || f.Kind != wire.FrameReady {
			t.Fatal(f.Kind, err)
		}
		begin(t, conn)
		if _, failure := execute(t, conn, wire.Execute{SQL: "SELECT * FROM left_over"}); failure == nil {
			t.Error("a table outlived the reset")
		}
		if err := conn.Write(wire.FrameReset, nil); err != nil {
			t.Fatal(err)
		}
		if f, err := conn.Read(); err != nil || f.Kind != wire.FrameReady {
			t.Fatal(f.Kind, err)
		}
	}
}
