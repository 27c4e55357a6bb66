package filelog_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/filelog"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func lines(t *testing.T, path string) (out []map[string]any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var m map[string]any
		if err := json.Unmarshal(s.Bytes(), &m); err != nil {
			t.Fatalf("%v in %q", err, s.Text())
		}
		out = append(out, m)
	}
	return out
}

func gate(t testing.TB, config schema.Record) *gateway.Gateway {
	g := gatewaytest.New(t, []gateway.Plugin{filelog.New(filelog.Deps{})})
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "url": "http://127.0.0.1:1"})
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "r", "paths": []any{"/"}, "service": schema.Record{"name": "s"}})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "file-log", "config": config})
	return g
}

func TestLinesAreInTheFileWhenTheGatewayHasClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	g := gate(t, schema.Record{"path": path})
	var wg sync.WaitGroup
	const each = 500
	for w := range 4 {
		wg.Go(func() {
			for i := range each {
				gatewaytest.Do(g, gatewaytest.Request{Target: "/" + strconv.Itoa(w) + "/" + strconv.Itoa(i)})
			}
		})
	}
	wg.Wait()
	g.Close()
	next := map[string]int{}
	got := lines(t, path)
	for _, l := range got {
		parts := strings.Split(l["request"].(map[string]any)["uri"].(string), "/")
		if n, _ := strconv.Atoi(parts[2]); n != next[parts[1]] {
			t.Fatalf("line %d of %s came, %d was next", n, parts[1], next[parts[1]])
		}
		next[parts[1]]++
	}
	if len(got) != 4*each {
		t.Errorf("%d lines", len(got))
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o600 != 0o600 || info.Mode().Perm()&^0o644 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// wait polls until the condition holds; what it waits for is done by another goroutine.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for " + what)
		}
	}
}

func TestReopenFollowsRotation(t *testing.T) {
	for _, reopen := range []bool{true, false} {
		t.Run(strconv.FormatBool(reopen), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access.log")
			g := gate(t, schema.Record{"path": path, "reopen": reopen})
			size := func(p string) int64 {
				info, err := os.Stat(p)
				if err != nil {
					return 0
				}
				return info.Size()
			}
			gatewaytest.Do(g, gatewaytest.Request{Target: "/one"})
			wait(t, "the first line", func() bool { return size(path) > 0 })
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			n := 0
			wait(t, "a line in the new file", func() bool {
				n++
				gatewaytest.Do(g, gatewaytest.Request{Target: "/" + strconv.Itoa(n)})
				return size(path) > 0
			})
			g.Close()
			if total := len(lines(t, path)) + len(lines(t, path+".1")); total != n+1 {
				t.Errorf("%d lines of %d", total, n+1)
			}
			if reopen && len(lines(t, path+".1")) != 1 {
				t.Error("with reopen the first write after the rotation goes to the new file")
			}
		})
	}
}

func TestPathThatCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir")
	g := gate(t, schema.Record{"path": filepath.Join(path, "log")})
	gatewaytest.Do(g, gatewaytest.Request{})
	g.Close() // neither hangs nor panics
	if _, err := os.Stat(path); err == nil {
		t.Error("directories are not made")
	}
}

func TestConfiguration(t *testing.T) {
	config := filelog.New(filelog.Deps{}).Config
	for path, want := range map[string]string{"/tmp/x.log": "", "relative.log": "", "a*b": "not a valid filename", "$(a`b`)": "not a valid filename"} {
		bad := config.Validate(config.Complete(schema.Record{"path": path}))
		if got, _ := bad["path"].(string); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
	if bad := config.Validate(config.Complete(schema.Record{})); bad["path"] != "required field missing" {
		t.Errorf("without a path: %v", bad)
	}
}

func BenchmarkLog(b *testing.B) {
	path := filepath.Join(b.TempDir(), "access.log")
	g := gate(b, schema.Record{"path": path})
	b.ReportAllocs()
	for b.Loop() {
		x := g.Begin()
		x.Conn = &gateway.Conn{PeerIP: "127.0.0.1", ServerPort: 80}
		x.Request.Method, x.Request.Scheme, x.Request.Authority = "GET", "http", "a.example"
		gateway.SetTarget(&x.Request, "/x?y=1", 80)
		g.Access(x)
		g.End(x)
	}
}
