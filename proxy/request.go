package proxy

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/transaction"
	"ringfence/proxy/trust"
	"ringfence/proxy/wire"
)

// Receive takes one message from the wire: the road of a message begins here.
func (p *Proxy) Receive(number int, f wire.Flow, raw []byte, at time.Time) {
	p.seen(f, raw, at)
	w := p.workers[number]
	w.begin()
	limits := p.c.Limits
	if f.Transport.Stream() {
		limits.Size = p.o.Limits.Message
	}
	if problem := w.in.Parse(raw, f.Transport.ByLength(), limits); problem != "" {
		p.malformed(w, f, problem, at)
		return
	}
	if w.in.Request {
		p.request(w, f, at)
	} else {
		p.response(w, f, at)
	}
	w.finish()
}

// request takes a request as far as its verdict.
func (p *Proxy) request(w *worker, f wire.Flow, at time.Time) {
	m := &w.in
	key := p.table.Key(m, f.Remote.Addr())
	if p.listeners[f.Listener].Stateless {
		if m.Method == index.Ack && p.answeredByUs(w, f) {
			return
		}
	} else if p.known(w, f, key, at) {
		return
	}
	p.introduce(w, f, at)
	if p.barred(w, f, at) || !p.admit(w, f, at) {
		return
	}
	d := &w.decision
	p.o.Engine.Judge(context.Background(), &w.msg, d)
	p.metrics.judged(&w.msg, d)
	if w.msg.Account != "" && !w.msg.Inside { // its credentials were accepted
		p.earned(f, at)
		w.msg.Trust, w.msg.Proven = guard.Trusted, true
	}
	if d.Verdict.Emergency && p.o.Grace != nil {
		p.o.Grace(f.Remote, at.Add(emergencyGrace))
	}
	p.act(w, f, key)
}

// How long the screen lets a source through: one that calls for help, and one
// that the next hop has asked for credentials.
const (
	emergencyGrace = 5 * time.Minute
	challengeGrace = 10 * time.Second
)

// act does what the verdict says.
func (p *Proxy) act(w *worker, f wire.Flow, key transaction.Key) {
	v := &w.decision.Verdict
	ack := w.in.Method == index.Ack
	switch {
	case v.Action == guard.Drop, ack && v.Action == guard.Reject:
		return // silence; nobody answers an ACK
	case ack && v.Action == guard.Challenge:
		// An ACK has no credentials to give (RFC 3261 section 22.1): it may pass
		// only where its dialog says.
		if p.calls.Has(&w.msg) || p.listeners[f.Listener].Stateless && w.msg.Proven {
			p.pass(w, f, key)
		}
	case v.Action == guard.Challenge && w.in.Method == index.Cancel && w.msg.Proven:
		p.pass(w, f, key) // of a stateless listener; nor has a CANCEL
	case v.Action == guard.Challenge:
		p.challenge(w, f, key, v)
	case v.Action == guard.Reject:
		p.answer(w, f, key, v.Status, v.Reason, retryAfter(w, v.RetryAfter))
	default:
		p.pass(w, f, key)
	}
}

// known handles what belongs to a request that was judged before: a
// retransmission, the ACK to a refusal, a CANCEL.
func (p *Proxy) known(w *worker, f wire.Flow, key transaction.Key, at time.Time) bool {
	m := &w.in
	c := p.table.Match(key, at)
	if c == nil {
		switch m.Method {
		case index.Ack:
			return p.answeredByUs(w, f) // the ACK to a reply that nothing is kept of
		case index.Cancel:
			p.strayCancel(w, f, at)
			return true
		}
		return false
	}
	done := true
	switch m.Method {
	case index.Ack:
		done = c.Ack()
	case index.Cancel:
		p.cancel(w, f, c)
	default:
		p.metrics.retransmission()
		c.Repeat(w.number)
	}
	c.Unlock()
	return done
}

// strayCancel answers a CANCEL that cancels nothing, within the budget of its
// source.
func (p *Proxy) strayCancel(w *worker, f wire.Flow, at time.Time) {
	_, inside := p.insider(f)
	if !inside {
		if _, answer := p.trust.Admit(trustFlow(f), at); answer != trust.Admitted {
			p.metrics.drop(overBudget)
			return
		}
	}
	p.reply(w, f, p.proven(f), 481, "", nil)
}

// introduce fills in what guards may know of a source.
func (p *Proxy) introduce(w *worker, f wire.Flow, at time.Time) {
	w.msg = guard.Message{
		At: at, Src: f.Remote, Dst: f.Local, Transport: f.Transport,
		Listener: p.listeners[f.Listener].Name, Index: &w.in,
	}
	hop, ok := p.insider(f)
	if !ok && !f.Transport.Web() {
		// One that DNS names no more still has its calls, and nothing else.
		hop, ok = p.routes.Draining(f.Remote)
		ok = ok && p.calls.Has(&w.msg)
	}
	if ok {
		w.msg.Inside, w.msg.Peer = true, hop.Name
		w.msg.Proven, w.msg.Trust = true, guard.Trusted
	}
}

