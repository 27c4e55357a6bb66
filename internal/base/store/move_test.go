package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

type agent struct{ Class, Text string }

func agents(s *store.Store) *store.Rows[agent] {
	return store.OpenRows(s, "agents", func(a *agent) string { return a.Class })
}

// moved is what was read of a store, to be put into another.
type moved struct {
	revision int64
	content  []store.Kept
}

func dump(t *testing.T, url string) (m moved) {
	t.Helper()
	d, err := store.NewDump(t.Context(), store.Config{URL: url, Key: [32]byte{9}})
	if err != nil {
		t.Fatal(err)
	}
	m.revision, m.content = d.Revision, d.Documents
	for k, err := range d.Rows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		m.content = append(m.content, k)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m moved) all() iter.Seq2[store.Kept, error] {
	return func(yield func(store.Kept, error) bool) {
		for _, k := range m.content {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (m moved) fill(url string) (bool, error) {
	return store.Fill(context.Background(), store.Config{URL: url, Key: [32]byte{9}}, store.Filling{Revision: m.revision, Root: []byte("sealed"), Content: m.all()})
}

const movedAgents = 450 // more than two pages

// A store goes from one database to the next, and round to the first kind: each time all
// of it is there, and goes on.
func TestAStoreMovesBetweenDatabases(t *testing.T) {
	urls := []string{sqliteURL(t), dbtest.Postgres(t).URL, dbtest.MariaDB(t).URL, sqliteURL(t)}
	first := engine{url: urls[0]}.open(t)
	for i := range 5 {
		if err := first.add(fmt.Sprint("n", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.s.Update(t.Context(), func(tx *store.Tx) error { return first.uniq.Put(tx, "ann", &member{Email: "ann@example.com"}) }); err != nil {
		t.Fatal(err)
	}
	var keys []string
	var docs []*agent
	for i := range movedAgents {
		keys, docs = append(keys, fmt.Sprint("agent", i)), append(docs, &agent{Class: fmt.Sprint("class", i%2), Text: string(bytes.Repeat([]byte("x"), 9000))})
	}
	for i, key := range keys {
		if _, err := agents(first.s).Insert(t.Context(), key, docs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.s.Close(); err != nil {
		t.Fatal(err)
	}

	for hop := range urls[1:] {
		from, to := urls[hop], urls[hop+1]
		m := dump(t, from)
		broken := moved{m.revision, slices.Clone(m.content)}
		last := &broken.content[len(broken.content)-1]
		last.Body = append(slices.Clone(last.Body[:len(last.Body)-1]), last.Body[len(last.Body)-1]^1)
		if _, err := broken.fill(to); !store.Damaged.Is(err) {
			t.Fatalf("to %s, a damaged row: %v", to, err)
		}
		killInTheMiddle(t, to, m)
		if id, err := store.Identify(t.Context(), to, nil); err != nil || id.Used || id.Root != nil {
			t.Fatalf("after a move that was cut off: %+v, %v", id, err)
		}
		if filled, err := m.fill(to); !filled || err != nil {
			t.Fatalf("to %s: %v", to, err)
		}
		if filled, err := m.fill(to); !filled || !store.InUse.Is(err) {
			t.Errorf("the same once more: %v, %v", filled, err)
		}
		if filled, err := (moved{revision: m.revision + 1}).fill(to); filled || !store.InUse.Is(err) {
			t.Errorf("another in its place: %v, %v", filled, err)
		}
		if id, err := store.Identify(t.Context(), to, nil); err != nil || !id.Used || string(id.Root) != "sealed" || id.Instance == "" {
			t.Errorf("the identity: %+v, %v", id, err)
		}
		goesOn(t, engine{url: to}, m.revision, hop)
	}
}

func goesOn(t *testing.T, e engine, revision int64, hop int) {
	t.Helper()
	before := e.open(t) // a node that is there while others write
	if got := before.s.Snapshot().Revision(); got != revision {
		t.Errorf("revision %d, was %d", got, revision)
	}
	for i := range 5 {
		if got := before.value(fmt.Sprint("n", i)); got != 1+hop {
			t.Errorf("n%d is %d, want %d", i, got, 1+hop)
		}
	}
	for _, class := range []string{"class0", "class1"} {
		rows, err := agents(before.s).Scan(t.Context(), store.Scan{Group: &class})
		if err != nil || len(rows) != movedAgents/2 {
			t.Fatalf("%s has %d agents, %v", class, len(rows), err)
		}
		if rows[0].Age > 10*time.Minute {
			t.Errorf("an agent of now is %s old", rows[0].Age)
		}
	}
	if inserted, err := agents(before.s).Insert(t.Context(), "agent3", &agent{}); inserted || err != nil {
		t.Errorf("a row that is there was put once more: %v", err)
	}
	if err := before.s.Update(t.Context(), func(tx *store.Tx) error { return before.uniq.Put(tx, "bob", &member{Email: "ann@example.com"}) }); err == nil {
		t.Error("a unique rule does not hold after the move")
	}
	writer := before
	if e.url[:6] != "sqlite" {
		writer = e.open(t)
	}
	seen := make(chan store.Change, 10)
	defer before.s.Subscribe(func(_ *store.Snapshot, changes []store.Change) {
		for _, c := range changes {
			seen <- c
		}
	})()
	for i := range 5 {
		if err := writer.add(fmt.Sprint("n", i)); err != nil {
			t.Fatal(err)
		}
		if err := before.s.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := <-seen; c.Key != fmt.Sprint("n", i) || c.Revision != revision+int64(i)+1 {
			t.Errorf("change %d is %+v, after revision %d", i, c, revision)
		}
	}
	for _, c := range []counters{before, writer} {
		if err := c.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// moveVariable names a database that a child fills, and stops half-way.
const moveVariable = "SLUICE_STORE_TEST_MOVE"

// killInTheMiddle fills a database in a child, which is killed half-way.
func killInTheMiddle(t *testing.T, url string, m moved) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), moveVariable+"="+url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(in)
	for _, k := range m.content {
		if err := enc.Encode(k); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 4)); err != nil {
		t.Fatal("the child did not come to the middle:", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}

// fillAndHang is the child: it has given all to the database but the end.
func fillAndHang(url string) error {
	dec := json.NewDecoder(os.Stdin)
	_, err := store.Fill(context.Background(), store.Config{URL: url, Key: [32]byte{9}}, store.Filling{Revision: 99, Root: []byte("half"),
		Content: func(yield func(store.Kept, error) bool) {
			for {
				var k store.Kept
				if err := dec.Decode(&k); errors.Is(err, io.EOF) {
					break
				} else if !yield(k, err) {
					return
				}
			}
			fmt.Println("half")
			select {}
		}})
	return err
}
