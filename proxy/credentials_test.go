package proxy

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
)

// with is a request of a host with credentials for a nonce, the nth of its kind.
func (l *lab) with(name, method, to, nonce string, n int) string {
	msg := l.request(name, method, to, `Authorization: Digest username="alice", realm="pbx", nonce="`+nonce+`", uri="sip:example.com", response="00000000000000000000000000000000"`+"\n")
	return strings.NewReplacer("z9hG4bK-", "z9hG4bK-"+strings.Repeat("n", n), "CSeq: 1", "CSeq: "+strings.Repeat("1", n), "call-alice", "call-alice"+nonce).Replace(msg)
}

const asks = `WWW-Authenticate: Digest realm="pbx", nonce="real"`

// A server that does not look at credentials answers 200, and that proves nothing:
// what does is that it asked for them, for just this, at this source.
func TestTrustIsEarnedByAnAnswer(t *testing.T) {
	for _, mode := range []func(*Config, *Options){nil, stateless} {
		for _, c := range []struct {
			name        string
			method, to  string // of the request that was challenged
			nonce       string // of the credentials
			urgent, not bool
		}{
			{name: "an answer", method: "OPTIONS", to: "100@example.com", nonce: "real"},
			{name: "a nonce out of the air", method: "OPTIONS", to: "100@example.com", nonce: "junk", not: true},
			{name: "to another method", method: "INVITE", to: "100@example.com", nonce: "real", not: true},
			{name: "for another number", method: "OPTIONS", to: "200@example.com", nonce: "real", not: true},
			{name: "in a call for help", method: "OPTIONS", to: "100@example.com", nonce: "real", urgent: true, not: true},
		} {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, onePBX, mode)
					l.engine.verdict = func(*guard.Message) guard.Verdict { return guard.Verdict{Emergency: c.urgent} }
					l.send("alice", l.request("alice", c.method, c.to, ""))
					l.got()
					l.answer("pbx", 401, asks)
					l.got()
					l.send("alice", l.with("alice", "OPTIONS", "100@example.com", c.nonce, 2))
					l.starts("pbx: OPTIONS")
					l.answer("pbx", 200, "")
					l.starts("alice: SIP/2.0 200")
					if got := l.p.trust.State(trustFlow(l.flow("alice")), time.Now()); (got == guard.Trusted) == c.not {
						t.Errorf("alice is %v", got)
					}
				})
			})
		}
	}
}

// Whoever forges the address of a phone can get nonces only for himself: guesses
// with them are not the phone's, and our server never sees them. The phone itself is
// asked anew and goes on.
func TestForgedGuessesAreNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.hosts["mallory"] = host{addr: netip.MustParseAddrPort("192.0.2.66:5060")}
		l.send("mallory", l.request("mallory", "REGISTER", "example.com", ""))
		l.starts("pbx: REGISTER")
		l.answer("pbx", 401, strings.Replace(asks, "real", "his", 1))
		l.starts("mallory: SIP/2.0 401")
		l.engine.replies = nil
		l.send("alice", l.with("alice", "REGISTER", "example.com", "his", 2)) // mallory, in her name
		l.starts("pbx: REGISTER")
		if strings.Contains(l.last["pbx"], "Authorization") {
			t.Errorf("the PBX gets the guess:\n%s", l.last["pbx"])
		}
		l.answer("pbx", 401, asks)
		l.starts("alice: SIP/2.0 401")
		if !strings.Contains(l.last["alice"], `nonce="real", stale=true`) {
			t.Errorf("she is asked\n%s", l.last["alice"])
		}
		if len(l.engine.replies) != 1 || l.engine.replies[0].Credentials {
			t.Errorf("judged %+v", l.engine.replies)
		}
		l.send("alice", l.with("alice", "REGISTER", "example.com", "real", 3))
		l.starts("pbx: REGISTER")
		if !strings.Contains(l.last["pbx"], `nonce="real"`) {
			t.Errorf("the PBX does not get her answer:\n%s", l.last["pbx"])
		}
		l.answer("pbx", 401, asks)
		l.starts("alice: SIP/2.0 401")
		if len(l.engine.replies) != 2 || !l.engine.replies[1].Credentials {
			t.Errorf("a guess of her own is judged %+v", l.engine.replies)
		}
	})
}
