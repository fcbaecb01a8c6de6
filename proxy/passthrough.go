package proxy

import (
	"crypto/rand"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// In pass-through the next hop authenticates. We watch its answers: they show
// which flows to trust and what its challenges look like, and to flows that are
// not trusted they all leave as one and the same challenge, so that nobody
// learns from them who exists (decisions: guards know, rules decide, and a 404
// is knowledge).

// learned is what the challenges of our servers look like.
type learned struct {
	mu       sync.Mutex // guards writing
	register atomic.Pointer[shape]
	others   atomic.Pointer[shape]
}

// A shape is a challenge to make others by.
type shape struct {
	status int
	realm  string
	lines  string // whole header lines, nonces taken out
	nonces []nonce
	at     time.Time
}

// A nonce is a place in shape.lines where one goes, and what it looks like.
type nonce struct {
	at    int
	last  string // the last one seen
	fixed int    // how many bytes it had in common with the one before: a time, a version
}

// learnEvery is how often a known shape is looked at again: what nonces have in
// common moves with the clock.
const learnEvery = 10 * time.Second

// of is the shape for a method: of its own kind if one was seen.
func (l *learned) of(m index.Method) *shape {
	own, other := l.others.Load(), l.register.Load()
	if m == index.Register {
		own, other = other, own
	}
	if own != nil {
		return own
	}
	return other
}

// realm is the realm of our servers, "" before it is known.
func (l *learned) realm() string {
	if s := l.of(index.Register); s != nil {
		return s.realm
	}
	return ""
}

// learn looks at a challenge of our server to a request of a method.
func (l *learned) learn(m *index.Message, method index.Method, at time.Time) {
	place := &l.others
	if method == index.Register {
		place = &l.register
	}
	old := place.Load()
	if old != nil && at.Sub(old.at) < learnEvery && old.status == m.Status && len(old.nonces) > 0 && old.nonces[0].fixed >= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &shape{status: m.Status, at: at}
	var lines strings.Builder
	for _, h := range m.Headers() {
		if h.Name != index.WWWAuthenticateName && h.Name != index.ProxyAuthenticateName {
			continue
		}
		c, ok := m.Credentials(h.Value)
		if !ok || c.Nonce.Empty() {
			continue
		}
		if s.realm == "" {
			s.realm = string(m.Bytes(c.Realm))
		}
		lines.Write(m.Bytes(index.Span{From: h.Line.From, To: c.Nonce.From}))
		n := nonce{at: lines.Len(), last: string(m.Bytes(c.Nonce)), fixed: -1}
		if old != nil && len(old.nonces) > len(s.nonces) {
			n.fixed = common(old.nonces[len(s.nonces)].last, n.last)
		}
		s.nonces = append(s.nonces, n)
		lines.Write(m.Bytes(index.Span{From: c.Nonce.To, To: h.Line.To}))
	}
	if s.lines = lines.String(); s.lines != "" {
		place.Store(s)
	}
}

// common is how many bytes two nonces of one length begin with alike; at least
// half of a nonce is always made anew.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return min(n, len(b)/2)
}

// append writes a challenge of the shape with new nonces, and gives the first.
func (s *shape) append(dst []byte) (out, first []byte) {
	at := 0
	for i, n := range s.nonces {
		dst = append(dst, s.lines[at:n.at]...)
		from := len(dst)
		dst = n.append(dst)
		if i == 0 {
			first = dst[from:len(dst):len(dst)]
		}
		at = n.at
	}
	return append(dst, s.lines[at:]...), first
}

// append writes a random nonce of the length, alphabet and beginning of the last
// one.
func (n *nonce) append(dst []byte) []byte {
	var few [64]byte
	random := few[:]
	if len(n.last) > len(random) {
		random = make([]byte, len(n.last))
	}
	random = random[:len(n.last)]
	rand.Read(random) // never fails, see crypto/rand
	for i := range len(n.last) {
		c := n.last[i]
		if i >= n.fixed && letterOrDigit(c) {
			set := alphabet(n.last, i)
			c = set[int(random[i])%len(set)]
		}
		dst = append(dst, c)
	}
	return dst
}

func letterOrDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// The alphabets that nonces are written in.
const (
	decimals = "0123456789"
	hexes    = decimals + "abcdef"
	lowers   = hexes + "ghijklmnopqrstuvwxyz"
	letters  = lowers + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// alphabet is that of the part of a nonce that byte i stands in: a time and a
// hash have different ones in "1495188416/63a8f0c8".
func alphabet(s string, i int) string {
	if strings.ContainsAny(s, letters[len(lowers):]) {
		return letters // base64, where a separator separates nothing
	}
	from, to := i, i
	for from > 0 && letterOrDigit(s[from-1]) {
		from--
	}
	for to < len(s) && letterOrDigit(s[to]) {
		to++
	}
	for _, set := range []string{decimals, hexes} {
		if strings.Trim(s[from:to], set) == "" {
			return set
		}
	}
	return lowers
}

// passThrough watches an answer of our servers to a request from outside, and
// sends the one challenge instead of it where it would tell a stranger who
// exists. The context is locked. False: the answer is to go as it is.
func (p *Proxy) passThrough(w *worker, c *reqContext, m *index.Message, at time.Time) bool {
	x := &c.Data
	if p.o.Accounts || x.inside || x.pool != p.c.Pool || !x.initial || p.places != nil {
		return false
	}
	asks := (m.Status == 401 || m.Status == 407) && m.Count(index.WWWAuthenticateName)+m.Count(index.ProxyAuthenticateName) > 0
	if asks && !x.credentials {
		p.learned.learn(m, x.method, at)
	}
	if x.trust == guard.Trusted || !telling(m.Status) {
		return false
	}
	if x.credentials && !x.stripped && x.method != index.Register {
		return false // whose credentials were good may hear that a number does not exist
	}
	lines, status := p.challengeLines(w, c, m, asks)
	if lines == nil {
		return false
	}
	if m == &w.again { // a gathered refusal; the request is read into the same place
		lines = w.piece(lines)
	}
	if !p.reread(w, c) {
		return false
	}
	from := c.Server.Flow
	msg := p.compose(w, &w.again, from.Remote, status, "", p.tag(w, &w.again, from), lines)
	if !x.proven && !p.modest(len(msg), len(x.request)) {
		p.metrics.drop(amplification)
		c.Abandon()
		return true
	}
	c.Respond(w.number, status, msg)
	p.graced(from.Remote, at)
	return true
}

// telling are the answers that differ between who exists and who does not.
func telling(status int) bool {
	switch status {
	case 401, 403, 404, 407, 410, 480, 484, 604:
		return true
	}
	return false
}

// challengeLines are the challenges to send: the server's own if it gave some,
// else of the shape of its others.
func (p *Proxy) challengeLines(w *worker, c *reqContext, m *index.Message, asks bool) (lines []byte, status int) {
	x := &c.Data
	at := len(w.text)
	if !asks {
		s := p.learned.of(x.method)
		if s == nil {
			return nil, 0
		}
		var first []byte
		w.text, first = s.append(w.text)
		p.trust.Offered(first, c.Server.Flow.Remote, p.now())
		return w.from(at), s.status
	}
	for _, h := range m.Headers() {
		if h.Name != index.WWWAuthenticateName && h.Name != index.ProxyAuthenticateName {
			continue
		}
		if d, ok := m.Credentials(h.Value); ok {
			p.offered(w, m.Bytes(d.Nonce), c.Server.Flow.Remote, x.purpose, p.now())
		}
		w.text = append(w.text, m.Bytes(index.Span{From: h.Line.From, To: h.Value.To})...)
		if x.stripped && !p.o.Accounts {
			w.text = append(w.text, staleMark...)
			x.stale = true
		}
		w.text = append(w.text, crlf...)
	}
	return w.from(at), m.Status
}

// staleMark goes to the end of the server's challenge when the credentials that
// it did not get to see were for a challenge of ours: the phone then answers
// again without asking its user (RFC 7616 section 3.3).
const staleMark = ", stale=true"

// challenged prepares a 401 or 407 that is relayed: its nonces will prove the
// address of client if it brings them back. stripped tells that credentials which
// the request had were for us; stale that those it had were too old.
func (p *Proxy) challenged(w *worker, m *index.Message, client netip.AddrPort, stripped bool, purpose uint32) (stale bool) {
	now := p.now()
	for _, h := range m.Headers() {
		if h.Name != index.WWWAuthenticateName && h.Name != index.ProxyAuthenticateName {
			continue
		}
		d, ok := m.Credentials(h.Value)
		if !ok {
			continue
		}
		p.offered(w, m.Bytes(d.Nonce), client, purpose, now)
		if !stripped || p.o.Accounts {
			stale = stale || m.Is(d.Stale, "true")
			continue
		}
		if stale = true; d.Stale.Empty() {
			w.splice.Insert(h.Value.To, []byte(staleMark))
		} else {
			w.splice.Replace(d.Stale, []byte("true"))
		}
	}
	p.graced(client, now)
	return stale
}
