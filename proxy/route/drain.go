package route

import (
	"net/netip"
	"time"
)

// A hop that DNS names no more gets no new calls. Those that are up on it go on,
// so that its address is still known for them; for nothing else, because the
// address may be somebody else's by now.

// A leaving hop is drained.
type leaving struct {
	hop   *Hop
	until time.Time
}

// Draining is the hop that had an address until lately. Only the requests of
// calls that are known may be taken for its own.
func (r *Routes) Draining(a netip.AddrPort) (*Hop, bool) {
	t := r.inForce.Load()
	if len(t.leaving) == 0 {
		return nil, false
	}
	l, ok := t.leaving[r.origin(a)]
	if !ok || !r.o.Now().Before(l.until) {
		return nil, false
	}
	return l.hop, true
}

// origin is what a source is known by.
func (r *Routes) origin(a netip.AddrPort) netip.AddrPort {
	port := a.Port()
	if r.o.AddressOnly {
		port = 0
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), port)
}

// leave notes in a new table which hops of the old one are not in it any more;
// r.mu is held.
func (r *Routes) leave(old, t *table) {
	now := r.o.Now()
	here := map[netip.AddrPort]bool{}
	for _, h := range t.hops {
		here[r.origin(h.Address)] = true
	}
	t.leaving = map[netip.AddrPort]leaving{}
	for a, l := range old.leaving {
		if !here[a] && now.Before(l.until) {
			t.leaving[a] = l
		}
	}
	for _, h := range old.hops {
		if a := r.origin(h.Address); !here[a] {
			t.leaving[a] = leaving{h, now.Add(r.o.Drain)}
			r.o.Log.Info("a next hop gets no more calls: DNS names it no more", "hop", h.Name, "address", h.Address)
		}
	}
	for len(t.leaving) > r.o.Drained {
		var first netip.AddrPort
		for a, l := range t.leaving {
			if f, ok := t.leaving[first]; !ok || l.until.Before(f.until) {
				first = a
			}
		}
		delete(t.leaving, first)
	}
}
