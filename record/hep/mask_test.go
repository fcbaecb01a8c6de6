package hep

import (
	"bytes"
	"strings"
	"testing"

	"ringfence/guard"
	"ringfence/record/tap"
)

func TestMask(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"Authorization: Digest username=\"a\", response=\"0123\", uri=\"sip:b\"", "Authorization: Digest username=\"a\", response=\"****\", uri=\"sip:b\""},
		{"proxy-authorization : digest RESPONSE = 0123, x=1", "proxy-authorization : digest RESPONSE = ****, x=1"},
		{"Authorization:\r\n Digest\r\n\tresponse=\r\n \"01\r\n 23\"", "Authorization:\r\n Digest\r\n\tresponse=\r\n \"**\r\n **\""},
		{"Authorization: Digest response=\"0123", "Authorization: Digest response=\"****"},
		{"Authorization: Digest nonce=\"response=0123\"", "Authorization: Digest nonce=\"response=*****"},
		{"Authorization: Digest response=\"ab\", response=\"cd\"", "Authorization: Digest response=\"**\", response=\"**\""},
		{"Authorization: Basic YWxpY2U6c2VjcmV0", "Authorization: Basic ****************"},
		{"Authorization: YWxpY2U6c2VjcmV0", "Authorization: ****************"},
		{"To: x\n\nAuthorization: Digest response=\"0123\"", "To: x\n\nAuthorization: Digest response=\"****\""},
		{"WWW-Authenticate: Digest realm=\"a\", nonce=\"b\"", "WWW-Authenticate: Digest realm=\"a\", nonce=\"b\""},
		{"Subject: response=\"0123\"", "Subject: response=\"0123\""},
		{"Authorization: Digest responses, response", "Authorization: Digest responses, response"},
		{"Authorization:", "Authorization:"},
	} {
		b := []byte("REGISTER sip:b SIP/2.0\r\n" + c.in + "\r\n\r\n")
		Mask(b)
		if want := "REGISTER sip:b SIP/2.0\r\n" + c.want + "\r\n\r\n"; string(b) != want {
			t.Errorf("%q\ngot  %q\nwant %q", c.in, b, want)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte("REGISTER sip:b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n" +
		"Max-Forwards: 70\r\nAuthorization: Digest username=\"a\", realm=\"b\", nonce=\"c\", uri=\"sip:b\", response=\"0123456789abcdef\"\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("x\rAuthorization: Digest\n response\t=\t\"z"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		masked := bytes.Clone(raw)
		Mask(masked)
		if len(masked) != len(raw) || bytes.Count(masked, []byte("\n")) != bytes.Count(raw, []byte("\n")) {
			t.Fatalf("%q became %q", raw, masked)
		}
		again := bytes.Clone(masked)
		if Mask(again); !bytes.Equal(again, masked) {
			t.Fatalf("%q became %q", masked, again)
		}
		var p Packet
		if b, err := p.Append(nil); err != nil {
			t.Fatal(err)
		} else if _, rest := read(t, b); len(rest) > 0 {
			t.Fatal("more than one packet")
		}
		// What our own parser reads as an answer to a challenge is not there any more.
		m, err := guard.Parse(masked, start, phone, here, guard.TCP)
		if err != nil {
			return
		}
		for _, h := range m.Index.Headers() {
			name := m.Index.Text(h.Key)
			if !strings.EqualFold(name, "Authorization") && !strings.EqualFold(name, "Proxy-Authorization") {
				continue
			}
			if c, ok := m.Index.Credentials(h.Value); ok && strings.Trim(m.Index.Text(c.Response), "*\" \t") != "" {
				t.Fatalf("%q shows the response %q", masked, m.Index.Text(c.Response))
			}
		}
	})
}

func TestCorrelation(t *testing.T) {
	if got := tap.CallID([]byte("SIP/2.0 200 OK\r\nCALL-ID:  a@b \r\n\r\n")); string(got) != "a@b" {
		t.Errorf("got %q", got)
	}
}
