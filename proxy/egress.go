package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/route"
	"ringfence/proxy/transaction"
)

// Requests of our servers may go where DNS says, if the operator allows it
// (RFC 3263). Names are looked up beside the message's way, by a few workers and
// from a queue that is bounded; the request waits in its context meanwhile.

const (
	lookupWorkers = 4
	lookupQueue   = 256
	lookupTimeout = 5 * time.Second
	knownNames    = 1024
	nameLife      = time.Minute
)

// waits is the status of a request whose target is being looked up.
const waits = -1

// A lookup is a request that waits for an address.
type lookup struct {
	key transaction.Key
	to  egress
}

// An egress is where a URI points to, before its name is looked up.
type egress struct {
	host      string
	port      uint16 // 0: what DNS says
	transport guard.Transport
}

// lookedUp remembers names for a while.
type lookedUp struct {
	mu    sync.Mutex
	names map[egress]known // guarded by mu
}

type known struct {
	at    netip.AddrPort
	until time.Time
}

// egressOf reads where a URI points to (RFC 3263 section 4.1).
func egressOf(m *index.Message, u *index.URI) egress {
	e := egress{host: strings.ToLower(strings.Trim(string(m.Bytes(u.Host)), "[]")), port: u.Port}
	switch v, _ := m.Param(u.Params, "transport"); {
	case m.Is(v, "tls"), m.Is(u.Scheme, "sips"):
		e.transport = guard.TLS
	case m.Is(v, "tcp"):
		e.transport = guard.TCP
	}
	return e
}

func (e egress) portOr(def uint16) uint16 {
	switch {
	case def != 0:
		return def
	case e.transport == guard.TLS:
		return 5061
	}
	return 5060
}

// byDNS sends a request of our servers where its Route or Request-URI points.
func (p *Proxy) byDNS(w *worker, c *reqContext, like uint16, r *road) int {
	m, u := &w.in, &w.in.URI
	if r.more {
		u = &r.next.URI
	}
	e := egressOf(m, u)
	if e.host == "" {
		return 404 // tel and urn, for which there is no trunk
	}
	if a, err := netip.ParseAddr(e.host); err == nil {
		return p.toAddress(w, e, netip.AddrPortFrom(a.Unmap(), e.portOr(e.port)), like)
	}
	if at, ok := p.names.known(e, p.now()); ok {
		return p.toAddress(w, e, at, like)
	}
	select {
	case p.lookups <- lookup{p.table.Key(m, c.Server.Flow.Remote.Addr()), e}:
		c.Hold(4 * lookupTimeout)
		return waits
	default:
		return 503
	}
}

// toAddress makes an address the target. Our own are none: that would be a loop.
func (p *Proxy) toAddress(w *worker, e egress, at netip.AddrPort, like uint16) int {
	l, ok := p.pick(e.transport, at.Addr(), like)
	if !ok || p.interfaces[at.Addr()] && p.listeners[l].bound.Port() == at.Port() {
		return 502
	}
	flow, err := p.wire.Connect(l, at, e.host)
	if err != nil {
		return 502
	}
	w.targets = append(w.targets, target{flow: flow})
	return 0
}

// lookUp looks names up until ctx ends.
func (p *Proxy) lookUp(ctx context.Context) error {
	for {
		select {
		case l := <-p.lookups:
			at, err := p.names.find(ctx, p.resolver(), l.to, p.now)
			if err != nil {
				p.log.Debug("a name was not found", "host", l.to.host, "err", err)
			}
			p.elsewhere(func(w *worker) { p.found(w, l, at, err == nil) })
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *Proxy) resolver() route.Resolver {
	if p.o.Route.Resolver != nil {
		return p.o.Route.Resolver
	}
	return net.DefaultResolver
}

// found sends a request on that has waited for an address.
func (p *Proxy) found(w *worker, l lookup, at netip.AddrPort, ok bool) {
	c := p.table.Match(l.key, p.now())
	if c == nil {
		return
	}
	x := &c.Data
	switch {
	case c.Server.State.Final() || !p.reread(w, c):
	case x.canceled:
		p.finish(w, c, 487)
	case !ok || p.toAddress(w, l.to, at, c.Server.Flow.Listener) != 0:
		p.finish(w, c, 502)
	default:
		p.introduceAgain(w, c)
		r := p.readRoad(w, &w.again)
		if p.send(w, c, &w.again, &w.targets[0], &r, p.loopHash(w, &w.again)) {
			c.Hold(0)
			f := c.Server.Flow
			p.began(w, f)
		} else {
			p.finish(w, c, 502)
		}
	}
	c.Unlock()
}

// known is the address of a name that was looked up lately.
func (n *lookedUp) known(e egress, now time.Time) (netip.AddrPort, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k, ok := n.names[e]
	return k.at, ok && now.Before(k.until)
}

// find looks a name up: SRV if the URI names no port, then addresses (RFC 3263
// section 4.2).
func (n *lookedUp) find(ctx context.Context, r route.Resolver, e egress, now func() time.Time) (netip.AddrPort, error) {
	if at, ok := n.known(e, now()); ok {
		return at, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	host, port := e.host, e.port
	if port == 0 {
		service, proto := "sip", "udp"
		if e.transport.Stream() {
			proto = "tcp"
		}
		if e.transport.Secure() {
			service = "sips"
		}
		if _, all, err := r.LookupSRV(ctx, service, proto, host); err == nil && len(all) > 0 {
			host, port = strings.TrimSuffix(all[0].Target, "."), all[0].Port
		}
	}
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("looking up %s: %w", host, err)
	}
	for _, a := range addrs {
		if a = a.Unmap(); a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() {
			continue
		}
		at := netip.AddrPortFrom(a, e.portOr(port))
		n.remember(e, known{at, now().Add(nameLife)})
		return at, nil
	}
	return netip.AddrPort{}, errors.New("it has no address that can be called")
}

func (n *lookedUp) remember(e egress, k known) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.names) >= knownNames {
		clear(n.names)
	}
	if n.names == nil {
		n.names = map[egress]known{}
	}
	n.names[e] = k
}
