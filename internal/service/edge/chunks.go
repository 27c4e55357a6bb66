package edge

import (
	"context"
	"fmt"
	"io"
	"iter"

	"sluice.dev/sluice/internal/base/store"
)

// chunkSize is how much of a file one row has: all that it may, but for the last.
const chunkSize = 1 << 20

// chunkRow is a part of a file, or says where the parts of one are.
type chunkRow struct {
	Owner string // the resource's id or the agent's
	File  string `json:",omitempty"`
	Size  int64  `json:",omitempty"`
	Bytes []byte `json:",omitempty"`
}

// chunks keeps files in rows that a database takes well, each file under a name. How many
// they are follows from the file's size.
type chunks struct {
	rows *store.Rows[chunkRow]
	what string // the files are, in words
}

func chunkKeys(name string, size int64) []string {
	var out []string
	for part := range (size + chunkSize - 1) / chunkSize {
		out = append(out, chunkKey(name, part))
	}
	return out
}

func chunkKey(name string, part int64) string { return fmt.Sprintf("%s/%d", name, part) }

// write keeps a file of at most most bytes and says how many they are. After an error what
// is there of the file is to be dropped.
func (c chunks) write(ctx context.Context, name, owner string, most int64, body io.Reader) (size int64, err error) {
	buf := make([]byte, chunkSize)
	for part := int64(0); ; part++ {
		n, err := fill(body, buf)
		if n > 0 {
			if size += int64(n); size > most {
				return size, TooLarge.New("a %s is at most %d MiB", c.what, most>>20)
			}
			if err := c.rows.Put(ctx, map[string]*chunkRow{chunkKey(name, part): {Owner: owner, Bytes: buf[:n]}}); err != nil {
				return size, err
			}
		}
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return size, Invalid.Wrap(err, "the %s could not be read to its end", c.what)
		}
	}
}

// fill reads until buf is full; io.EOF says that the reader's end was reached, and that only.
// io.ReadFull does not tell it from a body that broke off.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

// read goes through the parts of a file, until one cannot be read.
func (c chunks) read(ctx context.Context, name string, size int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, key := range chunkKeys(name, size) {
			row, ok, err := c.rows.Get(ctx, key)
			if err == nil && !ok {
				err = store.Damaged.New("a part of the %s is lost", c.what)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(row.Doc.Bytes, nil) {
				return
			}
		}
	}
}

func (c chunks) drop(ctx context.Context, name string, size int64) error {
	return c.rows.Delete(ctx, chunkKeys(name, size))
}
