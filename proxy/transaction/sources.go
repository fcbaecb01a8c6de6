package transaction

import (
	"net/netip"
	"sync"
)

// sources counts the transactions of each source that wait for an answer. It
// holds an entry only while there is one, so Options.Max bounds it.
type sources struct {
	most  int
	parts [16]struct {
		mu sync.Mutex
		n  map[netip.Addr]int // guarded by mu
	}
}

func (s *sources) init(most int) {
	s.most = most
	for i := range s.parts {
		s.parts[i].n = map[netip.Addr]int{}
	}
}

func (s *sources) part(a netip.Addr) int {
	b := a.As16()
	return int(b[7]^b[14]^b[15]) % len(s.parts)
}

func (s *sources) take(a netip.Addr) bool {
	p := &s.parts[s.part(a)]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[a] >= s.most {
		return false
	}
	p.n[a]++
	return true
}

// give ends what take began; the zero address was never counted.
func (s *sources) give(a netip.Addr) {
	if !a.IsValid() {
		return
	}
	p := &s.parts[s.part(a)]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[a] <= 1 {
		delete(p.n, a)
	} else {
		p.n[a]--
	}
}
