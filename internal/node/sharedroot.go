package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/url"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/store"
)

// openSharedRoot reads the root key that the nodes of a cluster share. It lies in the
// database, sealed, and in each node's data directory, as it does for a node alone: so a
// database that a node alone has used is adopted by that node, which puts its key there.
func (d *dataDir) openSharedRoot(ctx context.Context, c *Config, passphrase string) error {
	secret, err := c.rootSecret(passphrase)
	if err != nil {
		return err
	}
	mine, own, err := d.readRoot()
	if err == nil && own {
		d.root, err = mine.open(passphrase)
	}
	if err != nil {
		return err
	}
	id, err := store.Identify(ctx, c.Store.URL, nil)
	if err != nil {
		return err
	}
	d.database = id.Instance
	if id.Root == nil {
		if !own && id.Used {
			return config.Invalid.Field("store.url", "the database holds what a node alone has written, and its root key is not known here: start that node first, with cluster.enabled, on its own data directory")
		}
		if !own {
			_, _ = rand.Read(d.root[:]) // never fails
		}
		sealed, err := sealRoot(d.root, secret, marker{})
		if err != nil {
			return err
		}
		if id, err = store.Identify(ctx, c.Store.URL, sealed); err != nil { // another may be first
			return err
		}
	}
	var f rootFile
	if err := json.Unmarshal(id.Root, &f); err != nil {
		return errRootDamaged
	}
	root, err := f.open(secret)
	switch {
	case errors.Is(err, errPassphrase) && own:
		// The passphrase was changed. Whether this node's key is the right one, the store
		// will say.
		d.reseal = func() error {
			sealed, err := sealRoot(d.root, secret, marker{})
			if err != nil {
				return err
			}
			_, err = store.ReplaceRoot(ctx, c.Store.URL, id.Root, sealed)
			return err
		}
		return nil
	case errors.Is(err, errPassphrase):
		return config.Invalid.Field("root.passphrase_file", "the cluster's root key is sealed by another passphrase, or by another password of the database, than this node's")
	case err != nil:
		return err
	case own && root != d.root:
		return config.Invalid.Field("data", "the data directory %s belongs to another cluster, or to a node alone: its root key is not that of the database", d.path)
	}
	d.root = root
	if own && (mine.KDF != "none" || passphrase == "") {
		return nil
	}
	return d.keepRoot(passphrase) // for the first time, or under the passphrase it did not have
}

// rootSecret is what seals the root key that the nodes of a cluster share.
func (c *Config) rootSecret(passphrase string) (string, error) {
	if passphrase != "" {
		return passphrase, nil
	}
	u, err := url.Parse(c.Store.URL)
	if err != nil {
		return "", store.BadURL.New("the control store's URL cannot be parsed") // err would repeat a password
	}
	secret, _ := u.User.Password()
	if secret == "" {
		return "", config.Invalid.Field("root.passphrase_file", "a cluster keeps its root key in the database, sealed by a passphrase: set root.passphrase_file, or use a database with a password")
	}
	return secret, nil
}
