package proxy

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/resolve"
	"ringfence/proxy/route"
	"ringfence/proxy/transaction"
	"ringfence/proxy/wire"
)

// Requests of our servers may go where DNS says, if the operator allows it
// (RFC 3263). Domains are looked up beside the message's way, by a few workers
// and from a queue that is bounded; the request waits in its context meanwhile.
// What anybody else writes into a message is never looked up: a request from
// outside has no way to byDNS, and a response goes back over the flow that its
// request came from, whatever its Vias name.

const (
	lookupWorkers = 4
	lookupQueue   = 256
	lookupWait    = 20 * time.Second
)

// waits is the status of a request whose target is being looked up.
const waits = -1

// A lookup is a request that waits for the servers of a domain.
type lookup struct {
	key transaction.Key
	to  resolve.Target
}

var namedTransports = [...]string{guard.UDP: "udp", guard.TCP: "tcp", guard.TLS: "tls", guard.WS: "ws", guard.WSS: "wss"}

// locatable reads where a URI points to (RFC 3263 section 4). Its host lasts
// until the next message. False: it names a transport that we do not know.
func (w *worker) locatable(m *index.Message, u *index.URI) (resolve.Target, bool) {
	host := u.Host
	if maddr, ok := m.Param(u.Params, "maddr"); ok {
		host = maddr
	}
	at := len(w.text)
	w.text = append(w.text, m.Bytes(host)...)
	name := w.from(at)
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			name[i] = c + 'a' - 'A'
		}
	}
	t := resolve.Target{Host: strings.Trim(text(name), "[]"), Port: u.Port, Secure: m.Is(u.Scheme, "sips")}
	v, named := m.Param(u.Params, "transport")
	if !named {
		return t, true
	}
	for transport, name := range namedTransports {
		if !m.Is(v, name) {
			continue
		}
		t.Named, t.Transport = true, guard.Transport(transport)
		switch {
		case t.Secure && t.Transport == guard.TCP: // sips over TCP is TLS (RFC 5630 section 3.1.3)
			t.Transport = guard.TLS
		case t.Secure && t.Transport == guard.WS:
			t.Transport = guard.WSS
		}
		return t, !t.Secure || t.Transport.Secure()
	}
	return t, false
}

// byDNS sends a request of our servers where its Route or Request-URI points.
func (p *Proxy) byDNS(w *worker, x *exchange, f wire.Flow, r *road) int {
	m, u := &w.in, &w.in.URI
	if r.more {
		u = &r.next.URI
	}
	t, ok := w.locatable(m, u)
	switch {
	case !ok:
		return 502
	case t.Host == "":
		return 404 // tel and urn, for which there is no trunk
	case resolve.Nowhere(t.Host):
		return 480 // a phone in a browser that has gone
	}
	if d, ok := p.routes.Domain(t); ok {
		return p.toDomain(w, m, x, d, f.Listener)
	}
	if a, err := netip.ParseAddr(t.Host); err == nil {
		return p.toAddress(w, t, a.Unmap(), f.Listener)
	}
	t.Host = strings.Clone(t.Host)
	select {
	case p.lookups <- lookup{p.table.Key(m, f.Remote.Addr()), t}:
		return waits
	default:
		return 503
	}
}

// toAddress makes an address the target. Our own are none: that would be a loop.
func (p *Proxy) toAddress(w *worker, t resolve.Target, a netip.Addr, like uint16) int {
	transport, port := t.Transport, t.Port
	if t.Secure && !t.Named {
		transport = guard.TLS
	}
	port = cmp.Or(port, transport.Port())
	at := netip.AddrPortFrom(a, port)
	l, ok := p.pick(transport, a, like)
	if !ok || p.own(at) {
		return 502
	}
	flow, err := p.wire.Connect(l, at, t.Host)
	if err != nil {
		return 502
	}
	w.targets = append(w.targets, target{flow: flow})
	return 0
}

// toDomain makes a server of a domain the target. The others follow when it
// fails (RFC 3263 section 4.3).
func (p *Proxy) toDomain(w *worker, m *index.Message, x *exchange, d *route.Domain, like uint16) int {
	x.domain = d
	t, ok := p.nextHop(m, x, like)
	if !ok {
		return 502
	}
	w.targets = append(w.targets, t)
	return 0
}

// choose picks who is tried next: of the pool of a request, or of the domain that
// it goes to.
func (p *Proxy) choose(x *exchange, callID []byte) (*route.Hop, bool) {
	if x.domain != nil {
		return p.routes.PickOf(x.domain, callID, &x.tried)
	}
	return p.routes.Pick(x.pool, callID, &x.tried)
}

