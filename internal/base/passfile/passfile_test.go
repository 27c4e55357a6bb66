package passfile_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/passfile"
)

const kind, passphrase = "test file", "a secret"

type about struct{ From string }

func write(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := passfile.NewWriter(&out, kind, passphrase, about{"here"})
	if err == nil {
		_, err = io.Copy(w, iotest.OneByteReader(bytes.NewReader(content[:min(3, len(content))])))
	}
	if err == nil {
		_, err = w.Write(content[min(3, len(content)):])
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(file []byte, passphrase string) ([]byte, about, error) {
	var a about
	r, err := passfile.NewReader(bytes.NewReader(file), kind, passphrase, &a)
	if err != nil {
		return nil, a, err
	}
	content, err := io.ReadAll(r)
	return content, a, err
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 200_000} {
		content := make([]byte, size)
		_, _ = rand.Read(content) // never fails
		file := write(t, content)
		got, a, err := read(file, passphrase)
		if err != nil || !bytes.Equal(got, content) || a.From != "here" {
			t.Errorf("%d bytes: %d are read, about %q, %v", size, len(got), a.From, err)
		}
		if size > 1000 && bytes.Contains(file, content[:32]) {
			t.Error("the content is in the file as it is")
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 12<<10) // exactly three frames
	file := write(t, content)
	headEnd := bytes.IndexByte(file, '\n') + 1
	frame := (len(file) - headEnd) / 3
	other := write(t, content)
	otherHead := bytes.IndexByte(other, '\n') + 1
	changed := func(at int) []byte {
		out := bytes.Clone(file)
		out[at] ^= 1
		return out
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	frames := func(i, j int) []byte { return file[headEnd+i*frame : headEnd+j*frame] }
	for name, c := range map[string]struct {
		file []byte
		want *fault.Reason
	}{
		"another passphrase":          {nil, passfile.WrongPassphrase},
		"empty":                       {[]byte{}, passfile.NotAFile},
		"something else":              {bytes.Repeat([]byte("x"), 10_000), passfile.NotAFile},
		"another kind":                {bytes.Replace(file, []byte(kind), []byte("other"), 1), passfile.NotAFile},
		"a newer format":              {bytes.Replace(file, []byte(`"format":1`), []byte(`"format":2`), 1), passfile.NewerFormat},
		"the head alone":              {file[:headEnd], passfile.Damaged},
		"another head":                {bytes.Replace(file, []byte("here"), []byte("near"), 1), passfile.WrongPassphrase},
		"a bit in the first frame":    {changed(headEnd + 10), passfile.WrongPassphrase},
		"a bit in the second frame":   {changed(headEnd + frame + 10), passfile.Damaged},
		"a bit in the last frame":     {changed(len(file) - 1), passfile.Damaged},
		"a length":                    {changed(headEnd + frame), passfile.Damaged},
		"cut in a frame":              {file[:len(file)-5], passfile.Damaged},
		"cut in a length":             {file[:headEnd+frame+2], passfile.Damaged},
		"cut behind a frame":          {file[:headEnd+2*frame], passfile.Damaged},
		"cut behind the first":        {file[:headEnd+frame], passfile.Damaged},
		"longer":                      {join(file, []byte{0}), passfile.Damaged},
		"a frame left out":            {join(file[:headEnd], frames(0, 1), frames(2, 3)), passfile.Damaged},
		"two frames changed places":   {join(file[:headEnd], frames(0, 1), frames(2, 3), frames(1, 2)), passfile.Damaged},
		"a frame of another file":     {join(file[:headEnd+2*frame], other[otherHead+2*frame:]), passfile.Damaged},
		"a first line without an end": {[]byte(strings.Repeat("{", 8000)), passfile.NotAFile},
	} {
		with := passphrase
		if c.file == nil {
			c.file, with = file, "another secret"
		}
		if _, _, err := read(c.file, with); !c.want.Is(err) {
			t.Errorf("%s: %v, want %s", name, err, c.want.Name)
		}
	}
}

// Nothing that is not a file makes the reader fall over, or believe it.
func FuzzReader(f *testing.F) {
	file := write(f, []byte("content"))
	f.Add(file[bytes.IndexByte(file, '\n')+1:])
	f.Add([]byte{0, 0, 0, 16})
	line := file[:bytes.IndexByte(file, '\n')+1]
	f.Fuzz(func(t *testing.T, frames []byte) {
		got, _, err := read(append(bytes.Clone(line), frames...), passphrase)
		if err == nil && !bytes.HasPrefix(frames, file[len(line):]) {
			t.Errorf("%d bytes of content from what nobody wrote", len(got))
		}
	})
}
