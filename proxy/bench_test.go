package proxy

import (
	"bytes"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"ringfence/proxy/wire"
)

// A talk is a call between a phone and a PBX as both see it: the messages are
// written as they come, with what the proxy has put into those before.
type talk struct {
	phone, pbx wire.Flow
	in         []byte
	routes     []byte // Record-Route lines of the INVITE as the PBX got it
}

// say writes a request of the phone.
func (c *talk) say(method, cseq string, n int, routes, body []byte) []byte {
	b := append(c.in[:0], method...)
	b = append(b, " sip:1001@203.0.113.5:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:40000;branch=z9hG4bK-"...)
	b = strconv.AppendInt(append(b, method[:1]...), int64(n), 10)
	b = append(b, "\r\n"...)
	for line := range bytes.SplitAfterSeq(routes, []byte("\r\n")) {
		b = append(b, bytes.TrimPrefix(line, []byte("Record-"))...)
	}
	b = append(b, "From: alice <sip:alice@192.0.2.10:40000>;tag=1SIPpTag00"...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, "\r\nTo: 1001 <sip:1001@198.51.100.1:5060>"...)
	if routes != nil {
		b = append(b, ";tag=2SIPpTag01"...)
	}
	b = append(b, "\r\nCall-ID: "...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, "-4711@192.0.2.10\r\nCSeq: "...)
	b = append(append(append(b, cseq...), ' '), method...)
	b = append(b, "\r\nContact: sip:alice@192.0.2.10:40000\r\nMax-Forwards: 70\r\n"...)
	if body != nil {
		b = append(b, "User-Agent: Yealink SIP-T46U 108.86.0.20\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, UPDATE\r\nSupported: replaces, timer\r\nContent-Type: application/sdp\r\n"...)
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(body)), 10)
	c.in = append(append(b, "\r\n\r\n"...), body...)
	return c.in
}

// answer writes the PBX's response to a request that it got.
func (c *talk) answer(status string, request, body []byte) []byte {
	b := append(append(append(c.in[:0], "SIP/2.0 "...), status...), "\r\n"...)
	head, _, _ := bytes.Cut(request, []byte("\r\n\r\n"))
	for line := range bytes.SplitAfterSeq(head, []byte("\r\n")) {
		for _, key := range []string{"Via:", "Record-Route:", "From:", "Call-ID:", "CSeq:"} {
			if bytes.HasPrefix(line, []byte(key)) {
				b = append(b, line...)
			}
		}
	}
	b = append(b, "To: 1001 <sip:1001@198.51.100.1:5060>;tag=2SIPpTag01\r\nContact: <sip:203.0.113.5:5060>\r\n"...)
	if body != nil {
		b = append(b, "Content-Type: application/sdp\r\n"...)
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), int64(len(body)), 10)
	c.in = append(append(b, "\r\n\r\n"...), body...)
	return c.in
}

var sdp = []byte("v=0\r\no=user1 53655765 2353687637 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 18 101\r\n" +
	"a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n")

// call is one call from INVITE to the end: six messages come in.
func (c *talk) call(p *Proxy, w *quickWire, n int, at time.Time) {
	p.Receive(0, c.phone, c.say("INVITE", "1", n, nil, sdp), at)
	invite := append([]byte(nil), w.last...)
	c.routes = c.routes[:0]
	for line := range bytes.SplitAfterSeq(invite, []byte("\r\n")) {
		if bytes.HasPrefix(line, []byte("Record-Route:")) {
			c.routes = append(c.routes, line...)
		}
	}
	p.Receive(0, c.pbx, c.answer("180 Ringing", invite, nil), at)
	p.Receive(0, c.pbx, c.answer("200 OK", invite, sdp), at)
	p.Receive(0, c.phone, c.say("ACK", "1", n, c.routes, nil), at)
	p.Receive(0, c.phone, c.say("BYE", "2", n, c.routes, nil), at)
	p.Receive(0, c.pbx, c.answer("200 OK", w.last, nil), at)
}

func newTalk(p *Proxy) *talk {
	here := p.listeners[0].bound
	return &talk{
		phone: wire.Flow{Remote: netip.MustParseAddrPort("192.0.2.10:40000"), Local: here},
		pbx:   wire.Flow{Remote: netip.MustParseAddrPort("203.0.113.5:5060"), Local: here},
	}
}

// TestTalk keeps the benchmark honest: the call is whole.
func TestTalk(t *testing.T) {
	p, w, now := newQuick(t)
	c := newTalk(p)
	p.Receive(0, c.phone, c.say("INVITE", "1", 1, nil, sdp), *now)
	c.call(p, w, 2, *now)
	if !bytes.HasPrefix(w.last, []byte("SIP/2.0 200 OK")) || !bytes.Contains(w.last, []byte("2 BYE")) {
		t.Fatalf("the call does not end with the answer to its BYE:\n%s", w.last)
	}
	if up := p.calls.Counts().Up; up != 1 {
		t.Errorf("%d calls are up, want the one that only rings", up)
	}
}

// BenchmarkCall is one call, INVITE, 180, 200, ACK, BYE, 200, with what it takes
// to write them.
func BenchmarkCall(b *testing.B) {
	p, w, now := newQuick(b)
	c := newTalk(p)
	b.ReportAllocs()
	for n := range b.N {
		c.call(p, w, n, *now)
		if n%100 == 0 {
			*now = now.Add(40 * time.Millisecond)
			p.table.Turn()
		}
		for len(p.ends) > 0 {
			<-p.ends
		}
	}
}
