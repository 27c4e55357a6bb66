package component_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestTailFile(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "app.log")
	write(t, log, "1\n2\npart")
	r := newRig(t, "TailFile", map[string]string{"File to Tail": log, "Rolling Filename Pattern": "${filename}.log.*"})
	var all strings.Builder
	until := func(want string) {
		t.Helper()
		for all.String() != want {
			all.WriteString(r.next().content)
			if !strings.HasPrefix(want, all.String()) {
				t.Fatalf("%q came, want %q", all.String(), want)
			}
		}
	}
	until("1\n2\n")
	write(t, log, "ial\n3\n")
	until("1\n2\npartial\n3\n")

	// It is rotated twice while nobody looks, its last line without an end.
	if err := r.e.StopProcessor("it"); err != nil {
		t.Fatal(err)
	}
	write(t, log, "4\nlast")
	rename(t, log, log+".1")
	write(t, log, "5\n")
	rename(t, log+".1", log+".2")
	rename(t, log, log+".1")
	write(t, log, "6\n")
	if err := r.e.StartProcessor(t.Context(), "it"); err != nil {
		t.Fatal(err)
	}
	until("1\n2\npartial\n3\n4\nlast5\n6\n")

	// One that is cut short, and stays shorter than it was, begins again.
	write(t, log, "a longer line\n")
	until("1\n2\npartial\n3\n4\nlast5\n6\na longer line\n")
	if err := os.Truncate(log, 0); err != nil {
		t.Fatal(err)
	}
	write(t, log, "7\n")
	until("1\n2\npartial\n3\n4\nlast5\n6\na longer line\n7\n")
}

func TestGetFileAndPutFile(t *testing.T) {
	in, out := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(in, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(in, "a.csv"), "A")
	write(t, filepath.Join(in, "sub", "b.csv"), strings.Repeat("B", 600<<10))
	write(t, filepath.Join(in, "c.txt"), "C")
	write(t, filepath.Join(in, ".hidden.csv"), "H")
	get := newRig(t, "GetFile", map[string]string{"Input Directory": in, "File Filter": `.*\.csv`})
	seen := map[string]string{}
	for range 2 {
		g := get.next()
		seen[g.attributes["path"]+g.attributes["filename"]] = g.content
	}
	if seen["./a.csv"] != "A" || len(seen["sub/b.csv"]) != 600<<10 {
		t.Errorf("%d files", len(seen))
	}
	if _, err := os.Stat(filepath.Join(in, "c.txt")); err != nil {
		t.Error(err)
	}

	put := newRig(t, "PutFile", map[string]string{"Directory": out + "/${kind}"})
	put.send(seen["sub/b.csv"], "filename", "b", "kind", "k")
	put.want(got{rel: "success", content: seen["sub/b.csv"]})
	if b, err := os.ReadFile(filepath.Join(out, "k", "b")); err != nil || string(b) != seen["sub/b.csv"] {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	for _, name := range []string{"b", "../evil", "", "..", "a/b"} {
		put.send("x", "filename", name, "kind", "k")
		put.want(got{rel: "failure", content: "x"})
	}
	if left, err := os.ReadDir(filepath.Join(out, "k")); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
