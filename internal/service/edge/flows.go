package edge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/edge/flow"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// flowDoc is a class's flow, as it is edited.
type flowDoc struct {
	ID      string
	Class   string
	Draft   []byte // flow.Marshal
	Dirty   bool   // changed since it was published
	Updated time.Time
	// Versions are those that were published, the oldest first.
	Versions []FlowVersion
}

// FlowVersion is a version of a flow that was published. Its text never changes.
type FlowVersion struct {
	ID      string    `json:"id"`
	Number  int       `json:"version"`
	Created time.Time `json:"created"`
	By      string    `json:"author"`
	Comment string    `json:"comments,omitempty"`
	Digest  string    `json:"digest"` // SHA-256 of its text
}

// Bounds of flows.
const (
	maxFlow     = 4 << 20 // bytes of text
	maxVersions = 500     // that are kept of a flow; the oldest go
)

// FlowInfo is a flow without its text.
type FlowInfo struct {
	ID        string        `json:"id"`
	Class     string        `json:"agentClass"`
	Updated   time.Time     `json:"updated"`
	Dirty     bool          `json:"dirty"`
	Published string        `json:"published,omitempty"` // the version that agents are to run
	Rollout   int64         `json:"rollout,omitempty"`
	Versions  []FlowVersion `json:"versions"`
}

func (s *Service) infoOf(r store.Reader, d *flowDoc) FlowInfo {
	i := FlowInfo{ID: d.ID, Class: d.Class, Updated: d.Updated, Dirty: d.Dirty, Versions: slices.Clone(d.Versions)}
	if c, ok := s.store.classes.Get(r, d.Class); ok {
		i.Published, i.Rollout = c.Version, c.Rollout
	}
	return i
}

// Flows lists the flows of the classes that the caller may see.
func (s *Service) Flows(ctx context.Context) ([]FlowInfo, error) {
	snap := s.deps.Store.Snapshot()
	out := []FlowInfo{}
	for _, d := range s.store.flows.All(snap, "") {
		if s.may(ctx, View, d.Class) == nil {
			out = append(out, s.infoOf(snap, d))
		}
	}
	return out, nil
}

// FlowOf returns a class's flow, which is made when it is first asked for.
func (s *Service) FlowOf(ctx context.Context, class string) (FlowInfo, error) {
	if err := s.may(ctx, View, class); err != nil {
		return FlowInfo{}, err
	}
	snap := s.deps.Store.Snapshot()
	for _, d := range s.store.flows.Find(snap, "class", class) {
		return s.infoOf(snap, d), nil
	}
	var info FlowInfo
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		for _, d := range s.store.flows.Find(tx, "class", class) {
			info = s.infoOf(tx, d)
			return nil
		}
		if !s.store.classes.Has(tx, class) {
			return NoSuchClass.Field("agentClass", "there is no agent class %q", class)
		}
		f, err := flow.New(uuid.NewString(), class, class)
		if err != nil {
			return err
		}
		text, err := flow.Marshal(f)
		if err != nil {
			return err
		}
		d := &flowDoc{ID: f.ID, Class: class, Draft: text, Updated: tx.Now()}
		info = s.infoOf(tx, d)
		return s.store.flows.Put(tx, d.ID, d)
	})
	return info, err
}

// flowDocOf finds a flow and asks for an action on its class.
func (s *Service) flowDocOf(ctx context.Context, r store.Reader, id string, action name.Action) (*flowDoc, error) {
	d, ok := s.store.flows.Get(r, id)
	if !ok {
		if err := s.may(ctx, action, "*"); err != nil {
			return nil, err
		}
		return nil, NoSuchFlow.Field("flowId", "there is no flow %q", clip(id))
	}
	return d, s.may(ctx, action, d.Class)
}

// Flow returns a flow as it is edited.
func (s *Service) Flow(ctx context.Context, id string) (FlowInfo, *flow.Flow, error) {
	snap := s.deps.Store.Snapshot()
	d, err := s.flowDocOf(ctx, snap, id, View)
	if err != nil {
		return FlowInfo{}, nil, err
	}
	f, err := flow.Unmarshal(d.Draft)
	return s.infoOf(snap, d), f, err
}

