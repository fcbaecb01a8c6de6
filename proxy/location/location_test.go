package location

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"ringfence/guard"
	"ringfence/proxy/index"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func service(t testing.TB, o Options) *Service {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return start }
	}
	s, err := New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// message is a REGISTER of user, from a phone at 192.0.2.1. Lines of more take
// the place of the usual ones of the same name.
func message(t testing.TB, user string, cseq int, more ...string) *guard.Message {
	t.Helper()
	raw := "REGISTER sip:example.com SIP/2.0\r\n"
	for _, line := range []string{
		"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
		"From: <sip:" + user + "@example.com>;tag=1",
		"To: <sip:" + user + "@example.com>",
		"Call-ID: x",
		fmt.Sprintf("CSeq: %d REGISTER", cseq),
		"Content-Length: 0",
	} {
		name, _, _ := strings.Cut(line, " ")
		if !slices.ContainsFunc(more, func(l string) bool { return strings.HasPrefix(l, name) }) {
			raw += line + "\r\n"
		}
	}
	for _, line := range more {
		raw += line + "\r\n"
	}
	x := new(index.Message)
	if p := x.Parse([]byte(raw+"\r\n"), false, index.Limits{}); p != "" {
		t.Fatalf("%v in\n%s", p, raw)
	}
	return &guard.Message{Src: netip.MustParseAddrPort("192.0.2.1:5060"), Index: x}
}

func do(t testing.TB, s *Service, user string, cseq int, more ...string) Answer {
	t.Helper()
	return s.Register(context.Background(), message(t, user, cseq, more...), user+"@realm", "flow")
}

func contacts(s *Service, user string) string {
	var out []string
	for _, b := range s.Lookup(nil, user, "example.com") {
		out = append(out, strings.TrimPrefix(b.Contact, "sip:"))
	}
	return strings.Join(out, " ")
}

const trailer = "Supported: path, outbound\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\n"

func TestRegister(t *testing.T) {
	at := start
	s := service(t, Options{Now: func() time.Time { return at }})
	for i, c := range []struct {
		what   string
		after  time.Duration
		lines  []string
		status int
		answer string // without Supported and Date; of refusals all
		bound  string
	}{
		{"a query of nothing", 0, nil, 200, "", ""},
		{"a first binding", 0, []string{"Contact: <sip:a@192.0.2.1>", "Expires: 600"}, 200, "Contact: <sip:a@192.0.2.1>;expires=600\r\n", "a@192.0.2.1"},
		{"a query", 10 * time.Second, nil, 200, "Contact: <sip:a@192.0.2.1>;expires=590\r\n", "a@192.0.2.1"},
		{
			"another, wanted less, with its own time", 10 * time.Second,
			[]string{"Contact: <sip:b@192.0.2.1:5070>;q=0.25;expires=120", "Expires: 600"},
			200,
			"Contact: <sip:a@192.0.2.1>;expires=590\r\nContact: <sip:b@192.0.2.1:5070>;expires=120;q=0.25\r\n", "a@192.0.2.1 b@192.0.2.1:5070",
		},
		{
			"a refresh, written otherwise", 20 * time.Second,
			[]string{"Contact: \"Me\" <SIP:%61@192.0.2.1>;expires=300"},
			200,
			"Contact: <SIP:%61@192.0.2.1>;expires=300\r\nContact: <sip:b@192.0.2.1:5070>;expires=110;q=0.25\r\n", "SIP:%61@192.0.2.1 b@192.0.2.1:5070",
		},
		{"too short", 20 * time.Second, []string{"Contact: <sip:c@192.0.2.1>;expires=59"}, 423, "Min-Expires: 60\r\n", "SIP:%61@192.0.2.1 b@192.0.2.1:5070"},
		{"one too short, so nothing", 20 * time.Second, []string{"Contact: <sip:c@192.0.2.1>, <sip:d@192.0.2.1>;expires=1"}, 423, "Min-Expires: 60\r\n", "SIP:%61@192.0.2.1 b@192.0.2.1:5070"},
		{"one is taken away", 20 * time.Second, []string{"Contact: <sip:a@192.0.2.1>;expires=0"}, 200, "Contact: <sip:b@192.0.2.1:5070>;expires=110;q=0.25\r\n", "b@192.0.2.1:5070"},
		{"what is not there is taken away", 20 * time.Second, []string{"Contact: <sip:z@192.0.2.1>;expires=0"}, 200, "Contact: <sip:b@192.0.2.1:5070>;expires=110;q=0.25\r\n", "b@192.0.2.1:5070"},
		{
			"too long is shortened, no number is an hour", 20 * time.Second,
			[]string{"Contact: <sip:e@192.0.2.1>;expires=99999999999, <sip:f@192.0.2.1>;expires=soon"},
			200,
			"Contact: <sip:e@192.0.2.1>;expires=3600\r\nContact: <sip:f@192.0.2.1>;expires=3600\r\nContact: <sip:b@192.0.2.1:5070>;expires=110;q=0.25\r\n", "e@192.0.2.1 f@192.0.2.1 b@192.0.2.1:5070",
		},
		{"* without Expires: 0", 20 * time.Second, []string{"Contact: *", "Expires: 60"}, 400, "", "e@192.0.2.1 f@192.0.2.1 b@192.0.2.1:5070"},
		{"* without Expires", 20 * time.Second, []string{"Contact: *"}, 400, "", "e@192.0.2.1 f@192.0.2.1 b@192.0.2.1:5070"},
		{"time runs out for one", 130 * time.Second, nil, 200, "Contact: <sip:e@192.0.2.1>;expires=3490\r\nContact: <sip:f@192.0.2.1>;expires=3490\r\n", "e@192.0.2.1 f@192.0.2.1"},
		{"all are taken away", 130 * time.Second, []string{"Contact: *", "Expires: 0"}, 200, "", ""},
	} {
		at = start.Add(c.after)
		a := do(t, s, "alice", i+1, c.lines...)
		want := c.answer
		if c.status == 200 {
			want += strings.Replace(trailer, "12:00:00", at.Format("15:04:05"), 1)
		}
		if a.Status != c.status || string(a.Lines) != want {
			t.Errorf("%s: %d %s\n%swant %d\n%s", c.what, a.Status, a.Reason, a.Lines, c.status, want)
		}
		if got := contacts(s, "alice"); got != c.bound {
			t.Errorf("%s: bound %q, want %q", c.what, got, c.bound)
		}
	}
}

