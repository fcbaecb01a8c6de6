package proxy

import (
	"context"

	"ringfence/guard"
	"ringfence/proxy/dialog"
	"ringfence/proxy/index"
	"ringfence/proxy/wire"
)

// endings is how many calls may wait for stage end; more are counted and lost.
const endings = 8192

// leg is how a side of a call is reached. For a datagram the address is enough.
func (p *Proxy) leg(f wire.Flow) dialog.Leg {
	l := dialog.Leg{Address: f.Remote, Transport: f.Transport}
	if hop, ok := p.hopOf(f); ok {
		l.Peer = hop.Name
	} else if f.Transport.Stream() {
		l.Flow = string(p.appendFlowToken(nil, f))
	}
	return l
}

// began notes a request that went out: a call that begins, goes on or is hung
// up; w.msg is the request.
func (p *Proxy) began(w *worker, f wire.Flow) {
	m := w.msg.Index
	switch {
	case m.Method == index.Invite && !m.InDialog():
		if len(w.targets) > 0 {
			p.calls.Begin(&w.msg, p.leg(f), p.leg(w.targets[0].flow))
		}
	case m.Method == index.Bye:
		if call, ok := p.calls.Hangup(&w.msg); ok {
			p.end(call)
		}
	case m.InDialog():
		p.calls.Note(&w.msg)
	}
}

// failedCall notes an INVITE that was refused; m is its refusal or itself.
func (p *Proxy) failedCall(m *index.Message, status int, by string) {
	if call, ok := p.calls.Fail(m.Bytes(m.CallID), m.Bytes(m.From.Tag), status, by, p.now()); ok {
		p.end(call)
	}
}

// ranOut is told of calls that ended by running out of time.
func (p *Proxy) ranOut(call *guard.Call) { p.end(*call) }

// end queues a call for stage end. It is called with locks held, so it neither
// waits nor judges.
func (p *Proxy) end(call guard.Call) {
	select {
	case p.ends <- call:
	default:
		p.metrics.drop(endLost)
	}
}

// judgeEnds takes calls that are over through stage end until ctx ends.
func (p *Proxy) judgeEnds(ctx context.Context) error {
	var d guard.Decision
	uncut := context.WithoutCancel(ctx)
	for {
		select {
		case call := <-p.ends:
			m := guard.Message{At: call.End, Src: call.Source, Dst: call.Towards, Account: call.Account, Call: &call}
			p.o.Engine.End(uncut, &m, &d)
		case <-ctx.Done():
			return nil
		}
	}
}

// byDialog finds the other side of a call that is known, for a request that has
// lost our Record-Route.
func (p *Proxy) byDialog(m *guard.Message) (target, bool) {
	x := m.Index
	if !x.InDialog() || !p.calls.Has(m) {
		return target{}, false
	}
	l, ok := p.calls.Across(x)
	if !ok {
		return target{}, false
	}
	return p.reachLeg(&l)
}

// reachLeg is the target at the far end of a leg.
func (p *Proxy) reachLeg(l *dialog.Leg) (target, bool) {
	if l.Flow != "" {
		w := p.loose.Get().(*worker)
		defer p.loose.Put(w)
		w.begin()
		if t, ok := p.redeem(w, []byte(l.Flow)); ok {
			return p.reach(t.flow, nil)
		}
	}
	n, ok := p.pick(l.Transport, l.Address.Addr(), 0)
	if !ok {
		return target{}, false
	}
	return p.reach(wire.Flow{
		Listener: n, Transport: l.Transport, Remote: l.Address, Local: p.listeners[n].bound,
	}, nil)
}

// EndCall hangs up a call by a BYE to both sides, with reason as the text of a
// Reason header (RFC 3326). False: there is no such call, or it was not answered.
func (p *Proxy) EndCall(callID, reason string) bool {
	call, ok := p.calls.Find(callID)
	if !ok || call.State != dialog.Answered {
		return false
	}
	for i := range call.Callees {
		p.bye(&call, &call.Callees[i], &call.Caller, reason)
	}
	if len(call.Callees) > 0 {
		p.bye(&call, &call.Caller, &call.Callees[0], reason)
	}
	if over, ok := p.calls.End(callID, "ringfence", p.now()); ok {
		p.end(over)
	}
	return true
}

// bye sends a BYE to one side of a call in the name of the other.
func (p *Proxy) bye(call *dialog.Call, to, from *dialog.Side, reason string) {
	t, ok := p.reachLeg(&to.Leg)
	if !ok {
		p.log.Warn("a side of a call cannot be reached", "call", call.ID, "side", to.Leg.Address.String())
		return
	}
	o := within(call, "BYE", to, from)
	o.cseq, o.reason = from.CSeq+1, reason
	p.elsewhere(func(w *worker) { p.originateOrSay(w, t.flow, &o) })
}

// within is a request to one side of a call in the name of the other.
func within(call *dialog.Call, method string, to, from *dialog.Side) outgoing {
	return outgoing{
		method: method, uri: bare(to.Target), from: from.URI, fromTag: from.Tag, to: to.URI, toTag: to.Tag,
		callID: call.ID, route: to.Route,
	}
}
