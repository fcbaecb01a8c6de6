package proxy

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestA66TwoAddressesThatForkToEachOther: every copy of a call that reaches one
// of bob's two phones is sent back to bob under another Request-URI, so that no
// loop is found. Without RFC 5393 each turn doubles the calls until Max-Forwards
// ends at 2^70.
func TestA66TwoAddressesThatForkToEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newOffice(t)
		l.invite("alice", "bob@example.com", "")
		invites, refused := 0, 0
		for queue := l.got(); len(queue) > 0 && invites < 1000; queue = append(queue[1:], l.got()...) {
			s := queue[0]
			phone := l.nameOf(s.flow.Remote)
			if strings.HasPrefix(s.msg, "SIP/2.0 440") {
				refused++
			}
			if !strings.HasPrefix(s.msg, "INVITE") {
				continue
			}
			invites++
			n := strconv.Itoa(invites)
			_, rest, _ := strings.Cut(s.msg, " SIP/2.0\r\n")
			via := "Via: SIP/2.0/UDP " + l.hosts[phone].addr.String() + ";branch=z9hG4bK-again-" + n + "\n"
			l.send(phone, "INVITE sip:bob@example.com;turn="+n+" SIP/2.0\n"+via+strings.ReplaceAll(strings.TrimSuffix(rest, "\r\n\r\n"), "\r\n", "\n"))
		}
		if invites < 4 || invites > 2*defaultBreadth {
			t.Errorf("%d calls came of one", invites)
		}
		if refused == 0 {
			t.Error("nobody was told that the breadth is used up")
		}
	})
}

// TestA67Reflection: whoever writes somebody else's address on his requests has
// us send him no more than twice of what was sent to us, whatever the next hop
// answers, and however long nobody acknowledges it.
func TestA67Reflection(t *testing.T) {
	long := "X-Long: " + strings.Repeat("x", 1500)
	for _, method := range []string{"OPTIONS", "REGISTER", "MESSAGE", "INVITE", "BYE", "NONSENSE"} {
		for _, status := range []int{0, 180, 200, 401, 407, 486, 503} {
			t.Run(method+" "+strconv.Itoa(status), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab(t, onePBX, func(_ *Config, o *Options) { o.Amplification = 2 })
					l.send("alice", l.request("alice", method, "100@example.com", ""))
					request, answers := len(l.last["alice sent"]), 0
					count := func() {
						for _, s := range l.got() {
							if l.nameOf(s.flow.Remote) == "alice" {
								answers += len(s.msg)
							}
						}
					}
					count()
					if status > 0 {
						l.answer("pbx", status, long)
						count()
					}
					time.Sleep(2 * time.Minute)
					synctest.Wait()
					count()
					if answers > 2*request {
						t.Errorf("%d octets go to an address that may be forged for %d that came", answers, request)
					}
				})
			})
		}
	}
}

