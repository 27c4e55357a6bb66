package store_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/store"
)

func (e engine) testIdentity(t *testing.T) {
	var got [8]store.Identity
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			var err error
			if got[i], err = store.Identify(t.Context(), e.url, []byte{byte(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, id := range got {
		if id.Instance == "" || id.Instance != got[0].Instance || string(id.Root) != string(got[0].Root) || len(id.Root) != 1 || !id.Used {
			t.Errorf("%+v and %+v", id, got[0])
		}
	}
	for _, want := range []bool{true, false} {
		if ok, err := store.ReplaceRoot(t.Context(), e.url, got[0].Root, []byte("anew")); err != nil || ok != want {
			t.Errorf("replacing the root key: %t, %v", ok, err)
		}
	}
}

// expire waits until the database's clock is past a session's end.
func expire(t *testing.T, s *store.Store, name string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		nodes, err := s.Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if n.Name == name && n.Left <= 0 {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not expire: %+v", name, nodes)
		}
	}
}

func (e engine) testSessions(t *testing.T) {
	ctx, s := t.Context(), e.open(t).s
	open := func(name, owner string, ttl time.Duration) (*store.Session, error) {
		return s.OpenSession(ctx, store.SessionConfig{Name: name, Owner: owner, TTL: ttl, About: json.RawMessage(`{"v":1}`)})
	}
	alive := func(id string) (yes bool) {
		t.Helper()
		if err := s.Update(ctx, func(tx *store.Tx) (err error) {
			yes, err = tx.Alive(id)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return yes
	}
	a, err := open("a", "one", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open("a", "two", time.Minute); !store.NameTaken.Is(err) {
		t.Errorf("a name that lives: %v", err)
	}
	again, err := open("a", "one", time.Minute) // as after a kill -9
	if err != nil {
		t.Fatal(err)
	}
	if alive(a.ID()) || !alive(again.ID()) {
		t.Errorf("after a restart the old session lives: %t, the new: %t", alive(a.ID()), alive(again.ID()))
	}
	if err := a.Renew(ctx, nil); !store.SessionLost.Is(err) {
		t.Errorf("renewing what was replaced: %v", err)
	}
	if _, err := s.ForgetNode(ctx, "a"); fault.KindOf(err) != fault.Exists {
		t.Errorf("forgetting a living node: %v", err)
	}
	b, err := open("b", "one", 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Renew(ctx, json.RawMessage(`{"v":2}`)); err != nil {
		t.Fatal(err)
	}
	nodes, err := s.Nodes(ctx)
	if err != nil || len(nodes) != 2 || nodes[0].Name != "a" || string(nodes[1].About) != `{"v":2}` || nodes[0].Left < 50*time.Second || nodes[0].Left > time.Minute {
		t.Fatalf("%+v, %v", nodes, err)
	}
	expire(t, s, "b")
	if alive(b.ID()) {
		t.Error("an expired session lives")
	}
	if err := b.Renew(ctx, nil); !store.SessionLost.Is(err) {
		t.Errorf("renewing what expired: %v", err)
	}
	if _, err := open("b", "two", time.Minute); err != nil {
		t.Errorf("a name that expired: %v", err)
	}
	if err := again.Close(ctx); err != nil || alive(again.ID()) {
		t.Errorf("after Close: %v", err)
	}
	if found, err := s.ForgetNode(ctx, "a"); err != nil || !found {
		t.Errorf("forgetting: %t, %v", found, err)
	}
}

// A session found dead in a transaction must not come back by a renewal that was under way.
func (e engine) testRenewalRace(t *testing.T) {
	ctx, s := t.Context(), e.open(t).s
	for range 20 {
		ses, err := s.OpenSession(ctx, store.SessionConfig{Name: "racer", Owner: "o", TTL: 15 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var renewed error
		all.Go(func() {
			for renewed == nil {
				renewed = ses.Renew(ctx, nil)
				time.Sleep(13 * time.Millisecond) // about the time to live: the edge is the point
			}
		})
		dead := false
		for !dead {
			if err := s.Update(ctx, func(tx *store.Tx) error {
				yes, err := tx.Alive(ses.ID())
				dead = !yes
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := ses.Renew(ctx, nil); !store.SessionLost.Is(err) {
			t.Fatalf("a session that was found dead was renewed: %v", err)
		}
		all.Wait()
		if !store.SessionLost.Is(renewed) {
			t.Fatal(renewed)
		}
	}
}

type thing struct {
	Class string
	N     int
}

func (e engine) testRows(t *testing.T) {
	ctx, s := t.Context(), e.open(t).s
	things := store.OpenRows(s, "things", func(d *thing) string { return d.Class })
	docs := map[string]*thing{}
	for i := range 450 {
		docs[string(rune('A'+i%20))+time.Duration(i).String()] = &thing{Class: []string{"even", "odd"}[i%2], N: i}
	}
	if err := things.Put(ctx, docs); err != nil {
		t.Fatal(err)
	}
	// Hundreds that are wanted at once are each what they would be alone.
	var all sync.WaitGroup
	for key, want := range docs {
		all.Go(func() {
			if row, ok, err := things.Get(ctx, key); err != nil || !ok || row.Key != key || *row.Doc != *want {
				t.Errorf("%q: %+v, %t, %v", key, row, ok, err)
			}
			if _, ok, err := things.Get(ctx, "no "+key); err != nil || ok {
				t.Errorf("what there is not: %t, %v", ok, err)
			}
		})
	}
	all.Wait()
	group := "even"
	seen, after := 0, store.Place{}
	var last store.Row[thing]
	for {
		rows, err := things.Scan(ctx, store.Scan{Group: &group, After: after, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			break
		}
		for _, r := range rows {
			if r.Doc.Class != "even" || *docs[r.Key] != *r.Doc || r.Place != things.Place(r.Key) || r.Place.Part() < after.Part() {
				t.Fatalf("%+v", r)
			}
			seen, after, last = seen+1, r.Place, r
		}
	}
	if n, err := things.Count(ctx, group); err != nil || n != 225 || seen != n {
		t.Errorf("%d of %d rows, %v", seen, n, err)
	}
	if place, ok, err := things.Nth(ctx, group, 225); err != nil || !ok || place != last.Place {
		t.Errorf("the last row: %t, %v", ok, err)
	}
	if _, ok, err := things.Nth(ctx, group, 226); err != nil || ok {
		t.Errorf("one more than there are: %t, %v", ok, err)
	}

	// One of all who insert is told so, and no addition is lost.
	var mu sync.Mutex
	inserted := 0
	for range 8 {
		all.Go(func() {
			ok, err := things.Insert(ctx, "new", &thing{Class: "odd"})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			if ok {
				inserted++
			}
			mu.Unlock()
			for range 5 {
				if err := things.Update(ctx, "new", func(d *thing) (*thing, error) { return &thing{Class: "moved", N: d.N + 1}, nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	row, ok, err := things.Get(ctx, "new")
	if err != nil || !ok || row.Doc.N != 40 || row.Doc.Class != "moved" || inserted != 1 {
		t.Errorf("%+v, %t, %v; inserted %d times", row, ok, err, inserted)
	}
	if n, err := things.Count(ctx, "moved"); err != nil || n != 1 {
		t.Errorf("%d rows moved to the group, %v", n, err)
	}

	// The newest stays, in whatever order they come.
	ranked := store.OpenRows(s, "ranked", func(d *thing) string { return d.Class })
	for _, n := range []int{2, 1, 3, 2, 3, 1} {
		if err := ranked.PutNewer(ctx, map[string]*thing{"one": {Class: time.Duration(n).String(), N: n}, "other" + time.Duration(n).String(): {N: n}}, func(d *thing) int64 { return int64(d.N) }); err != nil {
			t.Fatal(err)
		}
	}
	if row, ok, err := ranked.Get(ctx, "one"); err != nil || !ok || row.Doc.N != 3 {
		t.Errorf("the newest is not kept: %+v, %v", row, err)
	}
	if n, err := ranked.Count(ctx, "3ns"); err != nil || n != 1 {
		t.Errorf("%d rows are in the newest's group, %v", n, err)
	}

	// Age is by the database's clock.
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	old := func(age time.Duration) []store.Row[thing] {
		rows, err := things.Scan(ctx, store.Scan{Older: age})
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	until("the rows do not age", func() bool { return len(old(50*time.Millisecond)) == 451 })
	if err := things.Touch(ctx, []string{"new"}); err != nil {
		t.Fatal(err)
	}
	if rows := old(10 * time.Second); len(rows) != 0 {
		t.Errorf("%d rows are ten seconds old", len(rows))
	}
	if row, _, err = things.Get(ctx, "new"); err != nil || row.Age > 5*time.Second {
		t.Errorf("%s, %v", row.Age, err)
	}
	if err := things.Delete(ctx, []string{"new", "never"}); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := things.Get(context.Background(), "new"); err != nil || ok {
		t.Errorf("after Delete: %t, %v", ok, err)
	}

	// A damaged row is nobody's trouble but of who wants it.
	frail := store.OpenRows(s, "frail", func(d *thing) string { return d.Class })
	if err := frail.Put(ctx, map[string]*thing{"bad": {}}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.raw(t).Exec("UPDATE sluice_rows SET body = '' WHERE collection = 'frail'"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		all.Go(func() {
			if _, ok, err := frail.Get(ctx, "none"); err != nil || ok {
				t.Errorf("beside a damaged row: %t, %v", ok, err)
			}
			if _, _, err := frail.Get(ctx, "bad"); !store.Damaged.Is(err) {
				t.Errorf("a damaged row: %v", err)
			}
		})
	}
	all.Wait()
}
