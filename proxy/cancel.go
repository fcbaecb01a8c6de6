package proxy

import (
	"strconv"

	"ringfence/proxy/index"
	"ringfence/proxy/transaction"
	"ringfence/proxy/wire"
)

// cancel takes a CANCEL for an INVITE that is under way: it is answered here and
// asked of everyone who still rings (RFC 3261 sections 9.2 and 16.10). The
// context is locked. The key has told that it comes from where the INVITE came.
func (p *Proxy) cancel(w *worker, f wire.Flow, c *reqContext) {
	x := &c.Data
	p.reply(w, f, true, 200, "OK", nil)
	if x.method != index.Invite || c.Server.State.Final() {
		return
	}
	x.canceled = true
	for i := range c.Clients {
		p.cancelClient(w, c, i)
	}
}

// cancelOthers cancels all client transactions but one.
func (p *Proxy) cancelOthers(w *worker, c *reqContext, but int) {
	if c.Data.method != index.Invite {
		return
	}
	for i := range c.Clients {
		if i != but {
			p.cancelClient(w, c, i)
		}
	}
}

// cancelClient cancels a client transaction that rings. One that has not been
// heard of yet is marked and canceled with its first response (section 9.1).
func (p *Proxy) cancelClient(w *worker, c *reqContext, i int) {
	cl := &c.Clients[i]
	switch cl.State {
	case transaction.Trying:
		cl.Canceled = true
	case transaction.Proceeding:
		if m := &w.again; m.Parse(c.Request(i), false, kept) == "" {
			c.Cancel(w.number, i, p.hopByHop(w, m, "CANCEL", m.Bytes(m.To.Text)))
		}
	}
}

// acknowledge sends the ACK to a refusal of an INVITE, which is in w.in (section
// 17.1.1.3).
func (p *Proxy) acknowledge(w *worker, c *reqContext, i int) {
	if m := &w.again; m.Parse(c.Request(i), false, kept) == "" {
		c.Acknowledge(w.number, i, p.hopByHop(w, m, "ACK", w.in.Bytes(w.in.To.Text)))
	}
}

// hopByHop writes the CANCEL or ACK that belongs to an INVITE as it was sent:
// same Request-URI, topmost Via, Route, From, Call-ID and CSeq number.
func (p *Proxy) hopByHop(w *worker, m *index.Message, method string, to []byte) []byte {
	b := append(append(w.out[:0], method...), ' ')
	b = append(append(b, m.Bytes(m.URI.Text)...), " SIP/2.0\r\n"...)
	b = appendLine(b, "Via: ", m.Bytes(m.Via.Text))
	for _, h := range m.Headers() {
		if h.Name == index.RouteName {
			b = append(b, m.Bytes(h.Line)...)
		}
	}
	b = append(b, "Max-Forwards: 70\r\n"...)
	b = appendLine(b, "From: ", m.Bytes(m.From.Text))
	b = appendLine(b, "To: ", to)
	b = appendLine(b, "Call-ID: ", m.Bytes(m.CallID))
	b = append(b, "CSeq: "...)
	b = strconv.AppendUint(b, uint64(m.CSeq), 10)
	b = append(append(append(b, ' '), method...), crlf...)
	w.out = append(b, "Content-Length: 0\r\n\r\n"...)
	return w.out
}
