package proxy

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"net/netip"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// Credentials mean something only as the answer to a challenge. Anybody can write
// an Authorization header, and a server that does not look at it answers 200; anybody
// can get a nonce and send it on in the name of another. So it is remembered which
// nonce went to whom, and for what.

// purpose is a hash of what a request is for: a challenge to it is answered by the
// same request with credentials.
func (p *Proxy) purpose(m *index.Message) uint32 {
	var h maphash.Hash
	h.SetSeed(p.seed)
	_, _ = h.Write(m.Bytes(m.MethodText))
	_ = h.WriteByte(0)
	_, _ = h.Write(m.Bytes(m.URI.User))
	return uint32(h.Sum64())
}

// offered notes that a nonce of our servers is being sent to a source in a challenge
// to a request with a purpose.
func (p *Proxy) offered(w *worker, nonce []byte, to netip.AddrPort, purpose uint32, at time.Time) {
	p.trust.Offered(nonce, to, at)
	p.trust.Offered(w.forPurpose(nonce, purpose), to, at)
}

func (w *worker) forPurpose(nonce []byte, purpose uint32) []byte {
	w.nonce = append(append(w.nonce[:0], nonce...), 0)
	w.nonce = binary.BigEndian.AppendUint32(w.nonce, purpose)
	return w.nonce
}

// answers tells whether a request from outside brings credentials that answer a
// challenge to it, at the same source.
func (p *Proxy) answers(w *worker, purpose uint32) bool {
	m := &w.in
	for h := range credentials(m) {
		c, ok := m.Credentials(h.Value)
		if ok && !c.Nonce.Empty() && p.trust.Returned(w.forPurpose(m.Bytes(c.Nonce), purpose), w.msg.Src, w.msg.At) {
			return true
		}
	}
	return false
}

// credentials are the header lines with some.
func credentials(m *index.Message) iter.Seq[index.Header] {
	return func(yield func(index.Header) bool) {
		if m.Count(index.AuthorizationName)+m.Count(index.ProxyAuthorizationName) == 0 {
			return
		}
		for _, h := range m.Headers() {
			if (h.Name == index.AuthorizationName || h.Name == index.ProxyAuthorizationName) && !yield(h) {
				return
			}
		}
	}
}

// stripCredentials takes out credentials that were for us (section 22.3), and those
// that their source has from elsewhere: our server must ask it itself.
func (p *Proxy) stripCredentials(w *worker, m *index.Message) (stripped bool) {
	for line := range p.unfitCredentials(w, m) {
		w.splice.Delete(line)
		stripped = true
	}
	return stripped
}

// unfitCredentials are the lines with those.
func (p *Proxy) unfitCredentials(w *worker, m *index.Message) iter.Seq[index.Span] {
	return func(yield func(index.Span) bool) {
		for h := range credentials(m) {
			ours := p.o.Challenger != nil && p.o.Challenger.Ours(&w.msg, h.Value)
			if (ours || p.astrayNonce(w, m, h)) && !yield(h.Line) {
				return
			}
		}
	}
}

// astrayNonce tells whether credentials have a nonce that their source did not get
// through us. Over UDP a guess may be in the name of a phone, to have that banned for
// it; a connection speaks for itself.
func (p *Proxy) astrayNonce(w *worker, m *index.Message, h index.Header) bool {
	if p.o.Accounts || w.msg.Inside || w.msg.Transport != guard.UDP {
		return false
	}
	c, ok := m.Credentials(h.Value)
	return ok && !c.Nonce.Empty() && !p.trust.Returned(m.Bytes(c.Nonce), w.msg.Src, w.msg.At)
}
