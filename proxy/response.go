package proxy

import (
	"context"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/route"
	"ringfence/proxy/transaction"
	"ringfence/proxy/trust"
	"ringfence/proxy/wire"
)

// response takes a response to where its request came from. It must carry a
// branch of ours that is alive and come from where we sent to; anything else is
// nobody's business (RFC 6026 section 7.3).
func (p *Proxy) response(w *worker, f wire.Flow, at time.Time) {
	m := &w.in
	id, _, ok := w.branch.Open(m.Bytes(m.Via.Branch))
	if !ok {
		if !p.relayEarlier(w, f, at) {
			p.metrics.drop(strayResponse)
		}
		return
	}
	if id.Slot == statelessSlot {
		p.returnStateless(w, f, id, at)
		return
	}
	c := p.table.Find(id, at)
	if c == nil {
		p.metrics.drop(strayResponse)
		return
	}
	i, x := int(id.Client), &c.Data
	if c.Clients[i].Flow.Remote.Addr() != f.Remote.Addr() {
		c.Unlock()
		p.metrics.drop(foreignResponse)
		return
	}
	if m.Method != x.method {
		if m.Method == index.Cancel && x.method == index.Invite && m.Status >= 200 {
			c.AnswerCancel(i)
		}
		c.Unlock()
		return
	}
	p.metrics.response(m.Status)
	before := c.Clients[i].Status
	p.reported(c, i, m.Status, before == 0, at)
	p.answered(c, i, m.Status, before, at)
	switch c.Take(w.number, i, m.Status) {
	case transaction.Provisional:
		p.provisional(w, c, i, f, at)
	case transaction.Success:
		p.success(w, c, i, f, at)
	case transaction.Refusal:
		p.refusal(w, c, i, at)
	case transaction.Absorbed:
	}
	judge := p.replied(w, c, i, at)
	c.Unlock()
	if judge {
		p.o.Engine.Reply(context.Background(), &w.msg, &w.decision)
	}
}

// reported tells the pools how a next hop answers.
func (p *Proxy) reported(c *reqContext, i, status int, first bool, at time.Time) {
	hop := c.Data.hop
	if hop == nil || !first || i != len(c.Clients)-1 || status == 503 {
		return
	}
	p.routes.Report(hop, route.Result{Outcome: route.OK, Took: at.Sub(c.Clients[i].Sent)})
}

// provisional passes a 1xx on; a 100 ends here (RFC 3261 section 16.7 step 5).
func (p *Proxy) provisional(w *worker, c *reqContext, i int, f wire.Flow, at time.Time) {
	x := &c.Data
	if x.canceled || c.Clients[i].Canceled {
		p.cancelClient(w, c, i)
	}
	if w.in.Status == 100 || x.origin != nil {
		return
	}
	if x.method == index.Invite && x.initial {
		p.calls.Ring(&w.in, p.leg(f), at)
	}
	p.relay(w, c, &w.in)
}

// success passes a 2xx on, and the others of an INVITE too. One that nobody
// waits for any more is acknowledged and hung up.
func (p *Proxy) success(w *worker, c *reqContext, i int, f wire.Flow, at time.Time) {
	x := &c.Data
	if x.origin != nil {
		x.origin.answered(w, c, w.in.Status)
		return
	}
	if x.method == index.Invite {
		if s := c.Server.State; s == transaction.Completed || s == transaction.Confirmed || s == transaction.Terminated {
			p.orphan(w, c, i)
			return
		}
		p.cancelOthers(w, c, i)
		if x.initial {
			p.calls.Answer(&w.in, p.leg(f), at)
		}
	}
	if !x.initial && (x.method == index.Invite || x.method == index.Update) {
		p.calls.Refresh(&w.in, at)
	}
	if x.answers {
		p.earned(c.Server.Flow, at)
	}
	p.relay(w, c, &w.in)
	if x.method != index.Invite {
		p.done(c)
	}
}

