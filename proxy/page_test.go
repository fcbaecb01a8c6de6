package proxy

import (
	"strings"
	"testing"
	"testing/synctest"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// A page in a browser on the machine of the PBX, or behind a web server there, is a
// stranger like any other, and can be called.
func TestPageAtTheAddressOfTheNextHop(t *testing.T) {
	for _, c := range []struct {
		name, page string
		setup      func(*Config, *Options)
	}{
		{"of the same address", "203.0.113.5:40000/ws", nil},
		{"of the same address and port", "203.0.113.5:5060/ws", nil},
		{"where the address alone counts", "203.0.113.5:40000/ws", func(_ *Config, o *Options) { o.Route.AddressOnly = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, map[string]string{"pbx": "203.0.113.5:5060", "web": c.page}, c.setup)
				inside := map[string]bool{}
				l.engine.verdict = func(m *guard.Message) guard.Verdict {
					inside[m.Transport.String()+" "+m.Index.Method.String()] = m.Inside || m.Peer != ""
					return guard.Verdict{}
				}
				// The name of a host is found by its address, which two share in one case:
				// the transport tells them apart.
				over := func(want guard.Transport, start string) string {
					t.Helper()
					for _, s := range l.wire.take() {
						if s.flow.Transport == want && strings.HasPrefix(s.msg, start) {
							return s.msg
						}
					}
					t.Fatalf("nothing over %s begins with %q", want, start)
					return ""
				}
				l.invite("web", "bob@example.com", "")
				l.last["pbx"] = over(guard.UDP, "INVITE")
				if inside["ws INVITE"] {
					t.Error("the page is taken for the next hop")
				}
				l.last["pbx dialog"] = l.last["pbx"]
				l.answer("pbx", 200, "")
				l.last["web dialog"] = over(guard.WS, "SIP/2.0 200")
				l.within("web", "ACK", 1, "")
				over(guard.UDP, "ACK")
				l.last["pbx dialog"] = strings.Replace(l.last["pbx dialog"], "To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=pbx", 1)
				l.within("pbx", "BYE", 1, "")
				over(guard.WS, "BYE")
				if !inside["udp BYE"] {
					t.Error("the next hop is taken for a stranger")
				}
			})
		})
	}
}

// What a phone in a browser calls itself is nobody's name, and nobody is asked for
// it, whatever a server of ours writes.
func TestInvalidNamesAreNotLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		l := newLab(t, office, egress(b))
		for i, uri := range []string{"bob@df7jal23ls0d.invalid", "bob@x.INVALID;transport=ws", "bob@x.invalid.;transport=udp", "bob@x.invalid:5060", "bob@invalid"} {
			msg := l.request("pbx", "MESSAGE", uri, "")
			l.send("pbx", strings.ReplaceAll(msg, "z9hG4bK-", "z9hG4bK-"+strings.Repeat("n", i)))
			l.starts("pbx: SIP/2.0 480")
		}
		if asked := b.questions(); len(asked) != 0 {
			t.Errorf("looked up: %v", asked)
		}
	})
}

// A URI without a port means the port of its transport, and that of a WebSocket is
// that of the web (RFC 7118 section 5).
func TestPortsThatAreNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, map[string]string{"pbx": "203.0.113.5:5060", "web": "192.0.2.10:40000/ws"}, func(c *Config, _ *Options) {
			c.Listeners = c.Listeners[2:] // nobody listens on 5060
		})
		m := new(index.Message)
		raw := wired("OPTIONS sip:198.51.100.1;transport=ws SIP/2.0\nVia: SIP/2.0/WS x.invalid;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=1\nTo: <sip:a@b>\nCall-ID: 1\nCSeq: 1 OPTIONS\nMax-Forwards: 70")
		if p := m.Parse([]byte(raw), false, index.Limits{}); p != "" {
			t.Fatal(p)
		}
		if !l.p.ours(m, m.URI.Host, m.URI.Port) {
			t.Error("port 80 is not that of ws")
		}
		if l.p.ours(m, m.URI.Host, 5060) {
			t.Error("port 5060 is")
		}
	})
}
