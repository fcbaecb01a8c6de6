package proxy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
)

var phones = map[string]string{
	"alice": "192.0.2.10:5060", "desk": "192.0.2.20:5060", "soft": "192.0.2.21:40000/tcp", "mallory": "192.0.2.66:5060",
}

// authEngine takes the user of From for who authenticated, but for mallory.
type authEngine struct{ *fakeEngine }

func (e authEngine) Judge(ctx context.Context, m *guard.Message, d *guard.Decision) {
	e.fakeEngine.Judge(ctx, m, d)
	if user := string(m.Index.Bytes(m.Index.From.URI.User)); user != "mallory" {
		m.Account = user + "@ringfence"
	}
}

// newOffice is a lab without a PBX in which bob has two phones.
func newOffice(t *testing.T) *lab {
	t.Helper()
	var engine authEngine
	l := newLab(t, phones, func(c *Config, o *Options) {
		c.Location = true
		engine = authEngine{o.Engine.(*fakeEngine)}
		o.Engine, o.Challenger, o.Accounts = engine, fakeChallenger{}, true
		o.Places.Realm = func(string) (string, bool) { return "ringfence", true }
	})
	for i, phone := range []string{"desk", "soft"} {
		l.send(phone, l.registration(phone, "bob", i+1))
		l.starts(phone + ": SIP/2.0 200")
	}
	return l
}

func (l *lab) registration(phone, user string, q int) string {
	msg := l.request(phone, "REGISTER", "example.com", "Expires: 300\n")
	msg = strings.Replace(msg, "To: <sip:example.com>", "To: <sip:"+user+"@example.com>", 1)
	msg = strings.Replace(msg, "From: <sip:"+phone, "From: <sip:"+user, 1)
	return strings.Replace(msg, fmt.Sprintf("Contact: <sip:%s@%s>", phone, l.hosts[phone].addr),
		fmt.Sprintf("Contact: <sip:%s@%s>;q=0.%d", phone, l.hosts[phone].addr, q), 1)
}

func TestRegistrar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newOffice(t)
		if got := headers(l.last["soft"], "Contact"); len(got) == 0 || !strings.Contains(strings.Join(got, ","), "sip:desk@192.0.2.20") {
			t.Errorf("the registrar answers\n%s", l.last["soft"])
		}
		l.send("mallory", l.registration("mallory", "mallory", 1))
		l.starts("mallory: SIP/2.0 401")
		l.invite("alice", "nobody@example.com", "")
		l.starts("alice: SIP/2.0 480")
	})
}

