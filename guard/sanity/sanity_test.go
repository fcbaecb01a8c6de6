package sanity

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
)

var (
	at    = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	phone = netip.MustParseAddrPort("203.0.113.9:5060")
	here  = netip.MustParseAddrPort("192.0.2.1:5060")
)

// plain is an INVITE with which nothing is wrong.
const plain = "INVITE sip:bob@example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK1\r\n" +
	"Max-Forwards: 70\r\n" +
	"From: \"Alice\" <sip:alice@example.com>;tag=1\r\n" +
	"To: <sip:bob@example.com>\r\n" +
	"Call-ID: a\r\n" +
	"CSeq: 1 INVITE\r\n" +
	"Contact: <sip:alice@203.0.113.9>\r\n" +
	"User-Agent: Desk 7\r\n"

const offer = "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\n" +
	"m=audio 49170 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"

func parse(t testing.TB, head, kind, body string) *guard.Message {
	t.Helper()
	if kind != "" {
		head += "Content-Type: " + kind + "\r\n"
	}
	raw := head + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	m, err := guard.Parse([]byte(raw), at, phone, here, guard.UDP)
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	return m
}

func newChecker(t testing.TB, c Config) *guard.Guard {
	t.Helper()
	g, err := New(guard.Host{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// asker asks for all facts of a stage.
type asker struct {
	names  []string
	values map[string]guard.Value
	errs   map[string]error
}

func (*asker) Version() string { return "test" }

func (p *asker) Decide(ctx context.Context, _ guard.Stage, f *guard.Facts, _ *guard.Decision) guard.Verdict {
	for _, name := range p.names {
		p.values[name], p.errs[name] = f.Ask(ctx, name)
	}
	return guard.Verdict{Action: guard.Allow}
}

func ask(t testing.TB, g *guard.Guard, m *guard.Message, stage guard.Stage, names ...string) *asker {
	t.Helper()
	p := &asker{names: names, values: map[string]guard.Value{}, errs: map[string]error{}}
	e, err := guard.NewEngine(guard.EngineOptions{Guards: []*guard.Guard{g}, Policy: p, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	switch stage {
	case guard.StageReply:
		e.Reply(t.Context(), m, &guard.Decision{})
	case guard.StageEnd:
		e.End(t.Context(), m, &guard.Decision{})
	default:
		e.Judge(t.Context(), m, &guard.Decision{})
	}
	return p
}

func problem(t testing.TB, g *guard.Guard, m *guard.Message) Problem {
	t.Helper()
	return Problem(ask(t, g, m, guard.StageMessage, "sip.problem").values["sip.problem"].Str())
}

func TestProblems(t *testing.T) {
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(plain) }
	invite := func(method string) string { return change("INVITE", method) }
	for _, c := range []struct {
		name, head, kind, body string
		want                   Problem
	}{
		{"nothing", plain, "", "", ""},
		{"an offer", plain, "application/sdp", offer, ""},
		{"O'Brien", change("sip:alice@", "sip:O'Brien@"), "", "", ""},
		{"ampersand in the user", change("sip:bob@example.com SIP", "sip:a&b@example.com SIP"), "", "", ""},
		{"tel", change("sip:bob@example.com SIP", "tel:+37167000000 SIP"), "", "", ""},
		{"emergency", change("sip:bob@example.com SIP", "urn:service:sos SIP"), "", "", ""},
		{"scheme of the target", change("sip:bob@example.com SIP", "http:bob SIP"), "", "", URIScheme},
		{"dial plan in the target", change("sip:bob@example.com SIP", "sip:100%7Cx@example.com SIP"), "", "", URIUser},
		{"scheme of From", change("<sip:alice@example.com>;tag", "<http:alice>;tag"), "", "", FromScheme},
		{"scheme of To", change("To: <sip:bob@example.com>", "To: <mailto:bob>"), "", "", ToScheme},
		{"no From tag, as phones of RFC 2543", change(">;tag=1", ">"), "", "", ""},
		{"too many hops", change("Max-Forwards: 70", "Max-Forwards: 255"), "", "", ""},
		{"no Contact", change("Contact: <sip:alice@203.0.113.9>\r\n", ""), "", "", NoContact},
		{"BYE without Contact", change("INVITE", "BYE", "Contact: <sip:alice@203.0.113.9>\r\n", ""), "", "", ""},
		{"many contacts", strings.Replace(invite("REGISTER"), "Contact: ", "Contact: "+strings.Repeat("<sip:a@203.0.113.9>, ", 10), 1), "", "", ManyContacts},
		{"star", change("INVITE", "REGISTER", "Contact: <sip:alice@203.0.113.9>", "Contact: *\r\nExpires: 0"), "", "", ""},
		{"SUBSCRIBE without Event", invite("SUBSCRIBE"), "", "", NoEvent},
		{"REFER without Refer-To", invite("REFER"), "", "", NoReferTo},
		{"many Accepts", plain + strings.Repeat("Accept: a/b\r\n", 33), "", "", ManyAccepts},
		{"link in Subject", plain + "Subject: see http://evil.example/\r\n", "", "", SubjectURL},
		{"words in Subject", plain + "Subject: lunch: now\r\n", "", "", ""},
		{"link in Alert-Info", plain + "Alert-Info: <file:///etc/passwd>\r\n", "", "", AlertInfoURL},
		{"urn in Alert-Info", plain + "Alert-Info: <urn:alert:source:internal>\r\n", "", "", ""},
		{"link in Call-Info", plain + "Call-Info: <HTTPS://169.254.169.254/x>;purpose=icon\r\n", "", "", CallInfoURL},
		{"body of no type", plain, "", "x", NoContentType},
		{"packed body", plain + "Content-Encoding: gzip\r\n", "application/sdp", offer, Encoded},
		{"other body", plain, "text/plain", "c=IN IP4 127.0.0.1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := problem(t, newChecker(t, Config{}), parse(t, c.head, c.kind, c.body)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// What a next hop sends is for phones that trust it.
func TestInsideMayLink(t *testing.T) {
	m := parse(t, plain+"Alert-Info: <http://www.notused.com>;info=alert-autoanswer\r\n", "", "")
	if got := problem(t, newChecker(t, Config{}), m); got != AlertInfoURL {
		t.Errorf("from outside: %q", got)
	}
	m.Inside = true
	if got := problem(t, newChecker(t, Config{}), m); got != "" {
		t.Errorf("from inside: %q", got)
	}
}

func TestSDP(t *testing.T) {
	change := func(old, with string) string { return strings.Replace(offer, old, with, 1) }
	for _, c := range []struct {
		name, body string
		want       Problem
	}{
		{"hold", change("c=IN IP4 203.0.113.9", "c=IN IP4 0.0.0.0"), ""},
		{"refused stream", change("m=audio 49170", "m=audio 0"), ""},
		{"port that does not matter yet", change("m=audio 49170", "m=audio 9"), ""},
		{"port count", change("49170 ", "49170/2 "), ""},
		{"fax", change("m=audio 49170 RTP/AVP 0 101", "m=image 49170 udptl t38"), ""},
		{"bare line ends", strings.ReplaceAll(offer, "\r", ""), ""},
		{"private address", change("c=IN IP4 203.0.113.9", "c=IN IP4 10.0.0.7"), ""},
		{"a name", change("c=IN IP4 203.0.113.9", "c=IN IP4 media.example.com"), ""},
		{"version", change("v=0", "v=1"), SDPVersion},
		{"a line of text", change("s=-", "hello"), SDPLine},
		{"loopback", change("c=IN IP4 203.0.113.9", "c=IN IP4 127.0.0.1"), SDPAddress},
		{"loopback by name", change("c=IN IP4 203.0.113.9", "c=IN IP4 localhost"), SDPAddress},
		{"loopback of IPv6", change("c=IN IP4 203.0.113.9", "c=IN IP6 ::1"), SDPAddress},
		{"mapped", change("c=IN IP4 203.0.113.9", "c=IN IP6 ::ffff:10.0.0.1"), SDPAddress},
		{"metadata", change("c=IN IP4 203.0.113.9", "c=IN IP4 169.254.169.254"), SDPAddress},
		{"multicast", change("c=IN IP4 203.0.113.9", "c=IN IP4 224.2.0.1/127"), SDPAddress},
		{"broadcast", change("c=IN IP4 203.0.113.9", "c=IN IP4 255.255.255.255"), SDPAddress},
		{"zone", change("c=IN IP4 203.0.113.9", "c=IN IP6 fe80::1%eth0"), SDPAddress},
		{"family", change("c=IN IP4 203.0.113.9", "c=IN IP6 203.0.113.9"), SDPAddress},
		{"half an address", change("c=IN IP4 203.0.113.9", "c=IN IP4"), SDPAddress},
		{"no format", change("RTP/AVP 0 101", "RTP/AVP"), SDPMedia},
		{"port in words", change("49170", "many"), SDPMedia},
		{"well-known port", change("49170", "22"), SDPPort},
		{"port too high", change("49170", "65536"), SDPPort},
		{"format of RTP", change("RTP/AVP 0 101", "RTP/AVP 0 \x7f"), SDPFormat},
		{"format too high", change("RTP/AVP 0 101", "RTP/AVP 128"), SDPFormat},
		{"fmtp of nothing", change("a=fmtp:101 0-15", "a=fmtp:101"), SDPFmtp},
		{"fmtp of words", change("a=fmtp:101 0-15", "a=fmtp:x 0-15"), SDPFmtp},
		{"many streams", offer + strings.Repeat("m=audio 4000 RTP/AVP 0\r\n", 16), SDPMediaCount},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := problem(t, newChecker(t, Config{}), parse(t, plain, "application/sdp", c.body)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	m := parse(t, plain, "application/sdp", change("c=IN IP4 203.0.113.9", "c=IN IP4 127.0.0.1"))
	m.Src = netip.MustParseAddrPort("127.0.0.1:5060")
	if got := problem(t, newChecker(t, Config{}), m); got != "" {
		t.Errorf("loopback from loopback: %q", got)
	}
}

func TestMultipart(t *testing.T) {
	part := func(mark, kind, body string) string {
		return "--" + mark + "\r\nContent-Type: " + kind + "\r\n\r\n" + body + "\r\n--" + mark + "--\r\n"
	}
	nest := func(depth int) (kind, body string) {
		kind, body = "text/plain", "x"
		for i := range depth {
			mark := "m" + string(rune('a'+i))
			body = part(mark, kind, body)
			kind = "multipart/mixed;boundary=" + mark
		}
		return kind, body
	}
	four, fourBody := nest(4)
	five, fiveBody := nest(5)
	loopback := strings.Replace(offer, "c=IN IP4 203.0.113.9", "c=IN IP4 127.0.0.1", 1)
	for _, c := range []struct {
		name, kind, body string
		want             Problem
	}{
		{"an offer", `multipart/mixed; boundary="m"`, part("m", "application/sdp", offer), ""},
		{"an offer to loopback", "multipart/mixed;boundary=m", part("m", "application/sdp", loopback), SDPAddress},
		{"the second part", "multipart/mixed;boundary=m", "--m\r\n\r\nx\r\n" + part("m", "application/sdp", loopback), SDPAddress},
		{"no boundary", "multipart/mixed", part("m", "text/plain", "x"), Boundary},
		{"empty boundary", `multipart/mixed;boundary=""`, part("", "text/plain", "x"), Boundary},
		{"boundary of 70", "multipart/mixed;boundary=" + strings.Repeat("a", 70), part(strings.Repeat("a", 70), "text/plain", "x"), ""},
		{"boundary of 71", "multipart/mixed;boundary=" + strings.Repeat("a", 71), part(strings.Repeat("a", 71), "text/plain", "x"), Boundary},
		{"four deep", four, fourBody, ""},
		{"five deep", five, fiveBody, MultipartDepth},
		{"no part at all", "multipart/mixed;boundary=m", "nothing", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := problem(t, newChecker(t, Config{}), parse(t, plain, c.kind, c.body)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFacts(t *testing.T) {
	g := newChecker(t, Config{Domains: []string{"example.com"}})
	refer := strings.NewReplacer("INVITE", "REFER", ";tag=1\r\nTo: <sip:bob@example.com>", ";tag=1\r\nTo: <sip:b%6Fb@example.com>;tag=2").Replace(plain) +
		"Refer-To: \"x\" <sip:%2B88112345@gw.example.net?Replaces=a%40b>\r\nEvent: refer;id=1\r\nExpires: 60\r\n"
	m := parse(t, refer, "application/sdp", offer)
	want := map[string]any{
		"sip.method": "REFER", "sip.new_call": false, "sip.in_dialog": true, "sip.uri_user": "bob", "sip.uri_host": "example.com",
		"sip.from_user": "alice", "sip.from_host": "example.com", "sip.to_user": "bob", "sip.to_host": "example.com", "sip.call_id": "a",
		"sip.user_agent": "Desk 7", "sip.problem": "", "sip.ours": true, "sip.repaired": false, "sip.content_type": "application/sdp",
		"sip.contact_host": "203.0.113.9", "sip.expires": 60, "sip.refer_to_user": "+88112345", "sip.event": "refer", "sip.vias": 1,
		"sip.size": len(m.Index.Raw()), "sip.headers": 13,
	}
	names := []string{"msg.time"}
	for name := range want {
		names = append(names, name)
	}
	p := ask(t, g, m, guard.StageMessage, names...)
	for name, w := range want {
		v := p.values[name]
		var got any
		switch v.Type {
		case guard.String:
			got = v.Str()
		case guard.Int:
			got = int(v.Int())
		case guard.Bool:
			got = v.True()
		}
		if got != w || p.errs[name] != nil {
			t.Errorf("%s is %v (%v), want %v", name, got, p.errs[name], w)
		}
	}
	if got := p.values["msg.time"].Time(); !got.Equal(at) {
		t.Errorf("msg.time is %v", got)
	}
	if got := ask(t, g, parse(t, plain, "", ""), guard.StageMessage, "sip.new_call").values["sip.new_call"]; !got.True() {
		t.Error("an INVITE without To tag is a new call")
	}
}

func TestExpires(t *testing.T) {
	g := newChecker(t, Config{})
	for lines, want := range map[string]int64{
		"": -1, "Expires: 60\r\n": 60,
	} {
		if got := ask(t, g, parse(t, plain+lines, "", ""), guard.StageMessage, "sip.expires").values["sip.expires"].Int(); got != want {
			t.Errorf("%q: %d, want %d", lines, got, want)
		}
	}
	contact := strings.Replace(plain, "<sip:alice@203.0.113.9>", "<sip:alice@203.0.113.9>;q=1;expires=30", 1) + "Expires: 60\r\n"
	if got := ask(t, g, parse(t, contact, "", ""), guard.StageMessage, "sip.expires").values["sip.expires"].Int(); got != 30 {
		t.Errorf("the Contact's parameter comes first: %d", got)
	}
}

func TestOurs(t *testing.T) {
	for _, c := range []struct {
		domains []string
		host    string
		want    bool
	}{
		{nil, "anything.example", true},
		{[]string{"example.com"}, "EXAMPLE.com", true},
		{[]string{"example.com"}, "sip.example.com", false},
		{[]string{"*.example.com"}, "sip.example.com", true},
		{[]string{"*.example.com"}, "example.com", false},
		{[]string{"*.example.com"}, "evilexample.com", false},
		{[]string{"example.com"}, "192.0.2.1", true}, // the address it came to
		{[]string{"example.com"}, "192.0.2.2", false},
		{[]string{"198.51.100.4"}, "198.51.100.4", true},
		{[]string{"[2001:db8::1]"}, "[2001:DB8:0::1]", true},
	} {
		m := parse(t, strings.Replace(plain, "bob@example.com SIP", "bob@"+c.host+" SIP", 1), "", "")
		if got := ask(t, newChecker(t, Config{Domains: c.domains}), m, guard.StageMessage, "sip.ours").values["sip.ours"].True(); got != c.want {
			t.Errorf("%s among %v: %t, want %t", c.host, c.domains, got, c.want)
		}
	}
	for _, c := range []Config{{Domains: []string{""}}, {Domains: []string{"sip:example.com"}}, {Vias: -1}} {
		if _, err := New(guard.Host{}, c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

type dialogs struct{ known bool }

func (dialogs) Up(string) int             { return 0 }
func (d dialogs) Has(*guard.Message) bool { return d.known }

func TestDialogKnown(t *testing.T) {
	m := parse(t, plain, "", "")
	if err := ask(t, newChecker(t, Config{}), m, guard.StageMessage, "dialog.known").errs["dialog.known"]; !errors.Is(err, errNoDialogs) {
		t.Errorf("without dialogs: %v", err)
	}
	for _, known := range []bool{true, false} {
		g, err := New(guard.Host{Dialogs: dialogs{known}}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(t, g, m, guard.StageMessage, "dialog.known").values["dialog.known"].True(); got != known {
			t.Errorf("got %t, want %t", got, known)
		}
	}
}

func TestReplyAndEnd(t *testing.T) {
	g := newChecker(t, Config{})
	m := parse(t, plain, "", "")
	m.Reply = &guard.Reply{Status: 404, Took: time.Second, Credentials: true, Target: "100"}
	p := ask(t, g, m, guard.StageReply, "reply.status", "reply.credentials", "reply.stale", "reply.took", "reply.target")
	if p.values["reply.status"].Int() != 404 || !p.values["reply.credentials"].True() || p.values["reply.stale"].True() ||
		p.values["reply.took"].Duration() != time.Second || p.values["reply.target"].Str() != "100" {
		t.Errorf("reply facts are %v (%v)", p.values, p.errs)
	}
	ended := &guard.Message{At: at, Src: phone, Call: &guard.Call{
		ID: "a", From: "alice@example.com", To: "bob@example.org", Dialed: "+371", Answered: at, End: at.Add(time.Minute), Status: 200, EndedBy: "caller",
	}}
	names := []string{"call.duration", "call.answered", "call.status", "call.ended_by"}
	for _, f := range g.Facts {
		if f.Stage == guard.StageMessage && f.Name != "dialog.known" {
			names = append(names, f.Name)
		}
	}
	p = ask(t, g, ended, guard.StageEnd, names...)
	for name, err := range p.errs {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p.values["call.duration"].Duration() != time.Minute || !p.values["call.answered"].True() || p.values["call.status"].Int() != 200 || p.values["call.ended_by"].Str() != "caller" ||
		p.values["sip.from_user"].Str() != "alice" || p.values["sip.to_host"].Str() != "example.org" || p.values["sip.uri_user"].Str() != "+371" || p.values["sip.call_id"].Str() != "a" {
		t.Errorf("end facts are %v", p.values)
	}
}

// sourceOf reads where a captured message came from, columns 4 and 5 of the index.
func sourceOf(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	table, err := os.ReadFile(filepath.Join(filepath.Dir(name), "index.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if c := strings.Split(line, "\t"); len(c) > 5 && c[0] == filepath.Base(name) {
			a, err := netip.ParseAddr(c[3])
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return netip.AddrPortFrom(a, 5060)
		}
	}
	t.Fatalf("%s is not in its index", name)
	return netip.AddrPort{}
}

// Real phones, gateways and servers make no problem.
func TestCapturesHaveNoProblem(t *testing.T) {
	dir := os.Getenv("RINGFENCE_CORPUS")
	if dir == "" {
		dir = "../../../shared/corpus"
	}
	files, err := filepath.Glob(filepath.Join(dir, "pcap-sip/*/*.sip"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no corpus: set RINGFENCE_CORPUS")
	}
	g, judged := newChecker(t, Config{}), 0
	for _, name := range files {
		source := sourceOf(t, name)
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := guard.Parse(raw, at, phone, here, guard.UDP)
		if err != nil || !m.Index.Request {
			continue // the index has refused it
		}
		judged++
		if strings.HasPrefix(filepath.Base(filepath.Dir(name)), "arkime-arkime_synthetic") {
			continue // written by hand, an INVITE without Contact among it
		}
		m.Src = source
		if got := problem(t, g, m); got != "" {
			t.Errorf("%s: %s", filepath.Base(filepath.Dir(name))+"/"+filepath.Base(name), got)
		}
	}
	if judged == 0 {
		t.Error("no request was judged")
	}
	t.Logf("%d requests", judged)
}

func FuzzBody(f *testing.F) {
	f.Add("application/sdp", offer)
	f.Add("multipart/mixed;boundary=m", "--m\r\nContent-Type: application/sdp\r\n\r\n"+offer+"\r\n--m--")
	f.Add(`multipart/mixed;boundary="`, "--")
	k := &checker{Config: Config{Contacts: 10, Vias: 32, Accepts: 32, Media: 16, Depth: 4}}
	f.Fuzz(func(t *testing.T, kind, body string) {
		var p Problem
		switch {
		case prefixFold(kind, "multipart/"):
			p = k.multipart(kind, body, phone.Addr())
		default:
			p = k.sdp(body, phone.Addr())
			if p == "" && strings.Contains(body, "\nc=IN IP4 127.") {
				t.Fatalf("loopback passed: %q", body)
			}
		}
		if p != "" && !strings.HasPrefix(string(p), "sdp-") && !strings.HasPrefix(string(p), "multipart-") {
			t.Fatalf("a body has the problem %s", p)
		}
	})
}
