package proxy

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
	"ringfence/proxy/wire"
)

func stateless(c *Config, _ *Options) {
	for i := range c.Listeners {
		c.Listeners[i].Stateless = true
	}
}

// keepsNothing checks that nothing is kept.
func (l *lab) keepsNothing() {
	l.t.Helper()
	if n := l.p.table.Counts().Up; n != 0 {
		l.t.Errorf("%d transactions", n)
	}
	if n := l.p.Dialogs().Up(""); n != 0 {
		l.t.Errorf("%d calls", n)
	}
}

func TestStatelessCall(t *testing.T) {
	for _, hosts := range []map[string]string{onePBX, {"alice": "192.0.2.10:40001/tcp", "pbx": "203.0.113.5:5060"}, {"alice": "192.0.2.10:5060", "pbx": "203.0.113.5:5060/tcp"}} {
		t.Run(hosts["alice"]+" "+hosts["pbx"], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, hosts, stateless)
				l.invite("alice", "100@example.com", "")
				l.starts("pbx: INVITE sip:100@example.com")
				invite := l.last["pbx"]
				l.invite("alice", "100@example.com", "")
				l.starts("pbx: INVITE")
				if l.last["pbx"] != invite {
					t.Errorf("sent again it is\n%s\nand was\n%s", l.last["pbx"], invite)
				}
				l.keepsNothing()
				l.answer("pbx", 100, "")
				l.starts("alice: SIP/2.0 100")
				l.answer("pbx", 180, "")
				l.starts("alice: SIP/2.0 180")
				l.keep("pbx")
				l.answer("pbx", 200, "")
				l.starts("alice: SIP/2.0 200")
				if v := headers(l.last["alice"], "Via"); len(v) != 1 || !strings.Contains(v[0], "branch=z9hG4bK-alice-INVITE") {
					t.Errorf("alice gets Vias %q", v)
				}
				l.keep("alice")
				l.within("alice", "ACK", 1, "")
				l.starts("pbx: ACK sip:203.0.113.5:5060")
				l.within("pbx", "BYE", 1, "")
				l.starts("alice: BYE sip:alice@")
				l.answer("alice", 200, "")
				l.starts("pbx: SIP/2.0 200")
				after(time.Minute)
				l.starts()
				l.keepsNothing()
				if got := strings.Join(l.engine.judged, " "); got != "INVITE INVITE ACK BYE" {
					t.Errorf("judged %s", got)
				}
			})
		})
	}
}

// The next hop must be able to tell which INVITE a CANCEL or the ACK to a refusal
// is for: by the same branch (RFC 3261 sections 9.2, 16.11 and 17.2.3).
func TestStatelessHops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, stateless)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		invite := l.last["pbx"]
		branch := func(msg string) string {
			_, b, _ := strings.Cut(header(msg, "Via"), "branch=")
			b, _, _ = strings.Cut(b, ";")
			return b
		}
		l.hop("alice", "CANCEL")
		l.starts("pbx: CANCEL sip:100@example.com")
		if got := branch(l.last["pbx"]); got != branch(invite) {
			t.Errorf("the CANCEL has branch %s, the INVITE %s", got, branch(invite))
		}
		l.answer("pbx", 200, "")
		l.starts("alice: SIP/2.0 200")
		l.answerTo("pbx", invite, 487, "")
		l.starts("alice: SIP/2.0 487")
		l.hop("alice", "ACK")
		l.starts("pbx: ACK sip:100@example.com")
		if got := branch(l.last["pbx"]); got != branch(invite) {
			t.Errorf("the ACK has branch %s, the INVITE %s", got, branch(invite))
		}
		// Somebody else who has overheard everything.
		l.hosts["mallory"] = host{addr: netip.MustParseAddrPort("192.0.2.66:5060")}
		l.last["mallory invite"] = l.last["alice invite"]
		l.hop("mallory", "CANCEL")
		l.starts("pbx: CANCEL")
		if branch(l.last["pbx"]) == branch(invite) {
			t.Error("another source can cancel the call")
		}
		l.keepsNothing()
	})
}

// A response is for who sent the request, and from whom it went to.
func TestStatelessStrayResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, stateless)
		l.hosts["mallory"] = host{addr: netip.MustParseAddrPort("192.0.2.66:5060")}
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		invite := l.last["pbx"]
		l.answerTo("mallory", invite, 200, "")
		l.starts()
		for what, edit := range map[string][2]string{
			"another call":        {"Call-ID: call-alice", "Call-ID: call-bob"},
			"another caller":      {";tag=alice", ";tag=bob"},
			"another request":     {"CSeq: 1", "CSeq: 2"},
			"another transaction": {"z9hG4bK-alice-INVITE", "z9hG4bK-bob-INVITE"},
			"another memo":        {";rf=", ";rf=A"},
			"no memo":             {";rf=", ";xx="},
			"another branch":      {"z9hG4bKrf", "z9hG4bKrf0"},
			"no way back":         {"Via: SIP/2.0/UDP 192", "Subject: 192"},
		} {
			if !strings.Contains(invite, edit[0]) {
				t.Fatalf("no %q in\n%s", edit[0], invite)
			}
			l.answerTo("pbx", strings.ReplaceAll(invite, edit[0], edit[1]), 200, "")
			if got := l.got(); len(got) != 0 {
				t.Errorf("%s: %v", what, got)
			}
		}
		l.answerTo("pbx", invite, 200, "")
		l.starts("alice: SIP/2.0 200")
	})
}

