package warehouse

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sluice.dev/sluice/internal/base/fault"
)

const (
	pipeBytes  = 1 << 20   // asked of the kernel for the pipe
	readBytes  = 256 << 10 // read from an object at a time
	blockBytes = 512 << 10 // handed to the pipe at a time; one longer line makes a larger block
	maxLine    = 16 << 20  // one line
	maxObjects = 1_000_000 // of one table
	maxQueued  = 16        // blocks that wait for the pipe
)

// feed streams the objects of one table into a pipe, decompressed, without their headers
// and each ending in a line end, so that the engine sees plain lines and nothing else.
// Several objects are decompressed at a time and their lines go in block by block, each
// block whole lines of one object. The feed remembers where in the pipe each block
// begins, to name object and line when one is bad.
type feed struct {
	objects Objects
	bucket  string
	format  External
	columns []Column
	values  jsonValues
	streams int

	read, write *os.File
	queue       chan ObjectInfo
	blocks      chan *block
	free        chan *block // to be used again
	turn        sync.Mutex  // held for a whole object where lines may continue each other

	mu      sync.Mutex
	marks   []mark
	skipped malformed // JSON lines
	proofs  []proof   // of the objects that were plain
	whole   bool      // everything is in the pipe
}

// block is whole lines of one object.
type block struct {
	buf   []byte
	key   string
	line  int64 // lines of the object before it
	lines int64 // in it
	open  bool  // the object gave no end to its last line
}

// byteOrderMark may begin a text in UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

// mark says that a block is at this place of the pipe.
type mark struct {
	key    string
	offset int64
	line   int64 // lines in the pipe before it
	ahead  int64 // lines of the object before it
}

// malformed counts bad lines and remembers the first.
type malformed struct {
	count  int64
	key    string
	line   int64
	column string
	reason string
}

// listObjects returns the objects that belong to a table.
func listObjects(ctx context.Context, objects Objects, bucket, prefix string) ([]ObjectInfo, error) {
	var out []ObjectInfo
	for o, err := range objects.List(ctx, bucket, prefix) {
		if err != nil {
			return nil, objectError(err, "list", bucket, prefix)
		}
		// Empty objects, directory markers and names that Hadoop's tools hide hold no rows.
		base := path.Base(o.Key)
		if o.Size == 0 || strings.HasPrefix(base, "_") || strings.HasPrefix(base, ".") || strings.Contains(o.Key, "/_temporary/") {
			continue
		}
		if out = append(out, o); len(out) > maxObjects {
			return nil, ProgramLimitExceeded.new("more than %d objects below s3://%s/%s", maxObjects, bucket, prefix)
		}
	}
	return out, nil
}

// objectError names the object in a failure to reach it.
func objectError(err error, verb, bucket, key string) error {
	where := "s3://" + bucket + "/" + key
	switch fault.KindOf(err) {
	case fault.Denied, fault.Unauthenticated:
		return InsufficientPrivilege.wrap(err, "permission denied to %s %s", verb, where).detail("%s", fault.MessageOf(err))
	case fault.NotFound:
		return UndefinedObject.wrap(err, "%s does not exist", where).detail("%s", fault.MessageOf(err))
	case fault.Canceled:
		return err
	}
	return BadData.wrap(err, "cannot %s %s", verb, where).detail("%s", fault.MessageOf(err))
}

// newFeed makes the pipe for the objects of a table.
func newFeed(objects Objects, t *Table, list []ObjectInfo, streams int) (*feed, error) {
	f := &feed{
		objects: objects, bucket: t.External.Bucket, format: *t.External, columns: t.Columns, values: newJSONValues(t.Columns), streams: min(streams, len(list)),
		queue: make(chan ObjectInfo, len(list)), blocks: make(chan *block, maxQueued), free: make(chan *block, maxQueued),
	}
	for _, o := range list {
		f.queue <- o
	}
	close(f.queue)
	var err error
	if f.read, f.write, err = os.Pipe(); err != nil {
		return nil, err
	}
	if raw, err := f.write.SyscallConn(); err == nil { // Fd would take the pipe from the poller
		_ = raw.Control(func(fd uintptr) {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes) // smaller is slower, not wrong
		})
	}
	if err := openToWorker(f.read); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *feed) close() {
	f.read.Close()
	f.write.Close()
}