// EditFlow changes a flow as it is edited: edit gets it and returns another. Edits of one flow
// follow each other, on whichever nodes; edit checks revisions.
func (s *Service) EditFlow(ctx context.Context, id string, edit func(*flow.Flow) (*flow.Flow, error)) (*flow.Flow, error) {
	if _, err := s.flowDocOf(ctx, s.deps.Store.Snapshot(), id, Design); err != nil {
		return nil, err
	}
	var next *flow.Flow
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		d, ok := s.store.flows.Get(tx, id)
		if !ok {
			return NoSuchFlow.Field("flowId", "there is no flow %q", clip(id))
		}
		f, err := flow.Unmarshal(d.Draft)
		if err != nil {
			return err
		}
		if next, err = edit(f); err != nil {
			return err
		}
		return s.keepDraft(tx, d, next)
	})
	return next, err
}

func (s *Service) keepDraft(tx *store.Tx, old *flowDoc, f *flow.Flow) error {
	text, err := flow.Marshal(f)
	if err != nil {
		return err
	}
	if len(text) > maxFlow {
		return TooLarge.New("a flow is at most %d MiB of text", maxFlow>>20)
	}
	d := *old
	d.Draft, d.Dirty, d.Updated = text, true, tx.Now()
	return s.store.flows.Put(tx, d.ID, &d)
}

// Validate finds what is wrong with a flow as it is edited, for the manifest of its class.
func (s *Service) Validate(ctx context.Context, id string) ([]flow.Problem, error) {
	snap := s.deps.Store.Snapshot()
	d, err := s.flowDocOf(ctx, snap, id, View)
	if err != nil {
		return nil, err
	}
	f, err := flow.Unmarshal(d.Draft)
	if err != nil {
		return nil, err
	}
	m, err := s.manifestOf(ctx, snap, d.Class)
	if err != nil {
		return nil, err
	}
	c, _ := s.store.classes.Get(snap, d.Class)
	return flow.Validate(f, m, flow.Params{Class: c.Parameters}), nil
}

// Publish makes a version of a flow and begins to bring it to the class. A flow that is not
// valid is not published.
func (s *Service) Publish(ctx context.Context, id, comment string, p Plan) (FlowVersion, Rollout, error) {
	snap := s.deps.Store.Snapshot()
	d, err := s.flowDocOf(ctx, snap, id, Operate)
	if err != nil {
		return FlowVersion{}, Rollout{}, err
	}
	if err := checkPlan(&p); err != nil {
		return FlowVersion{}, Rollout{}, err
	}
	if len(comment) > 4096 {
		return FlowVersion{}, Rollout{}, TooLarge.Field("comments", "comments are at most 4,096 bytes")
	}
	problems, err := s.Validate(ctx, id)
	if err != nil {
		return FlowVersion{}, Rollout{}, err
	}
	if flow.Errors(problems) {
		first := problems[slices.IndexFunc(problems, func(p flow.Problem) bool { return flow.Errors([]flow.Problem{p}) })]
		return FlowVersion{}, Rollout{}, InvalidFlow.Field(first.Field, "the flow is not valid: %s %s (problems in all: %d)", first.ComponentID, first.Message, len(problems))
	}
	return s.publishText(ctx, d, d.Draft, comment, p, true)
}

// Republish brings an earlier version to the class again, as a version of its own.
func (s *Service) Republish(ctx context.Context, id, version string, p Plan) (FlowVersion, Rollout, error) {
	d, err := s.flowDocOf(ctx, s.deps.Store.Snapshot(), id, Operate)
	if err != nil {
		return FlowVersion{}, Rollout{}, err
	}
	if err := checkPlan(&p); err != nil {
		return FlowVersion{}, Rollout{}, err
	}
	i := slices.IndexFunc(d.Versions, func(v FlowVersion) bool { return v.ID == version })
	if i < 0 {
		return FlowVersion{}, Rollout{}, NoSuchFlow.Field("version", "there is no version %q of the flow", clip(version))
	}
	text, err := s.versionText(ctx, version)
	if err != nil {
		return FlowVersion{}, Rollout{}, err
	}
	return s.publishText(ctx, d, text, fmt.Sprintf("version %d again", d.Versions[i].Number), p, false)
}

