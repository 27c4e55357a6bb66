package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/agent/c2"
	"sluice.dev/sluice/internal/agent/component"
	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/agent/enroll"
	"sluice.dev/sluice/internal/agent/manifest"
	"sluice.dev/sluice/internal/agent/state"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/obs"
)

// Invalid is the reason of a configuration that cannot be used.
var Invalid = &fault.Reason{Kind: fault.Invalid, Name: "InvalidAgentConfiguration"}

// Config is what an agent is told when it starts.
type Config struct {
	Data      string
	URLs      []string // of nodes; the one that enrolled the agent if empty
	Class, ID string   // what they were before if empty
	Heartbeat time.Duration
	MaxBytes  int64 // in queues
	Trust     enroll.Trust
	Backoff   time.Duration // longest wait after failures
}

// Manifest is what the agent says it is made of.
func Manifest() (*manifest.Manifest, error) {
	b := manifest.Build{Version: version(), TargetArch: runtime.GOARCH, Compiler: runtime.Version()}
	return manifest.New(b, component.Catalogue(), c2.Operations())
}

// version is the module's, as it was built.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// Run runs an agent until ctx ends. It calls ready when its flow runs and its first heartbeat
// goes out. An agent that is told to restart is taken down whole and begins again.
func Run(ctx context.Context, c Config, log io.Writer, ready func()) error {
	for {
		again, err := once(ctx, c, log, ready)
		if err != nil || !again || ctx.Err() != nil {
			return err
		}
		ready = func() {}
	}
}

func once(ctx context.Context, c Config, out io.Writer, ready func()) (again bool, err error) {
	dir, err := state.Open(c.Data)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	file, err := openLog(dir.Path("logs", "agent.log"))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	level := &slog.LevelVar{}
	log := obs.Logger(io.MultiWriter(out, file), level)

	who, err := dir.Identity(state.Identity{ID: c.ID, Class: c.Class})
	if err != nil {
		return false, err
	}
	urls := c.URLs
	if len(urls) == 0 && who.URL != "" {
		urls = []string{who.URL}
	}
	switch {
	case len(urls) == 0:
		return false, Invalid.Field("url", "the agent was not enrolled: --url is needed")
	case who.Class == "":
		return false, Invalid.Field("class", "the agent was not enrolled: --class is needed")
	}
	identity, err := enroll.Load(dir, c.Trust, log, clock.System{})
	if err != nil {
		return false, err
	}
	eng, err := openEngine(ctx, c, dir, log)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()
	man, err := Manifest()
	if err != nil {
		return false, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var restart atomic.Bool
	client, err := c2.New(c2.Config{URLs: urls, Identity: who, Heartbeat: c.Heartbeat, Backoff: c.Backoff}, c2.Deps{Engine: eng, State: dir, Manifest: man,
		Sensitive: sensitive, HTTP: identity.HTTP, Restart: func() { restart.Store(true); stop() }, Level: level, Log: log, Clock: clock.System{}})
	if err != nil {
		return false, err
	}
	log.Info("the agent runs", "agent_id", who.ID, "agent_class", who.Class, "servers", strings.Join(urls, " "))
	ready()
	var all sync.WaitGroup
	all.Go(func() { identity.Run(running, urls) })
	client.Run(running)
	all.Wait()
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := client.Flush(flush); err != nil {
		log.Info("acknowledgements are left for the next start", "error", err)
	}
	return restart.Load(), nil
}

// openEngine opens the queues and starts the flow that was applied last.
func openEngine(ctx context.Context, c Config, dir *state.Dir, log *slog.Logger) (*engine.Engine, error) {
	key, err := dir.Key()
	if err != nil {
		return nil, err
	}
	eng, err := engine.Open(ctx, engine.Config{Dir: dir.Path("repository"), Key: key, MaxBytes: c.MaxBytes},
		engine.Deps{Definitions: component.Catalogue(), Log: log, Clock: clock.System{}})
	if err != nil {
		return nil, err
	}
	applied, err := dir.Flow()
	if err != nil {
		return nil, errors.Join(err, eng.Close())
	}
	if applied == nil {
		return eng, nil
	}
	flow, err := engine.ParseFlow(applied.Flow)
	if err == nil {
		err = eng.Apply(ctx, flow)
	}
	if err != nil {
		log.Error("the flow of the last run does not start; the agent waits for another", "flow_id", applied.ID, "error", err)
	}
	return eng, nil
}

// sensitive names the properties of a type whose values are secrets.
func sensitive(kind string) []string {
	var out []string
	for _, d := range component.Catalogue() {
		if d.Type != kind && d.Name() != kind {
			continue
		}
		for _, p := range d.Properties {
			if p.Sensitive {
				out = append(out, p.Name)
			}
		}
	}
	return out
}