// TestA68RetransmissionAbuse: a client that sends its request without end and
// never acknowledges costs the next hop one request, and us what the timers of
// RFC 3261 section 17 say.
func TestA68RetransmissionAbuse(t *testing.T) {
	proved := func(_ *Config, o *Options) { o.Challenger = fakeChallenger{} }
	const returned = "Proxy-Authorization: Digest username=\"alice\", realm=\"r\", nonce=\"ours\", uri=\"sip:100@example.com\", response=\"00000000000000000000000000000000\"\n"
	t.Run("the same INVITE", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, onePBX, nil)
			for range 1000 {
				l.invite("alice", "100@example.com", "")
			}
			invites := 0
			for _, s := range l.got() {
				if strings.HasPrefix(s.msg, "INVITE") {
					invites++
				}
			}
			if invites != 1 || len(l.engine.judged) != 1 {
				t.Errorf("the next hop got %d INVITEs, %d were judged", invites, len(l.engine.judged))
			}
		})
	})
	t.Run("a refusal without ACK", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, onePBX, proved)
			l.invite("alice", "100@example.com", returned)
			l.starts("pbx: INVITE")
			invite := l.last["pbx"]
			l.answer("pbx", 486, "")
			l.got()
			for range 100 { // the PBX, which was acknowledged, may go on as well
				l.answerTo("pbx", invite, 486, "")
			}
			for _, s := range l.got() {
				if l.nameOf(s.flow.Remote) == "alice" {
					t.Fatalf("a refusal that is sent again goes further:\n%s", s.msg)
				}
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			again := len(l.got())
			if again < 9 || again > 11 { // Timer G doubles up to T2, Timer H ends it after 32 s
				t.Errorf("the refusal is sent again %d times", again)
			}
			if n := l.p.table.Counts().Up; n != 0 {
				t.Errorf("%d transactions are left", n)
			}
		})
	})
	t.Run("an answer without ACK", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, onePBX, proved)
			l.invite("alice", "100@example.com", returned)
			l.starts("pbx: INVITE")
			invite := l.last["pbx"]
			passed, sent := 0, 0
			for at, wait := time.Duration(0), 500*time.Millisecond; at < 64*time.Second; at, wait = at+wait, min(2*wait, 4*time.Second) {
				l.answerTo("pbx", invite, 200, "")
				sent++
				all := l.got()
				passed += len(all)
				if at > 33*time.Second && len(all) > 0 {
					t.Errorf("a 200 passes after %v, when its transaction is over", at)
				}
				time.Sleep(wait)
			}
			if passed < 10 || passed >= sent {
				t.Errorf("%d of %d were passed on", passed, sent)
			}
			if n := l.p.table.Counts().Up; n != 0 {
				t.Errorf("%d transactions are left", n)
			}
		})
	})
}

// TestA70ConnectionFlood: INVITEs on a connection that closes before anything is
// answered (CVE-2018-7286). One source holds no more than its share, what it
// leaves behind ends, and others notice nothing.
func TestA70ConnectionFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := map[string]string{"alice": "192.0.2.10:5060", "mallory": "192.0.2.66:40000/tcp", "pbx": "203.0.113.5:5060"}
		l := newLab(t, hosts, func(_ *Config, o *Options) {
			o.PerSource = 50
			o.Trust.ChallengedRate.PerSecond, o.Trust.ChallengedRate.Burst = 1e6, 1e6 // which would have stopped it before
		})
		flow := l.flow("mallory")
		for n := range 200 {
			msg := l.request("mallory", "INVITE", "100@example.com", "")
			l.send("mallory", strings.NewReplacer("z9hG4bK-", "z9hG4bK"+strconv.Itoa(n)+"-", "call-mallory", "call-"+strconv.Itoa(n)).Replace(msg))
		}
		var calls []string
		refused := 0
		for _, s := range l.got() {
			switch {
			case strings.HasPrefix(s.msg, "INVITE"):
				calls = append(calls, s.msg)
			case strings.HasPrefix(s.msg, "SIP/2.0 503"):
				refused++
			}
		}
		if len(calls) != 50 || refused != 150 {
			t.Errorf("%d calls passed and %d were refused, want 50 and 150", len(calls), refused)
		}
		l.wire.refuse[flow.Remote] = true
		l.p.Closed(flow, true)
		synctest.Wait()
		l.got()
		l.invite("alice", "200@example.com", "")
		l.starts("pbx: INVITE sip:200@")
		l.answer("pbx", 200, "")
		l.starts("alice: SIP/2.0 200")
		for i, request := range calls[:40] { // the others ring until Timer C
			l.answerTo("pbx", request, []int{200, 486, 180, 503}[i%4], "")
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		l.got()
		if n := l.p.table.Counts().Up; n != 0 {
			t.Errorf("%d transactions are left", n)
		}
		delete(l.wire.refuse, flow.Remote)
		l.send("mallory", l.request("mallory", "INVITE", "300@example.com", "")) // its share is free again
		l.starts("pbx: INVITE sip:300@")
	})
}
