package proxy

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
)

// What gets past the screen of a banned source is its call for help and nothing
// else: over a connection that was up before, and in the grace of such a call.
func TestBannedSources(t *testing.T) {
	for _, alice := range []string{"192.0.2.10:5060", "192.0.2.10:40001/tcp"} {
		t.Run(alice, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				graced, banned := 0, false
				l := newLab(t, map[string]string{"alice": alice, "pbx": "203.0.113.5:5060"}, func(_ *Config, o *Options) {
					o.Emergency = func(m *guard.Message) bool { return m.Index.Text(m.Index.URI.User) == "112" }
					o.Banned = func(a netip.AddrPort, _ time.Time) bool { return banned && a.Addr().String() == "192.0.2.10" }
					o.Grace = func(netip.AddrPort, time.Time) { graced++ }
				})
				l.engine.verdict = func(m *guard.Message) guard.Verdict {
					return guard.Verdict{Emergency: m.Index.Text(m.Index.URI.User) == "112"}
				}
				register := l.request("alice", "REGISTER", "example.com", "")
				l.send("alice", register)
				l.starts("pbx: REGISTER")
				banned = true
				l.answer("pbx", 401, `WWW-Authenticate: Digest realm="pbx", nonce="abc"`)
				l.starts("alice: SIP/2.0 401")
				if graced != 0 {
					t.Error("a banned source gets grace for guessing")
				}
				l.send("alice", strings.ReplaceAll(strings.Replace(register, "CSeq: 1", "CSeq: 2", 1), "z9hG4bK-", "z9hG4bK-2-"))
				l.starts()
				l.invite("alice", "112@example.com", "")
				l.starts("pbx: INVITE sip:112@example.com")
				l.answer("pbx", 200, "")
				l.starts("alice: SIP/2.0 200")
				l.keep("alice")
				l.within("alice", "ACK", 1, "")
				l.starts("pbx: ACK")
				l.within("alice", "MESSAGE", 2, "")
				l.within("alice", "REFER", 3, "")
				l.within("alice", "REGISTER", 4, "")
				l.starts()
				l.within("alice", "BYE", 5, "")
				l.starts("pbx: BYE")
				l.answer("pbx", 200, "")
				l.starts("alice: SIP/2.0 200")
			})
		})
	}
}
