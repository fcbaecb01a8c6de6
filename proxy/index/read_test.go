package index

import (
	"bytes"
	"strings"
	"testing"
)

func parsed(t testing.TB, raw string) *Message {
	t.Helper()
	m := new(Message)
	if p := m.Parse([]byte(raw), false, Limits{}); p != "" {
		t.Fatalf("%s: %q", string(p), raw)
	}
	return m
}

func TestNamesAreFound(t *testing.T) {
	for n := Other + 1; n < names; n++ {
		for _, s := range []string{n.String(), strings.ToUpper(n.String()), strings.ToLower(n.String())} {
			if got := lookup([]byte(s)); got != n {
				t.Errorf("%s is found as %q", s, got)
			}
		}
	}
	if got := lookup([]byte("X-Unknown")); got != Other {
		t.Errorf("X-Unknown is found as %q", got)
	}
}

func TestDeleteTopVia(t *testing.T) {
	const a, b, c = "SIP/2.0/UDP a;branch=1", "SIP/2.0/UDP b;branch=\"2,3\"", "SIP/2.0/TCP c"
	for _, lines := range []string{
		"Via: " + a + "\r\nVia: " + b + "\r\nVia: " + c + "\r\n",
		"Via: " + a + ", " + b + "\r\nVia: " + c + "\r\n",
		"Via: " + a + " ,\t" + b + " , " + c + "\r\n",
	} {
		raw := strings.Replace(base, "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n", lines, 1)
		m := parsed(t, raw)
		for _, want := range []string{a, b, c} {
			w := m.AllVias()
			v, part, ok := w.Next()
			if !ok || m.Text(v.Text) != want {
				t.Fatalf("top is %q, want %q", m.Text(v.Text), want)
			}
			if want == c {
				break
			}
			var s Splice
			s.Delete(part)
			m = parsed(t, string(s.AppendTo(nil, m.Raw())))
		}
		if m.Vias != 1 {
			t.Fatalf("%d Vias are left", m.Vias)
		}
	}
}

