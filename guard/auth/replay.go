package auth

import "sync"

// A replayTable remembers which nonce counts were used (RFC 7616 section 5.6:
// the same count twice is a replay). An entry belongs to one nonce, user and
// client nonce, so phones behind one address never look like replays of each
// other. Only credentials that were right make an entry.
//
// The table is bounded: sets of eight, the oldest nonce leaves. What it has to
// forget it does not accept again: a set keeps the latest slot that it evicted,
// and nonces up to that slot that it does not know count as stale. So a full
// table costs a phone one more challenge and never lets a replay through.
type replayTable struct {
	sets []replaySet
	mask uint64
}

const replayWays = 8

type replaySet struct {
	mu    sync.Mutex
	floor uint32 // nonces of this slot and before are refused unless known
	ways  [replayWays]replayEntry
}

// A replayEntry has the highest count and a bit for each of the 64 counts up to
// it: requests sent at the same time may overtake each other.
type replayEntry struct {
	key  uint64
	seen uint64 // bit i: count top-i was used; 0 means the entry is free
	top  uint32
	slot uint32
}

type replayAnswer uint8

const (
	newCount  replayAnswer = iota // not seen before, and noted
	seenCount                     // a replay
	forgotten                     // too old to be sure
)

// newReplayTable makes a table of at least size entries; floor is the slot
// before which nothing is accepted, since a table that was just made has seen
// nothing.
func newReplayTable(size int, floor uint32) *replayTable {
	sets := 1
	for sets*replayWays < size {
		sets *= 2
	}
	t := &replayTable{sets: make([]replaySet, sets), mask: uint64(sets - 1)}
	for i := range t.sets {
		t.sets[i].floor = floor
	}
	return t
}

// note looks the count up and, if it is new, notes it.
func (t *replayTable) note(key uint64, count, slot, oldest uint32) replayAnswer {
	s := &t.sets[key&t.mask]
	s.mu.Lock()
	defer s.mu.Unlock()
	victim := &s.ways[0]
	for i := range s.ways {
		e := &s.ways[i]
		if e.seen != 0 && e.key == key {
			return e.note(count)
		}
		if e.seen == 0 || victim.seen != 0 && e.slot < victim.slot {
			victim = e
		}
	}
	if slot <= s.floor {
		return forgotten
	}
	if victim.seen != 0 && victim.slot >= oldest {
		if slot <= victim.slot {
			return forgotten
		}
		s.floor = max(s.floor, victim.slot)
	}
	*victim = replayEntry{key: key, seen: 1, top: count, slot: slot}
	return newCount
}

// used tells whether the count was noted before, and notes nothing.
func (t *replayTable) used(key uint64, count uint32) bool {
	s := &t.sets[key&t.mask]
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.ways {
		if e := s.ways[i]; e.seen != 0 && e.key == key {
			return e.note(count) != newCount // e is a copy
		}
	}
	return false
}

func (e *replayEntry) note(count uint32) replayAnswer {
	if count > e.top {
		e.seen = e.seen<<min(count-e.top, 64) | 1
		e.top = count
		return newCount
	}
	back := e.top - count
	if back >= 64 {
		return seenCount
	}
	bit := uint64(1) << back
	if e.seen&bit != 0 {
		return seenCount
	}
	e.seen |= bit
	return newCount
}
