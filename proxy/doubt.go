package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"ringfence/proxy/dialog"
)

// doubts asks after the calls of the run before until none is left that nobody
// was heard of. The first are given time to show by themselves that they are up,
// and the servers to come back. A question disturbs no call, see witness.
func (p *Proxy) doubts(ctx context.Context) error {
	pace := rate.NewLimiter(rate.Limit(p.o.Questions), 1)
	turn := time.NewTicker(p.o.Doubt)
	defer turn.Stop()
	var over atomic.Int64
	for {
		if n := over.Swap(0); n > 0 {
			p.log.Info("calls ended while nobody listened", "calls", n)
		}
		if !p.inDoubt() {
			return nil
		}
		select {
		case <-turn.C:
		case <-ctx.Done():
			return nil
		}
		for call := range p.calls.Doubtful() {
			if pace.Wait(ctx) != nil {
				return nil
			}
			p.ask(&call, &over)
		}
	}
}

func (p *Proxy) inDoubt() bool {
	for range p.calls.Doubtful() {
		return true
	}
	return false
}

// ask asks a side of a call whether it is up.
func (p *Proxy) ask(call *dialog.Call, over *atomic.Int64) {
	t, question, ok := p.witness(call)
	if !ok {
		return // it will be asked when it can be reached
	}
	id, tag := call.ID, call.Caller.Tag
	told := func(status int) {
		if c, ended := p.calls.Asked(id, tag, status, p.now()); ended {
			over.Add(1)
			p.end(c)
		}
	}
	p.elsewhere(func(w *worker) {
		if err := p.originate(w, t.flow, &question, told); err != nil {
			p.log.Debug("a call cannot be asked after", "call", id, "err", err)
			told(400) // nor later
		}
	})
}

// witness is the side of a call that knows best whether it is up, and what it is
// asked: one of our servers, which is where it was, or a phone, which may not be.
//
// The question is an OPTIONS within the dialog (RFC 3261 section 11) with the
// last CSeq of the other side. Whoever has the dialog takes it for one that was
// overtaken and answers 500 or just 200, and the next request of the other side is
// still in order; whoever has not answers 481 (section 12.2.2).
func (p *Proxy) witness(call *dialog.Call) (best target, question outgoing, ok bool) {
	look := func(to, from *dialog.Side) {
		if ok && best.hop != nil && best.hop.Pool == p.c.Pool {
			return
		}
		t, reached := p.reachLeg(&to.Leg)
		switch {
		case !reached, to.Target == "", t.hop != nil && !p.routes.Up(t.hop):
		case !ok, best.hop == nil && t.hop != nil, t.hop != nil && t.hop.Pool == p.c.Pool:
			best, ok = t, true
			question = within(call, "OPTIONS", to, from)
			question.cseq = from.CSeq
		}
	}
	for i := range call.Callees {
		look(&call.Callees[i], &call.Caller)
		look(&call.Caller, &call.Callees[i])
	}
	return best, question, ok
}
