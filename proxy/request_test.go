package proxy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"ringfence/guard"
	"ringfence/proxy/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var onePBX = map[string]string{"alice": "192.0.2.10:5060", "pbx": "203.0.113.5:5060"}

func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE sip:100@example.com")
		l.answer("pbx", 100, "")
		l.starts()
		l.answer("pbx", 180, "")
		l.starts("alice: SIP/2.0 180")
		l.keep("pbx")
		l.answer("pbx", 200, "")
		l.starts("alice: SIP/2.0 200")
		l.keep("alice")
		l.within("alice", "ACK", 1, "")
		l.starts("pbx: ACK sip:203.0.113.5:5060")
		l.within("pbx", "BYE", 1, "")
		l.starts("alice: BYE sip:alice@192.0.2.10:5060")
		l.answer("alice", 200, "")
		l.starts("pbx: SIP/2.0 200")
		if got := strings.Join(l.engine.judged, " "); got != "INVITE ACK BYE" {
			t.Errorf("judged %s", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		l.starts()
		if n := l.p.table.Counts().Up; n != 0 {
			t.Errorf("%d transactions are left", n)
		}
	})
}

func TestRefusedCallIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		invite := l.last["pbx"]
		l.answer("pbx", 486, "")
		l.starts("pbx: ACK sip:100@example.com", "alice: SIP/2.0 486")
		if a, b := header(l.last["pbx"], "Via"), header(invite, "Via"); a != b {
			t.Errorf("the ACK has Via %s, the INVITE %s", a, b)
		}
		l.answerTo("pbx", invite, 486, "")
		l.starts("pbx: ACK") // again, and nothing to alice
		l.hop("alice", "ACK")
		l.starts()
		time.Sleep(time.Minute)
		l.starts()
	})
}

func TestRetransmissionsAreJudgedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		l.invite("alice", "100@example.com", "")
		l.starts("alice: SIP/2.0 100")
		l.answer("pbx", 180, "")
		l.starts("alice: SIP/2.0 180")
		l.invite("alice", "100@example.com", "")
		l.starts("alice: SIP/2.0 180")
		if len(l.engine.judged) != 1 {
			t.Errorf("judged %v", l.engine.judged)
		}
	})
}

// The 100 of RFC 3261 section 17.2.1 is for who has heard nothing after 200 ms,
// and for who asks again; who was answered meanwhile needs none.
func TestTrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		l.answer("pbx", 100, "") // ends here
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		l.starts("alice: SIP/2.0 100")
		l.invite("alice", "100@example.com", "")
		l.starts("alice: SIP/2.0 100")
		l.answer("pbx", 486, "")
		l.starts("pbx: ACK", "alice: SIP/2.0 486")
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		l.answer("pbx", 180, "")
		l.starts("alice: SIP/2.0 180")
		time.Sleep(time.Second)
		synctest.Wait()
		l.starts()
	})
}

func TestLostRequestIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		time.Sleep(700 * time.Millisecond) // Timer A
		l.starts("alice: SIP/2.0 100", "pbx: INVITE")
		time.Sleep(1100 * time.Millisecond)
		l.starts("pbx: INVITE")
		l.answer("pbx", 100, "")
		time.Sleep(20 * time.Second)
		l.starts()
	})
}

func TestSilenceIs408ForINVITEOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		time.Sleep(33 * time.Second) // Timer B
		all := l.got()
		if last := all[len(all)-1]; !strings.HasPrefix(last.msg, "SIP/2.0 408") {
			// Timer G may have sent it again.
			t.Errorf("after Timer B: %s", last.msg)
		}
		l.hop("alice", "ACK")
		l.got()
		l.send("alice", l.request("alice", "OPTIONS", "100@example.com", ""))
		l.starts("pbx: OPTIONS")
		time.Sleep(40 * time.Second) // Timer F; RFC 4320 section 4.2
		for _, s := range l.got() {
			if l.nameOf(s.flow.Remote) == "alice" {
				t.Errorf("alice got %s", s.msg)
			}
		}
	})
}

