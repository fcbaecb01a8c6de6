package tests

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The attacks on how a message is read, each performed on the daemon over UDP
// and over TCP. What is looked for is that the next hop never gets a message
// that it could read in another way, and that a stream whose messages cannot be
// told apart ends.

// plainInvite is what the attacks are made of.
const plainInvite = "INVITE sip:bob@example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n" +
	"From: \"Alice\" <sip:alice@example.com>;tag=1\r\n" +
	"To: <sip:bob@example.com>\r\n" +
	"Call-ID: c1\r\n" +
	"CSeq: 1 INVITE\r\n" +
	"Max-Forwards: 70\r\n" +
	"Contact: <sip:alice@192.0.2.1>\r\n" +
	"Content-Length: 0\r\n\r\n"

// instead is plainInvite with one piece of it changed.
func instead(old, new string) string {
	if !strings.Contains(plainInvite, old) {
		panic(old + " is not there")
	}
	return strings.Replace(plainInvite, old, new, 1)
}

// lines is plainInvite with more header lines.
func lines(more string) string { return instead("Content-Length", more+"Content-Length") }

// A target is a daemon in front of a bystander.
type target struct {
	t    *testing.T
	b    *bystander
	d    *daemon
	port int
}

// newTarget starts one; "--rules", "none" leaves the reading of messages alone.
func newTarget(t *testing.T, more ...string) *target {
	t.Helper()
	x := &target{t: t, b: newBystander(t), port: freePort(t)}
	at := addr("127.0.0.1", x.port)
	x.d = start(t, "", t.TempDir(), append(more, "--listen", "udp:"+at, "--listen", "tcp:"+at, "--next-hop", "udp:"+x.b.socket.LocalAddr().String(),
		"--filter", "off", "--metrics", "off")...)
	return x
}

var sources atomic.Int32

// over sends a message from a source of its own and checks what comes of it:
// see bystander.outcome.
func (x *target) over(network, what, raw, want string) (source string) {
	x.t.Helper()
	n := sources.Add(1)
	source = fmt.Sprintf("127.%d.%d.%d", 1+n>>16, n>>8&255, n&255)
	if have := x.b.outcome(x.t, network, source, x.port, []byte(raw)); have != want {
		x.t.Errorf("%s over %s: %s, want %s", what, network, have, want)
	}
	return source
}

// both is over UDP and over TCP.
func (x *target) both(what, raw, udp, tcp string) {
	x.t.Helper()
	x.over("udp", what, raw, udp)
	x.over("tcp", what, raw, tcp)
}

func TestA43ContentLengthGames(t *testing.T) {
	x := newTarget(t, "--rules", "none")
	hidden := strings.NewReplacer("bob@example.com SIP", "hidden@example.com SIP", "z9hG4bK1", "z9hG4bK2").Replace(plainInvite)
	length := func(line string) string { return instead("Content-Length: 0\r\n", line) }
	x.both("none", plainInvite, "passes", "passes")
	x.both("negative", length("Content-Length: -1\r\n"), "silence", "closes")
	x.both("signed", length("Content-Length: +0\r\n"), "silence", "closes")
	x.both("hexadecimal", length("Content-Length: 0x0\r\n"), "silence", "closes")
	x.both("a list", length("Content-Length: 0, 0\r\n"), "silence", "closes")
	x.both("beyond every number", length("Content-Length: 18446744073709551616\r\n"), "silence", "closes")
	x.both("twice", length("Content-Length: 0\r\nContent-Length: 0\r\n"), "silence", "closes")
	x.both("twice, once compact", length("Content-Length: 0\r\nl: 400\r\n"), "silence", "closes")
	x.both("twice, once with a blank", length("Content-Length: 0\r\nContent-Length : 400\r\n"), "silence", "closes")
	x.both("twice, once folded", length("Content-Length: 0\r\nContent-Length:\r\n 400\r\n"), "silence", "closes")
	x.both("folded", length("Content-Length:\r\n 0\r\n"), "passes", "closes") // one reading is left of a datagram
	x.both("longer than the message", length("Content-Length: 60000\r\n"), "silence", "closes")
	x.both("missing", length(""), "passes", "closes")
	x.both("missing before a request", length("")+hidden, "passes", "closes") // all that follows is its body (section 18.3)
	x.both("short, with octets behind it", length("Content-Length: 2\r\n")+"v=\x000", "passes", "passes, closes")
	// A request behind another's body: a datagram has one, a stream two, and both
	// of the stream are judged.
	x.both("a request behind the body", plainInvite+hidden, "passes", "passes, passes")
	x.b.mu.Lock()
	defer x.b.mu.Unlock()
	for source, got := range x.b.got {
		for _, msg := range got {
			if _, body, _ := strings.Cut(msg, "\r\n\r\n"); body != "" && body != "v=" && strings.Contains(msg, "\nContent-Length") == (body != hidden) {
				t.Errorf("more than the body of what %s sent has left: %q", source, body)
			}
		}
	}
}