// admit takes a message from the budget of its source before anything is spent
// on it, and finds out whether the source has proved its address.
func (p *Proxy) admit(w *worker, f wire.Flow, at time.Time) bool {
	if w.msg.Inside {
		return true
	}
	flow := trustFlow(f)
	state, answer := p.trust.Admit(flow, at)
	w.msg.Trust = state
	w.msg.Proven = f.Transport.Stream() || state != guard.Unknown
	if state == guard.Unknown && (f.Transport.Stream() || p.proves(w, f, at)) {
		p.trust.Promote(flow, guard.Challenged, at)
		w.msg.Trust, w.msg.Proven = guard.Challenged, true
		answer = trust.Admitted // it was asked to come back, and it did
	}
	if w.msg.Trust != guard.Trusted && p.calling(&w.msg) {
		if p.helped(&w.msg, f, at) {
			return true
		}
		p.metrics.drop(overBudget)
		return false
	}
	if answer == trust.Admitted {
		if !w.msg.Proven && !p.o.Accounts && p.listeners[f.Listener].Challenge == Always {
			return !p.challengeFor(w, f)
		}
		return true
	}
	if answer == trust.OverPipe && !p.o.Accounts && p.listeners[f.Listener].Challenge != Never {
		p.challengeFor(w, f)
	}
	p.metrics.drop(overBudget)
	return false
}

// proves tells whether a request brings back a nonce, ours or a next hop's, that
// was sent to its source.
func (p *Proxy) proves(w *worker, f wire.Flow, at time.Time) bool {
	m := &w.in
	if m.Count(index.AuthorizationName)+m.Count(index.ProxyAuthorizationName) == 0 {
		return false
	}
	if p.o.Challenger != nil && p.o.Challenger.Proves(&w.msg) {
		return true
	}
	for h := range credentials(m) {
		if c, ok := m.Credentials(h.Value); ok && p.trust.Returned(m.Bytes(c.Nonce), f.Remote, at) {
			return true
		}
	}
	return false
}

// proven tells whether a source that was not introduced has proved its address.
func (p *Proxy) proven(f wire.Flow) bool {
	if f.Transport.Stream() || p.trust.State(trustFlow(f), p.now()) != guard.Unknown {
		return true
	}
	_, inside := p.insider(f)
	return inside
}

// malformed counts a message that cannot be judged, and answers it where an
// answer can do no harm.
func (p *Proxy) malformed(w *worker, f wire.Flow, problem index.Problem, at time.Time) {
	proven := p.proven(f)
	p.metrics.drop(malformed)
	if p.o.Malformed != nil {
		p.o.Malformed(f.Remote, f.Transport, problem, proven)
	}
	m := &w.in
	whole := !m.Via.Text.Empty() && !m.From.Text.Empty() && !m.To.Text.Empty() && !m.CallID.Empty() && !m.CSeqMethod.Empty()
	if !proven || !m.Request || m.Method == index.Ack || !whole {
		return
	}
	if _, answer := p.trust.Admit(trustFlow(f), at); answer != trust.Admitted {
		return
	}
	p.reply(w, f, true, 400, "Bad Request", nil)
}

// earned notes that a flow was accepted, by us or by our servers.
func (p *Proxy) earned(f wire.Flow, at time.Time) {
	p.trust.Promote(trustFlow(f), guard.Trusted, at)
	if f.Transport.Stream() {
		p.wire.Keep(f.Conn)
	}
}

func trustFlow(f wire.Flow) trust.Flow { return trust.Flow{Remote: f.Remote, Transport: f.Transport} }

// begin makes the transaction of a judged request. On nil there was no room and
// the request is answered, or another reader was faster.
func (p *Proxy) begin(w *worker, f wire.Flow, key transaction.Key) *reqContext {
	var source netip.Addr
	if !w.msg.Inside {
		source = f.Remote.Addr()
	}
	if p.crowded(&w.msg, &w.decision) {
		p.metrics.drop(shed)
		p.unavailable(w, f)
		return nil
	}
	c, fresh, err := p.table.Begin(key, source, w.msg.At)
	switch {
	case errors.Is(err, transaction.ErrSource):
		p.metrics.drop(sourceFull)
	case err != nil:
		p.metrics.drop(tableFull)
	case !fresh:
		c.Repeat(w.number)
		c.Unlock()
	}
	if err != nil {
		p.unavailable(w, f)
	}
	if err != nil || !fresh {
		return nil
	}
	c.Server.Flow, c.Server.Invite = f, w.in.Method == index.Invite
	c.Server.Reliable, c.Server.Mute = f.Transport.Stream(), !w.msg.Proven
	c.Data.begin(w, w.msg.At)
	if !w.msg.Proven {
		c.Data.weight = copies * len(w.in.Raw())
		p.unproven.add(1, c.Data.weight)
	}
	p.weigh(w, &c.Data)
	return c
}

// copies is how many copies of a request are kept at the least: the one that was
// judged, and the one that left.
const copies = 2

// weigh finds out what the credentials of a request are worth.
func (p *Proxy) weigh(w *worker, x *exchange) {
	if x.inside || p.o.Accounts {
		return // ours to judge, or nobody's
	}
	x.purpose = p.purpose(&w.in)
	x.answers = x.credentials && !x.emergency && p.answers(w, x.purpose)
}
