package proxy

import (
	"math/rand/v2"
	"strconv"

	"ringfence/guard"
	"ringfence/proxy/wire"
)

// When there is hardly any room for transactions left, new calls and
// registrations are shed, so that those that are up can still be hung up, held
// and transferred, and calls for help get through (RFC 7339 section 5.10.1 has
// the same order).

// roomForDialogs is the part of Options.Transactions that only requests within
// dialogs and emergency calls may use: one in so many.
const roomForDialogs = 10

// Sources that have proved nothing, which may be one that forges many, share a part
// of the table (Options.Unproven), whatever they say that they belong to.

// crowded tells whether a request is to be shed.
func (p *Proxy) crowded(m *guard.Message, d *guard.Decision) bool {
	if !m.Proven && !d.Verdict.Emergency && int(p.unproven.Load()) >= p.o.Unproven {
		return true
	}
	return p.table.Up() >= p.o.Transactions-p.o.Transactions/roomForDialogs && !m.Index.InDialog() && !d.Verdict.Emergency
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
