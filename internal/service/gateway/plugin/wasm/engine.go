package wasm

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Config bounds what filters may use up.
type Config struct {
	Path     string        // directory of the modules
	Limit    time.Duration // of one call; 0: one second
	Start    time.Duration // of one machine's start; 0: five seconds
	Memory   int           // bytes of a machine's memory; 0: 16 MiB
	Machines int           // of one filter; 0: 16
	Body     int           // largest body that filters may read or make; 0: 8 MiB
}

// Deps is what the engine needs from others.
type Deps struct {
	Clock  clock.Clock
	Log    *slog.Logger
	NodeID string
}

// Engine holds the modules of a directory. It is safe for concurrent use.
type Engine struct {
	cfg     Config
	deps    Deps
	runtime wazero.Runtime
	modules map[string]*module
	shared  *sharedData
	metrics *metrics
}

var _ gateway.Filters = (*Engine)(nil)

// module is a compiled filter.
type module struct {
	name        string
	code        wazero.CompiledModule
	description schema.Record // the JSON schema of its configurations
	config      *jsonschema.Schema
	exports     map[string]bool // of functions
}

// pageSize is the unit of a machine's memory.
const pageSize = 64 << 10

// maxModule bounds a module's file.
const maxModule = 64 << 20

// New compiles the modules of a directory. One that is none of a filter is an error that
// names it.
func New(ctx context.Context, c Config, d Deps) (*Engine, error) {
	if c.Limit <= 0 {
		c.Limit = time.Second
	}
	if c.Start <= 0 {
		c.Start = 5 * time.Second
	}
	if c.Memory <= 0 {
		c.Memory = 16 << 20
	}
	if c.Machines <= 0 {
		c.Machines = 16
	}
	if c.Body <= 0 {
		c.Body = 8 << 20
	}
	e := &Engine{cfg: c, deps: d, modules: map[string]*module{}, shared: newSharedData(), metrics: newMetrics()}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithMemoryLimitPages(uint32(c.Memory/pageSize)).WithCloseOnContextDone(true))
	if err := e.load(ctx); err != nil {
		return nil, errors.Join(err, e.Close(ctx))
	}
	return e, nil
}

// Close frees the modules. No filter may be in use any more.
func (e *Engine) Close(ctx context.Context) error { return e.runtime.Close(ctx) }

func (e *Engine) load(ctx context.Context) error {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, e.runtime); err != nil {
		return fmt.Errorf("preparing WASI for filters: %w", err)
	}
	if err := exportHost(ctx, e.runtime); err != nil {
		return fmt.Errorf("preparing the functions for filters: %w", err)
	}
	entries, err := os.ReadDir(e.cfg.Path)
	if err != nil {
		return fmt.Errorf("the directory of filters: %w", err)
	}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".wasm")
		if !ok || name == "" || entry.IsDir() {
			continue
		}
		m, err := e.compile(ctx, name)
		if err != nil {
			return fmt.Errorf("the filter %s: %w", name, err)
		}
		e.modules[name] = m
	}
	return nil
}

func (e *Engine) compile(ctx context.Context, name string) (*module, error) {
	file := filepath.Join(e.cfg.Path, name+".wasm")
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxModule {
		return nil, fmt.Errorf("it is larger than %d MiB", maxModule>>20)
	}
	binary, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m := &module{name: name, exports: map[string]bool{}}
	if m.code, err = e.runtime.CompileModule(ctx, binary); err != nil {
		return nil, err
	}
	for export := range m.code.ExportedFunctions() {
		m.exports[export] = true
	}
	if !m.exports["proxy_abi_version_0_2_0"] && !m.exports["proxy_abi_version_0_2_1"] {
		return nil, errors.New("it speaks neither version 0.2.0 nor 0.2.1 of Proxy-Wasm")
	}
	return m, m.readMeta(filepath.Join(e.cfg.Path, name+".meta.json"))
}

// draft4 is the version of JSON schema that configurations are described in.
const draft4 = "http://json-schema.org/draft-04/schema#"

// readMeta reads what describes the filter's configuration. Without it a configuration is
// text, or absent.
func (m *module) readMeta(file string) error {
	meta := struct {
		Config schema.Record `json:"config_schema"`
	}{}
	raw, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(raw, &meta); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	if meta.Config == nil {
		meta.Config = schema.Record{"type": []any{"string", "null"}}
	}
	meta.Config["$schema"] = draft4
	m.description = meta.Config
	const here = "filter:config"
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // a schema refers to nothing outside of itself
	if err := c.AddResource(here, meta.Config); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	if m.config, err = c.Compile(here); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

// Schema implements gateway.Filters.
func (e *Engine) Schema(name string) (schema.Record, bool) {
	m, ok := e.modules[name]
	if !ok {
		return nil, false
	}
	return m.description, true
}

// Check implements gateway.Filters.
func (e *Engine) Check(name string, config any) string {
	m, ok := e.modules[name]
	if !ok {
		return gateway.NoSuchFilter
	}
	err := m.config.Validate(config)
	if err == nil {
		return ""
	}
	_, detail, ok := strings.Cut(err.Error(), "\n") // the first line names the schema alone
	if !ok {
		return err.Error()
	}
	return strings.Join(strings.Fields(strings.TrimPrefix(detail, "- ")), " ")
}

// New implements gateway.Filters.
func (e *Engine) New(list []gateway.Filter) (any, error) {
	c := new(chain)
	for _, f := range list {
		m, ok := e.modules[f.Name]
		if !ok {
			return nil, fmt.Errorf("%s: %s", f.Name, gateway.NoSuchFilter)
		}
		c.filters = append(c.filters, &filter{engine: e, module: m, config: f.Config, log: e.deps.Log.With("filter", f.Name)})
	}
	return c, nil
}

// moduleConfig is what a machine has of the world.
func (e *Engine) moduleConfig(log *slog.Logger) wazero.ModuleConfig {
	return wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithRandSource(rand.Reader).WithSysNanotime().
		WithWalltime(func() (sec int64, nsec int32) {
			now := e.deps.Clock.Now()
			return now.Unix(), int32(now.Nanosecond())
		}, 1).
		WithStdout(&lines{log: log, level: slog.LevelInfo}).WithStderr(&lines{log: log, level: slog.LevelError})
}

// maxLine bounds a line of the log that a filter writes.
const maxLine = 4 << 10

// lines writes to the log what a filter prints.
type lines struct {
	log   *slog.Logger
	level slog.Level
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	say(l.log, l.level, string(p[:min(len(p), maxLine)]))
	return len(p), nil
}

func say(log *slog.Logger, level slog.Level, text string) {
	if text = strings.TrimRight(text, "\r\n"); text != "" {
		log.Log(context.Background(), level, "a filter says", "text", text)
	}
}
