package protofile_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway/plugin/protofile"
)

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "outside.proto"), []byte("syntax = \"proto3\";"), 0o600); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(dir, "in")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	bind := func(path string) string {
		return `syntax = "proto3"; import "google/api/annotations.proto"; message M {}
service S { rpc Do(M) returns (M) { option (google.api.http) = { get: "` + path + `" }; } }`
	}
	for want, src := range map[string]string{
		"":                         bind("/a/{b}"),
		"syntax error":             "syntax = \"proto3\"; message {",
		"escapes":                  "syntax = \"proto3\"; import \"../outside.proto\";",
		"no such file":             "syntax = \"proto3\"; import \"nowhere.proto\";",
		"start with a slash":       bind("a"),
		"bad variable":             bind("/{1}"),
		"not a regular file of at": "// " + strings.Repeat("x", 1<<20),
	} {
		path := filepath.Join(inner, "x.proto")
		if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := protofile.Load(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := protofile.Load(filepath.Join(dir, "nowhere", "x.proto")); err == nil || strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(protofile.AppendFrame(nil, 0, []byte("abc")), 10)
	f.Add([]byte{0, 255, 255, 255, 255}, 10)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(limit, 0)
		message, rest, ok, err := protofile.CutFrame(b, limit)
		// A frame is a byte of flags, four of length, and its message.
		whole := len(b) >= 5 && uint64(len(b)-5) >= uint64(binary.BigEndian.Uint32(b[1:]))
		size := uint32(0)
		if len(b) >= 5 {
			size = binary.BigEndian.Uint32(b[1:])
		}
		fits := len(b) >= 5 && b[0] == 0 && uint64(size) <= uint64(limit)
		switch {
		case len(b) < 5 && (ok || err != nil):
			t.Fatalf("%x, no whole head, gives %v, %v", b, ok, err)
		case len(b) >= 5 && (err == nil) != fits:
			t.Fatalf("%x with a limit of %d: %v", b, limit, err)
		case fits && ok != whole:
			t.Fatalf("%x: a frame %v, want %v", b, ok, whole)
		}
		if err != nil || !ok {
			return
		}
		if got := append(protofile.AppendFrame(nil, 0, message), rest...); !bytes.Equal(got, b) || len(message) > limit {
			t.Errorf("%x gives %x and %x", b, message, rest)
		}
	})
}

// However an answer is cut into chunks, its messages are the same, and nothing comes behind
// what is no frame.
func TestFramesOfChunks(t *testing.T) {
	var answer []byte
	for _, m := range []string{"one", "", "three"} {
		answer = protofile.AppendFrame(answer, 0, []byte(m))
	}
	answer = protofile.AppendFrame(answer, 1, []byte("compressed"))
	answer = protofile.AppendFrame(answer, 0, []byte("late"))
	for size := 1; size <= len(answer); size++ {
		var frames protofile.Frames
		var got []string
		for chunk := range slices.Chunk(answer, size) {
			frames.Add(chunk, 10, func(message []byte) { got = append(got, string(message)) })
		}
		if want := []string{"one", "", "three"}; !slices.Equal(got, want) {
			t.Errorf("in chunks of %d: %q", size, got)
		}
	}
}
