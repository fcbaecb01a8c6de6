package proxy

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/proxy/index"
)

// Nobody outside can have us, or a server that trusts us, relay to others: the
// Routes that a stranger brings end here, and a token of ours is good for its
// own call only.
func TestStrangersAreNotRelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, nil)
		l.invite("alice", "100@example.com", "Route: <sip:198.51.100.1;lr>, <sip:192.0.2.99:5080;lr>\nRoute: <sip:evil.example;lr>\n")
		l.starts("pbx: INVITE sip:100@example.com")
		if strings.Contains(l.last["pbx"], "\r\nRoute:") {
			t.Errorf("the PBX is asked to go on:\n%s", l.last["pbx"])
		}
		invite := l.last["pbx"]
		routes := headers(invite, "Record-Route")
		if len(routes) != 1 {
			t.Fatalf("Record-Route: %v", routes)
		}
		in := func(id, from string) string {
			msg := l.request("mallory", "MESSAGE", "100@example.com", "Route: "+routes[0]+"\n")
			msg = strings.Replace(msg, "Call-ID: call-mallory", "Call-ID: "+id, 1)
			msg = strings.Replace(msg, "tag=mallory", "tag="+from, 1)
			msg = strings.Replace(msg, "z9hG4bK-", "z9hG4bK-"+id+from, 1)
			return strings.Replace(msg, "To: <sip:100@example.com>", "To: <sip:100@example.com>;tag=x", 1)
		}
		l.send("mallory", in("another", "alice"))
		l.starts("mallory: SIP/2.0 430")
		l.send("mallory", in("call-alice", "mallory"))
		l.starts("mallory: SIP/2.0 430")
		l.send("mallory", in("call-alice", "alice")) // nobody has answered: any tag might be right
		l.starts("pbx: MESSAGE sip:100@example.com")
		if got := headers(l.last["pbx"], "Route"); len(got) != 0 {
			t.Errorf("the PBX is asked to go on to %v", got)
		}
		l.answerTo("pbx", invite, 180, "")
		l.starts("alice: SIP/2.0 180")
		l.send("mallory", strings.Replace(in("call-alice", "alice"), "z9hG4bK-", "z9hG4bK-2", 1))
		l.starts("mallory: SIP/2.0 481")
	})
}

// A token opens the way to the other side of its call and to nobody else, whatever
// the Request-URI says and whoever our server would send it on to.
func TestATokenIsForItsCallOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, nil)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx: INVITE")
		l.answer("pbx", 183, "Contact: <sip:early@203.0.113.5>")
		l.got()
		l.answer("pbx", 200, "Contact: <sip:100@203.0.113.5;line=1>")
		l.starts("alice: SIP/2.0 200")
		l.keep("alice")
		l.within("alice", "ACK", 1, "")
		l.starts("pbx: ACK sip:100@203.0.113.5;line=1")
		premium := func(method string, cseq int) string {
			return strings.Replace(l.compose("alice", method, cseq, "Route: <sip:203.0.113.5;lr>\n"), method+" sip:100@203.0.113.5;line=1", method+" sip:+88112345678@third.example", 1)
		}
		l.send("alice", premium("INVITE", 2))
		l.starts("pbx: INVITE sip:100@203.0.113.5;line=1 SIP/2.0")
		l.answer("pbx", 200, "Contact: <sip:moved@203.0.113.5>")
		l.starts("alice: SIP/2.0 200")
		l.send("alice", premium("INFO", 3))
		l.starts("pbx: INFO sip:moved@203.0.113.5 SIP/2.0")
		// A REGISTER is no part of a call and goes its own way.
		l.send("alice", premium("REGISTER", 4))
		l.starts("pbx: REGISTER sip:+88112345678@third.example")
		if got := headers(l.last["pbx"], "Route"); len(got) != 0 {
			t.Errorf("the PBX is asked to go on to %v", got)
		}
		// Another call with the token has none, and no Routes.
		l.send("alice", strings.NewReplacer(";tag=pbx", "", "z9hG4bK-alice-INVITE-5", "z9hG4bK-other").Replace(premium("INVITE", 5)))
		l.starts("pbx: INVITE sip:+88112345678@third.example")
		if got := headers(l.last["pbx"], "Route"); len(got) != 0 {
			t.Errorf("the PBX is asked to go on to %v", got)
		}
	})
}

// Inside and within dialogs, Routes go on as they must.
func TestRoutesOfOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, nil)
		l.invite("pbx", "+4930123@example.com", "Route: <sip:198.51.100.1;lr>, <sip:edge.carrier.example;lr>\n")
		l.starts("trunk: INVITE")
		if got := headers(l.last["trunk"], "Route"); len(got) != 1 || !strings.Contains(got[0], "edge.carrier.example") {
			t.Errorf("the trunk gets Route %v", got)
		}
	})
}

