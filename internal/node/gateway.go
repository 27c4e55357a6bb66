package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/audit"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/plugin/wasm"
	"sluice.dev/sluice/internal/service/gateway/references"
	"sluice.dev/sluice/internal/service/gateway/responder"
	"sluice.dev/sluice/internal/service/warehouse"
)

// dblessFile holds the entities of a gateway without a database, while the node runs.
const dblessFile = "gateway.db"

func (s *services) openGateway(ctx context.Context, c *Config, b *base, m *metrics, undo *undo) error {
	entities := b.store
	if c.dbless() {
		var err error
		if entities, err = openDBLess(ctx, filepath.Join(c.Data, dblessFile), b.data.key("store"), b.log); err != nil {
			return err
		}
		undo.add(func() { logError(b.log, "closing the gateway's entities", entities.Close()) })
	}
	documents, events, tables := gateway.References(references.New(b.index)), collector.Appender(nil), collector.Tables(nil)
	if s.local != nil {
		events, tables = appender{s.local.streams, c.Region}, s.local.warehouse.Tables()
	} else {
		tables = warehouse.NewTables(b.store)
		there := elsewhere{s.cluster.mesh, c.Cluster.DataNode}
		documents, events = remoteReferences{there}, remoteAppender{there, c.Region}
	}
	s.references = gateway.CacheReferences(documents, changedReference(s.cluster.mesh))
	undo.add(s.references.Close)
	s.observers = newObservers(b.log)
	trust, err := c.trust()
	if err != nil {
		return err
	}
	s.observers.lua.SetTrust(trust.Trusts)
	s.audit = audit.New(audit.Config{}, audit.Deps{Index: b.index, Clock: b.clock})
	resolver, err := c.resolver()
	if err != nil {
		return err
	}
	scripts, err := s.observers.lua.Load(c.Gate.LuaPath, lua.Names(c.Gate.Plugins))
	if err != nil {
		return err
	}
	filters, err := c.filters(ctx, b.log, s.observers.nodeID)
	if err != nil {
		return err
	}
	if s.gateway, err = gateway.New(gateway.Deps{Store: entities, Filters: filters, Resolver: resolver, Clock: b.clock, Log: b.log, Observe: m.exchange, Secret: os.LookupEnv,
		Flavor: gateway.Flavor(c.Gate.RouterFlavor), DebugHeader: c.Gate.DebugHeader,
		Audit: changes{s.audit, b.log}.record,
		Plugins: s.observers.with(append(kinds(), scripts...),
			collector.New(collector.Deps{Appender: events, References: s.references, Tables: tables, Count: m.collected})),
	}); err != nil {
		return err
	}
	s.observers.gateway = s.gateway
	undo.add(s.gateway.Close)
	if c.Gate.Staple {
		stapler := responder.NewStapler(responder.Deps{Clock: b.clock, Log: b.log})
		undo.add(stapler.Close)
		s.staple = stapler.Staple
	}
	if !c.dbless() {
		return nil
	}
	if text := c.Kong.DeclarativeText; text != "" {
		_, err := declare(ctx, s.gateway, "kong.declarative_config_string", []byte(text), gateway.ApplyOptions{Replace: true})
		return err
	}
	if c.Kong.Declarative == "" {
		return nil
	}
	w := &watched{path: c.Kong.Declarative, gateway: s.gateway, log: b.log}
	if err := w.load(ctx); err != nil {
		return err
	}
	b.jobs.Go("declarative configuration", w.run)
	return nil
}

// filters compiles the filters in WebAssembly; nil where there are none. Their memory goes
// with the process.
func (c *Config) filters(ctx context.Context, log *slog.Logger, nodeID string) (gateway.Filters, error) {
	if c.Gate.WasmFilters == "" {
		return nil, nil
	}
	e, err := wasm.New(ctx, wasm.Config{Path: c.Gate.WasmFilters}, wasm.Deps{Clock: clock.System{}, Log: log, NodeID: nodeID})
	if err != nil {
		return nil, config.Invalid.Wrap(err, "gate.wasm_filters_path")
	}
	return e, nil
}

// openDBLess opens an empty store for entities that are declared anew at every start.
func openDBLess(ctx context.Context, path string, key [32]byte, log *slog.Logger) (*store.Store, error) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return store.Open(ctx, store.Config{URL: "sqlite://" + path, Key: key, Clock: clock.System{}, Log: log})
}

// watched is a declarative file that is read again when it changes.
type watched struct {
	path    string
	gateway *gateway.Gateway
	log     *slog.Logger
	seen    time.Time
	size    int64
}

func (w *watched) load(ctx context.Context) error {
	info, err := os.Stat(w.path)
	if err != nil {
		return config.Invalid.Wrap(err, "kong.declarative_config")
	}
	w.seen, w.size = info.ModTime(), info.Size()
	text, err := os.ReadFile(w.path)
	if err != nil {
		return config.Invalid.Wrap(err, "kong.declarative_config")
	}
	_, err = declare(ctx, w.gateway, w.path, text, gateway.ApplyOptions{Replace: true})
	return err
}

// lookAgain is how often a declarative file is looked at.
const lookAgain = time.Second

// run reads the file again whenever it has changed. One that is refused changes nothing
// and is told of once.
func (w *watched) run(ctx context.Context) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		info, err := os.Stat(w.path)
		if err != nil || info.ModTime().Equal(w.seen) && info.Size() == w.size {
			continue // one that is being replaced may be missing for a moment
		}
		if err := w.load(ctx); err != nil {
			w.refused(err)
		} else {
			w.log.Info("the declarative configuration was read again", "file", w.path)
		}
	}
}

// refused logs why a file is refused, one record for each problem.
func (w *watched) refused(err error) {
	const message = "the declarative configuration is refused; the one before stays in force"
	bad, ok := errors.AsType[*InvalidFile](err)
	if !ok {
		w.log.Error(message, "file", w.path, "err", err)
		return
	}
	for _, line := range bad.Lines {
		w.log.Error(message, "file", w.path, "problem", line)
	}
}

// Check reads the declarative configuration of a name and reports what is wrong with it.
// Nothing runs.
func Check(ctx context.Context, name string, text io.Reader) (records int, err error) {
	raw, err := io.ReadAll(text)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "sluice-check-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	log := slog.New(slog.DiscardHandler)
	entities, err := openDBLess(ctx, filepath.Join(dir, dblessFile), [32]byte{}, log)
	if err != nil {
		return 0, err
	}
	defer entities.Close()
	g, err := gateway.New(gateway.Deps{Store: entities, Clock: clock.System{}, Log: log, Secret: os.LookupEnv,
		Plugins: newObservers(log).with(kinds(), collector.New(collector.Deps{}))})
	if err != nil {
		return 0, fmt.Errorf("opening a gateway to check with: %w", err)
	}
	defer g.Close()
	return declare(ctx, g, name, raw, gateway.ApplyOptions{Replace: true, DryRun: true})
}
