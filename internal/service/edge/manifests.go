package edge

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// manifestDoc is what every node knows of a manifest; the whole lies in a row.
type manifestDoc struct {
	Hash      string
	ID        string
	AgentType string
	Version   string
	Size      int
	Created   time.Time
	// Supported are the operations, as OPERATION/operand; nil if the manifest names none,
	// and the agent is believed to support all.
	Supported []string
}

// maxManifests bounds how many manifests are kept.
const maxManifests = 1000

// learn takes over the manifest that a heartbeat brings, if it is new, and returns what is
// known of it, if anything. ask says that this agent is the one to be asked for it.
func (s *Service) learn(ctx context.Context, h *Heartbeat) (doc *manifestDoc, ask bool, err error) {
	if h.ManifestHash == "" {
		if len(h.Manifest) == 0 {
			return nil, false, nil
		}
		sum := sha256.Sum256(h.Manifest)
		h.ManifestHash = hex.EncodeToString(sum[:])
	}
	doc, known := s.store.manifests.Get(s.deps.Store.Snapshot(), h.ManifestHash)
	if !known {
		if len(h.Manifest) == 0 {
			ask, err = s.askFor(ctx, h.ManifestHash)
			return nil, ask, err
		}
		// Hundreds of agents may bring the same one at one time: one is read.
		_, err, _ := s.learning.Do(h.ManifestHash, func() (any, error) { return nil, s.keepManifest(ctx, h) })
		if err != nil {
			return nil, false, err
		}
		doc, _ = s.store.manifests.Get(s.deps.Store.Snapshot(), h.ManifestHash)
	}
	return doc, false, nil
}

// keepManifest reads and keeps a manifest.
func (s *Service) keepManifest(ctx context.Context, h *Heartbeat) error {
	m, err := manifest.Parse(h.Manifest)
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Reason.Field(strings.TrimSuffix("agentInfo.agentManifest."+f.Field, "."), "%s", f.Message)
	}
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(h.Manifest); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := s.store.contents.Put(ctx, map[string]*manifestRow{h.ManifestHash: {Agent: h.Agent, Gzip: packed.Bytes()}}); err != nil {
		return err
	}
	doc := &manifestDoc{Hash: h.ManifestHash, ID: m.ID, AgentType: string(m.AgentType), Version: m.Version, Size: len(h.Manifest), Supported: supportedBy(m)}
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if s.store.manifests.Has(tx, h.ManifestHash) {
			return nil
		}
		if s.store.manifests.Len(tx) >= maxManifests {
			return TooMany.Field("agentInfo.agentManifest", "there are %d manifests: delete those that no class uses", maxManifests)
		}
		doc.Created = tx.Now()
		return s.store.manifests.Put(tx, h.ManifestHash, doc)
	})
}

// supportedBy are the operations of a manifest that the platform knows.
func supportedBy(m *manifest.Manifest) []string {
	if len(m.Operations()) == 0 {
		return nil
	}
	out := []string{}
	for _, k := range append(slices.Clone(kinds), Kind{Operation: "UPDATE", Operand: "configuration"}, Kind{Operation: "SYNC", Operand: "resource"}) {
		if m.Supports(k.Operation, k.Operand) {
			out = append(out, k.Operation+"/"+k.Operand)
		}
	}
	if m.AgentType == manifest.CPP { // its components are those of its flow, which no list of operands knows
		for _, operation := range []string{"START", "STOP"} {
			if m.Supports(operation, "") {
				out = append(out, operation+anyComponent)
			}
		}
	}
	return out
}

// anyComponent stands for the components of an agent of C++ among the operands that it supports.
const anyComponent = "/*"

// supports reports whether agents with a manifest carry out an operation.
func (s *Service) supports(r store.Reader, hash, operation, operand string) bool {
	doc, ok := s.store.manifests.Get(r, hash)
	if !ok || doc.Supported == nil {
		return ok
	}
	if slices.Contains(doc.Supported, operation+"/"+operand) {
		return true
	}
	listed := slices.ContainsFunc(kinds, func(k Kind) bool { return k.Operation == operation && k.Operand == operand })
	return !listed && slices.Contains(doc.Supported, operation+anyComponent)
}

// bind makes a manifest that of a class, where the class's strategy says so.
func (s *Service) bind(ctx context.Context, class string, doc *manifestDoc) error {
	wants := func(r store.Reader) bool {
		c, ok := s.store.classes.Get(r, class)
		if !ok || c.Manifest == doc.Hash {
			return false
		}
		strategy := c.Strategy
		if strategy == "" {
			strategy = s.cfg.Strategy
		}
		old, had := s.store.manifests.Get(r, c.Manifest)
		// The last is that which came last for the first time: agents of two versions side
		// by side do not change it to and fro.
		return !had && strategy != Static || strategy == LastIn && had && old.Created.Before(doc.Created)
	}
	if !wants(s.deps.Store.Snapshot()) {
		return nil
	}
	bound := false
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if bound = wants(tx); !bound {
			return nil
		}
		old, _ := s.store.classes.Get(tx, class)
		c := *old
		c.Manifest = doc.Hash
		return s.store.classes.Put(tx, class, &c)
	})
	if err == nil && bound {
		s.event(Event{Level: "INFO", Class: class, Type: "manifest bound", Message: "flows of the class are designed against manifest " + doc.Hash})
	}
	return err
}