func TestA44ControlBytes(t *testing.T) {
	x := newTarget(t, "--rules", "none")
	for c := range 256 {
		if c >= ' ' && c != 0x7f {
			continue
		}
		bad := string([]byte{byte(c)})
		for _, place := range []struct{ name, raw string }{
			{"a value", lines("Subject: a" + bad + "X-Evil: 1\r\n")},
			{"a header name", lines("X" + bad + "Evil: 1\r\n")},
			{"the end of a header name", instead("To:", "To"+bad+":")},
			{"the Request-URI", instead("bob@", "b"+bad+"ob@")},
			{"the method", "INV" + bad + plainInvite[3:]},
			{"the version", instead("SIP/2.0\r", "SIP/2.0"+bad+"\r")},
			{"the Call-ID", instead("c1", "c"+bad+"1")},
			{"a quoted string", instead("Alice", "Al"+bad+"ice")},
			{"a quoted string, escaped", instead("Alice", "Al\\"+bad+"ice")},
			{"a user", instead("sip:alice", "sip:al"+bad+"ice")},
			{"a tag", instead("tag=1", "tag=1"+bad+"2")},
			{"a branch", instead("z9hG4bK1", "z9hG4bK1"+bad)},
			{"a number", instead("CSeq: 1", "CSeq: 1"+bad)},
		} {
			x.passesNot(fmt.Sprintf("%#02x in %s", c, place.name), place.raw, c == '\t')
		}
	}
}

// passesNot sends what must not reach the next hop. With tab, where a blank may
// stand a tab may.
func (x *target) passesNot(what, raw string, tab bool) {
	x.t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		n := sources.Add(1)
		have := x.b.outcome(x.t, network, fmt.Sprintf("127.%d.%d.%d", 1+n>>16, n>>8&255, n&255), x.port, []byte(raw))
		if strings.Contains(have, "passes") && !tab {
			x.t.Errorf("%s over %s: %s", what, network, have)
		}
	}
}

func TestA45EscapesInURIs(t *testing.T) {
	x := newTarget(t, "--rules", "none")
	for _, user := range []string{
		"b%00ob", "b%0dob", "b%0D%0aX-Evil:%201", "b%0aob", "bob%", "bob%4", "bob%zz",
		"b%c0%80ob", "b%C0%AFob", "b%e0%80%80ob", "b\xc0\x80ob", "b\xc0\xafob", "b\xff", "b ob", "b<ob", "b\"ob", "a@b",
	} {
		for _, place := range []struct{ name, raw string }{
			{"the Request-URI", instead("sip:bob@example.com SIP", "sip:"+user+"@example.com SIP")},
			{"To", instead("To: <sip:bob@", "To: <sip:"+user+"@")},
			{"From", instead("<sip:alice@example", "<sip:"+user+"@example")},
			{"Contact", instead("<sip:alice@192", "<sip:"+user+"@192")},
		} {
			x.passesNot(fmt.Sprintf("%q in %s", user, place.name), place.raw, false)
		}
	}
	x.passesNot("headers in the Request-URI", instead("bob@example.com SIP", "bob@example.com?Route=%3Csip:evil.example%3E SIP"), false)
	x.passesNot("headers without angle brackets", instead("<sip:alice@192.0.2.1>", "sip:alice@192.0.2.1?Route=%3Csip:evil.example%3E"), false)
	x.passesNot("two parameters of a name", instead("bob@example.com SIP", "bob@example.com;transport=udp;Transport=tcp SIP"), false)
	// These are somebody's names and numbers.
	for _, user := range []string{"b%6Fb", "%62ob", "bob%2530", "bob;phone-context=x", "b%C3%B6b", "+49-30(1)", "a'b"} {
		raw := instead("sip:bob@example.com SIP", "sip:"+user+"@example.com SIP")
		x.both(user, raw, "passes", "passes")
	}
}

func TestA50Oversize(t *testing.T) {
	x := newTarget(t, "--rules", "none")
	x.both("a header of 20 KB", lines("Subject: "+strings.Repeat("a", 20000)+"\r\n"), "silence", "closes")
	x.both("a header of 5 KB", lines("Subject: "+strings.Repeat("a", 5000)+"\r\n"), "silence", "400")
	x.both("a header of 5 KB in folds", lines("Subject: a"+strings.Repeat("\r\n aaaaaaa", 500)+"\r\n"), "silence", "400")
	x.both("1000 headers", lines(strings.Repeat("X-A: 1\r\n", 1000)), "silence", "400")
	x.both("200 Record-Routes", lines(strings.Repeat("Record-Route: <sip:h;lr>\r\n", 200)), "silence", "400")
	x.both("200 Record-Routes in a line", lines("Record-Route: <sip:h>"+strings.Repeat(",<sip:h>", 199)+"\r\n"), "silence", "400")
	x.both("parameters without end", instead("tag=1", "tag=1"+strings.Repeat(";a", 200)), "silence", "silence") // of the From of the answer
	x.both("a body of 70 KB", instead("Content-Length: 0\r\n\r\n", "Content-Length: 70000\r\n\r\n"+strings.Repeat("a", 50000)), "silence", "closes")
	x.both("as much as there may be", lines(strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 6)), "passes", "passes")

	// How many Vias are too many is a setting of guard/sanity and a rule.
	guarded := newTarget(t)
	guarded.both("4 Vias", lines(strings.Repeat("Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\n", 3)), "passes", "passes")
	guarded.both("70 Vias", lines(strings.Repeat("Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\n", 69)), "silence", "silence")
}

