package warehouse

import (
	"bufio"
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

const (
	maxProofs     = 65_536
	provenOfFiles = 8 // a statement opens no more than this part of its worker's descriptors for proven objects
)

// proof is the digest of one content of one object and of the definition by which it was
// read. Another content or another definition has another proof.
type proof [sha256.Size]byte

func proofOf(columns []Column, x *External, o ObjectInfo) proof {
	b, _ := json.Marshal(struct { // nothing in it can fail
		Columns   []Column
		External  *External
		Key, ETag string
		Size      int64
		Modified  int64
	}{columns, x, o.Key, o.ETag, o.Size, o.Modified.UnixNano()})
	return sha256.Sum256(b)
}

// provable reports whether the engine's own reader takes the objects of a table line by
// line as a feed would, once what plain looks for is not in them.
func (x *External) provable() bool {
	return x.Format == FormatText && x.Quote == "" && x.Escape == "" && x.HeaderLines == 0
}

// plain reports that there is nothing in a block which the feed changes or which two
// readers could take differently: marks of another line end, of NULL or of the encoding,
// empty lines, a last line without its end.
func (b *block) plain(marker []byte) bool {
	return !b.open && bytes.IndexByte(b.buf, '\r') < 0 &&
		!bytes.HasPrefix(b.buf, []byte(byteOrderMark)) && !bytes.HasPrefix(b.buf, []byte("\n")) && !bytes.Contains(b.buf, []byte("\n\n")) &&
		(len(marker) == 0 || !bytes.Contains(b.buf, marker))
}

// gunzip reads the members of a gzip file one after the other.
type gunzip struct {
	in  *bufio.Reader
	z   *gzip.Reader
	odd bool // a second member, or a header with more than a name: read by us with more certainty than by the engine
}

func newGunzip(in *bufio.Reader) (*gunzip, error) {
	const flags, fileName = 3, 1 << 3 // of the header, RFC 1952 section 2.3
	header, _ := in.Peek(flags + 1)   // the reader below tells what is wrong
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gunzip{in: in, z: z, odd: header[flags]&^fileName != 0}, nil
}

func (g *gunzip) Read(b []byte) (int, error) {
	n, err := g.z.Read(b)
	if err != io.EOF {
		return n, err
	}
	if err := g.z.Reset(g.in); err != nil { // io.EOF where no member follows
		return n, err
	}
	g.z.Multistream(false)
	g.odd = true
	return n, nil
}

// provenObjects is the record of objects that were once read through a feed to their
// ends: their gzip was whole, they were plain and no row was malformed. It is bounded, the
// longest unused leave first, and lost with the process.
type provenObjects struct {
	mu      sync.Mutex
	entries map[proof]*list.Element
	order   *list.List // of *provenObject, the last used in front
}

type provenObject struct {
	proof   proof
	doubted bool // the engine found fault with it after all
}

func newProvenObjects() *provenObjects {
	return &provenObjects{entries: map[proof]*list.Element{}, order: list.New()}
}

func (p *provenObjects) has(id proof) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[id]
	if e == nil {
		return false
	}
	p.order.MoveToFront(e)
	return !e.Value.(*provenObject).doubted
}

// add records objects. What was doubted stays so: else each second read of it would fail.
func (p *provenObjects) add(ids []proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if p.entries[id] != nil {
			continue
		}
		p.entries[id] = p.order.PushFront(&provenObject{proof: id})
		if len(p.entries) > maxProofs {
			delete(p.entries, p.order.Remove(p.order.Back()).(*provenObject).proof)
		}
	}
}

func (p *provenObjects) doubt(ids []proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if e := p.entries[id]; e != nil {
			e.Value.(*provenObject).doubted = true
		}
	}
}

// prove records what the statement's feeds have read. A pipe that streamed counts only
// when the worker says that the plan, whose one input it is, cannot stop before its end.
func (r *run) prove(bad []badRows) {
	for _, in := range r.inputs {
		if in.feed == nil || in.once && !(r.done.Drained && len(r.inputs) == 1) ||
			slices.ContainsFunc(bad, func(m badRows) bool { return m.table == in.table }) {
			continue
		}
		in.feed.mu.Lock()
		if in.feed.whole {
			r.svc.proven.add(in.feed.proofs)
		}
		in.feed.mu.Unlock()
	}
}

// doubt sees to it that a statement whose failure may lie in objects that were taken for
// proven streams them when it is run again. Doubting too much makes it slower only.
func (r *run) doubt(f wire.Failure) error {
	message, _, _ := strings.Cut(f.Message, "\n")
	if said := strings.ToLower(message); f.Table == "" && !strings.Contains(said, "csv") && !strings.Contains(said, "gzip") {
		return nil
	}
	doubted := false
	for _, in := range r.inputs {
		r.svc.proven.doubt(in.proofs)
		doubted = doubted || in.proofs != nil
	}
	if !doubted || !strings.HasPrefix(message, "CSV Error") {
		return nil
	}
	return BadData.new("text that was well formed when it was read before is malformed now").
		detail("%s", message).hint("Run the query again: it will say where.")
}

// errChanged says that an object is not the one that was listed.
var errChanged = errors.New("the object has changed")

// provenFiles opens the objects of a table of text when all of them are proven and fit;
// nil where they must be streamed.
func (r *run) provenFiles(in *input, objects []ObjectInfo) ([]*os.File, error) {
	doc := in.table.doc
	handed, size := len(objects), int64(0)
	for _, other := range r.inputs {
		handed += len(other.proofs)
	}
	if !doc.External.provable() || handed > r.svc.cfg.Files/provenOfFiles {
		return nil, nil
	}
	proofs, keys := make([]proof, len(objects)), make([]string, len(objects))
	for i, o := range objects {
		if proofs[i] = proofOf(doc.Columns, doc.External, o); !r.svc.proven.has(proofs[i]) {
			return nil, nil
		}
		keys[i] = "s3://" + doc.External.Bucket + "/" + o.Key
		size += o.Size
	}
	if r.charged+size > r.svc.cfg.Quota {
		return nil, nil
	}
	files := make([]*os.File, len(objects))
	group, ctx := errgroup.WithContext(r.ctx)
	group.SetLimit(r.svc.cfg.Threads)
	for i, o := range objects {
		group.Go(func() (err error) {
			defer recovered(&err)
			files[i], err = r.provenFile(ctx, doc, o, proofs[i])
			return err
		})
	}
	err := group.Wait()
	if r.ctx.Err() != nil {
		return files, r.stopped()
	}
	if errors.Is(err, errChanged) {
		for _, f := range files {
			f.Close() // nil is harmless
		}
		return nil, nil
	}
	if err == nil {
		r.charged += size
		in.proofs, in.keys = proofs, keys
	}
	return files, err
}

func (r *run) provenFile(ctx context.Context, doc *Table, o ObjectInfo, id proof) (*os.File, error) {
	bucket := doc.External.Bucket
	body, info, err := r.svc.objects.Open(ctx, bucket, o.Key)
	if err != nil {
		return nil, objectError(err, "read", bucket, o.Key)
	}
	defer body.Close()
	if proofOf(doc.Columns, doc.External, info) != id {
		return nil, errChanged
	}
	f, n, err := anonymous(body, o.Size)
	if err != nil {
		return nil, objectError(err, "read", bucket, o.Key)
	}
	if n != o.Size {
		f.Close()
		return nil, errChanged
	}
	return f, nil
}