// refusal deals with a final response other than 2xx: the next hop may have a
// substitute, others may still answer, and in the end the best goes back.
func (p *Proxy) refusal(w *worker, c *reqContext, i int, at time.Time) {
	m, x := &w.in, &c.Data
	if x.method == index.Invite {
		p.acknowledge(w, c, i)
	}
	if x.origin != nil {
		x.origin.answered(w, c, m.Status)
		return
	}
	if m.Status == 503 && x.hop != nil {
		p.routes.Report(x.hop, route.Result{Outcome: route.Busy, RetryAfter: p.retryAfterOf(m)})
		if p.another(w, c) {
			return
		}
	}
	if len(c.Clients) == 1 {
		p.settle(w, c, m, at)
		return
	}
	p.hold(c, m)
	if m.Status >= 600 {
		p.cancelOthers(w, c, i)
	}
	p.best(w, c, at)
}

// best sends the best refusal back once nobody can give a better one. The
// context is locked.
func (p *Proxy) best(w *worker, c *reqContext, at time.Time) {
	x := &c.Data
	if c.Waiting() || c.Server.State.Final() {
		return
	}
	if x.best == nil {
		p.silence(w, c)
		return
	}
	if w.again.Parse(x.best, false, kept) != "" {
		p.finish(w, c, 500)
		return
	}
	p.settle(w, c, &w.again, at)
}

// settle sends a refusal back as the final response.
func (p *Proxy) settle(w *worker, c *reqContext, m *index.Message, at time.Time) {
	x := &c.Data
	switch {
	case x.canceled && x.method == index.Invite && m.Status != 487:
		p.finish(w, c, 487)
		return
	case m.Status == 503 && len(c.Clients) > 1:
		p.finish(w, c, 500) // section 16.7 step 6: it is our next hop that is overloaded
		return
	case x.inside && (m.Status == 401 || m.Status == 407) && !p.byHops(c):
		// Who answers a call of the PBX with a challenge wants its digest.
		p.metrics.drop(digestLeak)
		p.finish(w, c, 403)
		return
	}
	status := m.Status
	if x.method == index.Invite && x.initial {
		p.failedCall(m, status, "callee")
	}
	if p.passThrough(w, c, m, at) {
		p.done(c)
		return
	}
	p.relay(w, c, m)
	p.done(c)
}

// byHops tells whether a request went to next hops only, which may challenge our
// servers.
func (p *Proxy) byHops(c *reqContext) bool {
	for i := range c.Clients {
		if _, ok := p.hopOf(c.Clients[i].Flow); !ok {
			return false
		}
	}
	return true
}

// done lets go of what only an unanswered request needs.
func (p *Proxy) done(c *reqContext) {
	x := &c.Data
	if !c.Server.State.Final() || c.Waiting() {
		return
	}
	c.Discard(&x.best)
}

// relay passes a response on towards the client: without our Via, and otherwise
// as it came (section 16.7 step 8).
func (p *Proxy) relay(w *worker, c *reqContext, m *index.Message) {
	x := &c.Data
	if m.Vias < 2 { // who answers without the Vias that it got has lost the way back
		p.metrics.drop(strayResponse)
		if m.Status >= 300 {
			p.finish(w, c, m.Status)
		}
		return
	}
	p.unwrap(w, m)
	if x.method == index.Register && !x.inside && m.Status/100 == 2 {
		p.restoreContacts(w, m)
	}
	if (m.Status == 401 || m.Status == 407) && !x.inside {
		x.stale = p.challenged(w, m, c.Server.Flow.Remote, x.stripped, x.purpose) || x.stale
		if m == &w.again && len(x.challenges) > 0 {
			p.gather(w, x, m)
		}
	}
	w.writeLength(m, c.Server.Flow.Transport)
	w.out = w.splice.AppendTo(w.out[:0], m.Raw())
	if !x.proven && x.request != nil && !p.modest(len(w.out), len(x.request)) {
		p.metrics.drop(amplification)
		switch {
		case m.Status >= 300:
			p.finish(w, c, m.Status)
		case m.Status >= 200:
			c.Abandon()
		}
		return
	}
	c.Respond(w.number, m.Status, w.out)
}

// unwrap begins the splice of a response: our Via comes off, and what our servers
// sent back of where the request came from.
func (p *Proxy) unwrap(w *worker, m *index.Message) {
	w.splice.Reset()
	vias := m.AllVias()
	_, part, _ := vias.Next()
	w.splice.Delete(part)
	for _, h := range m.Headers() {
		if h.Name == index.Other && h.Key.Len() == len(p.c.SourceHeader) && m.Is(h.Key, p.c.SourceHeader) {
			w.splice.Delete(h.Line)
		}
	}
}

