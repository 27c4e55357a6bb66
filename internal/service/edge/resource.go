package edge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/store"
)

// ResourceType says what an agent does with a resource.
type ResourceType string

// The types of resources.
const (
	Asset     ResourceType = "ASSET"     // a file that flows use
	Extension ResourceType = "EXTENSION" // a component for the agent
)

// Resource is a file for agents.
type Resource struct {
	ID      string       `json:"resourceId"`
	Name    string       `json:"resourceName"`
	Type    ResourceType `json:"resourceType"`
	Path    string       `json:"resourcePath,omitempty"` // directory under the agent's own
	Digest  string       `json:"digest"`                 // SHA-256, in hex
	Size    int64        `json:"size"`
	Created time.Time    `json:"created"`
}

// Bounds of resources.
const (
	maxResource     = 512 << 20
	maxResources    = 10_000
	maxResourcesPer = 500 // of a class
)

// resourcePath is where an agent finds a resource, under the address of the C2 protocol.
func resourcePath(id string) string { return "resources/" + id }

// AddResource keeps a file.
func (s *Service) AddResource(ctx context.Context, r Resource, body io.Reader) (Resource, error) {
	if err := s.may(ctx, Admin, "*"); err != nil {
		return Resource{}, err
	}
	if err := checkName("resourceName", r.Name); err != nil {
		return Resource{}, err
	}
	if r.Type != Asset && r.Type != Extension {
		return Resource{}, Invalid.Field("resourceType", "a resource is %s or %s, not %q", Asset, Extension, clip(string(r.Type)))
	}
	if r.Path != "" && (path.IsAbs(r.Path) || path.Clean(r.Path) != r.Path || strings.HasPrefix(r.Path, "..") || strings.ContainsAny(r.Path, "\\\x00") || len(r.Path) > maxName) {
		return Resource{}, Invalid.Field("resourcePath", "%q does not stay under the agent's directory", clip(r.Path))
	}
	r.ID, r.Size = uuid.NewString(), 0
	sum := sha256.New()
	// What was begun and not finished is taken away again.
	kept := false
	defer func() {
		if !kept {
			s.dropChunks(context.WithoutCancel(ctx), r)
		}
	}()
	var err error
	if r.Size, err = s.store.chunks.write(ctx, r.ID, r.ID, maxResource, io.TeeReader(body, sum)); err != nil {
		return Resource{}, err
	}
	r.Digest = hex.EncodeToString(sum.Sum(nil))
	err = s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if s.store.resources.Len(tx) >= maxResources {
			return TooMany.New("there are %d resources", maxResources)
		}
		if _, _, taken := s.store.resources.Lookup(tx, "name", string(r.Type)+"/"+r.Path+"/"+r.Name); taken {
			return ResourceExists.Field("resourceName", "there is a resource %q already: delete it first", path.Join(r.Path, r.Name))
		}
		r.Created = tx.Now()
		return s.store.resources.Put(tx, r.ID, &r)
	})
	if kept = err == nil; kept {
		s.changed(ctx, everywhere, "", "resource added", "%s %s (%s), %d bytes", r.Type, path.Join(r.Path, r.Name), r.ID, r.Size)
	}
	return r, err
}

func (s *Service) dropChunks(ctx context.Context, r Resource) {
	if err := s.store.chunks.drop(ctx, r.ID, r.Size); err != nil {
		s.deps.Log.Warn("a part of a resource is left over", "resource", r.ID, "error", err)
	}
}

// Resources lists the resources, by name.
func (s *Service) Resources(ctx context.Context) ([]Resource, error) {
	if err := s.may(ctx, View, "*"); err != nil {
		return nil, err
	}
	out := []Resource{}
	for _, r := range s.store.resources.All(s.deps.Store.Snapshot(), "") {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// DeleteResource removes a resource that no class has.
func (s *Service) DeleteResource(ctx context.Context, id string) error {
	if err := s.may(ctx, Admin, "*"); err != nil {
		return err
	}
	var gone Resource
	if err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		r, ok := s.store.resources.Get(tx, id)
		if !ok {
			return NoSuchResource.Field("resourceId", "there is no resource %q", clip(id))
		}
		for _, c := range s.store.classes.All(tx, "") {
			if slices.Contains(c.Resources, id) {
				return ResourceInUse.Field("resourceId", "class %q has the resource", c.Name)
			}
		}
		gone = *r
		_, err := s.store.resources.Delete(tx, id)
		return err
	}); err != nil {
		return err
	}
	s.changed(ctx, everywhere, "", "resource deleted", "%s %s (%s)", gone.Type, path.Join(gone.Path, gone.Name), gone.ID)
	s.dropChunks(ctx, gone)
	return nil
}