func TestRefusals(t *testing.T) {
	realm := func(domain string) (string, bool) {
		return map[string]string{"example.com": "realm", "other.example": "elsewhere"}[domain], domain != "unknown.example"
	}
	for _, c := range []struct {
		what    string
		account string
		token   string
		status  int
		lines   []string
	}{
		{"the account itself", "alice@realm", "flow", 200, nil},
		{"its own name with escapes", "alice@realm", "flow", 200, []string{"To: <sip:%61lice@example.com>"}},
		{"a domain in capitals", "alice@realm", "flow", 200, []string{"To: <sip:alice@EXAMPLE.com>"}},
		{"another's address of record", "mallory@realm", "flow", 403, nil},
		{"nobody", "", "flow", 403, nil},
		{"no user in To", "alice@realm", "flow", 403, []string{"To: <sip:example.com>"}},
		{"the same name in another realm", "alice@elsewhere", "flow", 403, nil},
		{"a domain of another realm", "alice@realm", "flow", 403, []string{"To: <sip:alice@other.example>"}},
		{"a domain nobody serves", "alice@realm", "flow", 404, []string{"To: <sip:alice@unknown.example>"}},
		{"To is a tel URI", "alice@realm", "flow", 404, []string{"To: <tel:+4930123>"}},
		{"a Contact with headers", "alice@realm", "flow", 400, []string{"Contact: <sip:a@192.0.2.1?Route=%3Csip:10.0.0.1%3E>"}},
		{"a Contact with a password", "alice@realm", "flow", 400, []string{"Contact: <sip:a:secret@192.0.2.1>"}},
		{"a tel Contact", "alice@realm", "flow", 400, []string{"Contact: <tel:+5312345>"}},
		{"a long Contact", "alice@realm", "flow", 400, []string{"Contact: <sip:" + strings.Repeat("a", 1024) + "@192.0.2.1>"}},
		{"a q over 1", "alice@realm", "flow", 400, []string{"Contact: <sip:a@192.0.2.1>;q=1.1"}},
		{"too many Contacts", "alice@realm", "flow", 403, []string{"Contact: " + strings.TrimSuffix(strings.Repeat("<sip:a@192.0.2.1>,", 50), ",")}},
		{"a private Contact over a flow", "alice@realm", "flow", 200, []string{"Contact: <sip:a@127.0.0.1:22>"}},
		{"a foreign Contact without a flow", "alice@realm", "", 403, []string{"Contact: <sip:a@127.0.0.1:22>"}},
		{"its own Contact without a flow", "alice@realm", "", 200, []string{"Contact: <sip:a@192.0.2.1:7000>"}},
		{"a Path from outside", "alice@realm", "flow", 403, []string{"Path: <sip:edge.example;lr>", "Supported: path"}},
		{"an extension nobody knows", "alice@realm", "flow", 420, []string{"Require: path, gruu"}},
	} {
		s := service(t, Options{Realm: realm})
		a := s.Register(t.Context(), message(t, "alice", 1, c.lines...), c.account, c.token)
		if a.Status != c.status {
			t.Errorf("%s: %d %s, want %d", c.what, a.Status, a.Reason, c.status)
		}
		if c.status != 200 && s.Counts() != (Counts{}) {
			t.Errorf("%s: something was bound: %+v", c.what, s.Counts())
		}
	}
	s := service(t, Options{})
	a := s.Register(t.Context(), message(t, "alice", 1, "Require: gruu"), "alice@realm", "flow")
	if string(a.Lines) != "Unsupported: gruu\r\n" {
		t.Errorf("%s", a.Lines)
	}
	m := message(t, "alice", 1)
	m.Index.Method = index.Options
	if a := s.Register(t.Context(), m, "alice@realm", "flow"); a.Status != 405 {
		t.Errorf("another method: %d", a.Status)
	}
}

