package trust

import (
	"math/bits"
	"sync"
)

// ways is how many cells a fingerprint may lie in.
const ways = 4

// locks is how many locks guard the sets of a table.
const locks = 64

// A cell is one remembered fingerprint. An empty cell has fingerprint 0.
type cell struct {
	mark uint64 // keyed fingerprint
	when int64  // Unix nanoseconds: last offered, or arrival time of a budget
}

// cells is a set-associative table of fixed size: what does not fit pushes out
// the oldest of its own set and nothing else.
type cells struct {
	sets [][ways]cell
	mus  [locks]sync.Mutex // mus[i%locks] guards sets[i]
}

func newCells(n int) *cells {
	sets := 1 << bits.Len(uint(max(n, ways)/ways-1))
	return &cells{sets: make([][ways]cell, sets)}
}

// lock locks the set of a fingerprint. The low bits choose the set.
func (c *cells) lock(mark uint64) (*[ways]cell, *sync.Mutex) {
	i := mark & uint64(len(c.sets)-1)
	mu := &c.mus[i%locks]
	mu.Lock()
	return &c.sets[i], mu
}

// find is the cell of a fingerprint in its set, nil if there is none.
func find(set *[ways]cell, mark uint64) *cell {
	for i := range set {
		if set[i].mark == mark {
			return &set[i]
		}
	}
	return nil
}

// claim is find, but takes the oldest cell of the set when there is none.
func claim(set *[ways]cell, mark uint64) *cell {
	if c := find(set, mark); c != nil {
		return c
	}
	oldest := &set[0]
	for i := range set {
		if set[i].when < oldest.when {
			oldest = &set[i]
		}
	}
	*oldest = cell{mark: mark}
	return oldest
}
