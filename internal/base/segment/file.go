package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	magic       = "SLUICSEG"
	version     = 1
	maxMeta     = 64 << 10
	firstRoom   = 64 << 10
	preallocate = 16 << 20
)

// File is one segment being written. It is not safe for concurrent writers.
type File struct {
	f    *os.File
	path string
	size int64 // what is written
	room int64 // what is allocated
	step int64
	new  bool // its name is not durable yet
}

// Create makes a new segment with the owner's meta. The file's name is durable on return.
// What is allocated ahead doubles with the size up to step bytes; 16 MiB if zero.
func Create(path string, meta []byte, step int64) (*File, error) {
	w, err := CreateUnsynced(path, meta, step)
	if err != nil {
		return nil, err
	}
	if err := w.Sync(); err != nil {
		return nil, errors.Join(err, w.Discard())
	}
	return w, nil
}

// CreateUnsynced is Create for a segment that nothing refers to before Sync or Finish, which
// make its name durable too: a crash before them may leave a file without a header, or none.
func CreateUnsynced(path string, meta []byte, step int64) (*File, error) {
	if step == 0 {
		step = preallocate
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, diskError(err)
	}
	w := &File{f: f, path: path, step: step, new: true}
	head := make([]byte, 0, 16+len(meta)+4)
	head = append(head, magic...)
	head = binary.BigEndian.AppendUint32(head, version)
	head = binary.BigEndian.AppendUint32(head, uint32(len(meta)))
	head = append(head, meta...)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	if _, err := w.Append(head); err != nil {
		return nil, errors.Join(err, w.Discard())
	}
	return w, nil
}

// Append writes b at the end and returns where. The bytes are durable after Sync.
func (w *File) Append(b []byte) (off int64, err error) {
	if need := w.size + int64(len(b)); need > w.room {
		room := need + min(max(need, firstRoom), w.step)
		if err := unix.Fallocate(int(w.f.Fd()), 0, w.room, room-w.room); err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
			return 0, diskError(err)
		}
		w.room = room
	}
	if _, err := w.f.WriteAt(b, w.size); err != nil {
		return 0, diskError(err)
	}
	off = w.size
	w.size += int64(len(b))
	return off, nil
}

// Sync makes what was appended durable.
func (w *File) Sync() error {
	if err := syscall.Fdatasync(int(w.f.Fd())); err != nil {
		return diskError(err)
	}
	return w.syncName()
}

func (w *File) syncName() error {
	if !w.new {
		return nil
	}
	if err := SyncDir(filepath.Dir(w.path)); err != nil {
		return err
	}
	w.new = false
	return nil
}

// CutBack forgets what was appended behind size.
func (w *File) CutBack(size int64) error {
	w.size, w.room = size, size
	return w.f.Truncate(size)
}

// Size is the number of bytes written.
func (w *File) Size() int64 { return w.size }

// Finish gives back what was allocated and not used, makes everything durable and closes.
func (w *File) Finish() error {
	err := w.f.Truncate(w.size)
	return errors.Join(err, w.f.Sync(), w.syncName(), w.f.Close())
}

// Discard closes and removes the file.
func (w *File) Discard() error { return errors.Join(w.f.Close(), os.Remove(w.path)) }

// Open opens a segment for reading and returns its meta and where its first frame begins.
func Open(path string) (f *os.File, meta []byte, first int64, err error) {
	f, err = os.Open(path)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error is the one to report
		}
	}()
	var fixed [16]byte
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, 16), fixed[:]); err != nil {
		return nil, nil, 0, Corrupt.Wrap(err, "segment %s has no header", filepath.Base(path))
	}
	n := binary.BigEndian.Uint32(fixed[12:])
	if string(fixed[:8]) != magic || n > maxMeta {
		return nil, nil, 0, Corrupt.New("%s is not a segment", filepath.Base(path))
	}
	if v := binary.BigEndian.Uint32(fixed[8:]); v != version {
		return nil, nil, 0, Corrupt.New("segment %s has format %d; this program knows %d", filepath.Base(path), v, version)
	}
	head := make([]byte, 16+n+4)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, nil, 0, Corrupt.Wrap(err, "segment %s has no header", filepath.Base(path))
	}
	if binary.BigEndian.Uint32(head[16+n:]) != crc32.Checksum(head[:16+n], castagnoli) {
		return nil, nil, 0, Corrupt.New("the header of segment %s is damaged", filepath.Base(path))
	}
	return f, head[16 : 16+n], int64(len(head)), nil
}

// Damage names a frame that cannot be read.
func Damage(err error, path string, off int64) error {
	return Corrupt.Wrap(err, "segment %s is damaged at byte %d", filepath.Base(path), off)
}

func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return DiskFull.Wrap(err, "the disk is full: nothing was written")
	}
	return Broken.Wrap(err, "the disk did not take the write")
}