// gather adds the challenges of the other branches to a 401 or 407 (section 16.7
// step 7); its own are among them.
func (p *Proxy) gather(w *worker, x *exchange, m *index.Message) {
	var at uint16
	for _, h := range m.Headers() {
		if h.Name == index.WWWAuthenticateName || h.Name == index.ProxyAuthenticateName {
			w.splice.Delete(h.Line)
			at = h.Line.From
		}
	}
	if at > 0 {
		w.splice.Insert(at, x.challenges)
	}
}

// replied fills in w.msg for stage reply when a final response has come. The
// context is locked; what is filled in outlives that.
func (p *Proxy) replied(w *worker, c *reqContext, i int, at time.Time) bool {
	x := &c.Data
	status := w.in.Status
	if status < 200 || x.origin != nil || x.replied || !c.Server.State.Final() {
		return false
	}
	x.replied = true
	w.reply = guard.Reply{
		Status: status, Took: at.Sub(c.Clients[i].Sent), Credentials: x.credentials && !x.stripped,
		Stale: x.stale,
	}
	if int(x.user.To) <= len(x.request) && !x.user.Empty() {
		w.reply.Target = text(w.piece(x.request[x.user.From:x.user.To]))
	}
	from := c.Server.Flow
	w.msg = guard.Message{
		At: at, Src: from.Remote, Dst: from.Local, Transport: from.Transport,
		Trust:  p.trust.State(trust.Flow{Remote: from.Remote, Transport: from.Transport}, at),
		Proven: x.proven, Inside: x.inside, Peer: x.peer, Account: x.account,
		Listener: p.listeners[from.Listener].Name, Index: &w.in, Reply: &w.reply,
	}
	if c.Server.State.Final() && !c.Waiting() {
		c.Discard(&x.request)
	}
	return true
}

// silence is the end of a request that nobody answered: 503 where the next hop is
// known to be down, so that the client tries elsewhere; else 408 to an INVITE, and
// nothing to others, whose clients gave up at the same time (RFC 4320 section
// 4.2). The context is locked.
func (p *Proxy) silence(w *worker, c *reqContext) {
	x := &c.Data
	switch {
	case x.origin != nil:
		x.origin.answered(w, c, 408)
	case x.canceled:
		p.finish(w, c, 487)
	case p.dead(x) && p.now().Sub(x.began) < timerF:
		p.finish(w, c, 503)
	case x.method != index.Invite:
		c.Abandon()
	default:
		p.finish(w, c, 408)
	}
}

// dead tells whether a request went to a next hop that is down, because its pool has
// no other: there is little to wait for. A call for help waits all the same.
func (p *Proxy) dead(x *exchange) bool {
	return x.hop != nil && x.domain == nil && !x.emergency && !p.routes.Up(x.hop)
}

// timerF is how long a client waits for the answer to a request that is no
// INVITE, less a second for the way.
const timerF = 31 * time.Second

// failed is told by the table that a client transaction got no final response.
func (p *Proxy) failed(c *reqContext, i int, why transaction.Failure) {
	w, x := p.timers, &c.Data
	w.begin()
	if why == transaction.TooLong {
		p.cancelClient(w, c, i)
		return
	}
	if cl := &c.Clients[i]; x.hop != nil && i == len(c.Clients)-1 && !cl.Canceled && cl.Status == 0 {
		switch why {
		case transaction.NoAnswer:
			p.routes.Report(x.hop, route.Result{Outcome: route.Timeout})
		case transaction.Lost:
			if !p.streams.blamed(cl.Flow.Conn) {
				break
			}
			fallthrough
		default:
			p.routes.Report(x.hop, route.Result{Outcome: route.Refused})
		}
		// The client of another request gave up when its Timer F fired.
		if (x.method == index.Invite || p.now().Sub(x.began) < timerF) && p.another(w, c) {
			return
		}
	}
	if c.Waiting() || c.Server.State.Final() {
		return
	}
	p.best(w, c, p.now())
	c.Discard(&x.request)
}