func (s *Service) publishText(ctx context.Context, from *flowDoc, text []byte, comment string, p Plan, draft bool) (FlowVersion, Rollout, error) {
	who, _ := caller.From(ctx)
	sum := sha256.Sum256(text)
	v := FlowVersion{ID: uuid.NewString(), By: who.ARN, Comment: comment, Digest: hex.EncodeToString(sum[:])}
	// The text goes first: a version that nobody can read must never be anybody's.
	if err := s.store.versions.Put(ctx, map[string]*versionRow{v.ID: {Class: from.Class, Flow: text}}); err != nil {
		return v, Rollout{}, err
	}
	var begun Rollout
	var dropped []string
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		old, ok := s.store.flows.Get(tx, from.ID)
		if !ok {
			return NoSuchFlow.Field("flowId", "there is no flow %q", from.ID)
		}
		if draft && string(old.Draft) != string(text) {
			return RevisionConflict.New("the flow was changed while it was published")
		}
		v.Created, v.Number = tx.Now(), 1
		if n := len(old.Versions); n > 0 {
			v.Number = old.Versions[n-1].Number + 1
		}
		d := *old
		d.Versions = append(slices.Clone(old.Versions), v)
		for len(d.Versions) > maxVersions {
			dropped = append(dropped, d.Versions[0].ID)
			d.Versions = d.Versions[1:]
		}
		if draft {
			d.Dirty = false
		}
		r, err := s.begin(ctx, tx, d.Class, v.ID, p)
		if err != nil {
			return err
		}
		begun = *r
		return s.store.flows.Put(tx, d.ID, &d)
	})
	if err != nil {
		dropped = []string{v.ID}
	}
	if derr := s.store.versions.Delete(context.WithoutCancel(ctx), dropped); derr != nil {
		s.deps.Log.Warn("a version of a flow is left over", "error", derr)
	}
	if err == nil {
		s.changed(ctx, from.Class, "", "flow published", "version %d of the flow, by %s", v.Number, v.By)
	}
	return v, begun, err
}

func (s *Service) versionText(ctx context.Context, version string) ([]byte, error) {
	row, ok, err := s.store.versions.Get(ctx, version)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, NoSuchFlow.Field("flowId", "there is no version %q", clip(version))
	}
	return row.Doc.Flow, nil
}

// Version returns a version of a flow.
func (s *Service) Version(ctx context.Context, id, version string) (*flow.Flow, error) {
	d, err := s.flowDocOf(ctx, s.deps.Store.Snapshot(), id, View)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(d.Versions, func(v FlowVersion) bool { return v.ID == version }) {
		return nil, NoSuchFlow.Field("version", "there is no version %q of the flow", clip(version))
	}
	text, err := s.versionText(ctx, version)
	if err != nil {
		return nil, err
	}
	return flow.Unmarshal(text)
}

// Revert makes a version the flow that is edited.
func (s *Service) Revert(ctx context.Context, id, version string) (*flow.Flow, error) {
	old, err := s.Version(ctx, id, version)
	if err != nil {
		return nil, err
	}
	return s.EditFlow(ctx, id, func(*flow.Flow) (*flow.Flow, error) { return old, nil })
}

// Content is a flow as an agent fetches it.
type Content struct {
	Text   []byte
	Type   string // media type
	Digest string // SHA-256 of Text
}

// rendering is a flow as agents fetch it, which many do at one time.
type rendering struct {
	text   []byte
	secret bool // only for who proves to be an agent
	kind   string
	digest string
}

// The media types of flows.
const (
	jsonFlow = "application/json"
	yamlFlow = "text/yml"
)

// formatFor is the form in which an agent with a manifest reads a flow: what its class says, or else JSON, but for
// agents of C++ and for those of Java before version 2, which know YAML alone.
func formatFor(chosen FlowFormat, m *manifest.Manifest) FlowFormat {
	version := cmp.Or(m.Build.Version, m.Version) // later agents count their manifests beside their builds
	switch {
	case chosen != "":
		return chosen
	case m.AgentType == manifest.CPP, m.AgentType == manifest.Java && (strings.HasPrefix(version, "1.") || strings.HasPrefix(version, "0.")):
		return YAMLFormat
	}
	return JSONFormat
}

