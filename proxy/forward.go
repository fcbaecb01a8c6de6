package proxy

import (
	"hash/maphash"
	"strconv"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/route"
	"ringfence/proxy/transaction"
	"ringfence/proxy/wire"
)

// pass lets a judged request through: it validates it as a proxy must (RFC 3261
// section 16.3), finds where it is to go and sends it there.
func (p *Proxy) pass(w *worker, f wire.Flow, key transaction.Key) {
	if p.listeners[f.Listener].Stateless {
		p.forwardStateless(w, f)
		return
	}
	m := &w.in
	loop := p.loopHash(w, m)
	if status, lines := p.validate(w, m, loop); status != 0 {
		if m.Method != index.Ack {
			p.answer(w, f, key, status, "", lines)
		}
		return
	}
	if m.Method == index.Ack {
		p.passAck(w, f, loop)
		return
	}
	r := p.readRoad(w, m)
	if status := p.astray(w, m, &r); status != 0 {
		p.answer(w, f, key, status, "", nil)
		return
	}
	if m.Method == index.Register && p.places != nil && !w.msg.Inside && !r.token {
		p.register(w, f, key)
		return
	}
	c := p.begin(w, f, key)
	if c == nil {
		return
	}
	if p.launch(w, c, f, &r, loop) {
		urgent := c.Data.emergency && c.Data.initial
		c.Unlock()
		if p.began(w, f); urgent {
			p.calls.Help(m)
		}
		return
	}
	c.Unlock()
}

// launch sends a request to its targets in the context that was made for it.
func (p *Proxy) launch(w *worker, c *reqContext, f wire.Flow, r *road, loop uint64) bool {
	m, x := &w.in, &c.Data
	status := p.find(w, x, f, r)
	if status == 0 {
		status = breadth(m, w.targets)
	}
	if status > 0 {
		p.finish(w, c, status)
		return false
	}
	if m.Method == index.Invite {
		c.Quieten()
	}
	x.request = c.Keep(m.Raw())
	if status == waits {
		c.Hold(lookupWait)
		return false
	}
	sent := 0
	for i := range w.targets {
		if p.send(w, c, m, &w.targets[i], r, loop) {
			sent++
		}
	}
	if sent == 0 && !p.another(w, c) {
		p.finish(w, c, 503)
		return false
	}
	return true
}

// validate is RFC 3261 section 16.3, as far as rules have no part in it.
func (p *Proxy) validate(w *worker, m *index.Message, loop uint64) (status int, lines []byte) {
	s := m.URI.Scheme
	if !m.Is(s, "sip") && !m.Is(s, "sips") && !m.Is(s, "tel") && !m.Is(s, "urn") {
		return 416, nil
	}
	if m.MaxForwards == 0 {
		return 483, nil
	}
	if m.Vias > 1 && p.looped(w, m, loop) {
		return 482, nil
	}
	if tooShort(m) {
		at := len(w.text)
		w.text = append(strconv.AppendInt(append(w.text, "Min-SE: "...), leastSession, 10), crlf...)
		return 422, w.from(at)
	}
	if m.Count(index.ProxyRequireName) > 0 {
		at := len(w.text)
		options := m.List(index.ProxyRequireName)
		for o, ok := options.Next(); ok; o, ok = options.Next() {
			w.text = appendLine(w.text, "Unsupported: ", m.Bytes(o))
		}
		return 420, w.from(at)
	}
	return 0, nil
}

// loopHash is over all that decides where a request goes, and not the topmost
// Via: a request that comes back changed is a spiral and no loop (RFC 5393).
func (p *Proxy) loopHash(w *worker, m *index.Message) uint64 {
	var h maphash.Hash
	h.SetSeed(p.seed)
	part := func(s index.Span) {
		_, _ = h.Write(m.Bytes(s))
		_ = h.WriteByte(0)
	}
	part(m.URI.Text)
	part(m.From.Tag)
	part(m.To.Tag)
	part(m.CallID)
	for _, r := range m.Headers() {
		if r.Name == index.RouteName || r.Name == index.ProxyAuthorizationName {
			part(r.Value)
		}
	}
	var b [16]byte
	if w.msg.Inside {
		b[0] = 1
	}
	_, _ = h.Write(strconv.AppendUint(b[:1], uint64(m.CSeq), 10))
	_, _ = h.Write(m.Bytes(m.MethodText))
	return h.Sum64() & (1<<32 - 1)
}

