package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/passfile"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/node"
)

// move are the flags that export and import share.
type move struct {
	config, data, passphraseFile string
	options                      node.MoveOptions
}

func (m *move) flags(c *cobra.Command) {
	c.Flags().StringVar(&m.config, "config", "", "configuration file of the node")
	c.Flags().StringVar(&m.data, "data", "", "data directory of the node (default \""+node.Defaults().Data+"\")")
	c.Flags().StringVar(&m.passphraseFile, "passphrase-file", "", "file with the passphrase that seals the export")
	c.Flags().BoolVar(&m.options.ReferencesOnly, "references-only", false, "leave the control store alone")
}

// prepare reads the configuration and the passphrase.
func (m *move) prepare(cmd *cobra.Command) (*node.Config, error) {
	if m.passphraseFile == "" {
		return nil, config.Invalid.Field("passphrase-file", "--passphrase-file is needed: an export holds the root key, and is never written in clear text")
	}
	syscall.Umask(0o077) // libraries make files of ours too, and all of them are their owner's alone
	cfg, err := loadConfig(m.config)
	if err != nil {
		return nil, err
	}
	if m.data != "" {
		cfg.Data = m.data
	}
	if m.options.Passphrase, err = node.ReadPassphrase("--passphrase-file", m.passphraseFile); err != nil {
		return nil, err
	}
	m.options.Progress = progress(cmd.ErrOrStderr())
	return cfg, nil
}

// progress writes a line a second at most.
func progress(w io.Writer) func(what string, done int) {
	last := time.Now()
	return func(what string, done int) {
		if now := time.Now(); now.Sub(last) >= time.Second {
			last = now
			fmt.Fprintf(w, "%s: %d\n", what, done)
		}
	}
}

func (m *move) tell(cmd *cobra.Command, did string, r node.MoveReport) {
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "%s %d documents, %d rows and %d reference documents, at revision %d\n", did, r.Documents, r.Rows, r.References, r.About.Revision)
	for _, note := range r.Notes {
		fmt.Fprintln(w, "note:", note)
	}
}

func exportCommand() *cobra.Command {
	var m move
	var out string
	c := &cobra.Command{
		Use:   "export --data DIR --passphrase-file FILE",
		Short: "Write all of a control store to a file",
		Long: `Write all of a control store to a file, for "sluice import" to put into another database:
flows, agents, gateway, identities, keys, and the root key that seals them, under a
passphrase. The configuration and the data directory are those of a node.

A node over SQLite must be stopped. A database server may be in use: documents are of one
revision. Reference data is kept on one node's disk and comes along if that node is stopped
and DIR is its data directory. Objects, streams and audit records stay on that disk.

EXIT STATUS
  0 if all was written, 1 if not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" && term.IsTerminal(int(os.Stdout.Fd())) {
				return errors.New("an export is not written to a terminal: name a file with -o")
			}
			cfg, err := m.prepare(cmd)
			if err != nil {
				return err
			}
			var r node.MoveReport
			write := func(w io.Writer) error {
				r, err = node.Export(cmd.Context(), cfg, w, m.options)
				return err
			}
			if out == "" {
				err = write(cmd.OutOrStdout())
			} else {
				err = writeNew(out, write)
			}
			if err != nil {
				return cancelled(cmd.Context(), err)
			}
			m.tell(cmd, "exported", r)
			return nil
		},
	}
	m.flags(c)
	c.Flags().StringVarP(&out, "output", "o", "", "file to write, which must not be there (default standard output)")
	return c
}

// writeNew writes a file that was not there; it is there when all of it is.
func writeNew(path string, write func(io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s is there already", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // of its first name
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // fails if it is there
		return err
	}
	return segment.SyncDir(filepath.Dir(path))
}

func importCommand() *cobra.Command {
	var m move
	c := &cobra.Command{
		Use:   "import FILE --data DIR --passphrase-file FILE",
		Short: "Put an export into an unused control store, or another system's content into a node",
		Long: `Put what "sluice export" wrote into the control store that a configuration names: SQLite in
the data directory, or the empty database of a cluster that is yet to start. All of it is
put there or nothing, and no node starts on a data directory where an import was cut off.

Reference data goes into the data directory of a node alone, or of the node that
cluster.data_node names: run the import there, or once more there with --references-only.
So that objects and streams can be read, that directory should be the exported node's own,
or a copy of it.

EXIT STATUS
  0 if all is in its place, 1 if not.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name the one file that \"sluice export\" wrote")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := m.prepare(cmd)
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			r, err := node.Import(cmd.Context(), cfg, f, m.options)
			if err != nil {
				return cancelled(cmd.Context(), named(args[0], err))
			}
			m.tell(cmd, "imported", r)
			return nil
		},
	}
	m.flags(c)
	c.AddCommand(importKongCommand())
	return c
}

// named tells of which file an error is.
func named(path string, err error) error {
	if passfile.NotAFile.Is(err) || passfile.NewerFormat.Is(err) || passfile.WrongPassphrase.Is(err) || passfile.Damaged.Is(err) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return err
}

// cancelled is what to say after an interrupt, whatever failed because of it.
func cancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("it was cancelled, and can be begun again")
	}
	return err
}
