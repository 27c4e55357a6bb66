package node

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/passfile"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/references"
)

// exportKind is what the file of an export says it is.
const exportKind = "sluice export"

// The parts of an export.
const (
	partControl    = "control store"
	partReferences = "reference data"
)

// ExportAbout is what an export tells of itself to everybody.
type ExportAbout struct {
	Made     time.Time `json:"made"`
	Program  string    `json:"program"`
	From     string    `json:"from"` // sort of database
	Revision int64     `json:"revision"`
	Parts    []string  `json:"parts"`
}

// Moved counts what an export holds.
type Moved struct {
	Documents  int `json:"documents"`
	Rows       int `json:"rows"`
	References int `json:"references"`
}

// exportRecord is a line of an export: one of its members.
type exportRecord struct {
	Begin     *exportBegin      `json:"begin,omitempty"`
	Reference *references.Entry `json:"reference,omitempty"`
	Kept      *store.Kept       `json:"kept,omitempty"`
	End       *Moved            `json:"end,omitempty"`
}

// exportBegin is the first record: whose the content is, and the key it is sealed with.
type exportBegin struct {
	Account string `json:"account"`
	Root    []byte `json:"root"`
}

// MoveOptions say how an export or an import goes.
type MoveOptions struct {
	// Passphrase seals the file.
	Passphrase string
	// ReferencesOnly leaves the control store alone.
	ReferencesOnly bool
	// Progress, if not nil, is told how many of a sort are done.
	Progress func(what string, done int)
}

func (o MoveOptions) progress(what string, done int) {
	if o.Progress != nil {
		o.Progress(what, done)
	}
}

// MoveReport is what an export or an import did, and what its reader should know.
type MoveReport struct {
	Moved
	About ExportAbout
	Notes []string
}

// Export writes to out what a node's control store holds, and the reference data of its
// data directory where that can be had: a node that runs has its directory for itself.
func Export(ctx context.Context, c *Config, out io.Writer, o MoveOptions) (r MoveReport, err error) {
	if err := c.complete(); err != nil {
		return r, err
	}
	d, err := c.dataToExport(o)
	if err != nil {
		return r, err
	}
	if d.lock != nil {
		defer d.close()
	}
	if err := d.exportRoot(ctx, c); err != nil {
		return r, err
	}
	e := exporter{options: o, report: MoveReport{About: ExportAbout{Made: time.Now().UTC().Truncate(time.Second), Program: Version(), From: c.databaseSort()}}}
	if note := d.withoutReferences(c); note == "" {
		index, err := d.openIndex()
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, index.Close()) }()
		e.index = index
		e.report.About.Parts = append(e.report.About.Parts, partReferences)
	} else if o.ReferencesOnly {
		return r, errors.New(note)
	} else {
		e.report.Notes = append(e.report.Notes, note)
	}
	if !o.ReferencesOnly {
		if e.dump, err = store.NewDump(ctx, store.Config{URL: c.Store.URL, Key: d.key("store")}); err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, e.dump.Close()) }()
		e.report.About.Revision = e.dump.Revision
		e.report.About.Parts = append(e.report.About.Parts, partControl)
	}
	err = e.write(ctx, out, exportBegin{c.Account, d.root[:]})
	return e.report, err
}

// dataToExport is the data directory, locked unless a node of a database server has it.
func (c *Config) dataToExport(o MoveOptions) (*dataDir, error) {
	if path, ok := strings.CutPrefix(c.Store.URL, "sqlite://"); ok {
		if _, err := os.Stat(path); err != nil { // opening it would make it
			return nil, fmt.Errorf("there is no control store to export: %w", err)
		}
	}
	if _, err := os.Stat(c.Data); errors.Is(err, os.ErrNotExist) {
		return &dataDir{path: c.Data}, nil
	}
	d, err := lockData(c.Data)
	switch {
	case errors.Is(err, errInUse) && (o.ReferencesOnly || strings.HasPrefix(c.Store.URL, "sqlite:")):
		return nil, fmt.Errorf("%w: stop it first", err)
	case errors.Is(err, errInUse):
		d = &dataDir{path: c.Data}
	case err != nil:
		return nil, err
	}
	if err := d.refuseHalf(); err != nil {
		if d.lock != nil {
			d.close()
		}
		return nil, err
	}
	return d, nil
}

// exportRoot finds the root key: in the data directory, or in a cluster's database.
func (d *dataDir) exportRoot(ctx context.Context, c *Config) error {
	passphrase, err := c.passphrase()
	if err != nil {
		return err
	}
	f, own, err := d.readRoot()
	if err != nil {
		return err
	}
	if !own {
		if !c.Cluster.Enabled {
			return fmt.Errorf("%s has no root.key: name the data directory of the node with --data", d.path)
		}
		id, err := store.Identify(ctx, c.Store.URL, nil)
		if err != nil {
			return err
		}
		if id.Root == nil {
			return errors.New("the database is not that of a cluster: it keeps no root key")
		}
		if passphrase, err = c.rootSecret(passphrase); err != nil {
			return err
		}
		if json.Unmarshal(id.Root, &f) != nil {
			return errRootDamaged
		}
	}
	d.root, err = f.open(passphrase)
	return err
}