// looped tells whether one of the Vias is ours and from the same request.
func (p *Proxy) looped(w *worker, m *index.Message, loop uint64) bool {
	vias := m.AllVias()
	for v, _, ok := vias.Next(); ok; v, _, ok = vias.Next() {
		if _, old, ok := w.branch.Open(m.Bytes(v.Branch)); ok && old == loop {
			return true
		}
	}
	return false
}

// send forwards the request of a locked context to one target in a client
// transaction of its own.
func (p *Proxy) send(w *worker, c *reqContext, m *index.Message, t *target, r *road, loop uint64) bool {
	x := &c.Data
	i, ok := c.Add()
	if !ok {
		return false
	}
	at := len(w.text)
	w.text = w.branch.Append(w.text, c.ID(i), loop)
	msg := p.rewrite(w, m, c.Server.Flow, t, r, w.from(at), x)
	reliable := t.flow.Transport.Stream()
	if reliable && t.hop != nil {
		p.streams.use(t.flow.Conn)
	}
	if err := c.Forward(w.number, i, t.flow, x.method == index.Invite, reliable, msg); err != nil {
		if t.hop != nil {
			p.routes.Report(t.hop, route.Result{Outcome: route.Refused})
		}
		return false
	}
	p.metrics.forwarded(t.flow.Transport)
	if t.hop != nil && (p.left(x) || p.dead(x)) {
		c.Hurry(i, p.o.Patience)
	}
	return true
}

// rewrite writes a request as it leaves: the judged bytes, edited in place (RFC
// 3261 section 16.6).
func (p *Proxy) rewrite(w *worker, m *index.Message, from wire.Flow, t *target, r *road, branch []byte, x *exchange) []byte {
	w.splice.Reset()
	p.writeURI(w, m, t, r)
	first, _ := m.First(index.ViaName)
	top := first.Line.From
	w.splice.Insert(top, p.ownVia(w, t.flow, branch))
	w.fillVia(m, from.Remote)
	p.writeRoutes(w, m, t, r, top)
	switch {
	case x == nil || !x.initial:
	case m.Method == index.Register:
		p.writePath(w, m, from, t.flow, top)
	case formsDialog(m.Method):
		p.writeRecordRoute(w, m, from, t.flow, top)
	}
	w.writeMaxForwards(m, top)
	w.writeBreadth(m, t, top)
	if x != nil {
		x.stripped = p.stripCredentials(w, m) || x.stripped
	}
	p.writeSource(w, m, t, from, top)
	w.writeLength(m, t.flow.Transport)
	w.out = w.splice.AppendTo(w.out[:0], m.Raw())
	return w.out
}

// formsDialog tells the methods that may begin a dialog.
func formsDialog(m index.Method) bool {
	return m == index.Invite || m == index.Subscribe || m == index.Refer || m == index.Notify
}

// ownVia is our Via line for a flow.
func (p *Proxy) ownVia(w *worker, to wire.Flow, branch []byte) []byte {
	at := len(w.text)
	w.text = append(w.text, p.listeners[to.Listener].via...)
	w.text = append(append(w.text, branch...), crlf...)
	return w.from(at)
}

func (p *Proxy) writeURI(w *worker, m *index.Message, t *target, r *road) {
	switch {
	case t.uri != nil:
		w.splice.Replace(m.URI.Text, t.uri)
	case r.uri != nil:
		w.splice.Replace(m.URI.Text, r.uri)
	case r.strict:
		if a, ok := lastRoute(m); ok {
			w.splice.Replace(m.URI.Text, m.Bytes(a.URI.Text))
		}
	}
}

