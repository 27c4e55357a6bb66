package handout_test

import (
	"os"
	"testing"

	"sluice.dev/sluice/internal/base/handout"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	e := handout.Endpoints{Proxy: "http://127.0.0.1:1", AWS: "http://127.0.0.1:2", SQL: "postgres://127.0.0.1:3/dev"}
	k := handout.Key{ID: "AKIAEXAMPLE", Secret: "s3cret", Region: "eu-west-1"}
	write := func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }
	if err := handout.Write(dir, e, k, []byte("no certificate"), write); err != nil {
		t.Fatal(err)
	}
	gotE, gotK, err := handout.Read(dir)
	if err != nil || gotE != e || gotK != k {
		t.Fatalf("%+v %+v %v", gotE, gotK, err)
	}
	if _, err := handout.Roots(dir); err == nil {
		t.Error("a file without a certificate was taken")
	}
	if _, _, err := handout.Read(t.TempDir()); err == nil {
		t.Error("a directory without a node was read")
	}
}
