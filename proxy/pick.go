package proxy

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"ringfence/guard"
)

// A picked remembers which listener sends to an address, for a host that has
// several: the kernel is asked seldom, and never about what a stranger names.
type picked struct {
	mu   sync.RWMutex
	ways map[way]choice // at most knownWays; guarded by mu
}

// A way is what a listener is picked by.
type way struct {
	transport guard.Transport
	to        netip.Addr
	like      uint16
}

type choice struct {
	listener uint16
	until    time.Time
}

const (
	knownWays = 4096
	wayLife   = 30 * time.Second // cards and routes change
)

// pick is the listener to send from towards an address: one on the card that
// the kernel sends it out of, and there the one that the request came over if
// it fits. A PBX behind a guard with two cards so sees the inner address.
func (p *Proxy) pick(t guard.Transport, to netip.Addr, like uint16) (uint16, bool) {
	first, fit := uint16(0), 0
	for i, l := range p.listeners {
		if l.fits(t, to) {
			if fit++; fit == 1 {
				first = uint16(i)
			}
		}
	}
	if fit < 2 {
		return first, fit == 1
	}
	w, now := way{t, to, like}, p.now()
	p.picked.mu.RLock()
	c, ok := p.picked.ways[w]
	p.picked.mu.RUnlock()
	if ok && now.Before(c.until) {
		return c.listener, true
	}
	c = choice{p.pickOnCard(w, first), now.Add(wayLife)}
	p.picked.mu.Lock()
	defer p.picked.mu.Unlock()
	if p.picked.ways == nil || len(p.picked.ways) >= knownWays {
		p.picked.ways = map[way]choice{}
	}
	p.picked.ways[w] = c
	return c.listener, true
}

// pickOnCard asks the kernel.
func (p *Proxy) pickOnCard(w way, first uint16) uint16 {
	if int(w.like) < len(p.listeners) && p.listeners[w.like].fits(w.transport, w.to) {
		first = w.like
	}
	source := p.o.Source(w.to)
	card := cardOf(source)
	onCard := func(l *listener) bool {
		a := l.bound.Addr()
		return a.IsUnspecified() || a == source || card != 0 && cardOf(a) == card
	}
	if onCard(p.listeners[first]) {
		return first
	}
	best, found := first, false
	for i, l := range p.listeners {
		if !l.fits(w.transport, w.to) || !onCard(l) {
			continue
		}
		if l.bound.Addr() == source {
			return uint16(i)
		}
		if !found {
			best, found = uint16(i), true
		}
	}
	return best
}

// fits tells whether a listener can send to an address over a transport.
func (l *listener) fits(t guard.Transport, to netip.Addr) bool {
	a := l.bound.Addr()
	return l.Transport == t && (a.Is4() == to.Is4() || a.IsUnspecified() && a.Is6())
}

// sourceOf is the address that the kernel sends from towards another; the zero
// one if it knows no route. Nothing is sent.
func sourceOf(to netip.Addr) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// cardOf is the number of the network card whose networks an address is in, 0 if
// there is none.
func cardOf(a netip.Addr) int {
	if !a.IsValid() {
		return 0
	}
	cards, err := net.Interfaces()
	if err != nil {
		return 0 // then only addresses are compared
	}
	for _, c := range cards {
		all, err := c.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, n := range all {
			if n, ok := n.(*net.IPNet); ok && n.Contains(a.AsSlice()) {
				return c.Index
			}
		}
	}
	return 0
}
