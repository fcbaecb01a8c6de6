package proxy

import (
	"math/rand/v2"
	"strconv"
	"sync/atomic"

	"ringfence/guard"
	"ringfence/proxy/wire"
)

// When there is hardly any room for transactions left, by their number or by the
// memory that their messages take, requests are shed in this order: those of
// sources that have proved nothing, those of strangers, new calls and registrations
// of everybody. What is up can still be hung up, held and transferred, and calls for
// help get through (RFC 7339 section 5.10.1 has the same order).

// The parts of Options.Transactions and Options.Memory above which there is room
// only for some.
const (
	roomForTrusted = 0.75 // for sources that our servers or we have accepted, and for known calls
	roomForDialogs = 0.9  // for what is within a dialog, and for calls for help
)

// The unproven are the transactions of sources that have proved nothing, which may
// be one that forges many. They share a part of the table (Options.Unproven) and the
// same part of the memory, whatever they say that they belong to.
type unproven struct{ n, octets atomic.Int64 }

func (u *unproven) add(n, octets int) {
	u.n.Add(int64(n))
	u.octets.Add(int64(octets))
}

// crowd tells whether the unproven have had their part.
func (p *Proxy) crowd() bool {
	return p.unproven.n.Load() >= int64(p.o.Unproven) ||
		float64(p.unproven.octets.Load()) >= float64(p.o.Memory)*float64(p.o.Unproven)/float64(p.o.Transactions)
}

// full tells whether a part of the room is taken.
func (p *Proxy) full(part float64) bool {
	return float64(p.table.Up()) >= part*float64(p.o.Transactions) || float64(p.table.Held()) >= part*float64(p.o.Memory)
}

// crowded tells whether a request is to be shed.
func (p *Proxy) crowded(m *guard.Message, d *guard.Decision) bool {
	switch {
	case d.Verdict.Emergency:
		return false
	case !m.Proven && p.crowd():
		return true
	case !p.full(roomForTrusted):
		return false
	case m.Trust != guard.Trusted:
		return !p.calls.Has(m)
	}
	return !m.Index.InDialog() && p.full(roomForDialogs)
}

// Who is shed is told when to come back: not all at the same time.
const (
	retrySoonest = 10 // seconds
	retryLatest  = 40
)

// unavailable answers a request that there is no room for. A source that has
// proved nothing is not worth an answer then.
func (p *Proxy) unavailable(w *worker, f wire.Flow) {
	if !w.msg.Proven {
		return
	}
	at := len(w.text)
	w.text = append(w.text, "Retry-After: "...)
	w.text = strconv.AppendInt(w.text, int64(retrySoonest+rand.IntN(retryLatest-retrySoonest)), 10) //nolint:gosec // it only spreads
	w.text = append(w.text, crlf...)
	p.reply(w, f, true, 503, "", w.from(at))
}