// TestDeadHopIs503: with its only next hop known to be down, a client hears so soon,
// whatever it asked, and a hop that is back is found by that.
func TestDeadHopIs503(t *testing.T) {
	for _, method := range []string{"INVITE", "REGISTER", "OPTIONS"} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, onePBX, nil)
			hop := l.p.routes.Snapshot()[0].Hop
			for range 3 {
				l.p.routes.Report(hop, route.Result{Outcome: route.Timeout})
			}
			if l.p.routes.Up(hop) {
				t.Fatal("it is up")
			}
			ask := func(branch string) {
				l.send("alice", strings.NewReplacer("z9hG4bK-", "z9hG4bK-"+branch, "Call-ID: ", "Call-ID: "+branch).Replace(l.request("alice", method, "100@example.com", "")))
			}
			heard := func() (all string) {
				for _, s := range l.got() {
					if l.nameOf(s.flow.Remote) == "alice" && !strings.HasPrefix(s.msg, "SIP/2.0 100") {
						all = s.msg
					}
				}
				return all
			}
			ask("a")
			time.Sleep(5 * time.Second)
			if got := heard(); got != "" {
				t.Errorf("%s: it may have come back a moment ago, and yet %s", method, got)
			}
			time.Sleep(2 * time.Second)
			if got := heard(); !strings.HasPrefix(got, "SIP/2.0 503") {
				t.Errorf("%s: a dead next hop is %q", method, got)
			}
		})
	}
}

// Who calls for help waits for a next hop that is down as long as for any other.
func TestDeadHopIsWaitedForInAnEmergency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.engine.verdict = func(*guard.Message) guard.Verdict {
			return guard.Verdict{Action: guard.Allow, Emergency: true}
		}
		for range 3 {
			l.p.routes.Report(l.p.routes.Snapshot()[0].Hop, route.Result{Outcome: route.Timeout})
		}
		l.invite("alice", "112@example.com", "")
		time.Sleep(20 * time.Second)
		for _, s := range l.got() {
			if l.nameOf(s.flow.Remote) == "alice" && !strings.HasPrefix(s.msg, "SIP/2.0 100") {
				t.Errorf("a call for help gets %s", s.msg)
			}
		}
	})
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name    string
		verdict guard.Verdict
		want    []string
	}{
		{"drop", guard.Verdict{Action: guard.Drop}, nil},
		{"reject", guard.Verdict{Action: guard.Reject, Status: 603, Reason: "No"}, []string{"alice: SIP/2.0 603 No"}},
		{"challenge", guard.Verdict{Action: guard.Challenge}, []string{"alice: SIP/2.0 407"}},
		{"allow", guard.Verdict{Action: guard.Allow}, []string{"pbx: INVITE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, onePBX, func(_ *Config, o *Options) { o.Challenger = fakeChallenger{}; o.Accounts = true })
				l.engine.verdict = func(*guard.Message) guard.Verdict { return c.verdict }
				l.invite("alice", "100@example.com", "")
				l.starts(c.want...)
			})
		})
	}
}

// The ACK to a 2xx is sent again with each 2xx that comes again, and is the same
// message to whoever gets it, branch and all (section 16.6 step 8 with 16.11).
// Another ACK has another branch.
func TestAckSentAgainKeepsItsBranch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		l.answer("pbx", 200, "")
		l.got()
		l.keep("alice")
		l.within("alice", "ACK", 1, "")
		_, first := l.only()
		time.Sleep(time.Second)
		l.within("alice", "ACK", 1, "")
		if _, again := l.only(); again != first {
			t.Errorf("first\n%s\nthen\n%s", first, again)
		}
		l.within("alice", "ACK", 2, "")
		if _, other := l.only(); header(other, "Via") == header(first, "Via") {
			t.Error("another ACK has the same branch")
		}
	})
}

// What comes without Content-Length as a datagram leaves with one on a stream
// (section 18.3), and only there.
func TestContentLengthForStreams(t *testing.T) {
	for transport, want := range map[string]string{"": "", "/tcp": "5"} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, map[string]string{"alice": "192.0.2.10:5060", "pbx": "203.0.113.5:5060" + transport}, nil)
			msg := strings.Replace(l.request("alice", "MESSAGE", "100@example.com", ""), "Content-Length: 0\n", "Content-Type: text/plain\n\nabc", 1)
			l.send("alice", msg)
			l.starts("pbx: MESSAGE")
			if got := header(l.last["pbx"], "Content-Length"); got != want || !strings.HasSuffix(l.last["pbx"], "\r\n\r\nabc\r\n") {
				t.Errorf("over%s it leaves as\n%s", transport, l.last["pbx"])
			}
		})
	}
}

