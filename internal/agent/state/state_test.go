package state_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sluice.dev/sluice/internal/agent/state"
)

func open(t *testing.T, path string) *state.Dir {
	t.Helper()
	d, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestWhatIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent")
	d := open(t, path)
	if _, err := state.Open(path); !state.InUse.Is(err) {
		t.Errorf("a second agent: %v", err)
	}
	first, err := d.Identity(state.Identity{Class: "C"})
	if err != nil || first.ID == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	key, err := d.Key()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := d.PutAck(fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.DropAck(1); err != nil {
		t.Fatal(err)
	}
	if err := d.SetFlow(state.Applied{ID: "f", Flow: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()

	d = open(t, path)
	if again, err := d.Identity(state.Identity{}); again != first || err != nil {
		t.Errorf("%+v, %v", again, err)
	}
	if again, err := d.Key(); again != key || err != nil {
		t.Errorf("another key, %v", err)
	}
	if f, err := d.Flow(); err != nil || f.ID != "f" {
		t.Errorf("%+v, %v", f, err)
	}
	if err := d.PutAck([]byte("3")); err != nil {
		t.Fatal(err)
	}
	acks, err := d.Acks()
	if err != nil || len(acks) != 3 || string(acks[0].Body) != "1" || string(acks[2].Body) != "3" {
		t.Errorf("%v, %v", acks, err)
	}
	err = filepath.WalkDir(path, func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", p, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDamageIsNamed(t *testing.T) {
	d := open(t, t.TempDir())
	for _, name := range []string{"identity.json", "key", "flow.json", "properties.json"} {
		if err := d.Write(name, []byte("{")); err != nil {
			t.Fatal(err)
		}
	}
	_, a := d.Identity(state.Identity{})
	_, b := d.Key()
	_, c := d.Flow()
	_, e := d.Properties()
	for _, err := range []error{a, b, c, e} {
		if !state.Damaged.Is(err) {
			t.Errorf("%v", err)
		}
	}
}
