package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/base/segment"
)

func putFile() engine.Definition {
	return engine.Definition{
		Type: standard + "PutFile", Description: "Writes the content of flow files to files, each by one rename", Input: engine.InputRequired,
		Properties: []engine.Property{
			{Name: "Directory", Required: true, Expression: true},
			{Name: "Conflict Resolution Strategy", Description: "What happens where a file of that name is there", Default: "fail", Required: true,
				Allowed: []string{"replace", "ignore", "fail"}},
			{Name: "Create Missing Directories", Default: "true", Required: true, Allowed: engine.Booleans()},
		},
		Relationships: []engine.Relationship{success, failure},
		New:           func(s *engine.Settings) (engine.Processor, error) { return &filePutter{set: s}, nil },
	}
}

type filePutter struct{ set *engine.Settings }

func (p *filePutter) Trigger(_ context.Context, s *engine.Session) error {
	list, err := s.GetBatch(100, maxText)
	if err != nil {
		return err
	}
	for _, f := range list {
		if err := p.put(s, f); err != nil {
			fail(p.set, s, f, err)
			continue
		}
		s.Transfer(f, success.Name)
	}
	return nil
}

func (p *filePutter) put(s *engine.Session, f *engine.FlowFile) (err error) {
	dir, err := p.set.Eval("Directory", f)
	if err != nil {
		return err
	}
	name := f.Attributes[engine.AttrFilename]
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") {
		return fmt.Errorf("the attribute filename, %q, is no file name", name)
	}
	if p.set.Bool("Create Missing Directories") {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	to := filepath.Join(dir, name)
	strategy := p.set.Text("Conflict Resolution Strategy")
	if _, err := os.Lstat(to); err == nil && strategy != "replace" {
		if strategy == "ignore" {
			return nil
		}
		return fmt.Errorf("%s exists: %w", to, fs.ErrExist)
	}
	tmp, err := os.CreateTemp(dir, ".sluice-*")
	if err != nil {
		return err
	}
	moved := false
	defer func() {
		if !moved {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = io.Copy(tmp, s.Read(f))
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), to); err != nil {
		return err
	}
	moved = true
	if err := segment.SyncDir(dir); !errors.Is(err, fs.ErrPermission) { // who may write there need not be one who may list it
		return err
	}
	return nil
}
