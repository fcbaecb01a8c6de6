package proxy

import (
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/route"
)

// An exchange is the response context of one request (RFC 3261 section 16.7):
// what must be remembered until its answer has gone back.
type exchange struct {
	request []byte // as it was judged; nil once nothing is made of it any more
	began   time.Time
	method  index.Method
	user    index.Span
	purpose uint32
	account string
	peer    string
	trust   guard.Trust
	proven  bool
	weight  int  // octets that an unproven source may have us keep for it
	inside  bool // from a next hop
	initial bool // without To tag

	credentials bool // it brought some
	stripped    bool // some of them were unfit and were taken out
	answers     bool // they answer a challenge of our servers to this request
	emergency   bool
	canceled    bool // by the client
	replied     bool // stage reply was judged
	orphaned    bool // a late answer was hung up
	stale       bool // the answer only asks for a fresh nonce

	pool   string        // that a failed next hop is replaced from
	domain *route.Domain // the same, of a request that goes where DNS says
	hop    *route.Hop
	tried  route.Tried

	best       []byte // the best refusal so far of several
	bestStatus int
	challenges []byte // of the other refusals, whole header lines

	origin *origin // of a request of our own
}

// begin notes what is known of a request that was judged.
func (x *exchange) begin(w *worker, now time.Time) {
	m := &w.in
	*x = exchange{
		began: now, method: m.Method, user: m.URI.User,
		account: w.msg.Account, peer: w.msg.Peer, trust: w.msg.Trust,
		proven: w.msg.Proven, inside: w.msg.Inside, initial: !m.InDialog(),
		credentials: m.Count(index.AuthorizationName)+m.Count(index.ProxyAuthorizationName) > 0,
		emergency:   w.decision.Verdict.Emergency,
	}
}

// ended gives back what a context held; it is locked.
func (p *Proxy) ended(c *reqContext) {
	x := &c.Data
	c.Discard(&x.request)
	c.Discard(&x.best)
	if x.origin == nil && !x.proven {
		p.unproven.add(-1, -x.weight)
	}
	if x.origin != nil {
		x.origin.over()
	}
}

// reread indexes the request of a context again; false when it is not kept any
// more. The context is locked and stays so while w.again is used.
func (p *Proxy) reread(w *worker, c *reqContext) bool {
	x := &c.Data
	return x.request != nil && w.again.Parse(x.request, false, kept) == ""
}

// kept are the limits of messages that were let in before, or that we wrote.
var kept = index.Limits{Size: 1<<16 - 1, Line: 1<<16 - 1, Separators: 1 << 12}

// better tells whether a refusal is to be preferred to the best so far: 6xx
// first, then the lowest class, and in 4xx what lets the client try again (RFC
// 3261 section 16.7 step 6).
func better(status, best int) bool {
	if best == 0 {
		return true
	}
	return rank(status) < rank(best)
}

func rank(status int) int {
	class := status / 100 * 10
	switch {
	case status >= 600:
		return 0
	case status == 401, status == 407, status == 415, status == 420, status == 484:
		return class
	case status == 408, status == 503: // nobody said anything
		return class + 2
	}
	return class + 1
}

// hold keeps a refusal while others may still be better. The context is locked;
// m is the response.
func (p *Proxy) hold(c *reqContext, m *index.Message) {
	x := &c.Data
	if m.Status == 401 || m.Status == 407 {
		for _, h := range m.Headers() {
			if h.Name != index.WWWAuthenticateName && h.Name != index.ProxyAuthenticateName {
				continue
			}
			if len(x.challenges)+h.Line.Len() <= maxChallenges {
				x.challenges = append(x.challenges, m.Bytes(h.Line)...)
			}
		}
	}
	if better(m.Status, x.bestStatus) {
		c.Discard(&x.best)
		x.best, x.bestStatus = c.Keep(m.Raw()), m.Status
	}
}

// maxChallenges is how many bytes of challenges are gathered from the branches
// of one request.
const maxChallenges = 4096
