package proxy

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
	"ringfence/proxy/dialog"
)

var office = map[string]string{
	"alice": "192.0.2.10:5060", "mallory": "192.0.2.66:5060", "far": "192.0.2.99:5080",
	"pbx": "203.0.113.5:5060", "trunk": "203.0.113.9:5060",
}

func TestWhereRequestsGo(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		setup          func(*Config, *Options)
		verdict        guard.Verdict
		want           []string
	}{
		{"outside to the pool", "alice", "100@example.com", nil, guard.Verdict{}, []string{"pbx: INVITE"}},
		{"outside to another domain", "alice", "100@elsewhere.example", nil, guard.Verdict{}, []string{"pbx: INVITE"}},
		{"inside by number", "pbx", "+4930123@example.com", nil, guard.Verdict{}, []string{"trunk: INVITE"}},
		{"inside by escaped number", "pbx", "%3049@example.com", nil, guard.Verdict{}, []string{"pbx: SIP/2.0 404"}},
		{"inside without a way", "pbx", "100@192.0.2.99:5080", nil, guard.Verdict{}, []string{"pbx: SIP/2.0 404"}},
		{
			"inside by address", "pbx", "100@192.0.2.99:5080", func(c *Config, _ *Options) { c.Egress = true },
			guard.Verdict{},
			[]string{"far: INVITE"},
		},
		{"trunk to the pool", "trunk", "100@example.com", nil, guard.Verdict{}, []string{"pbx: INVITE"}},
		{
			"emergency", "alice", "112@example.com", func(c *Config, _ *Options) { c.EmergencyPool = "trunk" },
			guard.Verdict{Action: guard.Allow, Emergency: true},
			[]string{"trunk: INVITE"},
		},
		{
			"emergency without a next hop", "alice", "112@example.com", func(c *Config, _ *Options) { c.EmergencyPool = "none" },
			guard.Verdict{Action: guard.Allow, Emergency: true},
			[]string{"alice: SIP/2.0 380"},
		},
		{
			"emergency from inside", "pbx", "+49112@example.com", nil,
			guard.Verdict{Action: guard.Allow, Emergency: true},
			[]string{"trunk: INVITE"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, office, c.setup)
				l.engine.verdict = func(*guard.Message) guard.Verdict { return c.verdict }
				l.invite(c.from, c.to, "")
				l.starts(c.want...)
			})
		})
	}
}

// call sets up a call from alice to the PBX and gives both a dialog.
func call(l *lab) {
	l.t.Helper()
	l.invite("alice", "100@example.com", "")
	l.got()
	l.keep("pbx")
	l.answer("pbx", 200, "")
	l.got()
	l.keep("alice")
	l.within("alice", "ACK", 1, "")
	l.starts("pbx: ACK")
}

func TestTokensInRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, nil)
		call(l)
		bye := l.compose("pbx", "BYE", 1, "")
		route := header(wired(bye), "Route")
		l.send("pbx", strings.Replace(bye, route, "<sip:x"+route[6:], 1)) // forged: the dialog still knows the way
		l.starts("alice: BYE")
		invite := l.request("pbx", "INVITE", "alice@10.0.0.7", "Route: "+route+"\n")
		l.send("pbx", invite) // the token of another dialog
		l.starts("pbx: SIP/2.0 430")
	})
}

func TestStrictRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, nil)
		call(l)
		bye := l.compose("pbx", "BYE", 1, "")
		route := header(wired(bye), "Route")
		us := strings.TrimSuffix(strings.TrimPrefix(route, "<"), ";lr>")
		bye = strings.Replace(bye, "BYE sip:alice@192.0.2.10:5060", "BYE "+us, 1)
		bye = strings.Replace(bye, route, "<sip:alice@192.0.2.10:5060>", 1)
		l.send("pbx", bye)
		l.starts("alice: BYE sip:alice@192.0.2.10:5060 SIP/2.0")
		if header(l.last["alice"], "Route") != "" {
			t.Errorf("a Route is left:\n%s", l.last["alice"])
		}
	})
}

