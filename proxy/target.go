package proxy

import (
	"slices"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/location"
	"ringfence/proxy/route"
	"ringfence/proxy/wire"
)

// A target is one place that a request is to go to.
type target struct {
	flow   wire.Flow
	hop    *route.Hop // nil if it is none
	uri    []byte     // the Request-URI it gets; nil: as it came
	routes []byte     // Route values that go on top, from a Path; nil: none

	breadth int // the Max-Breadth it gets; 0: as it came
}

// A road is what the Route headers and the Request-URI say of where a request
// is to go (RFC 3261 section 16.4).
type road struct {
	ours   int  // Route values on top that name us and come off
	more   bool // others follow
	next   index.Address
	strict bool       // the Request-URI was ours: the last Route value takes its place
	last   index.Span // part of the last Route value, when strict
	uri    []byte     // what the Request-URI becomes; nil: it stays
	ticket ticket
	token  bool // ticket is set
	alone  bool // of the Routes none goes on but ours
}

// readRoad takes the Route headers apart. Only what we have signed is trusted.
func (p *Proxy) readRoad(w *worker, m *index.Message) road {
	var r road
	u := &m.URI
	home := p.ours(m, u.Host, u.Port)
	if home {
		if v, ok := m.Param(u.Params, contactParam); ok {
			if t, ok := p.redeem(w, m.Bytes(v)); ok && t.kind == contactToken {
				r.ticket, r.token, r.uri = t, true, t.uri
			}
		}
	}
	routes := m.Addresses(index.RouteName)
	for a, part, ok := routes.Next(); ok; a, part, ok = routes.Next() {
		if !r.more && p.ours(m, a.URI.Host, a.URI.Port) {
			r.ours++
			if t, ok := p.redeem(w, m.Bytes(a.URI.User)); ok {
				r.ticket, r.token = t, true
			}
			continue
		}
		if !r.more {
			r.more, r.next = true, a
		}
		r.last = part
	}
	if home && !r.token && r.more {
		// A strict router put us into the Request-URI and the target last.
		if t, ok := p.redeem(w, m.Bytes(u.User)); ok && t.kind == dialogToken {
			r.ticket, r.token, r.strict = t, true, true
		}
	}
	return r
}

// astray holds a request from outside to the call that the token in its Route was
// given for: it opens the way to the other side, and not to wherever its Request-URI
// points, which is put right. It returns what to answer where that cannot be done.
func (p *Proxy) astray(w *worker, m *index.Message, r *road) (status int) {
	if w.msg.Inside {
		return 0
	}
	dialog := r.token && r.ticket.kind == dialogToken
	if !m.InDialog() || m.Method == index.Register || m.Method == index.Publish {
		r.token = r.token && !dialog
		return 0
	}
	target, known, fits := p.calls.Target(m)
	switch {
	case known && !fits:
		p.metrics.drop(strayRequest)
		return 481
	case target != "" && r.uri == nil && !r.strict:
		at := len(w.text)
		w.text = append(w.text, target...)
		r.uri = w.from(at)
	}
	r.alone = dialog && !known
	return 0
}

// contactParam is the URI parameter with our token in a Contact that we rewrote.
const contactParam = "rf"

// find appends to w.targets where a judged request is to go; if there is nowhere
// it returns what to answer.
func (p *Proxy) find(w *worker, x *exchange, f wire.Flow, r *road) (status int) {
	m := &w.in
	if r.token {
		if t, ok := p.byTicket(m, r); ok {
			w.targets = append(w.targets, t)
			return 0
		}
		return 430 // RFC 5626 section 11.5
	}
	if t, ok := p.byDialog(&w.msg); ok {
		w.targets = append(w.targets, t)
		return 0
	}
	outward := x.inside && p.ofPool(&w.msg)
	switch {
	case x.emergency && (!outward || p.c.EmergencyPool != p.c.Pool):
		return p.emergency(w, x, f)
	case outward:
		return p.outward(w, x, f, r)
	case p.places != nil:
		return p.bindings(w, m)
	}
	return p.toPool(w, x, f.Listener, p.c.Pool)
}

// ofPool tells whether a request comes from our servers, not from a trunk.
func (p *Proxy) ofPool(m *guard.Message) bool {
	hop, ok := p.routes.ByAddress(m.Src)
	return ok && !m.Transport.Web() && (hop.Pool == p.c.Pool || hop.Pool == p.c.EmergencyPool)
}

