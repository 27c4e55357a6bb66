package component

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"sluice.dev/sluice/internal/agent/engine"
)

func tailFile() engine.Definition {
	return engine.Definition{
		Type: standard + "TailFile", Description: "Follows a file that grows, over its rotations; whole lines become flow files. The position is kept with them.",
		Input: engine.InputForbidden,
		Properties: []engine.Property{
			{Name: "File to Tail", DisplayName: "File(s) to Tail", Required: true},
			{Name: "Rolling Filename Pattern", Description: "Names of rotated files beside it, with * and ?; ${filename} is the file's name without its extension"},
			{Name: "Initial Start Position", Description: "Where a file that was never followed begins", Default: fromStart, Required: true, Allowed: []string{fromStart, fromNow}},
			{Name: "max-buffer-length", DisplayName: "Max Buffer Size", Description: "Most content of one flow file", Default: "1 MB", Required: true, Check: engine.Size},
		},
		Relationships: []engine.Relationship{success},
		New: func(s *engine.Settings) (engine.Processor, error) {
			t := &tailer{set: s, file: filepath.Clean(s.Text("File to Tail")), most: min(max(s.Size("max-buffer-length"), 1), maxText)}
			name := filepath.Base(t.file)
			if p := s.Text("Rolling Filename Pattern"); p != "" {
				t.pattern = strings.ReplaceAll(p, "${filename}", strings.TrimSuffix(name, filepath.Ext(name)))
				if _, err := filepath.Match(t.pattern, name); err != nil || strings.ContainsRune(t.pattern, '/') {
					return nil, fmt.Errorf("property %q: %q is no pattern of file names", "Rolling Filename Pattern", p)
				}
			}
			return t, nil
		},
	}
}

const (
	fromStart = "Beginning of File"
	fromNow   = "Current Time"
	tailKey   = "position"
)

type tailer struct {
	set     *engine.Settings
	file    string
	pattern string
	most    int64
}

// position says how far which file was read. A file is told by its device and inode: its
// name changes when it is rotated.
type position struct {
	File        string `json:"file"` // the setting: a position of another file is not ours
	Device, Ino uint64
	Offset      int64
}

func (p *position) of(info fs.FileInfo) bool {
	dev, ino := identity(info)
	return p.Device == dev && p.Ino == ino
}

func identity(info fs.FileInfo) (dev, ino uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return uint64(st.Dev), st.Ino
}

func (t *tailer) Trigger(_ context.Context, s *engine.Session) error {
	pos, err := t.restore(s)
	if err != nil {
		return err
	}
	name, info, final, err := t.locate(&pos)
	if errors.Is(err, fs.ErrNotExist) {
		s.Yield()
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() < pos.Offset {
		t.set.Log.Info("the file was cut short: it is read from its start", "file", name)
		pos.Offset = 0
	}
	data, err := t.read(name, pos, final)
	if err != nil {
		return err
	}
	if len(data) == 0 && !final {
		s.Yield()
		return t.save(s, pos)
	}
	if len(data) > 0 {
		f := s.Create()
		if err := s.WriteBytes(f, data); err != nil {
			return err
		}
		ext := filepath.Ext(t.file)
		base := strings.TrimSuffix(filepath.Base(t.file), ext)
		f.Attributes[engine.AttrFilename] = fmt.Sprintf("%s.%d-%d%s", base, pos.Offset, pos.Offset+int64(len(data)), ext)
		f.Attributes[engine.AttrMime] = "text/plain"
		f.Attributes["tailfile.original.path"] = t.file
		s.Transfer(f, success.Name)
		pos.Offset += int64(len(data))
	}
	if final && pos.Offset >= info.Size() { // a rotated file grows no more: on to the one that followed it
		next, err := t.after(info)
		if err != nil {
			return err
		}
		pos.Device, pos.Ino = identity(next)
		pos.Offset = 0
	}
	return t.save(s, pos)
}

func (t *tailer) restore(s *engine.Session) (position, error) {
	pos := position{}
	b, ok, err := s.State(tailKey)
	if err != nil {
		return pos, err
	}
	if ok {
		if err := json.Unmarshal(b, &pos); err != nil {
			return pos, err
		}
	}
	if pos.File == t.file {
		return pos, nil
	}
	pos = position{File: t.file}
	info, err := os.Stat(t.file)
	if err != nil {
		return pos, nil //nolint:nilerr // it is looked for again
	}
	pos.Device, pos.Ino = identity(info)
	if t.set.Text("Initial Start Position") == fromNow {
		pos.Offset = info.Size()
	}
	return pos, nil
}

// save keeps a position if it is another than what is kept: each is a write to the disk.
func (t *tailer) save(s *engine.Session, pos position) error {
	b, err := json.Marshal(pos)
	if err != nil {
		return err
	}
	if old, _, err := s.State(tailKey); err != nil || bytes.Equal(old, b) {
		return err
	}
	s.SetState(tailKey, b)
	return nil
}

// locate finds the file that pos is about under its name of now; final if it was rotated.
func (t *tailer) locate(pos *position) (name string, info fs.FileInfo, final bool, err error) {
	info, err = os.Stat(t.file)
	if err == nil && pos.of(info) {
		return t.file, info, false, nil
	}
	if pos.Ino != 0 {
		rotated, rerr := t.rotated()
		if rerr != nil {
			return "", nil, false, rerr
		}
		for _, r := range rotated {
			if pos.of(r) {
				return filepath.Join(filepath.Dir(t.file), r.Name()), r, err == nil, nil
			}
		}
	}
	if err != nil {
		return "", nil, false, err
	}
	if pos.Offset > 0 {
		t.set.Log.Warn("the file was replaced and its old one is not found: what was not read of it is lost", "file", t.file)
	}
	pos.Device, pos.Ino = identity(info)
	pos.Offset = 0
	return t.file, info, false, nil
}

// rotated lists the rotated files, the oldest first.
func (t *tailer) rotated() ([]fs.FileInfo, error) {
	if t.pattern == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Dir(t.file))
	if err != nil {
		return nil, err
	}
	var out []fs.FileInfo
	for _, e := range entries {
		if ok, _ := filepath.Match(t.pattern, e.Name()); !ok || e.Name() == filepath.Base(t.file) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			out = append(out, info)
		}
	}
	slices.SortFunc(out, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), strings.Compare(b.Name(), a.Name()))
	})
	return out, nil
}

// after is the file that followed a rotated one.
func (t *tailer) after(info fs.FileInfo) (fs.FileInfo, error) {
	rotated, err := t.rotated()
	if err != nil {
		return nil, err
	}
	dev, ino := identity(info)
	for i, r := range rotated {
		if d, n := identity(r); d == dev && n == ino && i+1 < len(rotated) {
			return rotated[i+1], nil
		}
	}
	return os.Stat(t.file)
}

// read returns what is behind pos: whole lines, but all of a file that grows no more and
// what one buffer holds of a line that does not end in it.
func (t *tailer) read(name string, pos position, final bool) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !pos.of(info) { // it was rotated this moment; the next trigger finds it
		return nil, err
	}
	buf := make([]byte, min(t.most, max(info.Size()-pos.Offset, 0)))
	n, err := f.ReadAt(buf, pos.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	buf = buf[:n]
	if end := bytes.LastIndexByte(buf, '\n'); end >= 0 && !(final && pos.Offset+int64(n) >= info.Size()) {
		return buf[:end+1], nil
	} else if end < 0 && !final && int64(n) < t.most {
		return nil, nil
	}
	return buf, nil
}
