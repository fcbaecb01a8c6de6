package proxy

import (
	"hash/maphash"
	"net/netip"
	"strconv"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/transaction"
	"ringfence/proxy/wire"
)

// answer gives a final response of our own to a judged request. To a source
// that has proved its address it is a transaction; for others nothing is kept.
func (p *Proxy) answer(w *worker, f wire.Flow, key transaction.Key, status int, reason string, lines []byte) {
	if !w.msg.Proven || p.listeners[f.Listener].Stateless {
		p.reply(w, f, w.msg.Proven, status, reason, lines)
		return
	}
	c := p.begin(w, f, key)
	if c == nil {
		return
	}
	msg := p.compose(w, &w.in, f.Remote, status, reason, p.tag(w, &w.in, f), lines)
	c.Respond(w.number, status, msg)
	p.metrics.response(status)
	c.Unlock()
}

// reply answers without keeping anything: the same request gets the same answer
// (RFC 3261 section 16.11). To a source that has proved nothing the answer may
// not be much larger than the request; one that would be is not sent.
func (p *Proxy) reply(w *worker, f wire.Flow, proven bool, status int, reason string, lines []byte) bool {
	msg := p.compose(w, &w.in, f.Remote, status, reason, p.tag(w, &w.in, f), lines)
	if !proven && !p.modest(len(msg), len(w.in.Raw())) {
		p.metrics.drop(amplification)
		return false
	}
	if p.transmit(w.number, f, msg) == nil {
		p.metrics.response(status)
	}
	return true
}

// modest tells whether an answer is no larger than an unproven source may get.
func (p *Proxy) modest(answer, request int) bool {
	return float64(answer) <= p.o.Amplification*float64(request)
}

// challenge asks for credentials.
func (p *Proxy) challenge(w *worker, f wire.Flow, key transaction.Key, v *guard.Verdict) {
	if p.o.Challenger == nil {
		p.answer(w, f, key, 403, "Forbidden", nil)
		return
	}
	status := p.o.Challenger.Status(&w.msg)
	if status == 0 {
		return // ACK and CANCEL
	}
	at := len(w.text)
	w.text = p.o.Challenger.AppendChallenge(w.text, &w.msg, v)
	lines := w.from(at)
	if w.msg.Proven {
		p.answer(w, f, key, status, reasonOf(status), lines)
		return
	}
	if !p.reply(w, f, false, status, reasonOf(status), lines) && firstLine(lines) < len(lines) {
		p.reply(w, f, false, status, reasonOf(status), lines[:firstLine(lines)])
	}
}

// challengeFor challenges in the name of the next hop, with the realm that it
// uses. False: that is not known yet.
func (p *Proxy) challengeFor(w *worker, f wire.Flow) bool {
	realm := p.learned.realm()
	if realm == "" || p.o.Challenger == nil {
		return false
	}
	v := guard.Verdict{Action: guard.Challenge, Realm: realm}
	p.challenge(w, f, transaction.Key{}, &v)
	return true
}

func firstLine(lines []byte) int {
	for i, c := range lines {
		if c == '\n' {
			return i + 1
		}
	}
	return len(lines)
}

// retryAfter is the header line for a verdict that names a time.
func retryAfter(w *worker, d time.Duration) []byte {
	if d <= 0 {
		return nil
	}
	at := len(w.text)
	w.text = append(w.text, "Retry-After: "...)
	w.text = strconv.AppendInt(w.text, int64((d+time.Second-1)/time.Second), 10)
	w.text = append(w.text, crlf...)
	return w.from(at)
}

const crlf = "\r\n"

