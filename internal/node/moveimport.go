package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/references"
)

// halfFile is in a data directory while an import is under way, and says of what.
const halfFile = "importing"

// half is what the import was of that was cut off; "" if none was.
func (d *dataDir) half() (string, error) {
	raw, err := os.ReadFile(filepath.Join(d.path, halfFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(raw), err
}

func (d *dataDir) refuseHalf() error {
	what, err := d.half()
	if err != nil {
		return err
	}
	if what != "" {
		return fmt.Errorf("an import into %s was cut off: run \"sluice import\" again", d.path)
	}
	return nil
}

// Import puts what Export wrote into an unused control store and data directory. The file
// is read twice: one that is damaged changes nothing. What is cut off leaves the database
// unused or filled, and a data directory that no node starts on; the same import goes on.
func Import(ctx context.Context, c *Config, file io.ReadSeeker, o MoveOptions) (report MoveReport, err error) {
	if err := c.complete(); err != nil {
		return report, err
	}
	report, err = verifyExport(ctx, file, o)
	if err != nil {
		return report, err
	}
	in, err := reopenExport(file, o)
	if err != nil {
		return report, err
	}
	if in.begin.Account != c.Account {
		return report, config.Invalid.Field("account", "the export is of account %s, and this configuration's is %s: set account", in.begin.Account, c.Account)
	}
	o.ReferencesOnly = o.ReferencesOnly || !in.has(partControl)
	if o.ReferencesOnly && !in.has(partReferences) {
		return report, errors.New("the export holds no reference data")
	}
	if o.ReferencesOnly && !c.local() {
		return report, config.Invalid.Field("cluster.data_node", "reference data belongs on the node that cluster.data_node names, and that is not this one")
	}
	i := importer{config: c, options: o, in: in}
	if err := i.run(ctx); err != nil {
		return report, err
	}
	if in.has(partReferences) && !c.local() {
		report.References = 0
		note := "reference data was not imported: it belongs on node " + c.Cluster.DataNode + "; run \"sluice import --references-only\" there"
		if c.Cluster.DataNode == "" {
			note = "reference data was not imported: cluster.data_node names no node to have it"
		}
		report.Notes = append(report.Notes, note)
	}
	return report, nil
}

// verifyExport reads a file to its end.
func verifyExport(ctx context.Context, file io.Reader, o MoveOptions) (r MoveReport, err error) {
	in, err := readExport(file, o.Passphrase)
	if err != nil {
		return r, err
	}
	r.About = in.about
	for ended := false; ; {
		rec, err := in.next()
		switch {
		case errors.Is(err, io.EOF) && ended:
			return r, nil
		case err != nil:
			return r, err
		case ctx.Err() != nil:
			return r, ctx.Err()
		case rec.End != nil:
			r.Moved, ended = *rec.End, true
		}
		o.progress("records verified", in.moved.Documents+in.moved.Rows+in.moved.References)
	}
}

func reopenExport(file io.ReadSeeker, o MoveOptions) (*exportReader, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return readExport(file, o.Passphrase)
}

// importer puts a verified export in its place.
type importer struct {
	config  *Config
	options MoveOptions
	in      *exportReader
}

func (i *importer) run(ctx context.Context) error {
	c := i.config
	passphrase, err := c.passphrase()
	if err != nil {
		return err
	}
	if err := segment.MakeDir(c.Data); err != nil {
		return fmt.Errorf("cannot make the data directory: %w", err)
	}
	d, err := lockData(c.Data)
	if errors.Is(err, errInUse) {
		return fmt.Errorf("%w: stop it first", err)
	}
	if err != nil {
		return err
	}
	defer d.close()
	f, own, err := d.readRoot()
	if err != nil {
		return err
	}
	copy(d.root[:], i.in.begin.Root)
	if own {
		root, err := f.open(passphrase)
		if err != nil {
			return err
		}
		if root != d.root {
			return config.Invalid.Field("data", "the data directory %s is in use: its root key is not that of the export; import into a new one, or into that of the node that was exported", d.path)
		}
	}
	var sealed []byte
	if c.Cluster.Enabled {
		secret, err := c.rootSecret(passphrase)
		if err != nil {
			return err
		}
		if sealed, err = sealRoot(d.root, secret, marker{}); err != nil {
			return err
		}
	}
	if err := i.checkUnused(ctx, d); err != nil {
		return err
	}
	what := partControl
	if i.options.ReferencesOnly {
		what = partReferences
	}
	if err := writeFile(filepath.Join(d.path, halfFile), []byte(what)); err != nil {
		return err
	}
	if !own {
		if err := d.keepRoot(passphrase); err != nil {
			return err
		}
	}
	if err := i.references(ctx, d); err != nil {
		return err
	}
	if err := i.store(ctx, d, sealed); err != nil {
		return err
	}
	if err := i.note(ctx, d); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(d.path, halfFile)); err != nil {
		return err
	}
	return segment.SyncDir(d.path)
}

// checkUnused looks at the database before anything is written; store asks it once more.
func (i *importer) checkUnused(ctx context.Context, d *dataDir) error {
	half, err := d.half()
	switch {
	case err != nil:
		return err
	case i.options.ReferencesOnly && half == partControl:
		return fmt.Errorf("an import of the control store into %s was cut off: run it again, without --references-only", d.path)
	case i.options.ReferencesOnly || half == partControl:
		return nil
	}
	if path, ok := strings.CutPrefix(i.config.Store.URL, "sqlite://"); ok {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	id, err := store.Identify(ctx, i.config.Store.URL, nil)
	if err == nil && (id.Used || id.Root != nil) {
		err = i.used()
	}
	return err
}

func (i *importer) used() error {
	if path, ok := strings.CutPrefix(i.config.Store.URL, "sqlite://"); ok {
		return store.InUse.New("%s holds a control store already: move it away, or import into another directory", path)
	}
	return store.InUse.New("the database holds a control store already: import into an empty database")
}

// references puts the reference data, which comes first, into the index or passes it over.
func (i *importer) references(ctx context.Context, d *dataDir) (err error) {
	if !i.in.has(partReferences) {
		return nil
	}
	if !i.config.local() {
		for _, err := range i.entries(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	index, err := d.openIndex()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	return references.New(index).Load(i.entries(ctx))
}

// note makes the directory and the database know each other.
func (i *importer) note(ctx context.Context, d *dataDir) error {
	if i.options.ReferencesOnly || !i.config.local() {
		return nil
	}
	if d.mark.Directory == "" {
		d.mark.Directory = rand.Text()
	}
	if err := d.noteControl(ctx, i.config.Store.URL, true); err != nil {
		return err
	}
	return d.keep(controlStore)
}

func (i *importer) entries(ctx context.Context) iter.Seq2[references.Entry, error] {
	return func(yield func(references.Entry, error) bool) {
		for {
			rec, err := i.in.next()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(references.Entry{}, err)
				return
			}
			if rec.Reference == nil {
				i.in.held = rec
				return
			}
			i.options.progress("reference documents", i.in.moved.References)
			if !yield(*rec.Reference, nil) {
				return
			}
		}
	}
}

func (i *importer) store(ctx context.Context, d *dataDir, root []byte) error {
	if i.options.ReferencesOnly {
		return nil
	}
	filled, err := store.Fill(ctx, store.Config{URL: i.config.Store.URL, Key: d.key("store")},
		store.Filling{Revision: i.in.about.Revision, Root: root, Content: i.kept()})
	if store.InUse.Is(err) {
		err = i.used()
		if filled { // by this import, whose end was cut off
			err = nil
		}
	}
	return err
}

func (i *importer) kept() iter.Seq2[store.Kept, error] {
	return func(yield func(store.Kept, error) bool) {
		for {
			rec, err := i.in.next()
			switch {
			case err != nil:
				yield(store.Kept{}, err)
				return
			case rec.End != nil:
				return
			case rec.Kept == nil:
				continue // of a later version
			}
			i.options.progress("documents and rows", i.in.moved.Documents+i.in.moved.Rows)
			if !yield(*rec.Kept, nil) {
				return
			}
		}
	}
}