// byTicket is the target that a token of ours names.
func (p *Proxy) byTicket(m *index.Message, r *road) (target, bool) {
	t := &r.ticket
	to := t.flow
	if t.kind == dialogToken {
		switch id := m.Bytes(m.CallID); t.side {
		case sideHash(t.key, id, m.Bytes(m.From.Tag)):
			to = t.callee
		case sideHash(t.key, id, m.Bytes(m.To.Tag)):
			to = t.caller
		default:
			return target{}, false // another dialog's token
		}
	}
	return p.reach(to, r.uri)
}

// reach is the target at the far end of a flow. A connection that is gone is
// made again only towards a next hop.
func (p *Proxy) reach(to wire.Flow, uri []byte) (target, bool) {
	hop, ok := p.hopOf(to)
	if !ok {
		return target{flow: to, uri: uri}, !to.Transport.Stream() || to.Conn != 0
	}
	flow, err := p.wire.Connect(to.Listener, to.Remote, hop.Host)
	if err != nil {
		return target{}, false
	}
	return target{flow: flow, hop: hop, uri: uri}, true
}

// toPool picks a next hop.
func (p *Proxy) toPool(w *worker, x *exchange, like uint16, pool string) int {
	x.pool = pool
	if t, ok := p.nextHop(&w.in, x, like); ok {
		w.targets = append(w.targets, t)
		return 0
	}
	return 503
}

// nextHop is the next member of the pool or domain of a request that can be
// reached.
func (p *Proxy) nextHop(m *index.Message, x *exchange, like uint16) (target, bool) {
	for {
		hop, ok := p.choose(x, m.Bytes(m.CallID))
		if !ok {
			return target{}, false
		}
		x.hop = hop
		l, ok := p.pick(hop.Transport, hop.Address.Addr(), like)
		if !ok {
			p.log.Error("no listener has the transport of a next hop", "hop", hop.Name, "transport", hop.Transport.String())
			continue
		}
		flow, err := p.wire.Connect(l, hop.Address, hop.Host)
		if err != nil {
			p.routes.Report(hop, route.Result{Outcome: route.Refused})
			continue
		}
		return target{flow: flow, hop: hop}, true
	}
}

// emergency sends a call for help where help is. Without a pool, the location
// service has nobody who could help: the caller's phone must be told to use
// another network, and 380 is the answer for that (3GPP TS 24.229; RFC 3261
// section 21.3.6). A 503 would only make it try again.
func (p *Proxy) emergency(w *worker, x *exchange, f wire.Flow) int {
	if status := p.toPool(w, x, f.Listener, p.c.EmergencyPool); status == 0 {
		return 0
	}
	p.log.Error("an emergency call has no next hop", "source", f.Remote.String(), "to", string(w.in.Bytes(w.in.URI.User)))
	return 380
}

// outward finds the way out for a request of our servers: to the trunk of its
// number, and only if the operator allows it to wherever its URI says.
func (p *Proxy) outward(w *worker, x *exchange, f wire.Flow, r *road) int {
	m := &w.in
	at := len(w.text)
	w.text = m.AppendUnescaped(w.text, m.URI.User)
	if pool, ok := p.routes.ByNumber(string(w.from(at))); ok && pool != p.c.Pool {
		return p.toPool(w, x, f.Listener, pool)
	}
	if p.places != nil && p.serves(m) {
		return p.bindings(w, m)
	}
	if !p.c.Egress {
		return 404
	}
	return p.byDNS(w, x, f, r)
}

// serves tells whether the Request-URI is of a domain of ours.
func (p *Proxy) serves(m *index.Message) bool {
	if len(p.c.Domains) == 0 || p.ours(m, m.URI.Host, m.URI.Port) {
		return true
	}
	return slices.ContainsFunc(p.c.Domains, func(d string) bool { return m.Is(m.URI.Host, d) })
}

// bindings finds all phones of an address of record. One that nobody registered
// and one that does not exist get the same answer.
func (p *Proxy) bindings(w *worker, m *index.Message) int {
	var few [8]location.Binding
	found := p.places.Lookup(few[:0], string(m.Bytes(m.URI.User)), string(m.Bytes(m.URI.Host)))
	for i := range found {
		b := &found[i]
		t, ok := p.redeem(w, []byte(b.Token))
		if !ok || t.kind != flowToken || len(w.targets) == p.o.Forks {
			continue
		}
		to, ok := p.reach(t.flow, w.piece([]byte(b.Contact)))
		if !ok {
			continue
		}
		if b.Path != "" {
			to.routes = w.piece([]byte(b.Path))
		}
		w.targets = append(w.targets, to)
	}
	if len(w.targets) == 0 {
		return 480
	}
	return 0
}
