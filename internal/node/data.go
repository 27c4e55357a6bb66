package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/passfile"
	"sluice.dev/sluice/internal/base/segment"
)

// rootKeyFile is where the root key is.
const rootKeyFile = "root.key"

// dataFormat is the version of all that is kept in the data directory.
const dataFormat = 1

// dataDir is the data directory, locked for this process, with its root key.
type dataDir struct {
	path string
	lock *os.File
	root [32]byte
	mark marker // of this directory
	// accepted are damaged files that this start goes on with.
	accepted []string
	// database is the instance of a cluster's database.
	database string
	// reseal, if not nil, is to be called once the root key has opened the store.
	reseal func() error
}

// rootFile is the root key as kept: sealed by a passphrase, or only by the file's mode.
type rootFile struct {
	Format int    `json:"format"` // of the data directory
	KDF    string `json:"kdf"`    // "none" or "argon2id"
	Salt   []byte `json:"salt,omitempty"`
	Key    []byte `json:"key"` // clear with "none"; else nonce and AES-256-GCM
	// Check tells a damaged key from damaged stores, which both open nothing.
	Check []byte `json:"check,omitempty"`
	marker
}

// openData opens or makes the data directory.
func openData(ctx context.Context, c *Config) (_ *dataDir, err error) {
	if err := segment.MakeDir(c.Data); err != nil {
		return nil, fmt.Errorf("cannot make the data directory: %w", err)
	}
	if err := roomToStart(c.Data); err != nil {
		return nil, err
	}
	d, err := lockData(c.Data)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := d.refuseHalf(); err != nil {
		return nil, err
	}
	passphrase, err := c.passphrase()
	if err != nil {
		return nil, err
	}
	if c.Cluster.Enabled {
		return d, d.openSharedRoot(ctx, c, passphrase)
	}
	return d, d.openRoot(passphrase)
}

// errInUse: a running node has the data directory.
var errInUse = errors.New("is in use by another node")

// lockData locks a data directory for this process, and clears what a crash of writeFile
// has left.
func lockData(path string) (*dataDir, error) {
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the data directory: %w", err)
	}
	d := &dataDir{path: path, lock: lock}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.close()
		return nil, fmt.Errorf("the data directory %s %w", path, errInUse)
	}
	for _, left := range []string{"root.key.*", halfFile + ".*", "credentials.*", "endpoints.json.*", "*/" + markerFile + ".*"} {
		paths, _ := filepath.Glob(filepath.Join(path, left)) // the patterns are good
		for _, p := range paths {
			if err := os.Remove(p); err != nil {
				d.close()
				return nil, err
			}
		}
	}
	return d, nil
}

func (d *dataDir) close() { _ = d.lock.Close() } // the lock goes with it

// passphrase is what seals the root key; empty where nothing does.
func (c *Config) passphrase() (string, error) {
	if c.Root.PassphraseFile == "" {
		return c.Root.Passphrase, nil
	}
	return ReadPassphrase("root.passphrase_file", c.Root.PassphraseFile)
}

// ReadPassphrase reads a passphrase, without the end of its line, from the file that a
// setting names.
func ReadPassphrase(setting, path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", config.Invalid.Wrap(err, "cannot read %s", setting)
	}
	passphrase := strings.TrimRight(string(raw), "\r\n")
	if passphrase == "" {
		return "", config.Invalid.Field(setting, "the passphrase is empty")
	}
	return passphrase, nil
}

// openRoot reads the root key of the data directory, or makes it.
func (d *dataDir) openRoot(passphrase string) error {
	f, found, err := d.readRoot()
	if err != nil {
		return err
	}
	if !found {
		_, _ = rand.Read(d.root[:]) // never fails
		return d.keepRoot(passphrase)
	}
	if f.KDF == "none" && passphrase != "" {
		return config.Invalid.Field("root.passphrase_file", "root.passphrase_file is set, and the root key of %s was made without a passphrase: it would seal nothing", d.path)
	}
	d.root, err = f.open(passphrase)
	return err
}

