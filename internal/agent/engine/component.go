package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/agent/expression"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// Input says what a processor expects of incoming connections.
type Input string

// The kinds of input, with the names that a manifest uses.
const (
	InputRequired  Input = "INPUT_REQUIRED"
	InputAllowed   Input = "INPUT_ALLOWED"
	InputForbidden Input = "INPUT_FORBIDDEN"
)

// Definition is a kind of component: a processor if New is set, else a controller service.
type Definition struct {
	Type          string // fully qualified, as NiFi's
	Description   string
	Properties    []Property
	Dynamic       *Dynamic // nil: it has no properties but those listed
	Relationships []Relationship
	Input         Input
	WhenEmpty     bool     // triggered by its schedule also while nothing waits
	Provides      []string // the APIs of a controller service

	// New makes a processor of settings that were validated; it must not touch the world
	// beyond reading files, as the flow may never start.
	New func(*Settings) (Processor, error)
	// NewService is New for a controller service.
	NewService func(*Settings) (any, error)
	// Routes names the relationships that the settings add. Nil for none.
	Routes func(*Settings) []string
}

// Name is the type without its package.
func (d *Definition) Name() string { return d.Type[strings.LastIndexByte(d.Type, '.')+1:] }

// Property describes one setting.
type Property struct {
	Name, DisplayName string // DisplayName only where it differs
	Description       string
	Default           string
	Required          bool
	Sensitive         bool
	Expression        bool // it is a template over the attributes
	Allowed           []string
	Service           string // the API of the controller service that it names
	Check             func(string) error
}

// Dynamic describes the properties that a flow may add.
type Dynamic struct {
	Name, Value, Description string
	Expression               bool
	Relationship             bool // each adds a relationship of its name
}

// Relationship is a way out of a processor.
type Relationship struct{ Name, Description string }

// Processor does the work. Trigger returns nil to have its session committed, an error to
// have it rolled back, its flow files penalised and the processor paused for its yield time.
type Processor interface {
	Trigger(ctx context.Context, s *Session) error
}

// Starter is a processor that needs something while it is scheduled, a listener or a client.
// The context is for the start alone.
type Starter interface {
	Start(ctx context.Context, h *Host) error
}

// Stopper gives that back. It is called after the last Trigger has returned.
type Stopper interface{ Stop() }

// Host is what a processor that works outside of Trigger has of the engine.
type Host struct{ n *node }

// Session begins a session; the caller must Commit or Rollback it.
func (h *Host) Session() *Session { return h.n.session() }

// Accepting reports whether new flow files may come in: neither the repository nor a
// connection behind the processor is full.
func (h *Host) Accepting() bool { return !h.n.engine.repo.full() && !h.n.blocked() }

// Wake ends a yield: there is work.
func (h *Host) Wake() {
	h.n.yielded.Store(0)
	h.n.wakeUp()
}

// State is what was last set for the key by a committed session of this processor.
func (h *Host) State(key string) ([]byte, bool, error) {
	return h.n.engine.repo.state(h.n.spec.ID, key)
}

// Settings are the validated properties of one component.
type Settings struct {
	ID, Name string
	Log      *slog.Logger
	Clock    clock.Clock

	def      *Definition
	values   map[string]string
	exprs    map[string]*expression.Template
	services map[string]any
}

// Text is the value of a property, its default if the flow sets none.
func (s *Settings) Text(name string) string {
	if v, ok := s.values[name]; ok {
		return v
	}
	for i := range s.def.Properties {
		if s.def.Properties[i].Name == name {
			return s.def.Properties[i].Default
		}
	}
	return ""
}

// Int is a property that was checked to be a whole number; 0 if it has no value.
func (s *Settings) Int(name string) int {
	n, _ := strconv.Atoi(s.Text(name)) // checked
	return n
}

// Bool is a property that allows true and false.
func (s *Settings) Bool(name string) bool { return strings.EqualFold(s.Text(name), "true") }

// Duration is a property that was checked to be a time span; 0 if it has no value.
func (s *Settings) Duration(name string) time.Duration {
	d, _ := flow.ParseDuration(s.Text(name)) // checked
	return d
}

// Size is a property that was checked to be a data size in bytes; 0 if it has no value.
func (s *Settings) Size(name string) int64 {
	n, _ := flow.ParseSize(s.Text(name)) // checked
	return n
}

// Template is a property or a dynamic property with expressions.
func (s *Settings) Template(name string) *expression.Template {
	if t := s.exprs[name]; t != nil {
		return t
	}
	return expression.Literal(s.Text(name))
}

// Service is the controller service that a property names, nil if it names none.
func (s *Settings) Service(name string) any { return s.services[name] }

// Added are the names of the dynamic properties, sorted.
func (s *Settings) Added() []string {
	var out []string
	for name := range s.values {
		if !slices.ContainsFunc(s.def.Properties, func(p Property) bool { return p.Name == name }) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Env is what the templates of this component are evaluated against for f, which may be nil.
func (s *Settings) Env(f *FlowFile) expression.Env {
	env := expression.Env{Clock: s.Clock}
	if f != nil {
		env.Attributes = f.Attributes
	}
	return env
}

// Eval evaluates a property for f, which may be nil.
func (s *Settings) Eval(name string, f *FlowFile) (string, error) {
	v, err := s.Template(name).Text(s.Env(f))
	if err != nil {
		return "", fmt.Errorf("property %q: %w", name, err)
	}
	return v, nil
}

// Integer checks for a whole number of [low, high].
func Integer(low, high int) func(string) error {
	return func(v string) error {
		if n, err := strconv.Atoi(v); err != nil || n < low || n > high {
			return fmt.Errorf("%q is not a whole number of %d to %d", v, low, high)
		}
		return nil
	}
}

// Duration checks for a time span like 30 sec.
func Duration(v string) error {
	_, err := flow.ParseDuration(v)
	return err
}

// Size checks for a data size like 10 MB.
func Size(v string) error {
	_, err := flow.ParseSize(v)
	return err
}

// Regexp checks for a regular expression.
func Regexp(v string) error {
	_, err := regexp.Compile(v)
	return err
}

// URL checks for an absolute URL of one of the schemes.
func URL(schemes ...string) func(string) error {
	return func(v string) error {
		u, err := url.Parse(v)
		if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
			return fmt.Errorf("%q is not a URL of %s", v, strings.Join(schemes, ", "))
		}
		return nil
	}
}

// Booleans are the allowed values of a yes or no.
func Booleans() []string { return []string{"true", "false"} }
