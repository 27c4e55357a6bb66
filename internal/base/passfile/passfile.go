package passfile

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"

	"golang.org/x/crypto/argon2"

	"sluice.dev/sluice/internal/base/fault"
)

// Faults of files.
var (
	NotAFile        = &fault.Reason{Kind: fault.Invalid, Name: "NotASealedFile"}
	NewerFormat     = &fault.Reason{Kind: fault.Invalid, Name: "SealedFileNewerFormat"}
	WrongPassphrase = &fault.Reason{Kind: fault.Denied, Name: "SealedFileWrongPassphrase"}
	Damaged         = &fault.Reason{Kind: fault.Corrupt, Name: "SealedFileDamaged"}
)

const (
	format    = 1
	frameSize = 64 << 10
	maxHead   = 4 << 10
	overhead  = 16 // of AES-GCM
)

// head is the first line. About is compared with nothing, but bound to every frame.
type head struct {
	Kind   string          `json:"kind"`
	Format int             `json:"format"`
	Salt   []byte          `json:"salt"`
	About  json.RawMessage `json:"about"`
}

// AEAD derives a key from a passphrase, with the parameters of RFC 9106's second
// recommendation.
func AEAD(passphrase string, salt []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(argon2.IDKey([]byte(passphrase), salt, 3, 64<<10, 4, 32))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// frames seals or opens one frame after another.
type frames struct {
	aead cipher.AEAD
	head []byte
	n    uint64
}

func (f *frames) next(last bool) (nonce, aad []byte) {
	nonce = binary.BigEndian.AppendUint64(make([]byte, 4, 12), f.n)
	f.n++
	aad = append(f.head[:len(f.head):len(f.head)], 0)
	if last {
		aad[len(aad)-1] = 1
	}
	return nonce, aad
}

// Writer writes a file. It is not safe for concurrent use.
type Writer struct {
	w      io.Writer
	frames frames
	buf    []byte
}

// NewWriter begins a file of a kind. about is shown to readers before they are asked for
// the passphrase: it must hold no secret.
func NewWriter(w io.Writer, kind, passphrase string, about any) (*Writer, error) {
	raw, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	h := head{Kind: kind, Format: format, Salt: make([]byte, 16), About: raw}
	_, _ = rand.Read(h.Salt) // never fails
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	aead, err := AEAD(passphrase, h.Salt)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	return &Writer{w: w, frames: frames{aead: aead, head: line}, buf: make([]byte, 0, frameSize)}, nil
}

// Write adds to the file.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if len(w.buf) == frameSize { // more follows, so it is not the last
			if err := w.flush(false); err != nil {
				return n - len(p), err
			}
		}
		k := min(len(p), frameSize-len(w.buf))
		w.buf, p = append(w.buf, p[:k]...), p[k:]
	}
	return n, nil
}

// Close writes the last frame. A file without it is a damaged one.
func (w *Writer) Close() error { return w.flush(true) }

func (w *Writer) flush(last bool) error {
	nonce, aad := w.frames.next(last)
	out := binary.BigEndian.AppendUint32(nil, uint32(len(w.buf)+overhead))
	_, err := w.w.Write(w.frames.aead.Seal(out, nonce, w.buf, aad))
	w.buf = w.buf[:0]
	return err
}

// Reader reads a file. It is not safe for concurrent use.
type Reader struct {
	r      *bufio.Reader
	frames frames
	frame  []byte // what has been opened and not read
	ended  bool
}

// NewReader opens a file of a kind and decodes into about what its writer said of it.
func NewReader(r io.Reader, kind, passphrase string, about any) (*Reader, error) {
	in := bufio.NewReaderSize(r, maxHead)
	line, err := in.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	var h head
	if err != nil || json.Unmarshal(line, &h) != nil || h.Kind != kind {
		return nil, NotAFile.New("it does not begin as a %s does", kind)
	}
	if h.Format > format {
		return nil, NewerFormat.New("it has format %d, newer than this program's %d: use a newer sluice", h.Format, format)
	}
	if err := json.Unmarshal(h.About, about); err != nil {
		return nil, NotAFile.New("its first line is damaged")
	}
	out := &Reader{r: in, frames: frames{head: append([]byte(nil), line[:len(line)-1]...)}}
	if out.frames.aead, err = AEAD(passphrase, h.Salt); err != nil {
		return nil, err
	}
	return out, nil
}

// Read reads on. Its error is io.EOF only behind the last frame of an intact file.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.frame) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.frame)
	r.frame = r.frame[n:]
	return n, nil
}

func (r *Reader) next() error {
	var size [4]byte
	if err := r.full(size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < overhead || n > frameSize+overhead {
		return Damaged.New("it is damaged")
	}
	sealed := make([]byte, n)
	if err := r.full(sealed); err != nil {
		return err
	}
	_, err := r.r.Peek(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r.ended = err != nil
	first := r.frames.n == 0
	nonce, aad := r.frames.next(r.ended)
	if r.frame, err = r.frames.aead.Open(sealed[:0:0], nonce, sealed, aad); err == nil {
		return nil
	}
	if r.ended { // it may be a whole frame, and only not the last
		aad[len(aad)-1] = 0
		if _, err := r.frames.aead.Open(nil, nonce, sealed, aad); err == nil {
			return Damaged.New("it is cut off")
		}
	}
	if first {
		return WrongPassphrase.New("the passphrase does not open it, or its beginning is damaged")
	}
	return Damaged.New("it is damaged")
}

// full reads exactly p.
func (r *Reader) full(p []byte) error {
	_, err := io.ReadFull(r.r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Damaged.New("it is cut off")
	}
	return err
}