// dropRoutes takes the first Route values off, and the last one if it became the
// Request-URI. A line that loses all of its values goes with them.
func (w *worker) dropRoutes(m *index.Message, r *road, most int) {
	routes, n := m.Addresses(index.RouteName), 0
	a, part, more := routes.Next()
	for _, h := range m.Headers() {
		if h.Name != index.RouteName {
			continue
		}
		whole := true
		for more && a.Text.From < h.Value.To {
			if n < most || r.strict && part == r.last {
				w.splice.Delete(part)
				n++
			} else {
				whole = false
			}
			a, part, more = routes.Next()
		}
		if whole {
			w.splice.Delete(h.Line)
		}
	}
}

// maxRoutes is more than any message can hold.
const maxRoutes = 1 << 16

func lastRoute(m *index.Message) (last index.Address, ok bool) {
	all := m.Addresses(index.RouteName)
	for a, _, more := all.Next(); more; a, _, more = all.Next() {
		last, ok = a, true
	}
	return last, ok
}

// writeRoutes takes our own Route values off, and the last one if it became the
// Request-URI, and puts those of a Path on. A stranger who brings Routes without a
// token of ours wants to be relayed: our servers trust us and might do that, so
// none of them leaves.
func (p *Proxy) writeRoutes(w *worker, m *index.Message, t *target, r *road, top uint16) {
	most := r.ours
	if !w.msg.Inside && (!r.token || r.alone) {
		most = maxRoutes
	}
	w.dropRoutes(m, r, most)
	if t.routes != nil {
		at := len(w.text)
		w.text = appendLine(w.text, "Route: ", t.routes)
		w.splice.Insert(top, w.from(at))
	}
}

// writeRecordRoute puts us into the route set of the dialog, with both listeners
// when they differ (RFC 5658), and a token that names both sides.
func (p *Proxy) writeRecordRoute(w *worker, m *index.Message, from, to wire.Flow, top uint16) {
	at := len(w.text)
	w.text = p.appendDialogToken(w.text, m.Bytes(m.CallID), m.Bytes(m.From.Tag), from, to)
	token := w.from(at)
	at = len(w.text)
	w.text = p.appendRecordRoute(w.text, to.Listener, token)
	if to.Listener != from.Listener {
		w.text = p.appendRecordRoute(w.text, from.Listener, token)
	}
	w.splice.Insert(top, w.from(at))
}

func (p *Proxy) appendRecordRoute(b []byte, listener uint16, token []byte) []byte {
	b = append(append(b, "Record-Route: <sip:"...), token...)
	b = append(append(b, '@'), p.listeners[listener].uri...)
	return append(b, ";lr>\r\n"...)
}

// writeMaxForwards counts down, or begins at 70 (section 16.6 step 3).
func (w *worker) writeMaxForwards(m *index.Message, top uint16) {
	if m.MaxForwards < 0 {
		w.splice.Insert(top, []byte("Max-Forwards: 70\r\n"))
		return
	}
	at := len(w.text)
	w.text = strconv.AppendInt(w.text, int64(m.MaxForwards-1), 10)
	w.splice.Replace(m.Value(index.MaxForwardsName), w.from(at))
}

// writeLength adds the Content-Length that a stream must have (section 18.3).
func (w *worker) writeLength(m *index.Message, t guard.Transport) {
	if m.ContentLength >= 0 || !t.Stream() {
		return
	}
	at := len(w.text)
	w.text = append(w.text, "Content-Length: "...)
	w.text = strconv.AppendInt(w.text, int64(m.Body.Len()), 10)
	w.text = append(w.text, crlf...)
	first, _ := m.First(index.ViaName)
	w.splice.Insert(first.Line.From, w.from(at))
}