// What is taken off Route headers leaves no line without a value, however the
// values share lines.
func TestDropRoutes(t *testing.T) {
	for _, c := range []struct {
		lines  string
		ours   int
		strict bool
		want   string
	}{
		{"Route: <sip:a;lr>\r\n", 1, false, ""},
		{"Route: <sip:a;lr>, <sip:b;lr>\r\n", 1, false, "Route: <sip:b;lr>\r\n"},
		{"Route: <sip:a;lr>, <sip:b;lr>\r\n", 2, false, ""},
		{"Route: <sip:a;lr>,<sip:b;lr>,<sip:c;lr>\r\n", 2, false, "Route: <sip:c;lr>\r\n"},
		{"Route: <sip:a;lr>, <sip:b;lr>\r\nRoute: <sip:c;lr>\r\n", 2, false, "Route: <sip:c;lr>\r\n"},
		{"Route: <sip:a;lr>, <sip:b;lr>\r\nRoute: <sip:c;lr>, <sip:d;lr>\r\n", 3, false, "Route: <sip:d;lr>\r\n"},
		{"Route: <sip:a;lr>, <sip:b;lr>\r\nRoute: <sip:c;lr>\r\n", maxRoutes, false, ""},
		{"Route: <sip:b;lr>, <sip:c>\r\n", 0, true, "Route: <sip:b;lr>\r\n"},
		{"Route: <sip:b;lr>\r\nRoute: <sip:c>\r\n", 0, true, "Route: <sip:b;lr>\r\n"},
		{"Route: <sip:a;lr>, <sip:c>\r\n", 1, true, ""},
		{"", 0, false, ""},
	} {
		const head, foot = "BYE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\n", "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: i\r\nCSeq: 1 BYE\r\n\r\n"
		var w worker
		if p := w.in.Parse([]byte(head+c.lines+foot), false, index.Limits{}); p != "" {
			t.Fatal(p)
		}
		r := road{ours: c.ours, strict: c.strict}
		routes := w.in.Addresses(index.RouteName)
		for _, part, ok := routes.Next(); ok && c.strict; _, part, ok = routes.Next() {
			r.last = part
		}
		w.dropRoutes(&w.in, &r, c.ours)
		if got := string(w.splice.AppendTo(nil, w.in.Raw())); got != head+c.want+foot {
			t.Errorf("%q, %d off, strict %v:\n%q", c.lines, c.ours, c.strict, got)
		}
	}
}

// An answer to a request of the run before finds no transaction of this one,
// although they lie in the same places, and still goes back to who asked.
func TestAnswersOfAnEarlierRun(t *testing.T) {
	old, now := [32]byte{1}, [32]byte{2}
	for _, c := range []struct {
		name string
		keys Keys
		wait time.Duration
		want []string
	}{
		{"the run before", Keys{Branch: now, PreviousBranch: old}, 0, []string{"alice: SIP/2.0 200"}},
		{"too late", Keys{Branch: now, PreviousBranch: old}, earlierLife + time.Second, nil},
		{"two runs before", Keys{Branch: now, PreviousBranch: [32]byte{3}}, 0, nil},
		{"the first run", Keys{Branch: now}, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := newLab(t, onePBX, func(_ *Config, o *Options) { o.Keys.Branch = old })
				before.invite("alice", "100@example.com", "")
				before.starts("pbx: INVITE")
				l := newLab(t, onePBX, func(_ *Config, o *Options) { o.Keys = c.keys })
				for n := range 300 { // more than the table has shards
					msg := l.request("alice", "INVITE", "200@example.com", "")
					l.send("alice", strings.Replace(msg, "z9hG4bK-", "z9hG4bK"+strconv.Itoa(n)+"-", 1))
				}
				time.Sleep(c.wait)
				synctest.Wait()
				l.got()
				l.last["pbx"] = before.last["pbx"]
				l.answer("pbx", 200, "")
				l.starts(c.want...)
				for _, line := range c.want {
					if msg := l.last[line[:5]]; strings.Count(msg, "Via:") != 1 || !strings.Contains(msg, "Call-ID: call-alice\r\n") {
						t.Errorf("what came back:\n%s", msg)
					}
				}
			})
		})
	}
}

// Who is asked something by our server across a restart cannot ask it for its
// credentials (CVE-2021-41158 class).
func TestDigestLeakAcrossARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := newLab(t, office, func(_ *Config, o *Options) { o.Keys.Branch = [32]byte{1} })
		before.invite("alice", "100@example.com", "")
		before.got()
		before.keep("pbx")
		before.answer("pbx", 200, "")
		before.got()
		before.within("pbx", "BYE", 1, "")
		before.starts("alice: BYE")
		l := newLab(t, office, func(_ *Config, o *Options) { o.Keys = Keys{Branch: [32]byte{2}, PreviousBranch: [32]byte{1}} })
		l.last["alice"] = before.last["alice"]
		l.answer("alice", 407, `Proxy-Authenticate: Digest realm="pbx", nonce="theirs"`)
		l.starts()
		l.answer("alice", 200, "")
		l.starts("pbx: SIP/2.0 200")
	})
}
