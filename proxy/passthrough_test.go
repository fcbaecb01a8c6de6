package proxy

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
	"ringfence/proxy/trust"
	"ringfence/proxy/wire"
)

const pbxChallenge = `WWW-Authenticate: Digest realm="pbx", nonce="1495188416/63a8f0c84a4c4cb2", algorithm=MD5, qop="auth"`

// learnt teaches a lab what the PBX's challenges look like.
func learnt(l *lab, methods ...string) {
	for _, method := range methods {
		for i := range 2 {
			msg := strings.ReplaceAll(l.request("alice", method, "1000@example.com", ""), "call-alice", fmt.Sprint("learn", method, i))
			l.send("alice", strings.ReplaceAll(msg, "z9hG4bK-alice", fmt.Sprint("z9hG4bK-learn", i)))
			l.got()
			l.answer("pbx", 401, strings.Replace(pbxChallenge, "8416", fmt.Sprint("84", 20+i), 1))
			l.got()
			time.Sleep(learnEvery)
		}
	}
}

// TestNobodyLearnsWhoExists compares, byte for byte, what a stranger hears of
// extensions that the PBX challenges and of extensions that it does not know.
func TestNobodyLearnsWhoExists(t *testing.T) {
	random := regexp.MustCompile(`nonce="[0-9]{10}/[0-9a-f]{16}"|;tag=rf[0-9a-f]{13}`)
	for _, method := range []string{"REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, onePBX, nil)
				learnt(l, method)
				heard := map[string]int{}
				for i, status := range []int{401, 403, 404, 480, 484, 604} {
					msg := strings.ReplaceAll(l.request("alice", method, "2000@example.com", ""), "alice-"+method, fmt.Sprint("b", i))
					l.send("alice", msg)
					l.got()
					lines := ""
					if status == 401 {
						lines = pbxChallenge
					}
					l.answer("pbx", status, lines+"\nServer: Asterisk\n")
					l.got()
					answer := random.ReplaceAllString(l.last["alice"], "*")
					heard[strings.Replace(answer, fmt.Sprint("-b", i), "", 1)]++
				}
				if len(heard) != 1 {
					t.Errorf("%d different answers:\n%v", len(heard), heard)
				}
				for answer := range heard {
					if !strings.HasPrefix(answer, "SIP/2.0 401 ") || strings.Count(answer, "*") != 2 {
						t.Errorf("the answer is\n%s", answer)
					}
				}
			})
		})
	}
}

func TestMadeUpNonceLooksLikeTheLast(t *testing.T) {
	for _, last := range []string{"1495188416/63a8f0c84a4c4cb2", "4f1c2a9b", "ZWWBX2VlgDMbmA0cVQ==", "7"} {
		n := nonce{last: last, fixed: min(4, len(last)/2)}
		a, b := string(n.append(nil)), string(n.append(nil))
		if len(a) != len(last) || a[:n.fixed] != last[:n.fixed] {
			t.Errorf("%q became %q", last, a)
		}
		if a == b && len(last) > 4 {
			t.Errorf("%q became %q twice", last, a)
		}
		if shapeOf(a) != shapeOf(last) && strings.Trim(last, "0123456789abcdef/") == "" {
			t.Errorf("%q became %q of another alphabet", last, a)
		}
	}
}

func shapeOf(s string) string {
	part, rest, _ := strings.Cut(s, "/")
	return fmt.Sprint(len(part), len(rest), strings.Trim(part, "0123456789abcdef"), strings.Trim(rest, "0123456789abcdef"))
}

func TestAcceptedCredentialsMakeTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		graced := map[netip.AddrPort]time.Time{}
		l.p.o.Grace = func(src netip.AddrPort, until time.Time) { graced[src] = until }
		state := func() guard.Trust {
			return l.p.trust.State(trust.Flow{Remote: l.hosts["alice"].addr}, time.Now())
		}
		l.send("alice", l.request("alice", "REGISTER", "example.com", ""))
		l.starts("pbx: REGISTER")
		l.answer("pbx", 401, pbxChallenge)
		l.starts("alice: SIP/2.0 401")
		if state() != guard.Unknown {
			t.Error("a challenge made trust")
		}
		if _, ok := graced[l.hosts["alice"].addr]; !ok {
			t.Error("a challenged source got no grace")
		}
		nonce := `Authorization: Digest username="alice", realm="pbx", nonce="1495188416/63a8f0c84a4c4cb2", uri="sip:example.com", response="00000000000000000000000000000000"` + "\n"
		msg := strings.Replace(l.request("alice", "REGISTER", "example.com", nonce), "alice-REGISTER", "second", 1)
		l.send("alice", msg)
		l.starts("pbx: REGISTER")
		if state() != guard.Challenged {
			t.Error("a nonce that came back proved nothing")
		}
		l.answer("pbx", 200, "Contact: <sip:alice@192.0.2.10:5060>;expires=300")
		l.starts("alice: SIP/2.0 200")
		if state() != guard.Trusted {
			t.Error("accepted credentials made no trust")
		}
		// Who is trusted hears what the PBX says.
		l.send("alice", l.request("alice", "OPTIONS", "nobody@example.com", ""))
		l.starts("pbx: OPTIONS")
		l.answer("pbx", 404, "")
		l.starts("alice: SIP/2.0 404")
	})
}

func TestOurNonceIsNotShownToThePBX(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, func(_ *Config, o *Options) { o.Challenger = fakeChallenger{} })
		ours := `Authorization: Digest username="alice", realm="pbx", nonce="ours", uri="sip:example.com", response="00000000000000000000000000000000"` + "\n"
		l.send("alice", l.request("alice", "REGISTER", "example.com", ours))
		_, msg := l.only()
		if strings.Contains(msg, "ours") {
			t.Errorf("the PBX got\n%s", msg)
		}
		l.answer("pbx", 401, pbxChallenge)
		_, msg = l.only()
		if !strings.Contains(msg, `qop="auth", stale=true`+"\r\n") {
			t.Errorf("the phone would ask its user:\n%s", msg)
		}
		time.Sleep(time.Second)
		if len(l.engine.replies) != 1 || !l.engine.replies[0].Stale || l.engine.replies[0].Credentials {
			t.Errorf("stage reply heard %+v", l.engine.replies)
		}
	})
}

func TestFlood(t *testing.T) {
	setup := func(mode Challenge) func(*Config, *Options) {
		return func(c *Config, o *Options) {
			o.Challenger = fakeChallenger{}
			c.Listeners[0].Challenge = mode
			o.Trust.UnknownRate = trust.Rate{PerSecond: 1000, Burst: 1000}
			o.Trust.Pipe = trust.Rate{PerSecond: 1, Burst: 3}
		}
	}
	send := func(l *lab, i int) {
		l.send("alice", strings.ReplaceAll(l.request("alice", "OPTIONS", "1000@example.com", ""), "z9hG4bK-alice", fmt.Sprint("z9hG4bK-flood", i)))
	}
	for _, c := range []struct {
		name string
		mode Challenge
		want []string
	}{
		{"under-flood", UnderFlood, []string{"alice: SIP/2.0 407"}},
		{"never", Never, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, onePBX, setup(c.mode))
				learnt(l, "OPTIONS")
				for i := range 3 {
					send(l, i)
				}
				l.got()
				judged := len(l.engine.judged)
				send(l, 3)
				l.starts(c.want...)
				if len(l.engine.judged) != judged {
					t.Error("a request over the budget was judged")
				}
				if len(c.want) > 0 && !strings.Contains(l.last["alice"], `realm="pbx"`) {
					t.Errorf("not the realm of the PBX:\n%s", l.last["alice"])
				}
			})
		})
	}
}

func TestEmergencyLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, func(_ *Config, o *Options) {
			o.Trust.UnknownRate = trust.Rate{PerSecond: 0.01, Burst: 1}
			o.Emergency = func(m *guard.Message) bool { return m.Index.Text(m.Index.URI.User) == "112" }
		})
		l.engine.verdict = func(*guard.Message) guard.Verdict {
			return guard.Verdict{Action: guard.Allow, Emergency: true}
		}
		l.send("alice", l.request("alice", "OPTIONS", "x@example.com", ""))
		l.got()
		l.invite("alice", "100@example.com", "")
		l.starts()
		l.invite("alice", "112@example.com", "")
		l.starts("pbx: INVITE sip:112@")
	})
}

// Nobody can keep those busy who help: one source has a call a second, and who
// has proved nothing takes no room from who has.
func TestEmergencyFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, map[string]string{"alice": "192.0.2.10:5060", "phone": "192.0.2.20:5060/tcp", "pbx": "203.0.113.5:5060"}, func(_ *Config, o *Options) {
			o.Trust.UnknownRate = trust.Rate{PerSecond: 1e6, Burst: 1e6}
			o.Emergency = func(m *guard.Message) bool { return m.Index.Text(m.Index.URI.User) == "112" }
		})
		l.engine.verdict = func(*guard.Message) guard.Verdict {
			return guard.Verdict{Action: guard.Allow, Emergency: true}
		}
		n, seen := 0, map[string]bool{}
		flood := func(f wire.Flow, calls int) (rang int) {
			for range calls {
				n++
				msg := l.request("alice", "INVITE", "112@example.com", "")
				msg = strings.Replace(msg, "z9hG4bK-", fmt.Sprintf("z9hG4bK%d-", n), 1)
				l.p.Receive(0, f, []byte(wired(strings.Replace(msg, "Call-ID: ", fmt.Sprintf("Call-ID: %d-", n), 1))), time.Now())
			}
			for _, s := range l.got() {
				if id := header(s.msg, "Call-ID"); strings.HasPrefix(s.msg, "INVITE") && !seen[id] {
					seen[id] = true // what is sent again rings nobody again
					rang++
				}
			}
			return rang
		}
		alice := l.flow("alice")
		if got := flood(alice, 1000); got != int(laneOfSource.Burst) {
			t.Errorf("one source rings %d times at once", got)
		}
		time.Sleep(2 * time.Second)
		if got := flood(alice, 1000); got != 2 {
			t.Errorf("one source rings %d times in two seconds", got)
		}
		all := 0
		for i := range 1000 {
			forged := alice
			forged.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 5060)
			all += flood(forged, 1)
		}
		if all > int(laneOfAll.Burst) {
			t.Errorf("forged sources ring %d times at once", all)
		}
		if got := flood(l.flow("phone"), 1); got != 1 {
			t.Error("a phone that has proved its address does not get through beside forged ones")
		}
	})
}

func TestDigestLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		l.keep("pbx")
		l.answer("pbx", 200, "")
		l.got()
		l.within("pbx", "BYE", 1, "")
		l.starts("alice: BYE")
		l.answer("alice", 407, `Proxy-Authenticate: Digest realm="pbx", nonce="theirs"`)
		_, msg := l.only()
		if !strings.HasPrefix(msg, "SIP/2.0 403") || strings.Contains(msg, "theirs") {
			t.Errorf("the PBX was asked for its digest:\n%s", msg)
		}
	})
}

func TestUnprovenSourcesAreNotAmplified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, func(_ *Config, o *Options) { o.Amplification = 1.5 })
		l.send("alice", l.request("alice", "OPTIONS", "100@example.com", ""))
		request := len(l.last["alice sent"])
		l.got()
		l.answer("pbx", 200, "X-Long: "+strings.Repeat("x", 1500))
		for _, s := range l.got() {
			if float64(len(s.msg)) > 1.5*float64(request) {
				t.Errorf("%d bytes for %d", len(s.msg), request)
			}
		}
	})
}
