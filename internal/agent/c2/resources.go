package c2

import (
	"context"
	"crypto/md5"  //nolint:gosec // a digest that servers may name
	"crypto/sha1" //nolint:gosec // as above
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// resources is what SYNC brought: the whole of what a server wants, and its digest.
type resources struct {
	Hash  string         `json:"hash"`
	Items []resourceItem `json:"items"`
}

type resourceItem struct {
	ID       string `json:"resourceId"`
	Name     string `json:"resourceName"`
	Type     string `json:"resourceType"`
	Path     string `json:"resourcePath"`
	Digest   string `json:"digest"`
	HashType string `json:"hashType"`
	URL      string `json:"url"`
}

func (i *resourceItem) file() string { return path.Join(i.Path, i.Name) }

// maxResources may be in one SYNC.
const maxResources = 10000

// local checks a name of a file that a server has sent.
func local(name string) error {
	if name == "" || len(name) > 1000 || !filepath.IsLocal(name) || strings.ContainsAny(name, "\\\x00") || path.Clean(name) == "." {
		return fmt.Errorf("%.200q is not a name of a file in the assets' directory", name)
	}
	return nil
}

// newHash makes a digest's function by its name, as MiNiFi names it.
func newHash(kind string) (hash.Hash, error) {
	switch strings.ToUpper(strings.ReplaceAll(strings.ReplaceAll(kind, "-", ""), "_", "")) {
	case "MD5":
		return md5.New(), nil //nolint:gosec // the server's choice
	case "SHA1":
		return sha1.New(), nil //nolint:gosec // the server's choice
	case "SHA256", "":
		return sha256.New(), nil
	case "SHA512":
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("the digest %.50q is not known", kind)
}

// updateAsset fetches one file.
func (c *Client) updateAsset(ctx context.Context, o *operation) state {
	name := o.arg("file")
	if err := local(name); err != nil {
		return stateOf(notApplied, "file: %v", err)
	}
	root, err := os.OpenRoot(c.d.State.Path("assets"))
	if err != nil {
		return stateOf(notApplied, "%v", err)
	}
	defer root.Close()
	if _, err := root.Stat(name); err == nil && o.arg("forceDownload") != "true" {
		return stateOf(noOperation, "the asset %s is there", name)
	}
	err = c.download(ctx, root, name, o.arg("relativeUrl"), o.arg("url"), nil, "")
	return applied(err)
}

// download fetches a file to a place beside its own, checks it and renames it.
func (c *Client) download(ctx context.Context, root *os.Root, name, relative, absolute string, sum hash.Hash, digest string) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(name), ".new-"+uuid.NewString())
	err := c.net.fetch(ctx, relative, absolute, maxAsset, fetchTimeout, func(r io.Reader) error {
		f, err := root.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if sum != nil {
			sum.Reset()
			r = io.TeeReader(r, sum)
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Sync(), f.Close())
	})
	if err == nil && sum != nil && !strings.EqualFold(hex.EncodeToString(sum.Sum(nil)), digest) {
		err = fmt.Errorf("the digest of %s is not the one that was announced", name)
	}
	if err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		if gone := root.Remove(tmp); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// sync makes the assets what the server wants them to be: absent ones are fetched, others
// checked, and those of an earlier SYNC that are wanted no more are removed.
func (c *Client) sync(ctx context.Context, o *operation) state {
	want, err := wanted(o)
	if err != nil {
		return stateOf(notApplied, "%v", err)
	}
	var have resources
	if err := c.d.State.Resources(&have); err != nil {
		return stateOf(notApplied, "%v", err)
	}
	root, err := os.OpenRoot(c.d.State.Path("assets"))
	if err != nil {
		return stateOf(notApplied, "%v", err)
	}
	defer root.Close()
	var failed []string
	done := resources{}
	changed := false
	for _, item := range want.Items {
		fresh, err := c.bring(ctx, root, &item)
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", item.file(), err))
			continue
		}
		changed = changed || fresh
		done.Items = append(done.Items, item)
	}
	for _, old := range have.Items {
		if slices.ContainsFunc(want.Items, func(i resourceItem) bool { return i.file() == old.file() }) {
			continue
		}
		changed = true
		if err := root.Remove(old.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Sprintf("%s: %v", old.file(), err))
			done.Items = append(done.Items, old)
		}
	}
	if len(failed) == 0 {
		done.Hash = want.Hash
	}
	if err := c.d.State.SetResources(done); err != nil {
		return stateOf(notApplied, "%v", err)
	}
	c.mu.Lock()
	c.hash = done.Hash
	c.mu.Unlock()
	switch {
	case len(failed) > 0 && len(done.Items) == 0:
		return stateOf(notApplied, "%s", strings.Join(failed, "; "))
	case len(failed) > 0:
		return stateOf(partiallyApplied, "%s", strings.Join(failed, "; "))
	case !changed && have.Hash == want.Hash:
		return stateOf(noOperation, "all resources are there")
	}
	return state{State: fullyApplied}
}

// wanted reads and checks the arguments of SYNC.
func wanted(o *operation) (resources, error) {
	var global struct {
		Digest string `json:"digest"`
	}
	out := resources{}
	if err := object(o.Args["globalHash"], &global); err != nil || global.Digest == "" || len(global.Digest) > 500 {
		return out, errors.New("globalHash has no digest")
	}
	out.Hash = global.Digest
	if err := object(o.Args["resourceList"], &out.Items); err != nil || len(out.Items) > maxResources {
		return out, errors.New("resourceList is not understood")
	}
	seen := map[string]bool{}
	for _, i := range out.Items {
		if err := local(i.Name); err != nil {
			return out, err
		}
		if i.Path != "" && i.Path != "." {
			if err := local(i.Path); err != nil {
				return out, err
			}
		}
		if seen[i.file()] {
			return out, fmt.Errorf("two resources are %s", i.file())
		}
		seen[i.file()] = true
	}
	return out, nil
}

// object reads an argument that is JSON, or JSON in a text.
func object(raw json.RawMessage, into any) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = json.RawMessage(text)
	}
	return json.Unmarshal(raw, into)
}

// bring makes sure that one resource is there, and reports whether it had to be fetched.
func (c *Client) bring(ctx context.Context, root *os.Root, item *resourceItem) (fetched bool, err error) {
	if !strings.EqualFold(item.Type, "ASSET") {
		return false, fmt.Errorf("the agent takes no resource of the type %.50q", item.Type)
	}
	sum, err := newHash(item.HashType)
	if err != nil {
		return false, err
	}
	if f, err := root.Open(item.file()); err == nil {
		_, err = io.Copy(sum, f)
		if err = errors.Join(err, f.Close()); err == nil && strings.EqualFold(hex.EncodeToString(sum.Sum(nil)), item.Digest) {
			return false, nil
		}
	}
	return true, c.download(ctx, root, item.file(), relativeOf(item.URL), item.URL, sum, item.Digest)
}

// relativeOf is the URL if it is a relative one.
func relativeOf(u string) string {
	if strings.Contains(u, "://") {
		return ""
	}
	return u
}