// FlowFor returns a version of a flow for an agent, with its parameters put in, in the form
// that the agent's manifest asks for.
func (s *Service) FlowFor(ctx context.Context, version, agent string, p Peer) (Content, error) {
	if err := s.authenticate(p, agent); err != nil {
		return Content{}, err
	}
	agent = cmp.Or(agent, p.Agent)
	row, ok, err := s.store.versions.Get(ctx, version)
	if err != nil {
		return Content{}, err
	}
	if !ok {
		return Content{}, NoSuchFlow.Field("flowId", "there is no flow %q", clip(version))
	}
	snap := s.deps.Store.Snapshot()
	class, ok := s.store.classes.Get(snap, row.Doc.Class)
	if !ok {
		return Content{}, NoSuchClass.New("the flow's agent class was deleted")
	}
	hash := class.Manifest
	params := flow.Params{Class: class.Parameters}
	if agent == "" {
		return Content{}, NoIdentity.Field("aid", "the request does not say which agent it is from: aid is missing")
	}
	a, err := s.agentFor(ctx, agent)
	if err != nil {
		return Content{}, err
	}
	if a.Class != row.Doc.Class {
		return Content{}, WrongIdentity.Field("aid", "the flow is not that of agent %q", clip(agent))
	}
	if s.store.manifests.Has(snap, a.ManifestHash) {
		hash = a.ManifestHash
	}
	if own, ok := s.store.params.Get(snap, agent); ok {
		params.Agent = own.Parameters
	}
	key, err := renderingKey(version, hash, class.FlowFormat, params)
	if err != nil {
		return Content{}, err
	}
	if r, ok := s.rendered.get(key); ok {
		return s.forPeer(ctx, r, class.Name, agent, p)
	}
	f, err := flow.Unmarshal(row.Doc.Flow)
	if err != nil {
		return Content{}, err
	}
	m, err := s.parsed(ctx, hash)
	if err != nil {
		return Content{}, err
	}
	r := rendering{kind: jsonFlow, secret: flow.HasSecrets(f, m, params)}
	if formatFor(class.FlowFormat, m) == YAMLFormat {
		r.kind = yamlFlow
		r.text, err = flow.RenderYAML(f, m, params)
	} else {
		r.text, err = flow.RenderJSON(f, m, params)
	}
	if err != nil {
		return Content{}, err
	}
	sum := sha256.Sum256(r.text)
	r.digest = hex.EncodeToString(sum[:])
	s.rendered.put(key, r)
	return s.forPeer(ctx, r, class.Name, agent, p)
}

// forPeer returns a flow to an agent, unless there are secrets in it and nothing proves that it is one.
func (s *Service) forPeer(ctx context.Context, r rendering, class, agent string, p Peer) (Content, error) {
	if r.secret {
		if err := s.proved(ctx, class, agent, p); err != nil {
			return Content{}, err
		}
	}
	return Content{r.text, r.kind, r.digest}, nil
}

// proved refuses a caller that shows neither a certificate nor credentials with edge:Fetch for the class. The log
// and the events say so once for an agent, as it asks again and again.
func (s *Service) proved(ctx context.Context, class, agent string, p Peer) error {
	if p.Proved || p.Agent != "" {
		return nil
	}
	if who, ok := caller.From(ctx); ok && who.ARN != "" {
		return s.may(ctx, Fetch, class)
	}
	if _, told := s.unproved.LoadOrStore(cmp.Or(agent, p.Address), true); !told {
		if s.unprovedCount.Add(1) > maxUnproved {
			s.unproved.Clear()
			s.unprovedCount.Store(0)
		}
		s.deps.Log.Warn("an agent without certificate or credentials asks for what only agents of its class may see", "agent", agent, "class", class, "address", p.Address)
		s.event(Event{Level: "WARN", Class: class, Agent: agent, Type: "agent not authenticated", Message: "the agent shows neither certificate nor credentials, and does not get secrets or resources: enrol it"})
	}
	return NoIdentity.New("secrets and resources are for agents that show a certificate, or credentials with %s: enrol the agent (sluice edge token)", Fetch)
}

// maxUnproved bounds how many callers it is remembered of that they were told of.
const maxUnproved = 10_000

// renderingKey tells renderings apart.
func renderingKey(version, hash string, format FlowFormat, p flow.Params) (string, error) {
	text, err := json.Marshal([]any{version, hash, format, p})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// agentFor is an agent that this node remembers, or that the database has.
func (s *Service) agentFor(ctx context.Context, id string) (Agent, error) {
	sh := s.shard(id)
	sh.mu.Lock()
	l := sh.agents[id]
	var a Agent
	if l != nil {
		a = l.Agent
	}
	sh.mu.Unlock()
	if l != nil {
		return a, nil
	}
	row, ok, err := s.store.agents.Get(ctx, id)
	if err != nil {
		return Agent{}, err
	}
	if !ok {
		return Agent{}, NoSuchAgent.Field("aid", "there is no agent %q", clip(id))
	}
	return *row.Doc, nil
}
