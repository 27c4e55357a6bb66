package gateway

import "slices"

// node is a vertex of a byte-wise radix tree of path prefixes. A route's prefix need not
// end at a segment boundary ("/foo" matches "/foobar"), hence bytes, not segments.
type node struct {
	label    string      // bytes on the edge that leads here
	first    []byte      // first byte of each child's label, sorted
	children []*node     // in the order of first
	entries  []candidate // splits whose prefix ends here, in order of rank
}

// next returns the child to go on with and the path behind its label, or nil.
func (n *node) next(path string) (*node, string) {
	if path == "" || len(n.first) == 0 {
		return nil, ""
	}
	c := path[0]
	lo, hi := 0, len(n.first)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); n.first[mid] < c {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(n.first) || n.first[lo] != c {
		return nil, ""
	}
	child := n.children[lo]
	if len(path) < len(child.label) || path[:len(child.label)] != child.label {
		return nil, ""
	}
	return child, path[len(child.label):]
}

// insert adds c at prefix. Candidates must come in order of rank.
func (n *node) insert(prefix string, c candidate) {
	for {
		if prefix == "" {
			n.entries = append(n.entries, c)
			return
		}
		i, found := slices.BinarySearch(n.first, prefix[0])
		if !found {
			n.first = slices.Insert(n.first, i, prefix[0])
			n.children = slices.Insert(n.children, i, &node{label: prefix, entries: []candidate{c}})
			return
		}
		child := n.children[i]
		common := 0
		for common < len(prefix) && common < len(child.label) && prefix[common] == child.label[common] {
			common++
		}
		if common < len(child.label) {
			upper := &node{label: child.label[:common], first: []byte{child.label[common]}, children: []*node{child}}
			child.label = child.label[common:]
			n.children[i] = upper
			child = upper
		}
		n, prefix = child, prefix[common:]
	}
}
