package index

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func seedCorpus(f *testing.F, add func([]byte)) {
	add([]byte(invite))
	add([]byte(base))
	add([]byte("SIP/2.0 200 OK\r\n" + base[strings.Index(base, "Via"):]))
	add([]byte(with(`From: "a, <b>" <sip:a:b@[::1]:5060;lr?x=y> ; tag = 1;q="\""`)))
	add([]byte(plus("m: <sip:a@h>, \"x\" <tel:+1;ext=2>\r\nRoute: <sip:a;lr>,<sip:b>\r\nk: a,b\r\ns:\r\n x")))
	add([]byte(plus(`Authorization: Digest username="a", realm="b", nc=00000001`)))
	if testing.Short() {
		return
	}
	for _, raw := range optional(f) {
		add(raw)
	}
}

// optional is the corpus if there is one; fuzzing goes on without.
func optional(f *testing.F) (files map[string][]byte) {
	f.Helper()
	if !hasCorpus() {
		f.Log("no corpus of third-party messages: own seeds only")
		return nil
	}
	return corpusFiles(f, "torture", "fuzz", "pcap-sip", "attack/sipvicious")
}

func FuzzParse(f *testing.F) {
	seedCorpus(f, func(b []byte) { f.Add(b, false); f.Add(b, true) })
	f.Fuzz(func(t *testing.T, raw []byte, stream bool) {
		var m Message
		if m.Parse(raw, stream, Limits{}) != "" {
			return
		}
		check(t, &m, stream)
		for n := range names {
			w := m.Addresses(n)
			for a, part, ok := w.Next(); ok; a, part, ok = w.Next() {
				if part.Empty() || int(part.To) > len(m.raw) || part.From > a.Text.From || part.To < a.Text.To {
					t.Fatalf("part %v of %v", part, a.Text)
				}
				m.Param(a.Params, "x")
				m.Param(a.URI.Params, "x")
				EqualURI(m.Bytes(a.URI.Text), m.Bytes(m.To.URI.Text))
			}
			m.Has(n, "x")
		}
		if v := m.To.URI.Text; !EqualURI(m.Bytes(v), m.Bytes(v)) {
			t.Fatalf("%q does not equal itself", m.Text(v))
		}
		for _, h := range m.Headers() {
			if d, ok := m.Credentials(h.Value); ok && d.Username.To > h.Value.To {
				t.Fatalf("credentials outside of their header: %+v", d)
			}
		}
	})
}

// misread are the places where sipgo is known to read a message otherwise than
// RFC 3261 says; a difference there is not ours. Each names its reason.
var misread = []struct {
	reason string
	covers func(m *Message) bool
}{
	{"parameter names are compared by case and blanks around = are kept (RFC 3261 section 7.3.1 says neither matters)", func(m *Message) bool {
		for _, s := range []Span{m.From.Params, m.To.Params, m.Via.Params, m.URI.Params} {
			text := m.Text(s)
			if strings.ContainsAny(text, " \t") || oddCase(text, "tag") || oddCase(text, "branch") {
				return true
			}
		}
		return false
	}},
	{"a Via with blanks around its slashes or colon loses its transport, a Via line with several values is one (section 20.42)", func(m *Message) bool {
		h, _ := m.First(ViaName)
		value := m.Text(h.Value)
		return m.Vias > m.Count(ViaName) || strings.Contains(value, " /") || strings.Contains(value, "/ ") ||
			strings.ContainsAny(value[strings.Index(value, m.Text(m.Via.Transport)):], "\t") || strings.Count(value, " ") > 1
	}},
	{"a second blank between number and method of CSeq becomes part of the method (section 25.1: 1*DIGIT LWS Method)", func(m *Message) bool {
		value := m.Text(m.Value(CSeqName))
		return strings.Contains(value, "\t") || strings.Count(value, " ") > 1
	}},
}

func oddCase(text, name string) bool {
	lower := strings.ToLower(text)
	return strings.Contains(lower, name) && !strings.Contains(text, name)
}

// FuzzDifferential compares our reading with sipgo's: where both accept a
// message and differ in a field that decides about it, one of us is wrong.
func FuzzDifferential(f *testing.F) {
	seedCorpus(f, func(b []byte) { f.Add(b) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		if m.Parse(raw, false, Limits{}) != "" {
			return
		}
		theirs, err := sip.ParseMessage(m.Raw())
		if err != nil {
			return
		}
		for _, k := range misread {
			if k.covers(&m) {
				return
			}
		}
		same := func(what string, ours Span, other string) {
			if m.Text(ours) != other {
				t.Fatalf("%s: we read %q, sipgo %q, in %q", what, m.Text(ours), other, m.Raw())
			}
		}
		if h := theirs.CallID(); h != nil {
			same("Call-ID", m.CallID, h.Value())
		}
		if h := theirs.CSeq(); h != nil && (h.SeqNo != m.CSeq || string(h.MethodName) != m.Text(m.CSeqMethod)) {
			t.Fatalf("CSeq: we read %d %q, sipgo %v", m.CSeq, m.Text(m.CSeqMethod), h)
		}
		uri := func(what string, u URI, o sip.Uri) {
			if !m.Is(u.Scheme, "sip") && !m.Is(u.Scheme, "sips") {
				return
			}
			same(what+" user", u.User, o.User)
			if strings.Trim(m.Text(u.Host), "[]") != strings.Trim(o.Host, "[]") {
				t.Fatalf("%s host: we read %q, sipgo %q, in %q", what, m.Text(u.Host), o.Host, m.Raw())
			}
			if int(u.Port) != o.Port {
				t.Fatalf("%s: we read port %d, sipgo %d, in %q", what, u.Port, o.Port, m.Raw())
			}
		}
		if h := theirs.From(); h != nil {
			tag, _ := h.Params.Get("tag")
			same("From tag", m.From.Tag, tag)
			uri("From", m.From.URI, h.Address)
		}
		if h := theirs.To(); h != nil {
			tag, _ := h.Params.Get("tag")
			same("To tag", m.To.Tag, tag)
			uri("To", m.To.URI, h.Address)
		}
		if h := theirs.Via(); h != nil {
			branch, _ := h.Params.Get("branch")
			same("Via branch", m.Via.Branch, branch)
			if strings.Trim(m.Text(m.Via.Host), "[]") != strings.Trim(h.Host, "[]") { // sipgo takes the brackets off
				t.Fatalf("Via host: we read %q, sipgo %q, in %q", m.Text(m.Via.Host), h.Host, m.Raw())
			}
			if int(m.Via.Port) != h.Port {
				t.Fatalf("Via: we read port %d, sipgo %d, in %q", m.Via.Port, h.Port, m.Raw())
			}
		}
		if req, ok := theirs.(*sip.Request); ok {
			if !m.Request {
				t.Fatalf("sipgo reads a request, we a response: %q", m.Raw())
			}
			uri("Request-URI", m.URI, req.Recipient)
		}
	})
}