func TestOrder(t *testing.T) {
	s := service(t, Options{})
	for _, c := range []struct {
		what   string
		cseq   int
		callID string
		lines  []string
		status int
	}{
		{"first", 5, "x", []string{"Contact: <sip:a@192.0.2.1>"}, 200},
		{"the same number", 5, "x", []string{"Contact: <sip:a@192.0.2.1>;expires=0"}, 500},
		{"a lower one", 4, "x", []string{"Contact: <sip:a@192.0.2.1>"}, 500},
		{"a lower one with *", 4, "x", []string{"Contact: *", "Expires: 0"}, 500},
		{"a lower one beside a new Contact changes nothing", 4, "x", []string{"Contact: <sip:b@192.0.2.1>, <sip:a@192.0.2.1>"}, 500},
		{"a lower one for another Contact", 4, "x", []string{"Contact: <sip:c@192.0.2.1>"}, 200},
		{"another Call-ID, after a restart of the phone", 1, "y", []string{"Contact: <sip:a@192.0.2.1>"}, 200},
		{"the higher number", 6, "x", []string{"Contact: <sip:c@192.0.2.1>;expires=0"}, 200},
	} {
		a := do(t, s, "alice", c.cseq, append(c.lines, "Call-ID: "+c.callID)...)
		if a.Status != c.status {
			t.Errorf("%s: %d %s, want %d", c.what, a.Status, a.Reason, c.status)
		}
	}
	if got := contacts(s, "alice"); got != "a@192.0.2.1" {
		t.Errorf("bound %q", got)
	}
}

func TestPath(t *testing.T) {
	s := service(t, Options{})
	m := message(t, "alice", 1, "Path: <sip:p2.example;lr>", "Path: <sip:p1.example;lr>", "Contact: <sip:a@192.0.2.1>")
	m.Inside = true
	if a := s.Register(t.Context(), m, "alice@realm", "flow"); a.Status != 421 || string(a.Lines) != "Require: path\r\n" {
		t.Errorf("without support: %d %s", a.Status, a.Lines)
	}
	m = message(t, "alice", 1, "Path: <sip:p2.example;lr>", "Path: <sip:p1.example;lr>", "Contact: <sip:a@192.0.2.1>", "Supported: path")
	m.Peer = "edge"
	a := s.Register(t.Context(), m, "alice@realm", "flow")
	if a.Status != 200 || !strings.Contains(string(a.Lines), "\r\nPath: <sip:p2.example;lr>, <sip:p1.example;lr>\r\n") {
		t.Errorf("%d %s", a.Status, a.Lines)
	}
	if b := s.Lookup(nil, "alice", "example.com"); len(b) != 1 || b[0].Path != "<sip:p2.example;lr>, <sip:p1.example;lr>" {
		t.Errorf("%+v", b)
	}
}

