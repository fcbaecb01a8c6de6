package proxy

import (
	"net/netip"
	"strings"
	"testing"

	"ringfence/proxy/index"
)

// Wherever rport stands and whatever else must be put in, the topmost Via that
// leaves says the same (RFC 3581 section 4).
func TestFillVia(t *testing.T) {
	remote := netip.MustParseAddrPort("192.0.2.10:40000")
	for _, c := range []struct{ via, want string }{
		{"10.0.0.7:5060;branch=z9hG4bKa;rport", "10.0.0.7:5060;branch=z9hG4bKa;rport=40000;received=192.0.2.10"},
		{"10.0.0.7:5060;rport;branch=z9hG4bKa", "10.0.0.7:5060;rport=40000;branch=z9hG4bKa;received=192.0.2.10"},
		{"10.0.0.7:5060;branch=z9hG4bKa;rport=5060", "10.0.0.7:5060;branch=z9hG4bKa;rport=40000;received=192.0.2.10"},
		{"10.0.0.7;received=1.2.3.4;rport;branch=z9hG4bKa", "10.0.0.7;received=192.0.2.10;rport=40000;branch=z9hG4bKa"},
		{"10.0.0.7;branch=z9hG4bKa", "10.0.0.7;branch=z9hG4bKa;received=192.0.2.10"},
		{"192.0.2.10;branch=z9hG4bKa", "192.0.2.10;branch=z9hG4bKa"},
		{"192.0.2.10;branch=z9hG4bKa;rport", "192.0.2.10;branch=z9hG4bKa;rport=40000;received=192.0.2.10"},
	} {
		raw := "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP " + c.via + "\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
		var m index.Message
		if p := m.Parse([]byte(raw), false, index.Limits{}); p != "" {
			t.Fatalf("%s: %s", c.via, p)
		}
		w := new(worker)
		w.splice.Reset()
		w.fillVia(&m, remote)
		_, line, _ := strings.Cut(string(w.splice.AppendTo(nil, m.Raw())), "\r\n")
		line, _, _ = strings.Cut(line, "\r\n")
		if got := strings.TrimPrefix(line, "Via: SIP/2.0/UDP "); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.via, got, c.want)
		}
	}
}