// compose writes a response of our own to request m into w.out (RFC 3261 section
// 8.2.6). lines are whole header lines.
func (p *Proxy) compose(w *worker, m *index.Message, remote netip.AddrPort, status int, reason string, tag, lines []byte) []byte {
	if reason == "" {
		reason = reasonOf(status)
	}
	b := append(w.out[:0], "SIP/2.0 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(append(append(b, ' '), reason...), crlf...)
	first := true
	for _, h := range m.Headers() {
		if h.Name != index.ViaName {
			continue
		}
		if first {
			b = appendTopVia(b, w, m, h.Line, remote)
			first = false
			continue
		}
		b = append(b, m.Bytes(h.Line)...)
	}
	b = appendLine(b, "From: ", m.Bytes(m.From.Text))
	b = append(append(b, "To: "...), m.Bytes(m.To.Text)...)
	if m.To.Tag.Empty() && status > 100 {
		b = append(append(b, ";tag="...), tag...)
	}
	b = append(b, crlf...)
	b = appendLine(b, "Call-ID: ", m.Bytes(m.CallID))
	b = append(b, "CSeq: "...)
	b = strconv.AppendUint(b, uint64(m.CSeq), 10)
	b = append(append(append(b, ' '), m.Bytes(m.CSeqMethod)...), crlf...)
	b = append(b, lines...)
	b = append(b, "Content-Length: 0\r\n\r\n"...)
	w.out = b
	return b
}

func appendLine(b []byte, name string, value []byte) []byte {
	return append(append(append(b, name...), value...), crlf...)
}

// appendTopVia writes the line of the topmost Via with received and rport filled
// in (RFC 3261 section 18.2.1, RFC 3581 section 4).
func appendTopVia(b []byte, w *worker, m *index.Message, line index.Span, remote netip.AddrPort) []byte {
	w.splice.Reset()
	w.fillVia(m, remote)
	if line.From > 0 {
		w.splice.Delete(index.Span{To: line.From})
	}
	return w.splice.AppendTo(b, m.Raw()[:line.To])
}

// fillVia adds to the splice what the topmost Via must say of where the request
// really came from.
func (w *worker) fillVia(m *index.Message, remote netip.AddrPort) {
	v := &m.Via
	if v.HasRPort {
		w.fillRPort(m, remote.Port()) // before received: both may be put in at the end of the value
	}
	at := len(w.text)
	w.text = remote.Addr().AppendTo(w.text)
	addr := w.from(at)
	switch {
	case !v.Received.Empty():
		w.splice.Replace(v.Received, addr)
	case v.HasRPort || m.Text(v.Host) != string(addr) && !bracketed(m.Text(v.Host), addr):
		at = len(w.text)
		w.text = append(append(w.text, ";received="...), addr...)
		w.splice.Insert(v.Text.To, w.from(at))
	}
}

// fillRPort gives rport its value; "rport" and "rport=" both become "rport=port".
func (w *worker) fillRPort(m *index.Message, port uint16) {
	v, at := &m.Via, len(w.text)
	if !v.RPort.Empty() {
		w.text = strconv.AppendUint(w.text, uint64(port), 10)
		w.splice.Replace(v.RPort, w.from(at))
		return
	}
	end := v.RPortKey.To
	if int(end) < len(m.Raw()) && m.Raw()[end] == '=' {
		end++
	} else {
		w.text = append(w.text, '=')
	}
	w.text = strconv.AppendUint(w.text, uint64(port), 10)
	w.splice.Insert(end, w.from(at))
}

func bracketed(host string, addr []byte) bool {
	return len(host) == len(addr)+2 && host[0] == '[' && host[1:len(host)-1] == string(addr)
}

// tag is the To tag of a response of ours: a keyed hash of the request, so that
// a retransmission gets the same and the ACK to it can be told.
func (p *Proxy) tag(w *worker, m *index.Message, f wire.Flow) []byte {
	var h maphash.Hash
	h.SetSeed(p.seed)
	_, _ = h.Write(m.Bytes(m.CallID))
	_ = h.WriteByte(0)
	_, _ = h.Write(m.Bytes(m.From.Tag))
	// The CSeq and not the branch tells requests apart: an ACK that comes under
	// another branch than its INVITE is still for us and not for the next hop.
	_, _ = h.Write([]byte{0, byte(m.CSeq >> 24), byte(m.CSeq >> 16), byte(m.CSeq >> 8), byte(m.CSeq)})
	a := f.Remote.Addr().As16()
	_, _ = h.Write(a[:])
	sum := h.Sum64() & (1<<52 - 1)
	at := len(w.text)
	w.text = append(w.text, "rf"...)
	for range 13 { // always as long, for answers that nobody can tell apart
		w.text = append(w.text, "0123456789abcdef"[sum&15])
		sum >>= 4
	}
	return w.from(at)
}

// answeredByUs tells whether an ACK is for a stateless reply of ours.
func (p *Proxy) answeredByUs(w *worker, f wire.Flow) bool {
	m := &w.in
	return !m.To.Tag.Empty() && m.Text(m.To.Tag) == string(p.tag(w, m, f))
}

var reasons = map[int]string{
	100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 380: "Alternative Service", 400: "Bad Request", 401: "Unauthorized",
	403: "Forbidden", 404: "Not Found", 407: "Proxy Authentication Required", 408: "Request Timeout",
	416: "Unsupported URI Scheme", 420: "Bad Extension", 422: "Session Interval Too Small", 430: "Flow Failed", 440: "Max-Breadth Exceeded", 480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
	486: "Busy Here", 487: "Request Terminated", 500: "Server Internal Error", 502: "Bad Gateway",
	503: "Service Unavailable", 603: "Decline",
}

// reasonOf is the reason phrase of RFC 3261 section 21.
func reasonOf(status int) string {
	if r := reasons[status]; r != "" {
		return r
	}
	return "Refused"
}
