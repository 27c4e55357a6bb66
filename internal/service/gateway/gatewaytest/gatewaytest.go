// Package gatewaytest makes gateways for tests, over a control store of their own.
package gatewaytest

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Log is a logger that says nothing.
func Log() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// New returns a gateway with the given kinds of plugin. Edits change what it is made of.
func New(t testing.TB, plugins []gateway.Plugin, edits ...func(*gateway.Deps)) *gateway.Gateway {
	t.Helper()
	d := gateway.Deps{Clock: clock.System{}, Log: Log(), Plugins: plugins}
	for _, e := range edits {
		e(&d)
	}
	if d.Store == nil {
		s, err := store.Open(t.Context(), store.Config{
			URL: "sqlite://" + filepath.Join(t.TempDir(), "control.db"), Clock: d.Clock, Log: Log(),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		d.Store = s
	}
	g, err := gateway.New(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// Create stores an entity and fails the test where it is refused.
func Create(t testing.TB, g *gateway.Gateway, collection string, r schema.Record) schema.Record {
	t.Helper()
	e, ok := g.Entity(collection)
	if !ok {
		t.Fatalf("no collection %q", collection)
	}
	out, err := g.Create(t.Context(), e, r)
	if err != nil {
		t.Fatalf("creating %v in %s: %v", r, collection, err)
	}
	return out
}
