package objects_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/service/objects"
)

// listed is what a listing should be: objects and common prefixes in their order.
func listed(keys []string, prefix, delimiter string) (out []string) {
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k, prefix)
		if !ok {
			continue
		}
		if i := strings.Index(rest, delimiter); delimiter != "" && i >= 0 {
			k = prefix + rest[:i+len(delimiter)] + " (common)"
		}
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func TestListingsInPages(t *testing.T) {
	b := newBench(t)
	var keys []string
	alphabet := []string{"a", "b", "/", "//", "é", "a/", "-", "\xf0\x9f\x98\x80", "b/a"}
	for range 120 {
		key := ""
		for range 1 + rand.IntN(5) {
			key += alphabet[rand.IntN(len(alphabet))]
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
			if err := b.put(key, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "a/", "b/a", "/", "none", "é"} {
		for _, delimiter := range []string{"", "/", "a", "//", "b/"} {
			want := listed(keys, prefix, delimiter)
			for _, size := range []int{1, 2, 3, 7, 1000} {
				var got []string
				o := objects.ListOptions{Prefix: prefix, Delimiter: delimiter, Limit: size}
				for pages := 0; ; pages++ {
					l, err := b.List(b.ctx(), "bucket", o)
					if err != nil {
						t.Fatal(err)
					}
					var page []string
					for _, i := range l.Objects {
						page = append(page, i.Key)
					}
					for _, p := range l.Prefixes {
						page = append(page, p+" (common)")
					}
					if len(page) > size {
						t.Fatalf("a page of %d, at most %d were wanted", len(page), size)
					}
					slices.SortFunc(page, func(a, b string) int {
						return strings.Compare(strings.TrimSuffix(a, " (common)"), strings.TrimSuffix(b, " (common)"))
					})
					got = append(got, page...)
					if l.Next == "" || pages > len(keys) {
						break
					}
					o.After = l.Next
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("prefix %q, delimiter %q, pages of %d (-want +got):\n%s", prefix, delimiter, size, diff)
				}
			}
		}
	}
	for _, after := range keys { // and from any key on
		l, err := b.List(b.ctx(), "bucket", objects.ListOptions{After: after, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		i, _ := slices.BinarySearch(keys, after)
		if len(l.Objects) != len(keys)-i-1 {
			t.Fatalf("behind %q: %d objects, want %d", after, len(l.Objects), len(keys)-i-1)
		}
	}
	if n := len(listed(keys, "", "/")); n == len(keys) {
		t.Fatal(fmt.Sprint("no key has the delimiter: ", keys))
	}
}