// askFor says whether to ask the agent at hand for a manifest: one agent at a time, over all
// nodes, until it answers or its time is up.
func (s *Service) askFor(ctx context.Context, hash string) (bool, error) {
	now := s.deps.Clock.Now().UnixMilli()
	last, _ := s.asking.LoadOrStore(hash, new(askedAt))
	asked := last.(*askedAt)
	then := asked.Load()
	if now-then < staleClaim.Milliseconds() || !asked.CompareAndSwap(then, now) {
		return false, nil
	}
	mine, err := s.store.claims.Insert(ctx, hash, &claimRow{Node: s.cfg.Node})
	if err != nil || mine {
		return mine, err
	}
	row, ok, err := s.store.claims.Get(ctx, hash)
	if err != nil || ok && row.Age < staleClaim {
		return false, err
	}
	claimed := false
	err = s.store.claims.Update(ctx, hash, func(c *claimRow) (*claimRow, error) {
		if claimed {
			claimed = false // another node was faster in between
			return nil, nil
		}
		claimed = true
		return &claimRow{Node: s.cfg.Node}, nil
	})
	return claimed, err
}

// ManifestInfo is what there is to know of a manifest.
type ManifestInfo struct {
	Hash      string    `json:"hash"`
	ID        string    `json:"identifier"`
	AgentType string    `json:"agentType"`
	Version   string    `json:"version"`
	Size      int       `json:"size"`
	Created   time.Time `json:"created"`
	Classes   []string  `json:"agentClasses"`
}

// Manifests lists the manifests that classes the caller may see are bound to, and for who may
// see all classes the others too.
func (s *Service) Manifests(ctx context.Context) ([]ManifestInfo, error) {
	snap := s.deps.Store.Snapshot()
	classes := map[string][]string{}
	for _, c := range s.store.classes.All(snap, "") {
		if s.may(ctx, View, c.Name) == nil {
			classes[c.Manifest] = append(classes[c.Manifest], c.Name)
		}
	}
	all := s.may(ctx, View, "*") == nil
	out := []ManifestInfo{}
	for _, d := range s.store.manifests.All(snap, "") {
		if of := classes[d.Hash]; all || of != nil {
			out = append(out, ManifestInfo{d.Hash, d.ID, d.AgentType, d.Version, d.Size, d.Created, of})
		}
	}
	return out, nil
}

// ManifestText returns a manifest as its agent sent it, by its hash or its identifier.
func (s *Service) ManifestText(ctx context.Context, id string) ([]byte, error) {
	list, err := s.Manifests(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(m ManifestInfo) bool { return m.Hash == id || m.ID == id })
	if i < 0 {
		return nil, NoSuchManifest.Field("id", "there is no manifest %q", clip(id))
	}
	return s.manifestText(ctx, list[i].Hash)
}

func (s *Service) manifestText(ctx context.Context, hash string) ([]byte, error) {
	row, ok, err := s.store.contents.Get(ctx, hash)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, NoSuchManifest.Field("manifest", "the manifest %q is not kept", clip(hash))
	}
	z, err := gzip.NewReader(bytes.NewReader(row.Doc.Gzip))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxManifest+1))
}

// Manifest returns the manifest that the flow of a class is designed against.
func (s *Service) Manifest(ctx context.Context, class string) (*manifest.Manifest, error) {
	if err := s.may(ctx, View, class); err != nil {
		return nil, err
	}
	return s.manifestOf(ctx, s.deps.Store.Snapshot(), class)
}

// manifestOf returns a class's manifest, parsed.
func (s *Service) manifestOf(ctx context.Context, r store.Reader, class string) (*manifest.Manifest, error) {
	c, ok := s.store.classes.Get(r, class)
	if !ok {
		return nil, NoSuchClass.Field("agentClass", "there is no agent class %q", class)
	}
	if c.Manifest == "" {
		return nil, NoSuchManifest.New("no agent of class %q has sent its manifest yet", class)
	}
	return s.parsed(ctx, c.Manifest)
}

// parsed returns a manifest; those that were used last are kept.
func (s *Service) parsed(ctx context.Context, hash string) (*manifest.Manifest, error) {
	if m, ok := s.manifests.get(hash); ok {
		return m, nil
	}
	text, err := s.manifestText(ctx, hash)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(text)
	if err != nil {
		return nil, err
	}
	s.manifests.put(hash, m)
	return m, nil
}

// ManifestDiff tells how a class's manifest differs from another's.
func (s *Service) ManifestDiff(ctx context.Context, class, other string) (manifest.Changes, error) {
	if err := s.may(ctx, View, class); err != nil {
		return manifest.Changes{}, err
	}
	have, err := s.manifestOf(ctx, s.deps.Store.Snapshot(), class)
	if err != nil {
		return manifest.Changes{}, err
	}
	to, err := s.parsed(ctx, other)
	if err != nil {
		return manifest.Changes{}, err
	}
	return manifest.Diff(have, to), nil
}
