package lua

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Plugin is a kind of plugin that is written in Lua, as Kong's are: a module handler with
// the functions of the phases, and a module schema that describes the configuration.
type Plugin struct {
	engine  *Engine
	name    string
	handler *Program
	phases  map[Phase]bool
	// configures says that the handler has a function configure, which learns of all configurations.
	configures bool

	mu        sync.Mutex
	instances map[*instance]bool // those that are configured now
	order     []*instance
	version   int64 // counts the changes of instances
}

// configurations returns those that there are, the oldest first, and how often they have changed.
func (p *Plugin) configurations() ([]*instance, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.order), p.version
}

func (p *Plugin) add(in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instances[in] = true
	p.order = append(p.order, in)
	p.version++
}

func (p *Plugin) remove(in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.instances[in] {
		delete(p.instances, in)
		p.order = slices.DeleteFunc(p.order, func(o *instance) bool { return o == in })
		p.version++
	}
}

// library is the modules of a directory, by the names they are required by.
type library map[string]*Program

// running is a plugin in a state.
type running struct {
	handler *glua.LTable
	started bool
	// configured is the version of the plugin's configurations that the state was told of.
	configured int64
}

// maxModules bounds how many files a plugin may have.
const maxModules = 500

// Load returns the kinds of plugin under dir: DIR/kong/plugins/NAME/{handler,schema}.lua
// for each name. One that cannot be loaded is an error that names it.
func (e *Engine) Load(dir string, names []string) ([]gateway.Plugin, error) {
	lib := library{}
	var asked []dependency
	for _, name := range names {
		if err := e.read(lib, &asked, dir, name); err != nil {
			return nil, fmt.Errorf("the Lua plugin %s: %w", name, err)
		}
	}
	for _, d := range asked { // also what a function would ask for at the first request
		if lib[d.module] == nil && !knownModule(d.module) {
			return nil, fmt.Errorf("the Lua plugin %s: %s: module '%s' not found; docs/add-a-plugin.md lists the modules that there are", d.plugin, d.file, d.module)
		}
	}
	var out []gateway.Plugin
	for _, name := range names {
		kind, err := e.kind(lib, name)
		if err != nil {
			return nil, fmt.Errorf("the Lua plugin %s: %w", name, err)
		}
		out = append(out, kind)
	}
	return out, nil
}

// dependency is a module that a plugin's file requires.
type dependency struct{ plugin, file, module string }

// read compiles the modules of a plugin.
func (e *Engine) read(lib library, asked *[]dependency, dir, name string) error {
	if !schemaName(name) {
		return errors.New("its name is none of a plugin")
	}
	base := filepath.Join(dir, "kong", "plugins", name)
	return filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".lua") {
			return err
		}
		if len(lib) >= maxModules {
			return fmt.Errorf("more than %d modules", maxModules)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range requires.FindAllSubmatch(source, maxModules) {
			*asked = append(*asked, dependency{name, filepath.ToSlash(rel), string(m[1])})
		}
		p, err := e.compile(filepath.ToSlash(rel), string(source), true)
		if err != nil {
			return err
		}
		p.library = lib
		module := strings.ReplaceAll(filepath.ToSlash(strings.TrimSuffix(rel, ".lua")), "/", ".")
		lib[strings.TrimSuffix(module, ".init")] = p
		return nil
	})
}

// requires finds the modules that a source asks for by a constant name, at the beginning of a line's statement.
var requires = regexp.MustCompile(`(?m)^[^\n-]*?\brequire\s*\(?\s*["']([\w.\-]+)["']`)

func schemaName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && r != '_' && !('0' <= r && r <= '9') && !('a' <= r|0x20 && r|0x20 <= 'z')
	})
}

// kind makes a kind of plugin of its two modules.
func (e *Engine) kind(lib library, name string) (gateway.Plugin, error) {
	none := gateway.Plugin{}
	handler, described := lib["kong.plugins."+name+".handler"], lib["kong.plugins."+name+".schema"]
	if handler == nil || described == nil {
		return none, errors.New("there is no handler.lua or no schema.lua")
	}
	s := newState(e)
	u := &Unit{Name: name, Env: gateway.Env{Log: e.deps.Log, Clock: e.deps.Clock, Directory: nothing{}}}
	load := func(p *Program, part string) (*glua.LTable, error) {
		if err := s.call(u, p, InitWorker, s.load(p).chunk, 1, glua.LString("kong.plugins."+name+part)); err != nil {
			return nil, err
		}
		t, ok := s.L.Get(-1).(*glua.LTable)
		s.L.Pop(1)
		if !ok {
			return nil, errors.New("it returns no table")
		}
		return t, nil
	}
	h, err := load(handler, ".handler")
	if err != nil {
		return none, fmt.Errorf("handler.lua: %w", err)
	}
	priority, ok := s.L.GetField(h, "PRIORITY").(glua.LNumber)
	if !ok {
		return none, errors.New("handler.lua: PRIORITY is no number")
	}
	version, ok := s.L.GetField(h, "VERSION").(glua.LString)
	if !ok {
		return none, errors.New("handler.lua: VERSION is no string")
	}
	p := &Plugin{engine: e, name: name, handler: handler, phases: map[Phase]bool{}, instances: map[*instance]bool{}}
	_, p.configures = s.L.GetField(h, "configure").(*glua.LFunction)
	for _, phase := range []Phase{InitWorker, Certificate, Rewrite, Access, Response, HeaderFilter, BodyFilter, Log} {
		if _, ok := s.L.GetField(h, string(phase)).(*glua.LFunction); ok {
			p.phases[phase] = true
		}
	}
	if p.phases[Response] && (p.phases[HeaderFilter] || p.phases[BodyFilter]) {
		return none, errors.New("handler.lua: response cannot be combined with header_filter or body_filter")
	}
	d, err := load(described, ".schema")
	if err != nil {
		return none, fmt.Errorf("schema.lua: %w", err)
	}
	r := &reader{s: s, unit: u, prog: described}
	kind := gateway.Plugin{Name: name, Version: string(version), Priority: int(priority),
		New: func(c schema.Record, env gateway.Env) (any, error) { return p.newInstance(c, env) }}
	if err := r.plugin(d, &kind); err != nil {
		return none, fmt.Errorf("schema.lua: %w", err)
	}
	return kind, nil
}