// readRoot reads the root key's file, if there is one.
func (d *dataDir) readRoot() (f rootFile, found bool, err error) {
	path := filepath.Join(d.path, rootKeyFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		for _, kept := range []string{"control.db", indexStore, streamsStore, objectsStore} {
			if _, err := os.Lstat(filepath.Join(d.path, kept)); err == nil {
				return f, false, fmt.Errorf("%s holds data and no root.key: restore that file, without it nothing can be read", d.path)
			}
		}
		return f, false, nil
	}
	if err != nil {
		return f, false, fmt.Errorf("cannot read the root key: %w", err)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, false, errRootDamaged
	}
	if f.Format > dataFormat {
		return f, false, fmt.Errorf("the data directory has format %d, newer than this program's %d: use a newer sluice", f.Format, dataFormat)
	}
	d.mark = f.marker
	return f, true, nil
}

var (
	errRootDamaged = errors.New("the root key (root.key) is damaged: restore it from a backup of the data directory, without it nothing can be read")
	errPassphrase  = errors.New("the passphrase does not open the root key")
)

// open returns the root key.
func (f rootFile) open(passphrase string) (root [32]byte, err error) {
	key := f.Key
	switch f.KDF {
	case "none":
	case "argon2id":
		if passphrase == "" {
			return root, config.Invalid.Field("root.passphrase_file", "the root key is sealed by a passphrase: set root.passphrase_file")
		}
		aead, err := passfile.AEAD(passphrase, f.Salt)
		if err != nil {
			return root, err
		}
		if len(key) < aead.NonceSize() {
			return root, errRootDamaged
		}
		if key, err = aead.Open(nil, key[:aead.NonceSize()], key[aead.NonceSize():], f.Salt); err != nil {
			return root, errPassphrase
		}
	default:
		return root, errRootDamaged
	}
	if copy(root[:], key) != len(root) || len(f.Check) > 0 && !bytes.Equal(f.Check, checkOf(root)) {
		return root, errRootDamaged
	}
	return root, nil
}

// checkOf is what a root key is kept with. It says nothing of the key or of what is derived
// from it.
func checkOf(root [32]byte) []byte {
	raw, err := hkdf.Key(sha256.New, root[:], nil, "sluice root check", 8)
	if err != nil {
		panic(err) // 8 bytes are always possible
	}
	return raw
}

// sealRoot is the root key as it is kept.
func sealRoot(root [32]byte, passphrase string, mark marker) ([]byte, error) {
	f := rootFile{Format: dataFormat, KDF: "none", Key: root[:], Check: checkOf(root), marker: mark}
	if passphrase != "" {
		f.KDF, f.Salt = "argon2id", make([]byte, 16)
		_, _ = rand.Read(f.Salt) // never fails
		aead, err := passfile.AEAD(passphrase, f.Salt)
		if err != nil {
			return nil, err
		}
		nonce := make([]byte, aead.NonceSize())
		_, _ = rand.Read(nonce) // never fails
		f.Key = aead.Seal(nonce, nonce, root[:], f.Salt)
	}
	return json.Marshal(f)
}

// keepRoot writes the root key into the data directory. A directory that has none yet is
// new, and gets its id with it.
func (d *dataDir) keepRoot(passphrase string) error {
	if _, err := os.Lstat(filepath.Join(d.path, rootKeyFile)); errors.Is(err, os.ErrNotExist) {
		d.mark.Directory = cmp.Or(d.mark.Directory, rand.Text())
	}
	raw, err := sealRoot(d.root, passphrase, d.mark)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(d.path, rootKeyFile), raw)
}

// key derives a part's own key from the root key.
func (d *dataDir) key(part string) (out [32]byte) {
	raw, err := hkdf.Key(sha256.New, d.root[:], nil, "sluice root "+part, len(out))
	if err != nil {
		panic(err) // 32 bytes are always possible
	}
	copy(out[:], raw)
	return out
}

// writeFile replaces a file in one step, durably, readable by its owner only.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = segment.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to report
		return fmt.Errorf("cannot write %s: %w", filepath.Base(path), err)
	}
	return nil
}
