package proxy

import (
	"context"
	"hash/maphash"
	"net/netip"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/route"
	"ringfence/proxy/transaction"
	"ringfence/proxy/wire"
)

// A stateless listener only filters (RFC 3261 section 16.11): a request is judged
// and goes on, its response comes back, and nothing is kept in between. What a
// transaction would know is in the Via that the response brings back: a branch
// that is a hash of the request and of whom it went to, and a memo of where it
// came from. Whoever has not got the request cannot answer it, and nobody can be
// made to answer for another.

// statelessSlot is in branches that no transaction has; statelessClient tells them
// from those of ACKs, which have no answer.
const (
	statelessSlot   = ^uint32(0)
	statelessClient = 1
)

// memoParam is the parameter of our Via with the memo.
const memoParam = "rf"

// forwardStateless sends a judged request on.
func (p *Proxy) forwardStateless(w *worker, f wire.Flow) {
	m := &w.in
	status, lines := p.validate(w, m, p.loopHash(w, m))
	if status != 0 {
		p.answerStateless(w, f, status, lines)
		return
	}
	var x exchange
	x.begin(w, w.msg.At)
	p.weigh(w, &x)
	r := p.readRoad(w, m)
	if status = p.astray(w, m, &r); status != 0 {
		p.answerStateless(w, f, status, nil)
		return
	}
	if status = p.find(w, &x, f, &r); status != 0 {
		p.answerStateless(w, f, status, nil)
		return
	}
	t, ok := w.targets[0], true
	for ok && !p.sendStateless(w, f, &x, &t, &r) {
		ok = x.hop != nil
		if ok {
			p.routes.Report(x.hop, route.Result{Outcome: route.Refused})
			t, ok = p.nextHop(m, &x, f.Listener)
		}
	}
	if !ok {
		p.answerStateless(w, f, 503, nil)
	}
}

func (p *Proxy) answerStateless(w *worker, f wire.Flow, status int, lines []byte) {
	if w.in.Method != index.Ack {
		p.reply(w, f, w.msg.Proven, status, "", lines)
	}
}

// sendStateless sends a request to one target.
func (p *Proxy) sendStateless(w *worker, f wire.Flow, x *exchange, t *target, r *road) bool {
	m := &w.in
	for range p.unfitCredentials(w, m) {
		x.stripped = true
	}
	o := x.memo(f, len(m.Raw()))
	at := len(w.text)
	id := transaction.ID{Slot: statelessSlot, Generation: p.sameness(m, &m.Via, f, t.flow.Remote.Addr()), Client: statelessClient}
	w.text = w.branch.Append(w.text, id, 0)
	w.text = append(w.text, ";"+memoParam+"="...)
	w.text = p.appendMemo(w.text, &o)
	msg := p.rewrite(w, m, f, t, r, w.from(at), x)
	if p.transmit(w.number, t.flow, msg) != nil {
		return false
	}
	p.metrics.forwarded(t.flow.Transport)
	return true
}

// sameness is a hash that is the same for a request, its retransmissions, its
// CANCEL and the ACK to its refusal, and for their responses: via is what the
// client put on top.
func (p *Proxy) sameness(m *index.Message, via *index.Via, client wire.Flow, server netip.Addr) uint32 {
	var h maphash.Hash
	h.SetSeed(p.seed)
	for _, s := range [...]index.Span{via.Branch, via.Host, m.CallID, m.From.Tag} {
		_, _ = h.Write(m.Bytes(s))
		_ = h.WriteByte(0)
	}
	maphash.WriteComparable(&h, client.Remote)
	maphash.WriteComparable(&h, client.Conn)
	maphash.WriteComparable(&h, server)
	maphash.WriteComparable(&h, m.CSeq)
	maphash.WriteComparable(&h, via.Port)
	return uint32(h.Sum64())
}

// returnStateless takes a response back to where the memo in our Via says.
func (p *Proxy) returnStateless(w *worker, f wire.Flow, id transaction.ID, at time.Time) {
	m := &w.in
	token, _ := m.Param(m.Via.Params, memoParam)
	o, ok := p.readMemo(w, m.Bytes(token))
	if !ok || m.Vias < 2 {
		p.metrics.drop(strayResponse)
		return
	}
	vias := m.AllVias()
	vias.Next()
	via, _, _ := vias.Next()
	if id.Generation != p.sameness(m, &via, o.flow, f.Remote.Addr()) {
		p.metrics.drop(foreignResponse)
		return
	}
	_, hop := p.hopOf(f)
	asks := m.Status == 401 || m.Status == 407
	if asks && !hop && o.is(fromInside) {
		p.metrics.drop(digestLeak) // who is no next hop wants the digest of our servers
		return
	}
	p.metrics.response(m.Status)
	stale := p.sendBack(w, &o, asks, at)
	if m.Status >= 200 && m.Method != index.Cancel {
		p.repliedStateless(w, &o, stale, at)
	}
}

// sendBack sends a response to where its request came from.
func (p *Proxy) sendBack(w *worker, o *memo, asks bool, at time.Time) (stale bool) {
	m := &w.in
	p.unwrap(w, m)
	outside := !o.is(fromInside)
	if outside && m.Status/100 == 2 {
		if o.is(wasAnswer) {
			p.earned(o.flow, at)
		}
		if m.Method == index.Register {
			p.restoreContacts(w, m)
		}
	}
	if outside && asks {
		if !o.is(credentialed) {
			p.learned.learn(m, m.Method, at)
		}
		stale = p.challenged(w, m, o.flow.Remote, o.is(wasStripped), o.purpose)
	}
	w.writeLength(m, o.flow.Transport)
	w.out = w.splice.AppendTo(w.out[:0], m.Raw())
	if !o.is(fromProven) && !p.modest(len(w.out), int(o.size)) {
		p.metrics.drop(amplification)
		return stale
	}
	if p.transmit(w.number, o.flow, w.out) != nil {
		p.metrics.drop(strayResponse)
	}
	return stale
}

// repliedStateless takes a final response through stage reply. One that its server
// sends again is judged again.
func (p *Proxy) repliedStateless(w *worker, o *memo, stale bool, at time.Time) {
	m := &w.in
	w.reply = guard.Reply{
		Status: m.Status, Credentials: o.is(credentialed) && !o.is(wasStripped), Stale: stale, Target: text(m.Bytes(m.To.URI.User)),
	}
	f := o.flow
	state := p.trust.State(trustFlow(f), at)
	w.msg = guard.Message{
		At: at, Src: f.Remote, Dst: f.Local, Transport: f.Transport, Trust: state,
		Proven: o.is(fromProven), Inside: o.is(fromInside), Listener: p.listeners[f.Listener].Name, Index: m, Reply: &w.reply,
	}
	if hop, ok := p.insider(f); ok {
		w.msg.Peer = hop.Name
	}
	p.o.Engine.Reply(context.Background(), &w.msg, &w.decision)
}
