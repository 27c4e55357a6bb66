package warehouse

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"sluice.dev/sluice/internal/base/fault"
)

const (
	pipeBytes   = 1 << 20   // asked of the kernel for each pipe
	readBytes   = 256 << 10 // read from an object at a time
	maxLineJSON = 16 << 20  // one JSON line
	maxObjects  = 1_000_000 // of one table
)

// feed streams the objects of one table into pipes, decompressed, without their headers
// and each ending in a line end, so that the engine sees plain lines and nothing else.
// It remembers where in the pipes each object begins, to name it when a line is bad.
type feed struct {
	objects Objects
	bucket  string
	format  External
	columns []Column

	queue   chan ObjectInfo
	pipes   []*feedPipe
	scratch sync.Pool

	mu      sync.Mutex
	skipped malformed // JSON lines
}

// feedPipe is one pipe and the objects that went through it.
type feedPipe struct {
	read, write *os.File
	marks       []mark
	offset      int64
	lines       int64
}

// mark says that an object's first line, behind its header, is at this place of the pipe.
type mark struct {
	key    string
	offset int64
	line   int64 // lines in the pipe before it
	header int64 // lines of the object skipped before it
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

// newFeed makes the pipes for the objects of a table.
func newFeed(objects Objects, t *Table, list []ObjectInfo, streams int) (*feed, error) {
	f := &feed{
		objects: objects, bucket: t.External.Bucket, format: *t.External, columns: t.Columns,
		queue: make(chan ObjectInfo, len(list)),
	}
	f.scratch.New = func() any { return new([readBytes]byte) }
	for _, o := range list {
		f.queue <- o
	}
	close(f.queue)
	for range min(streams, len(list)) {
		r, w, err := os.Pipe()
		if err != nil {
			f.close()
			return nil, err
		}
		if raw, err := w.SyscallConn(); err == nil { // Fd would take the pipe from the poller
			_ = raw.Control(func(fd uintptr) {
				_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes) // smaller is slower, not wrong
			})
		}
		if err := openToWorker(r); err != nil {
			f.close()
			return nil, err
		}
		f.pipes = append(f.pipes, &feedPipe{read: r, write: w})
	}
	return f, nil
}

// readers returns the ends for the worker.
func (f *feed) readers() []*os.File {
	out := make([]*os.File, len(f.pipes))
	for i, p := range f.pipes {
		out[i] = p.read
	}
	return out
}

// closeReaders drops our copies of the ends the worker now holds.
func (f *feed) closeReaders() {
	for _, p := range f.pipes {
		p.read.Close()
	}
}

func (f *feed) close() {
	for _, p := range f.pipes {
		p.read.Close()
		p.write.Close()
	}
}

// run streams everything. A pipe that could not be filled to its end is left open: its
// reader must wait to be told, rather than take what came for the whole.
func (f *feed) run(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(f.pipes))
	for i, p := range f.pipes {
		wg.Go(func() {
			if errs[i] = f.fill(ctx, p); errs[i] == nil {
				errs[i] = p.write.Close()
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *feed) fill(ctx context.Context, p *feedPipe) error {
	for o := range f.queue {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.object(ctx, p, o.Key); err != nil {
			return err
		}
	}
	return nil
}

// errReader ends the feed because nobody reads the pipe any more; not a failure.
var errReader = errors.New("the reader is gone")

func (f *feed) object(ctx context.Context, p *feedPipe, key string) error {
	body, _, err := f.objects.Open(ctx, f.bucket, key)
	if err != nil {
		return objectError(err, "read", f.bucket, key)
	}
	defer body.Close()
	in := bufio.NewReaderSize(body, readBytes)
	source, err := plain(in)
	if err != nil {
		return f.broken(err, key)
	}
	lines := bufio.NewReaderSize(source, readBytes)
	if bom, _ := lines.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		_, _ = lines.Discard(3)
	}
	header := int64(0)
	for range f.format.HeaderLines {
		if err := skipLine(lines); err == io.EOF {
			return nil
		} else if err != nil {
			return f.broken(err, key)
		}
		header++
	}
	f.mu.Lock()
	p.marks = append(p.marks, mark{key, p.offset, p.lines, header})
	f.mu.Unlock()
	if f.format.Format == FormatJSON {
		return f.jsonLines(p, lines, key)
	}
	return f.textLines(p, lines, key)
}

// broken names the object whose content cannot be read.
func (f *feed) broken(err error, key string) error {
	if errors.Is(err, errReader) || fault.KindOf(err) == fault.Canceled {
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
		return gzip.NewReader(in)
	}
	return in, nil
}

func skipLine(r *bufio.Reader) error {
	for {
		_, err := r.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// textLines copies blocks, and mends the NULL marker in those that hold it.
func (f *feed) textLines(p *feedPipe, in io.Reader, key string) error {
	buf := f.scratch.Get().(*[readBytes]byte)
	defer f.scratch.Put(buf)
	nulls := newNullMarker(f.format, f.columns)
	last := byte('\n')
	held := 0 // 1 while a carriage return at the end of a block waits for what follows it
	for {
		if held > 0 {
			buf[0] = '\r'
		}
		n, err := in.Read(buf[held:])
		block := unixLines(buf[:held+n])
		if held = 0; err == nil && bytes.HasSuffix(block, []byte{'\r'}) {
			block, held = block[:len(block)-1], 1
		}
		if len(block) > 0 {
			last = block[len(block)-1]
			if err := p.put(nulls.mend(block)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return f.broken(err, key)
		}
	}
	if err := p.put(nulls.rest()); err != nil {
		return err
	}
	if last != '\n' {
		return p.put([]byte{'\n'})
	}
	return nil
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

func (p *feedPipe) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := p.write.Write(b); err != nil {
		if errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrClosed) {
			return errReader
		}
		return err
	}
	p.offset += int64(len(b))
	p.lines += int64(bytes.Count(b, []byte{'\n'}))
	return nil
}

// place finds the object and its line of an offset and line of a pipe.
func (f *feed) place(pipe int, offset, line int64) (key string, objectLine int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pipe < 0 || pipe >= len(f.pipes) {
		return "", 0
	}
	marks := f.pipes[pipe].marks
	i := sort.Search(len(marks), func(i int) bool { return marks[i].offset > offset }) - 1
	if i < 0 {
		return "", 0
	}
	return marks[i].key, line - marks[i].line + marks[i].header
}

// isText reports which columns are of a character type.
func isText(columns []Column) []bool {
	out := make([]bool, len(columns))
	for i, c := range columns {
		out[i] = c.Engine == "VARCHAR"
	}
	return slices.Clip(out)
}
