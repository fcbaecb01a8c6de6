package bpf

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// cells remember rates in memory that is taken once: sets of four, of which the
// one that is paid up to the earliest time makes room for a newcomer. What it
// costs to forget early is a fresh burst for a source that was the quietest.
type cells struct {
	seed maphash.Seed
	sets []cellSet
}

type cellSet struct {
	mu    sync.Mutex
	keys  [4]screenSource
	until [4]uint64 // 0: free
}

func newCells(n int) *cells {
	return &cells{seed: maphash.MakeSeed(), sets: make([]cellSet, max(1, (n+3)/4))}
}

// conform charges one packet to key, at rate r. A key that is not remembered
// needs room in a budget first; known is false when there was none.
func (c *cells) conform(key screenSource, now uint64, r screenRate, budget *atomic.Uint64, room screenRate) (within, known bool) {
	set := &c.sets[maphash.Comparable(c.seed, key)%uint64(len(c.sets))]
	set.mu.Lock()
	defer set.mu.Unlock()
	oldest := 0
	for i := range set.keys {
		if set.until[i] != 0 && set.keys[i] == key {
			next, ok := advance(set.until[i], now, r)
			if ok {
				set.until[i] = next
			}
			return ok, true
		}
		if set.until[i] < set.until[oldest] {
			oldest = i
		}
	}
	if !conform(budget, now, room) {
		return false, false
	}
	set.keys[oldest], set.until[oldest] = key, now+r.Every
	return true, true
}