// left tells whether choose would find another.
func (p *Proxy) left(x *exchange) bool {
	if x.domain != nil {
		return p.routes.LeftOf(x.domain, &x.tried)
	}
	return p.routes.Left(x.pool, &x.tried)
}

// lookUp looks domains up until ctx ends.
func (p *Proxy) lookUp(ctx context.Context) error {
	for {
		select {
		case l := <-p.lookups:
			d := p.routes.Find(ctx, l.to)
			if err := d.Err(); err != nil {
				p.log.Debug("a domain has no server", "host", l.to.Host, "err", err)
			}
			p.elsewhere(func(w *worker) { p.found(w, l, d) })
		case <-ctx.Done():
			return nil
		}
	}
}

// found sends a request on that has waited for the servers of a domain.
func (p *Proxy) found(w *worker, l lookup, d *route.Domain) {
	c := p.table.Match(l.key, p.now())
	if c == nil {
		return
	}
	x := &c.Data
	switch {
	case c.Server.State.Final() || !p.reread(w, c):
	case x.canceled:
		p.finish(w, c, 487)
	case p.toDomain(w, &w.again, x, d, c.Server.Flow.Listener) != 0:
		p.finish(w, c, 502)
	default:
		p.introduceAgain(w, c)
		r := p.readRoad(w, &w.again)
		if p.send(w, c, &w.again, &w.targets[0], &r, p.loopHash(w, &w.again)) || p.another(w, c) {
			c.Hold(0)
			p.began(w, c.Server.Flow)
		} else {
			p.finish(w, c, 502)
		}
	}
	c.Unlock()
}

// own tells whether an address is one that we listen on, or that others reach us
// by.
func (p *Proxy) own(at netip.AddrPort) bool {
	for _, l := range p.listeners {
		if a, err := netip.ParseAddr(l.host); err == nil && at == netip.AddrPortFrom(a, l.port) {
			return true
		}
		here := l.bound.Addr()
		if l.bound.Port() == at.Port() && (here == at.Addr() || here.IsUnspecified() && p.interfaces[at.Addr()]) {
			return true
		}
	}
	return false
}

// outside tells whether a request may be sent to a server of another domain:
// whoever owns a name may point it at this machine and this link.
func (p *Proxy) outside(s resolve.Server) bool {
	return s.Address.Addr().IsGlobalUnicast() && !p.own(s.Address)
}

// usable tells whether a listener speaks a transport to an address, or at all
// when there is no address. Nobody is reached over WebSocket but who has come.
func (p *Proxy) usable(t guard.Transport, to netip.Addr) bool {
	return !t.Web() && slices.ContainsFunc(p.listeners, func(l *listener) bool {
		return l.Transport == t && (!to.IsValid() || l.fits(t, to))
	})
}

// hopOf is the next hop that a flow belongs to. Behind a WebSocket is none, whatever
// its address: the page may be of a web server on the machine of the PBX, or come
// through one.
func (p *Proxy) hopOf(f wire.Flow) (*route.Hop, bool) {
	if f.Transport.Web() {
		return nil, false
	}
	return p.hopAt(f.Remote)
}

// insider is the next hop that a flow comes from by what the names say now.
func (p *Proxy) insider(f wire.Flow) (*route.Hop, bool) {
	if f.Transport.Web() {
		return nil, false
	}
	return p.routes.ByAddress(f.Remote)
}

// hopAt is the next hop at an address, or the one that DNS named there until
// lately: its calls are still up.
func (p *Proxy) hopAt(a netip.AddrPort) (*route.Hop, bool) {
	if hop, ok := p.routes.ByAddress(a); ok {
		return hop, true
	}
	return p.routes.Draining(a)
}

// PeerAt names the next hop at an address, "" if there is none.
func (p *Proxy) PeerAt(a netip.AddrPort) string {
	if hop, ok := p.hopAt(a); ok {
		return hop.Name
	}
	return ""
}

// Names says how the names of next hops stand in DNS.
func (p *Proxy) Names() []route.Name { return p.routes.Names() }

// DNS says whom we ask, and how they do.
func (p *Proxy) DNS() ([]netip.AddrPort, resolve.Counts) {
	if p.resolver == nil {
		return nil, resolve.Counts{}
	}
	return p.resolver.Servers(), p.resolver.Counts()
}
