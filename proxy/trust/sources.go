package trust

import (
	"hash/maphash"
	"net/netip"
)

// sources gives each unknown source a small budget. IPv6 sources count by their
// /64. Two sources whose fingerprints are alike share one.
type sources struct {
	*cells
	budget
	seed maphash.Seed
}

func newSources(n int, b budget) *sources {
	return &sources{cells: newCells(n), budget: b, seed: maphash.MakeSeed()}
}

func (s *sources) take(a netip.Addr, now int64) bool {
	b := network(a)
	mark := max(maphash.Bytes(s.seed, b[:]), 1)
	set, mu := s.lock(mark)
	defer mu.Unlock()
	c := claim(set, mark)
	next, ok := s.budget.take(c.when, now)
	c.when = next
	return ok
}

// network is an address as what one customer has: an IPv4 address, or the /64
// of an IPv6 one.
func network(a netip.Addr) [16]byte {
	b := a.As16()
	if !a.Unmap().Is4() {
		clear(b[8:])
	}
	return b
}