func TestFlowsOfOnePhone(t *testing.T) {
	s := service(t, Options{})
	const id = `;+sip.instance="<urn:uuid:1>"`
	do(t, s, "alice", 1, "Supported: outbound", "Contact: <sip:a@192.0.2.1:1>"+id+";reg-id=1")
	do(t, s, "alice", 2, "Supported: outbound", "Contact: <sip:a@192.0.2.1:2>"+id+";reg-id=2")
	a := do(t, s, "alice", 3, "Supported: outbound", "Contact: <sip:a@192.0.2.1:3>"+id+";reg-id=1")
	want := `Contact: <sip:a@192.0.2.1:2>;expires=3600;+sip.instance="<urn:uuid:1>";reg-id=2` + "\r\n" +
		`Contact: <sip:a@192.0.2.1:3>;expires=3600;+sip.instance="<urn:uuid:1>";reg-id=1` + "\r\nRequire: outbound\r\n" + trailer
	if string(a.Lines) != want {
		t.Errorf("got\n%swant\n%s", a.Lines, want)
	}
}

func TestLimits(t *testing.T) {
	at := start
	now := func() time.Time { at = at.Add(time.Second); return at }
	s := service(t, Options{PerAccount: 2, Max: 3, Now: now})
	reg := func(s *Service, user, contact string, cseq int) int {
		return do(t, s, user, cseq, "Contact: <sip:"+contact+"@192.0.2.1>").Status
	}
	for i, c := range []struct {
		user, contact string
		status        int
	}{
		{"alice", "1", 200},
		{"alice", "2", 200},
		{"alice", "3", 403},
		{"alice", "2", 200},
		{"bob", "1", 200},
		{"bob", "2", 503},
		{"carol", "1", 503},
		{"bob", "1", 200},
	} {
		if got := reg(s, c.user, c.contact, i+1); got != c.status {
			t.Errorf("%s registers %s: %d, want %d", c.user, c.contact, got, c.status)
		}
	}
	if c := s.Counts(); c != (Counts{AoRs: 2, Bindings: 3, Refused: 3}) {
		t.Errorf("%+v", c)
	}
	s = service(t, Options{PerAccount: 2, Replace: true, Now: now})
	for i, contact := range []string{"1", "2", "1", "3"} {
		if got := reg(s, "alice", contact, i+1); got != 200 {
			t.Errorf("%s: %d", contact, got)
		}
	}
	if got := contacts(s, "alice"); got != "3@192.0.2.1 1@192.0.2.1" {
		t.Errorf("bound %q", got)
	}
}

func TestGone(t *testing.T) {
	s := service(t, Options{})
	reg := func(user, contact, token string, cseq int) {
		s.Register(t.Context(), message(t, user, cseq, "Contact: <sip:"+contact+"@192.0.2.1>"), user+"@realm", token)
	}
	reg("alice", "1", "old", 1)
	reg("alice", "2", "old", 2)
	reg("alice", "3", "new", 3)
	reg("bob", "1", "old", 1)
	reg("alice", "2", "new", 4) // the phone came back over another connection
	if n := s.Gone("old"); n != 2 {
		t.Errorf("%d bindings went, want 2", n)
	}
	if n := s.Gone("old"); n != 0 {
		t.Errorf("%d went again", n)
	}
	if n := s.Gone(""); n != 0 {
		t.Errorf("%d went with no flow", n)
	}
	if got := contacts(s, "alice") + "|" + contacts(s, "bob"); got != "3@192.0.2.1 2@192.0.2.1|" && got != "2@192.0.2.1 3@192.0.2.1|" {
		t.Errorf("left: %q", got)
	}
	if len(s.flows) != 1 {
		t.Errorf("flows: %v", s.flows)
	}
}

