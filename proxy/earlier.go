package proxy

import (
	"net/netip"
	"strings"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/wire"
)

// Calls that were ringing when the process was replaced are answered after it.
// Their transactions are gone, but the branch in the answer is signed with the
// key of the run before: it is ours, and the Via below says where it goes, as a
// stateless proxy would send it (RFC 3261 section 16.11). Answers with any other
// branch stay nobody's business.

// earlierLife is how long answers to the run before may come: as long as a call
// may ring.
const earlierLife = 185 * time.Second

// relayEarlier passes an answer to a request of the run before on. False: it is
// none. Connections ended with that run, so only datagrams can be.
func (p *Proxy) relayEarlier(w *worker, f wire.Flow, at time.Time) bool {
	m := &w.in
	if w.earlier == nil || at.Sub(p.started) > earlierLife || m.Vias < 2 || m.Status < 180 {
		return false
	}
	if _, _, ok := w.earlier.Open(m.Bytes(m.Via.Branch)); !ok {
		return false
	}
	if _, hop := p.hopAt(f.Remote); !hop && (m.Status == 401 || m.Status == 407) {
		p.metrics.drop(digestLeak) // only next hops may ask for credentials
		return true
	}
	vias := m.AllVias()
	_, part, _ := vias.Next()
	v, _, ok := vias.Next()
	if !ok || !m.Is(v.Transport, "UDP") {
		return false
	}
	to, ok := backTo(m, &v)
	if !ok {
		return false
	}
	// A branch proves that the request was ours, but not who answers: one of the two
	// must be a server of ours, or we would send for anybody to anybody.
	_, from := p.hopAt(f.Remote)
	if _, home := p.hopAt(to); !from && !home {
		return false
	}
	l, ok := p.pick(guard.UDP, to.Addr(), f.Listener)
	if !ok {
		return false
	}
	w.splice.Reset()
	w.splice.Delete(part)
	w.out = w.splice.AppendTo(w.out[:0], m.Raw())
	if p.transmit(w.number, wire.Flow{Listener: l, Remote: to, Local: p.listeners[l].bound}, w.out) == nil {
		p.metrics.response(m.Status)
	}
	return true
}

// backTo is where a response goes by a Via that we filled in (RFC 3261 section
// 18.2.2, RFC 3581 section 4).
func backTo(m *index.Message, v *index.Via) (netip.AddrPort, bool) {
	host, port := v.Host, v.Port
	if !v.Received.Empty() {
		host = v.Received
	}
	if n, ok := m.Number(v.RPort); ok && n > 0 && n < 1<<16 {
		port = uint16(n)
	} else if port == 0 {
		port = 5060
	}
	a, err := netip.ParseAddr(strings.Trim(m.Text(host), "[]"))
	return netip.AddrPortFrom(a.Unmap(), port), err == nil
}