// A response that has no Via but ours would go to nobody (section 16.7 step 3).
func TestResponsesThatLostTheirWayBack(t *testing.T) {
	for status, want := range map[int][]string{180: nil, 200: nil, 404: {"pbx: ACK", "alice: SIP/2.0 404"}} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, onePBX, nil)
			l.invite("alice", "100@example.com", "")
			l.starts("pbx: INVITE")
			hers := headers(l.last["pbx"], "Via")[1]
			l.answerTo("pbx", strings.Replace(l.last["pbx"], "Via: "+hers+"\r\n", "", 1), status, "")
			l.starts(want...)
			if len(want) > 0 && !strings.Contains(l.last["alice"], "z9hG4bK-alice-INVITE") {
				t.Errorf("our own answer has lost its way as well:\n%s", l.last["alice"])
			}
		})
	}
}

// Nobody can answer the challenge of an ACK (RFC 3261 section 22.1): one that a
// rule would challenge goes where its dialog says, or nowhere, and a CANCEL is
// not even judged.
func TestAckAndCancelAreNeverChallenged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, func(_ *Config, o *Options) { o.Challenger = fakeChallenger{} })
		l.invite("alice", "100@example.com", "")
		l.got()
		l.answer("pbx", 200, "")
		l.got()
		l.keep("alice")
		l.engine.verdict = func(*guard.Message) guard.Verdict { return guard.Verdict{Action: guard.Challenge} }
		l.within("alice", "ACK", 1, "")
		l.starts("pbx: ACK")
		l.send("alice", strings.ReplaceAll(l.request("alice", "ACK", "200@example.com", ""), "call-alice", "call-of-nobody"))
		l.starts()
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, func(_ *Config, o *Options) { o.Challenger = fakeChallenger{} })
		l.invite("alice", "100@example.com", "")
		l.got()
		l.answer("pbx", 180, "")
		l.got()
		l.engine.verdict = func(*guard.Message) guard.Verdict { return guard.Verdict{Action: guard.Challenge} }
		l.hop("alice", "CANCEL")
		l.starts("alice: SIP/2.0 200", "pbx: CANCEL")
	})
}

func TestStatelessReplyIsTheSameAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.engine.verdict = func(*guard.Message) guard.Verdict { return guard.Verdict{Action: guard.Reject, Status: 403} }
		l.invite("alice", "100@example.com", "")
		_, first := l.only()
		l.invite("alice", "100@example.com", "")
		if _, again := l.only(); first != again {
			t.Errorf("first %s\nthen %s", first, again)
		}
		judged := len(l.engine.judged)
		l.hop("alice", "ACK")
		l.starts()
		if len(l.engine.judged) != judged {
			t.Error("the ACK to a reply of ours was judged")
		}
		if n := l.p.table.Counts().Up; n != 0 {
			t.Errorf("%d transactions are kept for a source that has proved nothing", n)
		}
	})
}

func TestForgedResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := map[string]string{"alice": "192.0.2.10:5060", "pbx": "203.0.113.5:5060", "mallory": "192.0.2.66:5060"}
		l := newLab(t, hosts, nil)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		request := l.last["pbx"]
		l.answerTo("mallory", request, 200, "") // the right branch from elsewhere
		l.starts()
		via := header(request, "Via")
		at := strings.Index(via, "z9hG4bKrf") + len("z9hG4bKrf")
		flipped := []byte(via)
		flipped[at] ^= 1
		l.answerTo("pbx", strings.Replace(request, via, string(flipped), 1), 200, "")
		l.starts()
		l.answerTo("pbx", strings.Replace(request, "Via: "+via+"\r\n", "", 1), 200, "")
		l.starts()
		l.answer("pbx", 200, "")
		l.starts("alice: SIP/2.0 200")
	})
}