// writeSource tells our servers where a request really came from, and takes out
// what anybody else says of it, and identities that only they may assert (RFC
// 3325 section 5).
func (p *Proxy) writeSource(w *worker, m *index.Message, t *target, from wire.Flow, top uint16) {
	inside := w.msg.Inside
	for _, h := range m.Headers() {
		switch {
		case h.Name == index.Other && h.Key.Len() == len(p.c.SourceHeader) && m.Is(h.Key, p.c.SourceHeader):
			w.splice.Delete(h.Line)
		case h.Name == index.PAssertedIdentityName && !inside:
			w.splice.Delete(h.Line)
		}
	}
	if t.hop == nil || t.hop.Pool != p.c.Pool || p.c.SourceHeader == "-" {
		return
	}
	at := len(w.text)
	w.text = append(append(w.text, p.c.SourceHeader...), ": "...)
	w.text = from.Remote.AppendTo(w.text)
	w.text = append(append(w.text, ";transport="...), from.Transport.String()...)
	w.text = append(w.text, crlf...)
	w.splice.Insert(top, w.from(at))
}

// passAck forwards the ACK to a 2xx, which is no transaction (section 16.6 step
// 11 and 17.1.1.3): the same ACK gets the same branch.
func (p *Proxy) passAck(w *worker, f wire.Flow, loop uint64) {
	m := &w.in
	r := p.readRoad(w, m)
	if p.astray(w, m, &r) != 0 {
		return
	}
	t, ok := target{}, false
	if r.token {
		t, ok = p.byTicket(m, &r)
	} else if t, ok = p.byDialog(&w.msg); !ok && !w.msg.Inside {
		// A phone that ignores Record-Route: the hop of the call is found again.
		x := exchange{pool: p.c.Pool}
		t, ok = p.nextHop(m, &x, f.Listener)
	}
	if !ok {
		p.metrics.drop(strayAck)
		return
	}
	at := len(w.text)
	w.text = w.branch.Append(w.text, transaction.ID{Slot: ^uint32(0), Generation: ^uint32(0)}, loop)
	msg := p.rewrite(w, m, f, &t, &r, w.from(at), nil)
	if p.transmit(w.number, t.flow, msg) == nil {
		p.metrics.forwarded(t.flow.Transport)
	}
}

// finish gives a final response of our own in a locked context.
func (p *Proxy) finish(w *worker, c *reqContext, status int) {
	x := &c.Data
	m := &w.in
	if x.request != nil {
		if !p.reread(w, c) {
			c.Abandon()
			return
		}
		m = &w.again
	}
	msg := p.compose(w, m, c.Server.Flow.Remote, status, "", p.tag(w, m, c.Server.Flow), nil)
	if c.Respond(w.number, status, msg) {
		p.metrics.response(status)
	}
	if x.method == index.Invite && x.initial {
		p.failedCall(m, status, "ringfence")
	}
	c.Discard(&x.best)
}

// trying is told by the table that a client has heard nothing of its INVITE.
func (p *Proxy) trying(number int, c *reqContext) {
	w := p.timers
	if number >= 0 {
		w = p.workers[number]
	} else {
		w.begin()
	}
	if p.reread(w, c) {
		c.Respond(w.number, 100, p.compose(w, &w.again, c.Server.Flow.Remote, 100, "", nil, nil))
	}
}

// another sends the request of a locked context to the next hop of its pool or
// domain, after one failed. False: there is none, or nobody waits any more.
func (p *Proxy) another(w *worker, c *reqContext) bool {
	x := &c.Data
	if x.canceled || x.hop == nil || !p.reread(w, c) {
		return false
	}
	m := &w.again
	p.introduceAgain(w, c)
	for {
		t, ok := p.nextHop(m, x, c.Server.Flow.Listener)
		if !ok {
			return false
		}
		r := p.readRoad(w, m)
		if p.send(w, c, m, &t, &r, p.loopHash(w, m)) {
			return true
		}
	}
}

// introduceAgain fills in w.msg for a request that was kept.
func (p *Proxy) introduceAgain(w *worker, c *reqContext) {
	x := &c.Data
	w.msg = guard.Message{
		At: p.now(), Src: c.Server.Flow.Remote, Dst: c.Server.Flow.Local, Transport: c.Server.Flow.Transport,
		Trust: x.trust, Proven: x.proven, Inside: x.inside, Peer: x.peer, Account: x.account,
		Listener: p.listeners[c.Server.Flow.Listener].Name, Index: &w.again,
	}
}