func TestLookup(t *testing.T) {
	s := service(t, Options{Realm: func(domain string) (string, bool) {
		return "realm", domain == "example.com" || domain == "alias.example"
	}})
	do(t, s, "a%20b", 1, "Contact: <sip:x@192.0.2.1>") // its account is not a%20b
	s.Register(t.Context(), message(t, "a%20b", 1, "Contact: <sip:x@192.0.2.1>"), "a b@realm", "flow")
	for _, c := range []struct {
		user, domain string
		want         int
	}{
		{"a%20b", "example.com", 1},
		{"a b", "example.com", 1},
		{"%61%20b", "ALIAS.example", 1},
		{"a%20b", "unknown.example", 0},
		{"A%20b", "example.com", 0},
		{"", "example.com", 0},
	} {
		if got := s.Lookup(nil, c.user, c.domain); len(got) != c.want {
			t.Errorf("%s@%s: %d bindings, want %d", c.user, c.domain, len(got), c.want)
		}
	}
}

func TestThousandths(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "1": 1000, "0.5": 500, "0.125": 125, "1.000": 1000, "0.": 0} {
		if got, ok := thousandths(text); !ok || got != want {
			t.Errorf("%q: %d %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "2", ".5", "1.001", "0.1234", "0.x", "-1", "00.5", "0.-1"} {
		if got, ok := thousandths(text); ok {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	s := service(t, Options{})
	do(t, s, "alice", 1, "Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>")
	var room [8]Binding
	if n := testing.AllocsPerRun(100, func() { s.Lookup(room[:0], "alice", "example.com") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Any order of registrations, removals, closed flows and time passing gives what
// a plain list per account gives.
func TestAgainstAModel(t *testing.T) {
	type bound struct {
		expires time.Time
		cseq    int
		callID  string
		token   string
	}
	rapid.Check(t, func(rt *rapid.T) {
		at := start
		s := service(t, Options{PerAccount: 3, Max: 5, Now: func() time.Time { return at }})
		users := []string{"alice", "bob"}
		model := map[string]map[string]bound{"alice": {}, "bob": {}}
		live := func(user string) map[string]bound {
			out := map[string]bound{}
			for c, b := range model[user] {
				if b.expires.After(at) {
					out[c] = b
				}
			}
			return out
		}
		rt.Repeat(map[string]func(*rapid.T){
			"register": func(rt *rapid.T) {
				user := rapid.SampledFrom(users).Draw(rt, "user")
				cseq := rapid.IntRange(1, 20).Draw(rt, "cseq")
				callID := rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "call id")
				token := rapid.SampledFrom([]string{"f1", "f2"}).Draw(rt, "token")
				wishes := rapid.MapOfN(rapid.SampledFrom([]string{"1", "2", "3", "4"}), rapid.SampledFrom([]int{0, 30, 60, 300}), 0, 3).Draw(rt, "contacts")
				star := rapid.IntRange(0, 9).Draw(rt, "star") == 0
				lines := []string{"Call-ID: " + callID}
				if star {
					lines = append(lines, "Contact: *", "Expires: 0")
				} else {
					for c, e := range wishes {
						lines = append(lines, fmt.Sprintf("Contact: <sip:%s@192.0.2.1>;expires=%d", c, e))
					}
				}
				a := s.Register(context.Background(), message(t, user, cseq, lines...), user+"@realm", token)

				next, status, was := live(user), 200, len(model[user])
				all := len(model["alice"]) + len(model["bob"])
				old := func(c string) bool { b, ok := next[c]; return ok && b.callID == callID && cseq <= b.cseq }
				short := false
				for c, e := range wishes {
					short = short || e == 30 && !star
					if old(c) && !star {
						status = 500
					}
				}
				if star {
					for c := range next {
						if old(c) {
							status = 500
						}
					}
					next = map[string]bound{}
				} else {
					for c, e := range wishes {
						delete(next, c)
						if e > 0 {
							next[c] = bound{at.Add(time.Duration(e) * time.Second), cseq, callID, token}
						}
					}
				}
				switch {
				case short:
					status = 423
				case status != 200:
				case len(next) > 3:
					status = 403
				case all-was+len(next) > 5 && len(next) > was:
					status = 503
				}
				if a.Status != status {
					rt.Fatalf("%d %s, want %d", a.Status, a.Reason, status)
				}
				if status == 200 && (star || len(wishes) > 0) {
					model[user] = next
				}
			},
			"gone": func(rt *rapid.T) {
				token := rapid.SampledFrom([]string{"f1", "f2"}).Draw(rt, "token")
				n := 0
				for _, list := range model {
					for c, b := range list {
						if b.token == token {
							delete(list, c)
							n++
						}
					}
				}
				if got := s.Gone(token); got != n {
					rt.Fatalf("%d bindings went, want %d", got, n)
				}
			},
			"wait": func(rt *rapid.T) {
				at = at.Add(time.Duration(rapid.IntRange(1, 100).Draw(rt, "s")) * time.Second)
			},
			"sweep": func(*rapid.T) {
				s.sweep(at)
				for _, u := range users {
					model[u] = live(u)
				}
			},
			"": func(rt *rapid.T) {
				all := 0
				for _, u := range users {
					all += len(model[u])
					var got, want []string
					for _, b := range s.Lookup(nil, u, "example.com") {
						got = append(got, fmt.Sprint(b.Contact, b.Expires.Unix(), b.CSeq, b.CallID, b.Token))
					}
					for c, b := range live(u) {
						want = append(want, fmt.Sprint("sip:"+c+"@192.0.2.1", b.expires.Unix(), b.cseq, b.callID, b.token))
					}
					slices.Sort(got)
					slices.Sort(want)
					if !slices.Equal(got, want) {
						rt.Fatalf("%s has %v, want %v", u, got, want)
					}
				}
				if c := s.Counts(); c.Bindings != all || c.Bindings > 5 {
					rt.Fatalf("%+v, want %d", c, all)
				}
			},
		})
	})
}

// Whatever Contacts a REGISTER brings: no panic, the limits hold, and what is
// answered can be read again.
func FuzzRegister(f *testing.F) {
	for _, v := range []string{
		"*", "<sip:a@192.0.2.1>", "sip:a@192.0.2.1;expires=60", "<sip:a@h;x=y>;q=0.5;+sip.instance=\"<urn:uuid:1>\";reg-id=1, sips:b@h",
		"\"a,b\" <sip:a@[2001:db8::1]:5061;transport=tls>;expires=\"7\"", "<sip:a@h>;q=1;q=0", "<tel:+1>", "<sip:a@h?x=y>",
		"<sip:a@h>;+sip.instance=\"\\\"\";reg-id=99999999999",
	} {
		f.Add(v, "600")
	}
	f.Add("*", "0")
	f.Fuzz(func(t *testing.T, contact, expires string) {
		raw := "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=1\r\n" +
			"To: <sip:alice@example.com>\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\nContact: " + contact + "\r\nExpires: " + expires + "\r\nContent-Length: 0\r\n\r\n"
		x := new(index.Message)
		if x.Parse([]byte(raw), false, index.Limits{}) != "" {
			return
		}
		s := service(t, Options{})
		a := s.Register(t.Context(), &guard.Message{Src: netip.MustParseAddrPort("192.0.2.1:5060"), Index: x}, "alice@realm", "flow")
		list := s.Lookup(nil, "alice", "example.com")
		if len(list) > 5 || a.Status != 200 && len(list) > 0 {
			t.Fatalf("%d %s: %+v", a.Status, a.Reason, list)
		}
		answer := "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=1\r\n" +
			"To: <sip:alice@example.com>;tag=2\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n" + string(a.Lines) + "Content-Length: 0\r\n\r\n"
		y := new(index.Message)
		if p := y.Parse([]byte(answer), false, index.Limits{Line: 65535, Size: 65535}); p != "" {
			t.Fatalf("the answer cannot be read: %v\n%s", p, answer)
		}
		n := 0
		values := y.Addresses(index.ContactName)
		for v, _, ok := values.Next(); ok; v, _, ok = values.Next() {
			if y.Text(v.URI.Text) != list[n].Contact {
				t.Fatalf("answered %s, bound %s", y.Text(v.URI.Text), list[n].Contact)
			}
			n++
		}
		if n != len(list) {
			t.Fatalf("%d answered, %d bound", n, len(list))
		}
	})
}

func BenchmarkRegister(b *testing.B) {
	s := service(b, Options{})
	m := message(b, "alice", 1, "Contact: <sip:a@192.0.2.1>")
	for b.Loop() {
		m.Index.CSeq++
		if a := s.Register(b.Context(), m, "alice@realm", "flow"); a.Status != 200 {
			b.Fatal(a)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	s := service(b, Options{})
	do(b, s, "alice", 1, "Contact: <sip:a@192.0.2.1>")
	var room [8]Binding
	for b.Loop() {
		s.Lookup(room[:0], "alice", "example.com")
	}
}