func TestFork(t *testing.T) {
	t.Run("one answers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newOffice(t)
			l.invite("alice", "bob@example.com", "")
			l.starts("soft: INVITE sip:soft@192.0.2.21:40000", "desk: INVITE sip:desk@192.0.2.20:5060")
			desk, soft := l.last["desk"], l.last["soft"]
			l.answer("desk", 180, "")
			l.starts("alice: SIP/2.0 180")
			l.answer("soft", 180, "")
			l.starts("alice: SIP/2.0 180")
			l.answer("soft", 200, "")
			l.starts("desk: CANCEL", "alice: SIP/2.0 200")
			l.keep("alice")
			l.answer("desk", 200, "")
			l.answerTo("desk", desk, 487, "")
			l.starts("desk: ACK")
			l.within("alice", "ACK", 1, "")
			l.starts("soft: ACK")
			_ = soft
		})
	})
	t.Run("both answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newOffice(t)
			l.invite("alice", "bob@example.com", "")
			l.got()
			desk := l.last["desk"]
			l.answer("soft", 200, "")
			l.got()
			l.answerTo("desk", desk, 200, "")
			l.starts("alice: SIP/2.0 200") // RFC 3261 section 16.7 step 5: every 2xx
		})
	})
	t.Run("the best refusal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newOffice(t)
			l.invite("alice", "bob@example.com", "")
			l.got()
			l.answer("soft", 503, "")
			l.starts("soft: ACK")
			l.answer("desk", 486, "")
			l.starts("desk: ACK", "alice: SIP/2.0 486")
		})
	})
	t.Run("a refusal for all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newOffice(t)
			l.invite("alice", "bob@example.com", "")
			l.got()
			soft := l.last["soft"]
			l.answer("soft", 180, "")
			l.got()
			l.answer("desk", 603, "")
			l.starts("desk: ACK", "soft: CANCEL")
			l.answerTo("soft", soft, 487, "")
			l.starts("soft: ACK", "alice: SIP/2.0 603")
		})
	})
	t.Run("a late answer is hung up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newOffice(t)
			l.invite("alice", "bob@example.com", "")
			l.got()
			soft := l.last["soft"]
			l.answer("soft", 180, "")
			l.answer("desk", 603, "")
			l.got()
			time.Sleep(33 * time.Second) // the CANCEL was lost on the phone
			l.got()
			if !strings.HasPrefix(l.last["alice"], "SIP/2.0 603") {
				t.Fatalf("alice got\n%s", l.last["alice"])
			}
			_ = soft
		})
	})
	t.Run("challenges are gathered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newOffice(t)
			l.invite("alice", "bob@example.com", "")
			l.got()
			l.answer("soft", 407, `Proxy-Authenticate: Digest realm="a", nonce="1"`)
			l.got()
			l.answer("desk", 401, `WWW-Authenticate: Digest realm="b", nonce="2"`)
			l.starts("desk: ACK", "alice: SIP/2.0 40")
			if !strings.Contains(l.last["alice"], `realm="a"`) || !strings.Contains(l.last["alice"], `realm="b"`) {
				t.Errorf("alice got\n%s", l.last["alice"])
			}
		})
	})
	t.Run("canceled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newOffice(t)
			l.invite("alice", "bob@example.com", "")
			l.got()
			soft, desk := l.last["soft"], l.last["desk"]
			l.answer("soft", 180, "")
			l.answer("desk", 180, "")
			l.got()
			l.hop("alice", "CANCEL")
			l.starts("alice: SIP/2.0 200", "soft: CANCEL", "desk: CANCEL")
			l.answerTo("soft", soft, 487, "")
			l.starts("soft: ACK")
			l.answerTo("desk", desk, 487, "")
			l.starts("desk: ACK", "alice: SIP/2.0 487")
		})
	})
	t.Run("a connection that closed rings no more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newOffice(t)
			l.p.Closed(l.flow("soft"), true)
			l.invite("alice", "bob@example.com", "")
			l.starts("desk: INVITE")
		})
	})
}

func TestEmergencyWithoutAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newOffice(t)
		l.engine.verdict = func(*guard.Message) guard.Verdict {
			return guard.Verdict{Action: guard.Allow, Emergency: true}
		}
		l.invite("alice", "112@example.com", "")
		l.starts("alice: SIP/2.0 380")
	})
}

func TestRegistrarWithoutPathIsFound(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		t.Run(strconv.FormatBool(keeps), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, onePBX, nil)
				for i := range 2 {
					msg := strings.Replace(l.request("alice", "REGISTER", "example.com", ""), "alice-REGISTER", fmt.Sprint("r", i), 1)
					l.send("alice", msg)
					l.got()
					request := l.last["pbx"]
					contact := header(request, "Contact")
					if strings.Contains(contact, "192.0.2.10") {
						t.Errorf("the Contact is %s", contact)
					}
					if path := header(request, "Path"); i == 1 && (path != "") != keeps {
						t.Errorf("the second time Path is %q", path)
					}
					if !keeps {
						request = strings.Replace(request, "\r\nPath:", "\r\nX-Path:", 1)
					}
					l.answerTo("pbx", request, 200, "Contact: "+contact+";expires=60")
					l.got()
					if got := header(l.last["alice"], "Contact"); got != "<sip:alice@192.0.2.10:5060>;expires=60" {
						t.Errorf("the phone reads %s", got)
					}
				}
				if knows, ok := l.p.KnowsPath(); knows != keeps || !ok {
					t.Errorf("knows Path: %v, %v", knows, ok)
				}
			})
		})
	}
}
