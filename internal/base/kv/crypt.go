package kv

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// cryptFS encrypts the contents of every file. Names are Pebble's own numbers.
//
// A file begins with 8 bytes of magic, 20 of salt and the CRC-32C of both: a damaged salt
// would make all that follows look like what a crash left. The rest is AES-256-CTR from
// counter zero under HMAC-SHA256(key, salt). Before version 2 there was no checksum, and 24
// bytes were salt.
type cryptFS struct {
	vfs.FS
	key []byte
}

const headSize = 32

const saltEnd = headSize - 4

var (
	head       = [8]byte{'S', 'L', 'U', 'I', 'C', 'E', 'K', 2}
	headBefore = [8]byte{'S', 'L', 'U', 'I', 'C', 'E', 'K', 1}
)

// errForeign says that a file's header is damaged, or not one of ours.
var errForeign = errors.New("kv: the file's header is damaged, or it is not a file of the index")

func (fs *cryptFS) cipher(salt []byte) cipher.Block {
	h := hmac.New(sha256.New, fs.key)
	h.Write(salt)
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		panic(err) // 32 bytes are always a valid key
	}
	return block
}

func (fs *cryptFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	var b [headSize]byte
	copy(b[:], head[:])
	_, _ = rand.Read(b[8:saltEnd]) // never fails
	binary.BigEndian.PutUint32(b[saltEnd:], crc32.Checksum(b[:saltEnd], castagnoli))
	block := fs.cipher(b[8:saltEnd]) // before the write, which may use its buffer up
	if _, err := f.Write(b[:]); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &cryptFile{File: f, block: block, out: streamAt(block, 0)}, nil
}

// ReuseForWrite makes a new file instead: writing an old one again would repeat its key stream.
func (fs *cryptFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.FS.Remove(oldname); err != nil {
		return nil, err
	}
	return fs.Create(newname, category)
}

func (fs *cryptFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return fs.wrap(f)
}

// OpenReadWrite is not something Pebble does to a file it has written.
func (fs *cryptFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errors.New("kv: an encrypted file is not opened for writing again")
}

func (fs *cryptFS) wrap(f vfs.File) (vfs.File, error) {
	var b [headSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			// Created, and a crash came before the head: an empty file to Pebble.
			return &cryptFile{File: f}, nil
		}
		return nil, errors.Join(err, f.Close())
	}
	salt := b[8:]
	switch {
	case [8]byte(b[:8]) == headBefore:
	case [8]byte(b[:8]) == head && binary.BigEndian.Uint32(b[saltEnd:]) == crc32.Checksum(b[:saltEnd], castagnoli):
		salt = b[8:saltEnd]
	case b == [headSize]byte{}:
		return &cryptFile{File: f}, nil // a crash came before the head's bytes, though not before its place
	default:
		return nil, errors.Join(errForeign, f.Close())
	}
	return &cryptFile{File: f, block: fs.cipher(salt)}, nil
}

func (fs *cryptFS) Stat(name string) (vfs.FileInfo, error) {
	fi, err := fs.FS.Stat(name)
	if err != nil || fi.IsDir() {
		return fi, err
	}
	return fileInfo{fi}, nil
}

func (fs *cryptFS) Unwrap() vfs.FS { return fs.FS }

type fileInfo struct{ vfs.FileInfo }

func (fi fileInfo) Size() int64 { return max(fi.FileInfo.Size()-headSize, 0) }

// cryptFile is written from front to back by one writer, and read anywhere.
type cryptFile struct {
	vfs.File
	block cipher.Block // nil: the file has no head yet and is empty
	out   cipher.Stream
	buf   []byte
	mu    sync.Mutex // guards pos
	pos   int64
}

// streamAt returns the key stream from offset off of the contents.
func streamAt(block cipher.Block, off int64) cipher.Stream {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[8:], uint64(off/aes.BlockSize))
	s := cipher.NewCTR(block, iv[:])
	if skip := off % aes.BlockSize; skip > 0 {
		var discard [aes.BlockSize]byte
		s.XORKeyStream(discard[:skip], discard[:skip])
	}
	return s
}

// Write must not change p: Pebble still owns it.
func (f *cryptFile) Write(p []byte) (int, error) {
	if cap(f.buf) < len(p) {
		f.buf = make([]byte, len(p))
	}
	buf := f.buf[:len(p)]
	f.out.XORKeyStream(buf, p)
	return f.File.Write(buf)
}

func (f *cryptFile) WriteAt([]byte, int64) (int, error) {
	return 0, errors.New("kv: an encrypted file is written from front to back")
}

func (f *cryptFile) ReadAt(p []byte, off int64) (int, error) {
	if f.block == nil {
		return 0, io.EOF
	}
	n, err := f.File.ReadAt(p, off+headSize)
	streamAt(f.block, off).XORKeyStream(p[:n], p[:n])
	return n, err
}

func (f *cryptFile) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil // the next call says so
	}
	return n, err
}

func (f *cryptFile) Stat() (vfs.FileInfo, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	return fileInfo{fi}, nil
}

func (f *cryptFile) Preallocate(offset, length int64) error {
	return f.File.Preallocate(offset+headSize, length)
}

func (f *cryptFile) SyncTo(length int64) (bool, error) { return f.File.SyncTo(length + headSize) }

func (f *cryptFile) Prefetch(offset, length int64) error {
	return f.File.Prefetch(offset+headSize, length)
}

var (
	_ vfs.FS      = (*cryptFS)(nil)
	_ vfs.File    = (*cryptFile)(nil)
	_ os.FileInfo = fileInfo{}
)