// instance is one configuration of a plugin.
type instance struct {
	plugin *Plugin
	unit   *Unit
	parts  []any
}

func (p *Plugin) newInstance(c schema.Record, env gateway.Env) (any, error) {
	in := &instance{plugin: p, unit: &Unit{Env: env, Name: p.name, Config: c}}
	in.parts = Parts(p.engine, in.unit, func(phase Phase) Runner {
		if !p.phases[phase] {
			return nil
		}
		return in
	})
	p.add(in)
	if p.phases[Certificate] {
		return &askingInstance{in}, nil
	}
	return in, nil
}

// Parts implements gateway.Composite.
func (in *instance) Parts() []any { return in.parts }

// Close implements gateway.Closer.
func (in *instance) Close(context.Context) error {
	in.plugin.remove(in)
	in.plugin.engine.retired.Add(1)
	return nil
}

type askingInstance struct{ *instance }

// AsksCertificate implements gateway.HandshakeAsker.
func (a *askingInstance) AsksCertificate(serverName string) bool {
	return a.plugin.engine.Asks(a.unit, serverName, a.instance)
}

// Run implements Runner: it calls the handler's function of the phase.
func (in *instance) Run(c *Call) error {
	s, p := c.s, in.plugin
	r := s.plugins[p]
	if r == nil {
		if err := s.call(in.unit, p.handler, InitWorker, s.load(p.handler).chunk, 1, glua.LString("kong.plugins."+p.name+".handler")); err != nil {
			return err
		}
		r = &running{}
		r.handler, _ = s.L.Get(-1).(*glua.LTable)
		s.L.Pop(1)
		if r.handler == nil {
			return errors.New("the handler is no table")
		}
		s.plugins[p] = r
	}
	if !r.started && p.phases[InitWorker] {
		r.started = true
		if fn, ok := s.L.GetField(r.handler, string(InitWorker)).(*glua.LFunction); ok {
			if err := s.call(in.unit, p.handler, InitWorker, fn, 0, r.handler); err != nil {
				in.unit.Env.Log.Error("Lua code failed", "phase", string(InitWorker), "err", err)
			}
		}
	}
	if err := in.configure(s, r); err != nil {
		return err
	}
	config := s.units[in.unit]
	if config == nil {
		config = s.record(in.unit.Config)
		s.units[in.unit] = config
	}
	fn, ok := s.L.GetField(r.handler, string(c.phase)).(*glua.LFunction)
	if !ok {
		return nil
	}
	return s.call(in.unit, p.handler, c.phase, fn, 0, r.handler, config)
}

// configure calls the handler's function configure with all configurations of the plugin, in a state that has not
// been told of them as they are now. As in Kong each worker, here each state, is told, before it runs a phase.
func (in *instance) configure(s *state, r *running) error {
	p := in.plugin
	if !p.configures {
		return nil
	}
	all, version := p.configurations()
	if r.configured == version {
		return nil
	}
	r.configured = version
	fn, ok := s.L.GetField(r.handler, "configure").(*glua.LFunction)
	if !ok {
		return nil
	}
	list := glua.LValue(glua.LNil)
	if len(all) > 0 {
		t := s.L.NewTable()
		for _, one := range all {
			t.Append(s.record(one.unit.Config))
		}
		list = t
	}
	return s.call(in.unit, p.handler, InitWorker, fn, 0, r.handler, list)
}

// ownModule returns a module of the plugins that were loaded with the one that asks.
func (s *state) ownModule(L *glua.LState, name string) (glua.LValue, bool) {
	if name == "kong.db.schema.typedefs" {
		return s.typedefs(L), true
	}
	p := s.prog.library[name]
	if p == nil {
		return nil, false
	}
	if v, known := s.required[p]; known {
		if v == nil {
			L.RaiseError("loop or previous error loading module '%s'", name)
		}
		return v, true
	}
	s.required[p] = nil
	L.Push(s.load(p).chunk)
	L.Push(glua.LString(name))
	L.Call(1, 1)
	v := L.Get(-1)
	L.Pop(1)
	if v == glua.LNil {
		v = glua.LTrue
	}
	s.required[p] = v
	return v, true
}

// Names cuts a list of names as a configuration has them, "bundled" left out.
func Names(list string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }), func(n string) bool { return n == "bundled" })
}
