package component

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sluice.dev/sluice/internal/agent/engine"
)

func getFile() engine.Definition {
	return engine.Definition{
		Type: standard + "GetFile", Description: "Takes files from a directory; each is a flow file", Input: engine.InputForbidden,
		Properties: []engine.Property{
			{Name: "Input Directory", Required: true, Expression: true},
			{Name: "File Filter", Description: "A regular expression of the names to take", Default: `[^\.].*`, Required: true, Check: engine.Regexp},
			{Name: "Batch Size", Description: "Files taken at one time", Default: "10", Required: true, Check: engine.Integer(1, 1000)},
			{Name: "Keep Source File", Description: "Whether files stay; they are taken again and again then", Default: "false", Required: true, Allowed: engine.Booleans()},
			{Name: "Recurse Subdirectories", Default: "true", Required: true, Allowed: engine.Booleans()},
			{Name: "Minimum File Age", Description: "Younger files wait", Default: "0 sec", Required: true, Check: engine.Duration},
			{Name: "Minimum File Size", Default: "0 B", Required: true, Check: engine.Size},
			{Name: "Maximum File Size", Check: engine.Size},
			{Name: "Ignore Hidden Files", Default: "true", Required: true, Allowed: engine.Booleans()},
		},
		Relationships: []engine.Relationship{success},
		New: func(s *engine.Settings) (engine.Processor, error) {
			return &fileGetter{set: s, filter: regexp.MustCompile(`\A(?:` + s.Text("File Filter") + `)\z`)}, nil // checked
		},
	}
}

type fileGetter struct {
	set    *engine.Settings
	filter *regexp.Regexp
}

var errEnough = errors.New("enough files")

func (g *fileGetter) Trigger(_ context.Context, s *engine.Session) error {
	dir, err := g.set.Eval("Input Directory", nil)
	if err != nil {
		return err
	}
	var taken []string
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != dir && (!g.set.Bool("Recurse Subdirectories") || g.hidden(d)) {
				return fs.SkipDir
			}
			return nil
		}
		if len(taken) == g.set.Int("Batch Size") {
			return errEnough
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !g.wanted(d, info) {
			return nil
		}
		if err == nil {
			err = g.take(s, dir, p, info)
		}
		if err == nil {
			taken = append(taken, p)
		}
		return err
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if len(taken) == 0 {
		s.Yield()
		return nil
	}
	if err := s.Commit(); err != nil || g.set.Bool("Keep Source File") {
		return err
	}
	var left error
	for _, p := range taken { // they are the agent's now
		left = errors.Join(left, os.Remove(p))
	}
	return left
}

func (g *fileGetter) hidden(d fs.DirEntry) bool {
	return g.set.Bool("Ignore Hidden Files") && strings.HasPrefix(d.Name(), ".")
}

func (g *fileGetter) wanted(d fs.DirEntry, info fs.FileInfo) bool {
	most := g.set.Size("Maximum File Size")
	return info.Mode().IsRegular() && !g.hidden(d) && g.filter.MatchString(d.Name()) &&
		info.Size() >= g.set.Size("Minimum File Size") && (most == 0 || info.Size() <= most) &&
		g.set.Clock.Now().Sub(info.ModTime()) >= g.set.Duration("Minimum File Age")
}

func (g *fileGetter) take(s *engine.Session, dir, p string, info fs.FileInfo) error {
	in, err := os.Open(p)
	if err != nil {
		return err
	}
	defer in.Close()
	f := s.Create()
	err = s.Write(f, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(dir, filepath.Dir(p))
	if err != nil {
		return err
	}
	f.Attributes[engine.AttrFilename] = filepath.Base(p)
	f.Attributes[engine.AttrPath] = filepath.ToSlash(rel) + "/"
	f.Attributes["absolute.path"] = filepath.ToSlash(filepath.Dir(p)) + "/"
	f.Attributes["file.lastModifiedTime"] = info.ModTime().Format("2006-01-02T15:04:05-0700")
	s.Transfer(f, success.Name)
	return nil
}