func TestDeleteAnyAddress(t *testing.T) {
	m := parsed(t, plus("Route: <sip:a;lr>, \"x, y\" <sip:b;lr> ,<sip:c>"))
	for skip, want := range []string{`"x, y" <sip:b;lr> ,<sip:c>`, "<sip:a;lr>, <sip:c>", `<sip:a;lr>, "x, y" <sip:b;lr>`} {
		w := m.Addresses(RouteName)
		_, part, _ := w.Next()
		for range skip {
			_, part, _ = w.Next()
		}
		var s Splice
		s.Delete(part)
		after := parsed(t, string(s.AppendTo(nil, m.Raw())))
		if got := after.Text(after.Value(RouteName)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestParam(t *testing.T) {
	m := parsed(t, with(`From: <sip:a@h>;A=1 ; tag=x;q="a;b=c";lr;e=""`))
	for name, want := range map[string]string{"a": "1", "TAG": "x", "q": "a;b=c", "lr": "", "e": ""} {
		if v, ok := m.Param(m.From.Params, name); !ok || m.Text(v) != want {
			t.Errorf("%s is %q %v, want %q", name, m.Text(v), ok, want)
		}
	}
	if _, ok := m.Param(m.From.Params, "b"); ok {
		t.Error("b stands in quotes and is no parameter")
	}
}

func TestList(t *testing.T) {
	m := parsed(t, plus("Supported: timer , path,,\"a,b\"\r\nk: outbound"))
	if !m.Has(SupportedName, "PATH") || !m.Has(SupportedName, "outbound") || m.Has(SupportedName, "100rel") {
		t.Errorf("Supported is misread: %q", m.Raw())
	}
}

func TestCredentials(t *testing.T) {
	m := parsed(t, plus(`Authorization: digest username="a\"b",realm = "r, s", nonce="n", uri="sip:h", response="00", algorithm=MD5, cnonce="c", qop=auth, nc=00000001, x=y`))
	d, ok := m.Credentials(m.Value(AuthorizationName))
	if !ok {
		t.Fatal("refused")
	}
	for want, got := range map[string]Span{`a\"b`: d.Username, "r, s": d.Realm, "n": d.Nonce, "sip:h": d.URI, "00": d.Response, "MD5": d.Algorithm, "c": d.CNonce, "auth": d.QOP, "00000001": d.NC} {
		if m.Text(got) != want {
			t.Errorf("got %q, want %q", m.Text(got), want)
		}
	}
	if !d.Opaque.Empty() {
		t.Errorf("opaque is %q", m.Text(d.Opaque))
	}
	m = parsed(t, plus("Authorization: Bearer abc"))
	if d, ok := m.Credentials(m.Value(AuthorizationName)); ok || !m.Is(d.Scheme, "Bearer") {
		t.Errorf("a bearer token read as %+v", d)
	}
}

// TestEqualURI has the examples of RFC 3261 section 19.1.4.
func TestEqualURI(t *testing.T) {
	for _, r := range []struct {
		a, b string
		want bool
	}{
		{"sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true},
		{"sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5", true},
		{"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com", true},
		{"sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x", true},
		{"SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false},
		{"sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false},
		{"sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false},
		{"sip:carol@chicago.com;user=phone", "sip:carol@chicago.com", false},
		{"sips:carol@chicago.com", "sip:carol@chicago.com", false},
		{"TEL:+1", "tel:+1", true},
		{"tel:+1", "tel:+2", false},
		{"nothing", "nothing", false},
	} {
		if EqualURI([]byte(r.a), []byte(r.b)) != r.want || EqualURI([]byte(r.b), []byte(r.a)) != r.want {
			t.Errorf("%s and %s: want %v", r.a, r.b, r.want)
		}
	}
}

func TestUnescape(t *testing.T) {
	m := parsed(t, with("To: <sip:%30%30%34%39%2b@h>"))
	if got := m.AppendUnescaped(nil, m.To.URI.User); string(got) != "0049+" {
		t.Errorf("got %q", got)
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	m := parsed(t, plus("Route: <sip:a;lr>, <sip:b;lr>\r\nAuthorization: Digest username=\"a\", nonce=\"b\""))
	buf := make([]byte, 0, 64)
	a, b := []byte("sip:%61@h;x=1"), []byte("sip:a@H;y=2")
	if n := testing.AllocsPerRun(100, func() {
		w := m.Addresses(RouteName)
		for _, _, ok := w.Next(); ok; _, _, ok = w.Next() {
		}
		v := m.AllVias()
		v.Next()
		m.Has(SupportedName, "path")
		m.Param(m.Via.Params, "branch")
		m.Credentials(m.Value(AuthorizationName))
		buf = m.AppendUnescaped(buf[:0], m.To.URI.User)
		EqualURI(a, b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKeepAlive(t *testing.T) {
	for raw, want := range map[string]bool{"": true, "\r\n": true, "\r\n\r\n": true, "\x00": true, "\x00\x00\x00\x00": true, "x": false, base: false} {
		if KeepAlive([]byte(raw)) != want {
			t.Errorf("%q: want %v", raw, want)
		}
	}
}

func TestUseAgain(t *testing.T) {
	var fresh, used Message
	long := plus("Contact: <sip:a@h>\r\nExpires: 5\r\nt2: x\r\nSubject:\r\n x")
	if p := used.Parse([]byte(long), false, Limits{}); p != "" {
		t.Fatal(string(p))
	}
	used.Parse([]byte(base), false, Limits{})
	fresh.Parse([]byte(base), false, Limits{})
	used.buf, used.headers, used.seen = nil, fresh.headers, fresh.seen
	if !bytes.Equal(used.raw, fresh.raw) || used.Contact != fresh.Contact || used.Expires != -1 ||
		used.first != fresh.first || used.many != fresh.many || used.Repairs != fresh.Repairs {
		t.Errorf("something of the message before is left: %+v", used)
	}
}