func TestLoopsAndSpirals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, nil)
		l.invite("pbx", "+4930123@example.com", "")
		l.starts("trunk: INVITE")
		back := strings.ReplaceAll(l.last["trunk"], "\r\n", "\n")
		via := "Via: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bK-again\n"
		looped := strings.Replace(back, "Via:", via+"Via:", 1)
		looped = strings.Replace(looped, "\nRecord-Route:", "\nX-RR:", 1)
		l.send("pbx", looped)
		l.starts("pbx: SIP/2.0 482")
		spiral := strings.Replace(strings.Replace(looped, "sip:+4930123@", "sip:+4930124@", 1), "-again", "-spiral", 1)
		l.send("pbx", spiral)
		l.starts("trunk: INVITE sip:+4930124@")
	})
}

func TestWhatNobodyElseMaySay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, func(c *Config, _ *Options) { c.SourceHeader = "X-Real" })
		l.invite("alice", "100@example.com", "x-real: 10.0.0.1\nP-Asserted-Identity: <sip:boss@example.com>\nX-Real: 10.0.0.2\n")
		l.got()
		got := l.last["pbx"]
		if n := strings.Count(strings.ToLower(got), "x-real:"); n != 1 || header(got, "X-Real") != "192.0.2.10:5060;transport=udp" {
			t.Errorf("the PBX reads of the source:\n%s", got)
		}
		if header(got, "P-Asserted-Identity") != "" {
			t.Error("a stranger asserts an identity")
		}
		l.answer("pbx", 200, "X-Real: 1.1.1.1")
		l.got()
		if header(l.last["alice"], "X-Real") != "" {
			t.Error("the header leaves")
		}
		l.invite("pbx", "+4930123@example.com", "P-Asserted-Identity: <sip:boss@example.com>\n")
		l.got()
		if header(l.last["trunk"], "P-Asserted-Identity") == "" || header(l.last["trunk"], "X-Real") != "" {
			t.Errorf("the trunk gets\n%s", l.last["trunk"])
		}
	})
}

func TestCallsEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		by   string
		do   func(l *lab)
	}{
		{"caller", "caller", func(l *lab) { l.within("alice", "BYE", 2, "") }},
		{"callee", "callee", func(l *lab) { l.within("pbx", "BYE", 1, "") }},
		{"operator", "ringfence", func(l *lab) {
			if !l.p.EndCall("call-alice", `spent "too" much`) {
				l.t.Error("there is no such call")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, office, nil)
				call(l)
				var up []dialog.Call
				for call := range l.p.Calls() {
					up = append(up, call)
				}
				if len(up) != 1 || up[0].State != dialog.Answered || up[0].Dialed != "100" {
					t.Fatalf("calls %+v", up)
				}
				time.Sleep(time.Minute)
				c.do(l)
				synctest.Wait()
				got := l.got()
				if c.name == "operator" {
					if len(got) != 2 {
						t.Fatalf("sent %v", got)
					}
					for _, s := range got {
						if !strings.HasPrefix(s.msg, "BYE ") || header(s.msg, "Reason") != `SIP;cause=503;text="spent \"too\" much"` {
							t.Errorf("sent\n%s", s.msg)
						}
					}
					l.answer("alice", 200, "")
					l.answer("pbx", 481, "")
				}
				select {
				case call := <-l.engine.ends:
					if call.EndedBy != c.by || call.Duration() < time.Minute || call.ID != "call-alice" {
						t.Errorf("ended: %+v", call)
					}
				default:
					t.Error("nobody heard that the call ended")
				}
			})
		})
	}
}

func TestRefusedCallEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		l.answer("pbx", 486, "")
		synctest.Wait()
		select {
		case call := <-l.engine.ends:
			if call.Status != 486 || !call.Answered.IsZero() {
				t.Errorf("ended: %+v", call)
			}
		default:
			t.Error("nobody heard of it")
		}
		if got := fmt.Sprint(l.engine.replies, l.engine.targets); !strings.Contains(got, "486") || !strings.Contains(got, "[100]") {
			t.Errorf("stage reply heard %s", got)
		}
	})
}