// Resource returns what is known of a resource.
func (s *Service) Resource(ctx context.Context, id string) (Resource, error) {
	if err := s.may(ctx, View, "*"); err != nil {
		return Resource{}, err
	}
	return s.resourceOf(id)
}

func (s *Service) resourceOf(id string) (Resource, error) {
	r, ok := s.store.resources.Get(s.deps.Store.Snapshot(), id)
	if !ok {
		return Resource{}, NoSuchResource.Field("resourceId", "there is no resource %q", clip(id))
	}
	return *r, nil
}

// ResourceFor returns a resource that an agent may fetch: its class has it, or it was ordered
// to. The agent says who it is, and shows a certificate or credentials.
func (s *Service) ResourceFor(ctx context.Context, id, agent string, p Peer) (Resource, error) {
	if err := s.authenticate(p, agent); err != nil {
		return Resource{}, err
	}
	if agent = cmp.Or(agent, p.Agent); agent == "" {
		return Resource{}, NoIdentity.Field("aid", "the request does not say which agent it is from: aid is missing")
	}
	a, err := s.agentFor(ctx, agent)
	if err != nil {
		return Resource{}, err
	}
	if err := s.proved(ctx, a.Class, agent, p); err != nil {
		return Resource{}, err
	}
	if ok, err := s.lately(ctx, func() bool {
		_, err := s.resourceOf(id)
		return err == nil && s.entitled(a, id)
	}); err != nil {
		return Resource{}, err
	} else if ok {
		return s.resourceOf(id)
	}
	if _, err := s.resourceOf(id); err != nil {
		return Resource{}, err
	}
	return Resource{}, WrongIdentity.Field("aid", "the resource is not one of agent %q", clip(agent))
}

// entitled reports whether an agent's class has a resource, or the agent was ordered to fetch it.
func (s *Service) entitled(a Agent, id string) bool {
	snap := s.deps.Store.Snapshot()
	if c, ok := s.store.classes.Get(snap, a.Class); ok && slices.Contains(c.Resources, id) {
		return true
	}
	for _, o := range s.store.orders.Find(snap, "class", a.Class) {
		if o.Operand == "asset" && o.Args["resource"] == id && (o.Agent == "" || o.Agent == a.ID) {
			return true
		}
	}
	return false
}

// WriteResource writes the bytes of a resource that Resource or ResourceFor has returned.
func (s *Service) WriteResource(ctx context.Context, r Resource, w io.Writer) error {
	sum, left := sha256.New(), r.Size
	for part, err := range s.store.chunks.read(ctx, r.ID, r.Size) {
		if err != nil {
			return err
		}
		sum.Write(part)
		if left -= int64(len(part)); left <= 0 && hex.EncodeToString(sum.Sum(nil)) != r.Digest {
			return store.Damaged.New("the resource %q is not what was kept", r.Name)
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// assign gives a class resources, in a transaction. Its agents are told by an order.
func (s *Service) assign(tx *store.Tx, c *Class, ids []string) error {
	if len(ids) > maxResourcesPer {
		return TooMany.Field("resources", "a class has at most %d resources", maxResourcesPer)
	}
	sum := sha256.New()
	seen := map[string]bool{}
	for _, id := range ids {
		r, ok := s.store.resources.Get(tx, id)
		if !ok {
			return NoSuchResource.Field("resources", "there is no resource %q", clip(id))
		}
		if seen[id] {
			return Invalid.Field("resources", "resource %q is listed twice", r.Name)
		}
		seen[id] = true
		fmt.Fprintf(sum, "%s %s %s %s\n", r.Type, r.Path, r.Name, r.Digest)
	}
	c.Resources, c.ResourceHash, c.ResourceOrder = ids, hex.EncodeToString(sum.Sum(nil)), tx.Revision()
	return nil
}

// resourceArgs are the arguments of SYNC resource: all that the agent is to have.
func (s *Service) resourceArgs(r store.Reader, c *Class) map[string]any {
	list := []map[string]any{}
	for _, id := range c.Resources {
		if res, ok := s.store.resources.Get(r, id); ok {
			list = append(list, map[string]any{"resourceId": res.ID, "resourceName": res.Name, "resourceType": string(res.Type), "resourcePath": res.Path,
				"digest": res.Digest, "hashType": "SHA-256", DownloadArg: Download{Path: resourcePath(res.ID)}})
		}
	}
	return map[string]any{"globalHash": map[string]any{"digest": c.ResourceHash, "hashType": "SHA-256"}, "resourceList": list}
}