// run streams everything. When something fails the pipe is left open: its reader must
// wait to be told, rather than take what came for the whole.
func (f *feed) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	readers, writer := new(errgroup.Group), new(errgroup.Group)
	for range f.streams {
		readers.Go(func() error {
			err := f.objectsOf(ctx)
			if err != nil {
				cancel(err) // the others need not go on
			}
			return err
		})
	}
	writer.Go(func() error {
		err := f.pump()
		if err != nil {
			cancel(err)
			for range f.blocks { // so that no reader waits for room
			}
		}
		return err
	})
	failed := readers.Wait()
	if failed != nil {
		failed = context.Cause(ctx) // what came first, not what it led to
	}
	close(f.blocks)
	if err := writer.Wait(); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	f.mu.Lock()
	f.whole = true
	f.mu.Unlock()
	return f.write.Close()
}

// errReader ends the feed because nobody reads the pipe any more; not a failure.
var errReader = errors.New("the reader is gone")

// pump writes blocks to the pipe.
func (f *feed) pump() (err error) {
	defer recovered(&err)
	var offset, lines int64
	for b := range f.blocks {
		f.mu.Lock()
		if n := len(f.marks); n == 0 || f.marks[n-1].key != b.key || f.marks[n-1].ahead+lines-f.marks[n-1].line != b.line {
			f.marks = append(f.marks, mark{b.key, offset, lines, b.line})
		}
		f.mu.Unlock()
		if _, err := f.write.Write(b.buf); err != nil {
			if errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrClosed) {
				return errReader
			}
			return err
		}
		offset, lines = offset+int64(len(b.buf)), lines+b.lines
		select {
		case f.free <- b:
		default:
		}
	}
	return nil
}

func (f *feed) objectsOf(ctx context.Context) (err error) {
	defer recovered(&err)
	for o := range f.queue {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.object(ctx, o.Key); err != nil {
			return err
		}
	}
	return nil
}

func (f *feed) object(ctx context.Context, key string) error {
	body, info, err := f.objects.Open(ctx, f.bucket, key)
	if err != nil {
		return objectError(err, "read", f.bucket, key)
	}
	defer body.Close()
	lines, err := plain(bufio.NewReaderSize(body, readBytes))
	if err != nil {
		return f.broken(err, key)
	}
	if f.format.Quote != "" { // a quoted field may hold a line end
		f.turn.Lock()
		defer f.turn.Unlock()
	}
	z, zipped := lines.(*gunzip)
	provable := zipped && info.ETag != "" && f.format.provable()
	same, err := f.cut(ctx, lines, key, provable)
	if err == nil && same && !z.odd {
		f.mu.Lock()
		f.proofs = append(f.proofs, proofOf(f.columns, &f.format, info))
		f.mu.Unlock()
	}
	return err
}

// broken names the object whose content cannot be read.
func (f *feed) broken(err error, key string) error {
	if fault.KindOf(err) == fault.Canceled {
		return err
	}
	if fault.ReasonOf(err) != nil {
		return objectError(err, "read", f.bucket, key)
	}
	return BadData.wrap(err, "s3://%s/%s is damaged: %v", f.bucket, key, err)
}

// plain returns in decompressed when it is gzip, by its first bytes.
func plain(in *bufio.Reader) (io.Reader, error) {
	magic, err := in.Peek(2)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		return newGunzip(in)
	}
	return in, nil
}

