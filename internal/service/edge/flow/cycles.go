package flow

import (
	"slices"
	"strings"
)

// cycles finds where flow files can go round. Agents run such flows. A cycle that something
// else feeds is a warning, since it stands still once all of its queues are full; one that
// nothing else feeds never does anything, and is an error. A processor's connection to
// itself, the usual way to try again, is neither.
func (v *validator) cycles() {
	for _, ring := range v.rings() {
		inside := map[string]bool{}
		for _, id := range ring {
			inside[id] = true
		}
		fed := false
		for _, id := range ring {
			for _, c := range v.in[id] {
				fed = fed || !inside[c.Source.ID]
			}
		}
		slices.Sort(ring)
		names := strings.Join(ring[:min(len(ring), 10)], ", ")
		if fed {
			v.warn(ring[0], "connections", "flow files can go round through %s: it stands still once the queues of the cycle are full", names)
		} else {
			v.add(ring[0], "connections", "flow files go round through %s, and nothing brings any in: it never starts", names)
		}
	}
}

// rings returns the strongly connected parts of more than one component, by Tarjan's
// algorithm without recursion.
func (v *validator) rings() [][]string {
	type frame struct {
		id   string
		next int
	}
	var (
		out          [][]string
		index, low   = map[string]int{}, map[string]int{}
		stack        []string
		onStack      = map[string]bool{}
		connectables []string
	)
	for c := range v.f.All() {
		if connects(c.Kind()) {
			connectables = append(connectables, c.Meta().ID)
		}
	}
	enter := func(id string) frame {
		index[id], low[id] = len(index)+1, len(index)+1
		stack = append(stack, id)
		onStack[id] = true
		return frame{id: id}
	}
	for _, start := range connectables {
		if index[start] != 0 {
			continue
		}
		frames := []frame{enter(start)}
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			if f.next < len(v.out[f.id]) {
				to := v.out[f.id][f.next].Destination.ID
				f.next++
				switch {
				case index[to] == 0:
					frames = append(frames, enter(to))
				case onStack[to]:
					low[f.id] = min(low[f.id], index[to])
				}
				continue
			}
			id := f.id
			frames = frames[:len(frames)-1]
			if len(frames) > 0 {
				parent := frames[len(frames)-1].id
				low[parent] = min(low[parent], low[id])
			}
			if low[id] != index[id] {
				continue
			}
			at := len(stack) - 1
			for stack[at] != id {
				at--
			}
			ring := slices.Clone(stack[at:])
			stack = stack[:at]
			for _, r := range ring {
				onStack[r] = false
			}
			if len(ring) > 1 {
				out = append(out, ring)
			}
		}
	}
	return out
}