// What we refuse is answered without a transaction too, the same each time, and
// the ACK to it ends here.
func TestStatelessRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, stateless)
		l.engine.verdict = func(m *guard.Message) guard.Verdict {
			return guard.Verdict{Action: guard.Reject, Status: 603, Reason: "No"}
		}
		l.invite("alice", "100@example.com", "")
		l.starts("alice: SIP/2.0 603 No")
		first := l.last["alice"]
		l.invite("alice", "100@example.com", "")
		l.starts("alice: SIP/2.0 603 No")
		if l.last["alice"] != first {
			t.Errorf("the second time\n%s", l.last["alice"])
		}
		l.hop("alice", "ACK")
		l.starts()
		l.engine.verdict = nil
		l.send("alice", strings.Replace(l.request("alice", "INVITE", "100@example.com", ""), "Max-Forwards: 70", "Max-Forwards: 0", 1))
		l.starts("alice: SIP/2.0 483")
		l.wire.refuse[l.hosts["pbx"].addr] = true
		l.send("alice", strings.Replace(l.request("alice", "INVITE", "100@example.com", ""), "call-alice", "call-2", 1))
		l.starts("alice: SIP/2.0 503")
		l.keepsNothing()
	})
}

// An ACK and a CANCEL have no credentials to give (RFC 3261 section 22.1).
func TestStatelessChallenges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, func(c *Config, o *Options) { stateless(c, o); o.Challenger = fakeChallenger{} })
		l.engine.verdict = func(m *guard.Message) guard.Verdict { return guard.Verdict{Action: guard.Challenge} }
		l.invite("alice", "100@example.com", "")
		l.starts("alice: SIP/2.0 407")
		l.hop("alice", "CANCEL")
		l.starts() // of a source that has proved nothing
		l.p.trust.Promote(trustFlow(l.flow("alice")), guard.Challenged, time.Now())
		l.hop("alice", "CANCEL")
		l.starts("pbx: CANCEL")
	})
}

// Trust is earned by the answer of the PBX here too, and what it refuses is judged.
func TestStatelessTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, stateless)
		state := func() guard.Trust { return l.p.trust.State(trustFlow(l.flow("alice")), time.Now()) }
		l.send("alice", l.request("alice", "REGISTER", "alice@example.com", ""))
		l.starts("pbx: REGISTER")
		if header(l.last["pbx"], "Path") == "" {
			t.Error("no Path")
		}
		l.answer("pbx", 401, `WWW-Authenticate: Digest realm="pbx", nonce="abc"`)
		l.starts("alice: SIP/2.0 401")
		if s := state(); s != guard.Unknown {
			t.Errorf("a stranger is %v", s)
		}
		credentials := `Authorization: Digest username="alice", realm="pbx", nonce="abc", uri="sip:example.com", response="00000000000000000000000000000000"` + "\n"
		second := strings.ReplaceAll(strings.Replace(l.request("alice", "REGISTER", "alice@example.com", credentials), "CSeq: 1", "CSeq: 2", 1), "-alice-REGISTER", "-alice-REGISTER-2")
		l.send("alice", second)
		l.starts("pbx: REGISTER")
		if s := state(); s != guard.Challenged {
			t.Errorf("who brings the nonce back is %v", s)
		}
		l.answer("pbx", 200, "")
		l.starts("alice: SIP/2.0 200")
		if s := state(); s != guard.Trusted {
			t.Errorf("whom the PBX has let in is %v", s)
		}
		if len(l.engine.replies) != 2 || l.engine.replies[0].Status != 401 || l.engine.replies[0].Credentials || l.engine.replies[1].Status != 200 || !l.engine.replies[1].Credentials || l.engine.targets[1] != "alice" {
			t.Errorf("judged %+v of %q", l.engine.replies, l.engine.targets)
		}
		l.keepsNothing()
	})
}

// An answer that is too large for a source that has proved nothing stays here.
func TestStatelessAmplification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, stateless)
		l.send("alice", l.request("alice", "OPTIONS", "100@example.com", ""))
		l.starts("pbx: OPTIONS")
		l.answer("pbx", 200, "Subject: "+strings.Repeat("x", 3000))
		l.starts()
		l.answer("pbx", 200, "")
		l.starts("alice: SIP/2.0 200")
	})
}

func TestStatelessNeedsNextHops(t *testing.T) {
	c := Config{Location: true, Listeners: []Listener{{Stateless: true, Listener: wire.Listener{Address: netip.MustParseAddrPort("127.0.0.1:5060")}}}}
	if _, err := New(c, Options{Engine: plainEngine{}, Now: time.Now, Wire: &memoryWire{listeners: c.Listeners}}); err == nil {
		t.Error("a location service that keeps nothing")
	}
}

func TestStatelessForwardingAllocatesNothing(t *testing.T) {
	p, w, now := newQuick(t)
	p.listeners[0].Stateless = true
	alice := wire.Flow{Remote: netip.MustParseAddrPort("192.0.2.10:40000"), Local: p.listeners[0].bound}
	pbx := wire.Flow{Remote: netip.MustParseAddrPort("203.0.113.5:5060"), Local: p.listeners[0].bound}
	n := 0
	var request, response []byte
	one := func() {
		n++
		request = option(request[:0], n)
		p.Receive(0, alice, request, *now)
		response = respond(response[:0], w.last)
		p.Receive(0, pbx, response, *now)
		if !bytes.HasPrefix(w.last, []byte("SIP/2.0 200")) {
			t.Fatalf("no answer came back:\n%s", w.last)
		}
		*now = now.Add(time.Millisecond)
	}
	for range 1000 {
		one()
	}
	if got := testing.AllocsPerRun(2000, one); got != 0 {
		t.Errorf("%v allocations for a request and its answer", got)
	}
}
