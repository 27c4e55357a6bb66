package segment

import (
	"errors"
	"os"
	"path/filepath"
)

// SyncDir makes a directory's entries durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return diskError(err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return diskError(err)
	}
	return nil
}

// MakeDir makes a directory and those above it that are missing. Their names are durable on
// return: a file in a directory whose name a power cut takes away is lost with it.
func MakeDir(dir string) error {
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		return Broken.New("%s is not a directory", dir)
	}
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := MakeDir(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return diskError(err)
	}
	return SyncDir(above)
}

// ReplaceFile writes a file in the place of another in one step, durably, readable by its
// owner only. One writer at a time may do it.
func ReplaceFile(path string, data []byte) error {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return diskError(err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next) // the first error is the one to report
		return diskError(err)
	}
	return SyncDir(filepath.Dir(path))
}
