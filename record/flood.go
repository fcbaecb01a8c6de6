package record

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// flood counts what one rule does to one source in a minute, in a table of
// fixed size: two pairs that share a slot share its budget.
type flood struct {
	once sync.Once
	seed maphash.Seed

	mu    sync.Mutex // guards slots
	slots [8192]struct {
		minute int64
		n      int
	}
}

type pair struct {
	rule string
	addr netip.Addr
}

// take is how many messages this one stands for, 0 if it is not kept.
func (f *flood) take(rule string, a netip.Addr, at time.Time, budget int) int {
	f.once.Do(func() { f.seed = maphash.MakeSeed() })
	i := maphash.Comparable(f.seed, pair{rule, a}) % uint64(len(f.slots))
	minute := at.Unix() / 60
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.slots[i]
	if s.minute != minute {
		s.minute, s.n = minute, 0
	}
	s.n++
	switch {
	case s.n <= budget:
		return 1
	case s.n%100 == 0:
		return 100
	}
	return 0
}
