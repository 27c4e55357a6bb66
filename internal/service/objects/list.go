package objects

import (
	"context"
	"encoding/json"
	"iter"
	"strings"

	"sluice.dev/sluice/internal/base/kv"
)

// ListOptions bounds a listing.
type ListOptions struct {
	Prefix    string
	Delimiter string
	After     string // only keys, and common prefixes, greater than this
	Limit     int    // of objects and common prefixes together
}

// Listing is a page of a bucket.
type Listing struct {
	Objects  []Info
	Prefixes []string // common prefixes, with their delimiter
	Next     string   // After of the next page; empty on the last one
}

// List returns a page of a bucket's objects in key order. With a delimiter, keys that have
// it behind the prefix count as one common prefix, which costs one step however many there are.
func (s *Service) List(ctx context.Context, bucket string, o ListOptions) (Listing, error) {
	d, err := s.bucketNow(ctx, bucket, "s3:ListBucket", bucketARN(bucket), listAttrs(o.Prefix, o.Delimiter)...)
	if err != nil {
		return Listing{}, err
	}
	return s.list(ctx, d, o)
}

func (s *Service) list(ctx context.Context, d *bucketDoc, o ListOptions) (Listing, error) {
	var out Listing
	base := string(objectKey(d.ID, ""))
	low := base + max(o.Prefix, o.After)
	if o.After != "" && o.After >= o.Prefix {
		low = base + o.After + "\x00"
		if rest, ok := strings.CutPrefix(o.After, o.Prefix); ok && isCommon(rest, o.Delimiter) {
			low = string(kv.After([]byte(base + o.After))) // a whole common prefix was given out
		}
	}
	high := kv.After([]byte(base + o.Prefix))
	last, n := "", 0
	for low != "" {
		next := ""
		for e, err := range s.deps.Index.Scan(ctx, kv.Range{Low: []byte(low), High: high}) {
			if err != nil {
				return Listing{}, err
			}
			key := string(e.Key[len(base):])
			if n == o.Limit {
				out.Next = last
				return out, nil
			}
			n++
			if o.Delimiter != "" {
				if i := strings.Index(key[len(o.Prefix):], o.Delimiter); i >= 0 {
					common := key[:len(o.Prefix)+i+len(o.Delimiter)]
					out.Prefixes = append(out.Prefixes, common)
					last, next = common, string(kv.After([]byte(base+common)))
					break
				}
			}
			var meta object
			if err := json.Unmarshal(e.Value, &meta); err != nil {
				return Listing{}, err
			}
			out.Objects = append(out.Objects, meta.info(key))
			last = key
		}
		low = next
	}
	return out, nil
}

// isCommon reports whether rest, which stands behind a prefix, is what a listing gives out
// as a common prefix: it has the delimiter once, at its end.
func isCommon(rest, delimiter string) bool {
	return delimiter != "" && strings.HasSuffix(rest, delimiter) && strings.Index(rest, delimiter) == len(rest)-len(delimiter)
}

// All yields every object under a prefix as the caller in ctx.
func (s *Service) All(ctx context.Context, bucket, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		d, err := s.bucketNow(ctx, bucket, "s3:ListBucket", bucketARN(bucket), listAttrs(prefix, "")...)
		if err != nil {
			yield(Info{}, err)
			return
		}
		s.all(ctx, d, prefix, yield)
	}
}

func (s *Service) all(ctx context.Context, d *bucketDoc, prefix string, yield func(Info, error) bool) {
	for o := (ListOptions{Prefix: prefix, Limit: 1000}); ; {
		page, err := s.list(ctx, d, o)
		if err != nil {
			yield(Info{}, err)
			return
		}
		for _, i := range page.Objects {
			if !yield(i, nil) {
				return
			}
		}
		if page.Next == "" {
			return
		}
		o.After = page.Next
	}
}