// withoutReferences says why there is no reference data to be had here; "" if there is.
func (d *dataDir) withoutReferences(c *Config) string {
	const how = "; \"sluice export --references-only\" there, while it is stopped, writes it"
	_, err := os.Stat(filepath.Join(d.path, "index"))
	switch {
	case !c.local() && c.Cluster.DataNode == "":
		return "reference data is not exported: cluster.data_node names no node that has it"
	case !c.local():
		return "reference data is not exported: node " + c.Cluster.DataNode + " has it" + how
	case d.lock == nil && err == nil:
		return "reference data is not exported: a running node has " + d.path + how
	case err != nil:
		return "reference data is not exported: there is none in " + d.path
	}
	return ""
}

// databaseSort is the sort of database that the control store is in.
func (c *Config) databaseSort() string {
	u, err := url.Parse(c.Store.URL)
	if err != nil {
		return ""
	}
	return u.Scheme
}

// exporter writes an export.
type exporter struct {
	options MoveOptions
	report  MoveReport
	index   *kv.DB      // nil: no reference data
	dump    *store.Dump // nil: no control store
}

func (e *exporter) write(ctx context.Context, out io.Writer, begin exportBegin) error {
	buffered := bufio.NewWriterSize(out, 64<<10)
	sealed, err := passfile.NewWriter(buffered, exportKind, e.options.Passphrase, e.report.About)
	if err != nil {
		return err
	}
	// What is sealed cannot be made smaller, but its text form can.
	packed, err := gzip.NewWriterLevel(sealed, gzip.BestSpeed)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(packed)
	if err := enc.Encode(exportRecord{Begin: &begin}); err != nil {
		return err
	}
	if err := e.content(ctx, enc); err != nil {
		return err
	}
	return errors.Join(enc.Encode(exportRecord{End: &e.report.Moved}), packed.Close(), sealed.Close(), buffered.Flush())
}

func (e *exporter) content(ctx context.Context, enc *json.Encoder) error {
	if e.index != nil {
		for entry, err := range references.New(e.index).All(ctx) {
			if err == nil {
				err = enc.Encode(exportRecord{Reference: &entry})
			}
			if err != nil {
				return err
			}
			e.report.References++
			e.options.progress("reference documents", e.report.References)
		}
	}
	if e.dump == nil {
		return nil
	}
	for i := range e.dump.Documents {
		if err := enc.Encode(exportRecord{Kept: &e.dump.Documents[i]}); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		e.report.Documents++
		e.options.progress("documents", e.report.Documents)
	}
	for k, err := range e.dump.Rows(ctx) {
		if err == nil {
			err = enc.Encode(exportRecord{Kept: &k})
		}
		if err != nil {
			return err
		}
		e.report.Rows++
		e.options.progress("rows", e.report.Rows)
	}
	return nil
}

// exportReader reads an export, record by record.
type exportReader struct {
	about ExportAbout
	begin exportBegin
	dec   *json.Decoder
	held  *exportRecord // read, and given back
	moved Moved
}

func readExport(in io.Reader, passphrase string) (*exportReader, error) {
	r := new(exportReader)
	sealed, err := passfile.NewReader(in, exportKind, passphrase, &r.about)
	if err != nil {
		return nil, err
	}
	packed, err := gzip.NewReader(sealed)
	if err != nil {
		return nil, err
	}
	r.dec = json.NewDecoder(packed)
	first, err := r.next()
	if err != nil {
		return nil, err
	}
	if first.Begin == nil || len(first.Begin.Root) != len(dataDir{}.root) {
		return nil, passfile.Damaged.New("it has no beginning")
	}
	r.begin = *first.Begin
	return r, nil
}

// next returns the next record; its error is io.EOF behind the last of a whole file.
func (r *exportReader) next() (*exportRecord, error) {
	if held := r.held; held != nil {
		r.held = nil
		return held, nil
	}
	rec := new(exportRecord)
	if err := r.dec.Decode(rec); err != nil {
		return nil, err
	}
	switch {
	case rec.Reference != nil:
		r.moved.References++
	case rec.Kept != nil && rec.Kept.Group == nil:
		r.moved.Documents++
	case rec.Kept != nil:
		r.moved.Rows++
	case rec.End != nil && *rec.End != r.moved:
		return nil, passfile.Damaged.New("it does not hold what its end says")
	}
	return rec, nil
}

func (r *exportReader) has(part string) bool { return slices.Contains(r.about.Parts, part) }