func TestA55HostsThatAreNone(t *testing.T) {
	x := newTarget(t, "--rules", "none")
	for _, host := range []string{
		"[::1", "::1]", "[::1]]", "[]", "[:::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1]x", "[1:2:3:4:5:6:7:8:9]", "[::ffff:1.2.3.999]",
		"h:99999", "h:65536", "h:-1", "h:+5060", "h:", "h:5060x", "h:0x13c4", "h:5060:5060", "[::1]:99999", "",
	} {
		for _, place := range []struct{ name, raw string }{
			{"the Request-URI", instead("bob@example.com SIP", "bob@"+host+" SIP")},
			{"To", instead("bob@example.com>", "bob@"+host+">")},
			{"Contact", instead("alice@192.0.2.1>", "alice@"+host+">")},
			{"Via", instead("192.0.2.1:5060;", host+";")},
			{"Route", lines("Route: <sip:" + host + ";lr>\r\n")},
		} {
			x.passesNot(fmt.Sprintf("%q in %s", host, place.name), place.raw, false)
		}
	}
	x.both("an IPv6 address", instead("bob@example.com SIP", "bob@[2001:db8::1]:5060 SIP"), "passes", "passes")
}

// TestA72WebSocket: pages of elsewhere get no WebSocket, frames are held to their
// limits and forms, and who asks a TCP listener for one gets no HTTP answer.
func TestA72WebSocket(t *testing.T) {
	ws := addr("127.0.0.1", freePort(t))
	x := newTarget(t, "--rules", "none", "--listen", "ws:"+ws)
	hello := "GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
	foreign := strings.Replace(hello, "\r\n\r\n", "\r\nOrigin: https://evil.example\r\n\r\n", 1)
	gigabyte := "\x81\xff\x00\x00\x00\x00\x40\x00\x00\x00"
	// A mask of zeros leaves the payload as it is.
	framed := func(first byte, text string) string {
		return string([]byte{first, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}) + text
	}
	invite := strings.Replace(plainInvite, "SIP/2.0/UDP 192.0.2.1:5060", "SIP/2.0/WS page.invalid", 1)
	for _, c := range []struct{ what, sent, want string }{
		{"a page of elsewhere", foreign, "HTTP/1.1 403"},
		{"no SIP", strings.Replace(hello, "Protocol: sip", "Protocol: chat", 1), "HTTP/1.1 400"},
		{"a frame of a gigabyte", hello + gigabyte, "\x88\x02\x03\xf1"},
		{"a frame without a mask", hello + "\x81\x02hi", "\x88\x02\x03\xea"},
		{"fragments without end", hello + framed(0x01, strings.Repeat("x", 40000)) + framed(0x00, strings.Repeat("x", 40000)), "\x88\x02\x03\xf1"},
		{"a thousand pings", hello + strings.Repeat("\x89\x80\x00\x00\x00\x00", 1000), strings.Repeat("\x8a\x00", 1000)},
		{"an invitation", hello + framed(0x81, invite), "PASSED"},
	} {
		n, err := net.Dial("tcp", ws)
		if err != nil {
			t.Fatal(err)
		}
		_ = n.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = n.Write([]byte(c.sent)) // the far end may have enough of it before
		if c.want == "PASSED" {
			eventually(t, "it reaches the next hop", func() bool {
				x.b.mu.Lock()
				defer x.b.mu.Unlock()
				return len(x.b.got[n.LocalAddr().String()]) > 0
			})
			n.Close()
			continue
		}
		var got []byte
		for b := make([]byte, 8192); !strings.Contains(string(got), c.want); {
			k, err := n.Read(b)
			if got = append(got, b[:k]...); err != nil {
				t.Errorf("%s: %v after %q", c.what, err, got[max(0, len(got)-100):])
				break
			}
		}
		n.Close()
	}
	x.over("tcp", "an upgrade", hello, "closes")
	x.over("tcp", "an upgrade and a frame of a gigabyte", hello+gigabyte, "closes")
	x.over("tcp", "a frame", gigabyte, "closes")
}