// cut reads an object into blocks of whole lines and sends them. When asked to watch, it
// tells whether all of them were plain.
func (f *feed) cut(ctx context.Context, in io.Reader, key string, watch bool) (same bool, err error) {
	nulls, rows := newNullMarker(f.format, f.columns), newFitter(f.format, f.columns)
	var rest []byte // of the last block: a line that has not ended
	var line int64  // of the object, at the start of the next block
	header := int64(f.format.HeaderLines)
	for first, last := true, false; !last; first = false {
		b := f.block(key)
		if rest, last, err = b.fill(in, rest, f.broken, key); err != nil {
			return false, err
		}
		watch = watch && b.plain(nulls.marker)
		if first {
			b.buf = bytes.TrimPrefix(b.buf, []byte(byteOrderMark))
		}
		b.buf = unixLines(b.buf)
		b.line = line
		for header > line && len(b.buf) > 0 {
			b.buf = b.buf[bytes.IndexByte(b.buf, '\n')+1:]
			line++
			b.line++
		}
		b.lines = int64(bytes.Count(b.buf, []byte{'\n'}))
		line += b.lines
		if f.format.Format == FormatJSON {
			f.jsonLines(b)
		} else {
			nulls.mend(b)
			rows.fit(b)
		}
		if len(b.buf) == 0 {
			continue
		}
		select {
		case f.blocks <- b:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return watch && !rows.changed, nil
}

func (f *feed) block(key string) *block {
	select {
	case b := <-f.free:
		b.key, b.buf, b.open = key, b.buf[:0], false
		return b
	default:
		return &block{key: key, buf: make([]byte, 0, blockBytes)}
	}
}

// fill reads whole lines behind rest, and returns what is left of a line. At the end of
// the object the last line is given its end.
func (b *block) fill(in io.Reader, rest []byte, broken func(error, string) error, key string) (left []byte, last bool, err error) {
	if cap(b.buf) < blockBytes { // it lost its front to a header
		b.buf = make([]byte, 0, blockBytes)
	}
	b.buf = append(b.buf, rest...)
	for {
		if len(b.buf) == cap(b.buf) {
			if len(b.buf) >= maxLine {
				return nil, false, BadData.new("a line of %s is longer than %d bytes", key, maxLine)
			}
			b.buf = append(make([]byte, 0, 2*cap(b.buf)), b.buf...)
		}
		for len(b.buf) < cap(b.buf) { // not ReadFull: its error for the end is that of a cut object
			n, err := in.Read(b.buf[len(b.buf):cap(b.buf)])
			b.buf = b.buf[:len(b.buf)+n]
			if err == io.EOF {
				if len(b.buf) > 0 && b.buf[len(b.buf)-1] != '\n' {
					b.buf = append(b.buf, '\n')
					b.open = true
				}
				return nil, true, nil
			}
			if err != nil {
				return nil, false, broken(err, key)
			}
		}
		if end := bytes.LastIndexByte(b.buf, '\n') + 1; end > 0 {
			left = append(rest[:0], b.buf[end:]...)
			b.buf = b.buf[:end]
			return left, false, nil
		}
	}
}

// unixLines turns the line ends of Windows into those of Unix, in place. The engine wants
// one kind in a stream, and the objects of a table need not agree.
func unixLines(b []byte) []byte {
	i := bytes.IndexByte(b, '\r')
	if i < 0 {
		return b
	}
	out := b[:i]
	for i < len(b) {
		if b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n' {
			i++
		}
		n := bytes.IndexByte(b[i+1:], '\r') + 1
		if n == 0 {
			n = len(b) - i
		}
		out = append(out, b[i:i+n]...)
		i += n
	}
	return out
}

// place finds the object and its line for an offset and a line of the pipe.
func (f *feed) place(offset, line int64) (key string, objectLine int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := sort.Search(len(f.marks), func(i int) bool { return f.marks[i].offset > offset }) - 1
	if i < 0 {
		return "", 0
	}
	m := f.marks[i]
	return m.key, line - m.line + m.ahead
}

// isText reports which columns are of a character type.
func isText(columns []Column) []bool {
	out := make([]bool, len(columns))
	for i, c := range columns {
		out[i] = c.Engine == "VARCHAR"
	}
	return out
}
