package wire

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
)

// masked is a frame of a client.
func masked(first byte, payload string) []byte {
	mask := [4]byte{0xa1, 0x02, 0xff, 0x00}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, webMask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, webMask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, webMask|127), uint64(n))
	}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return b
}

const hello = "GET / HTTP/1.1\r\nHost: pbx.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, sip\r\n\r\n"

// welcomed is the answer to hello; RFC 6455 section 1.3 has the hash of that key.
const welcomed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: sip\r\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// browser is a WebSocket that is open.
func browser(t testing.TB, client func(testing.TB) net.Conn) net.Conn {
	t.Helper()
	c := client(t)
	write(t, c, hello)
	if got := readMessage(t, c, len(welcomed)); got != welcomed {
		t.Fatalf("the answer is\n%s", got)
	}
	return c
}

func webServer(t testing.TB, l Listener, o Options, h *tap) (*Wire, func(testing.TB) net.Conn) {
	t.Helper()
	l, client := secured(t, l)
	o.Listeners = []Listener{l}
	w, _ := run(t, o, h)
	return w, func(t testing.TB) net.Conn { return client(t, w.Addresses()[0]) }
}

// readFrame reads a frame of a server and checks that it is one.
func readFrame(t testing.TB, c net.Conn) (opcode byte, payload string) {
	t.Helper()
	b := []byte(readMessage(t, c, 2))
	if b[0]&webFin == 0 || b[1]&webMask != 0 {
		t.Fatalf("the frame begins with %x", b)
	}
	n := int(b[1])
	switch n {
	case 126:
		n = int(binary.BigEndian.Uint16([]byte(readMessage(t, c, 2))))
	case 127:
		n = int(binary.BigEndian.Uint64([]byte(readMessage(t, c, 8))))
	}
	return b[0] & 0x0f, readMessage(t, c, n)
}

func TestWebSocketMessages(t *testing.T) {
	for _, tr := range []guard.Transport{guard.WS, guard.WSS} {
		t.Run(tr.String(), func(t *testing.T) {
			h := newTap()
			h.answer = h.echo
			w, client := webServer(t, listen(tr), Options{}, h)
			c := browser(t, client)
			binaryText := message("MESSAGE", "caf\xe9") // Latin-1
			for _, x := range []struct {
				frames []byte
				want   string
				opcode byte
			}{
				{masked(webFin|webText, message("INVITE", "v=0")), message("INVITE", "v=0"), webText},
				{masked(webFin|webBinary, binaryText), binaryText, webBinary},
				{masked(webFin|webText, message("MESSAGE", strings.Repeat("x", 300))), message("MESSAGE", strings.Repeat("x", 300)), webText},
				{masked(webFin|webText, message("MESSAGE", strings.Repeat("y", 65000))), message("MESSAGE", strings.Repeat("y", 65000)), webText},
				{masked(webFin|webText, "OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n"), "OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n", webText}, // RFC 7118 needs no Content-Length
				{slicesOf(masked(webText, "OPTIONS sip:a"), masked(webFin|webPing, "are you there"), masked(webContinuation, " SIP/2.0\r\n"), masked(webFin|webContinuation, "\r\n")), "OPTIONS sip:a SIP/2.0\r\n\r\n", webText},
			} {
				write(t, c, string(x.frames))
				opcode, got := readFrame(t, c)
				if opcode == webPong {
					if got != "are you there" {
						t.Errorf("the pong says %q", got)
					}
					opcode, got = readFrame(t, c)
				}
				if opcode != x.opcode || got != x.want {
					t.Errorf("opcode %d, %d octets; want %d, %d", opcode, len(got), x.opcode, len(x.want))
				}
				if a := h.next(t); a.text != x.want || a.flow.Transport != tr {
					t.Errorf("%s received %q", a.flow, a.text)
				}
			}
			write(t, c, string(masked(webFin|webText, "\r\n\r\n")))
			if _, got := readFrame(t, c); got != "\r\n" {
				t.Errorf("a keep-alive is answered %q", got)
			}
			write(t, c, string(masked(webFin|webClose, "\x03\xe8")))
			if opcode, got := readFrame(t, c); opcode != webClose || got != "\x03\xe8" {
				t.Errorf("goodbye is answered by %d %x", opcode, got)
			}
			ended(t, c)
			if n := w.Counters().Dropped[BadFraming]; n != 0 {
				t.Errorf("%d broken frames", n)
			}
		})
	}
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// However the octets come, the messages are the same; the handshake may bring the
// first along.
func TestWebSocketInPieces(t *testing.T) {
	h := newTap()
	_, client := webServer(t, listen(guard.WS), Options{}, h)
	all := hello + string(masked(webFin|webText, message("OPTIONS", "1"))) + string(masked(webText, "REGISTER sip:b SIP/2.0\r\n")) + string(masked(webFin|webContinuation, "\r\n"))
	for _, piece := range []int{1, 2, 3, 7, len(all)} {
		c := client(t)
		for rest := all; rest != ""; {
			n := min(piece, len(rest))
			write(t, c, rest[:n])
			rest = rest[n:]
		}
		for _, want := range []string{message("OPTIONS", "1"), "REGISTER sip:b SIP/2.0\r\n\r\n"} {
			if got := h.next(t).text; got != want {
				t.Errorf("in pieces of %d: %q, want %q", piece, got, want)
			}
		}
	}
}

func TestWebSocketBrokenFrames(t *testing.T) {
	refused := make(chan Reason, 1)
	h := newTap()
	_, client := webServer(t, listen(guard.WS), Options{Limits: Limits{Message: 1000, Linger: 10 * time.Millisecond}, Refused: func(_ Flow, r Reason) { refused <- r }}, h)
	for _, x := range []struct {
		name string
		sent []byte
		code uint16
	}{
		{"without a mask", []byte("\x81\x05hello"), webProtocol},
		{"a reserved bit", masked(0x40|webFin|webText, "x"), webProtocol},
		{"a reserved opcode", masked(webFin|0x3, "x"), webProtocol},
		{"a reserved control opcode", masked(webFin|0xB, "x"), webProtocol},
		{"a ping in fragments", masked(webPing, "x"), webProtocol},
		{"a long ping", masked(webFin|webPing, strings.Repeat("x", 126)), webProtocol},
		{"a continuation of nothing", masked(webFin|webContinuation, "x"), webProtocol},
		{"a message within another", slicesOf(masked(webText, "x"), masked(webFin|webText, "y")), webProtocol},
		{"too long", masked(webFin|webText, strings.Repeat("x", 1001)), webTooLong},
		{"too long in fragments", slicesOf(masked(webText, strings.Repeat("x", 600)), masked(webContinuation, strings.Repeat("x", 600))), webTooLong},
		{"too long to count", []byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"), webTooLong},
		{"a negative length", []byte("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"), webProtocol},
		{"text in fragments that is none", slicesOf(masked(webText, "\xc3"), masked(webFin|webContinuation, "\xc3")), webNotText},
		{"a length in too many octets", []byte("\x82\xfe\x00\x05mask12345"), webProtocol},
		{"text that is none", masked(webFin|webText, "\xff\xfe"), webNotText},
		{"half a close code", masked(webFin|webClose, "\x03"), webProtocol},
		{"a close code below all", masked(webFin|webClose, "\x00\x00"), webProtocol},
		{"the close code of no code", masked(webFin|webClose, "\x03\xed"), webProtocol},
		{"the close code of a lost connection", masked(webFin|webClose, "\x03\xee"), webProtocol},
		{"the close code of a failed handshake", masked(webFin|webClose, "\x03\xf7"), webProtocol},
		{"a close code that is nobody's", masked(webFin|webClose, "\x07\xd0"), webProtocol},
		{"a close code above all", masked(webFin|webClose, "\x13\x88"), webProtocol},
		{"a reason that is no text", masked(webFin|webClose, "\x03\xe8\xff"), webNotText},
		{"a close frame in fragments", masked(webClose, "\x03\xe8"), webProtocol},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := browser(t, client)
			write(t, c, string(x.sent))
			opcode, got := readFrame(t, c)
			if opcode != webClose || len(got) != 2 || binary.BigEndian.Uint16([]byte(got)) != x.code {
				t.Errorf("answered by %d %x, want a close with %d", opcode, got, x.code)
			}
			ended(t, c)
			if r := next(t, refused); r != BadFraming {
				t.Errorf("refused for %s", r)
			}
			next(t, h.closed)
		})
	}
	if n := len(h.arrivals); n != 0 {
		t.Errorf("%d messages came through", n)
	}
}

func TestWebSocketHandshakes(t *testing.T) {
	refused := make(chan Reason, 1)
	l := listen(guard.WS)
	l.WebPath = "/sip"
	good := strings.Replace(hello, "GET / ", "GET /sip ", 1)
	h := newTap()
	_, client := webServer(t, l, Options{Limits: Limits{Header: 2000, HeaderLines: 20, Linger: 10 * time.Millisecond}, Refused: func(_ Flow, r Reason) { refused <- r }}, h)
	for _, x := range []struct {
		name, from, to, want string
		why                  Reason
	}{
		{"no change", "", "", "101", 0},
		{"of the same host", "\r\n\r\n", "\r\nOrigin: https://PBX.example.com:8443\r\n\r\n", "101", 0},
		{"of elsewhere", "\r\n\r\n", "\r\nOrigin: https://evil.example\r\n\r\n", "403", ForeignOrigin},
		{"of a name within a name", "\r\n\r\n", "\r\nOrigin: https://pbx.example.com.evil.example\r\n\r\n", "403", ForeignOrigin},
		{"of nowhere", "\r\n\r\n", "\r\nOrigin: null\r\n\r\n", "403", ForeignOrigin},
		{"of two", "\r\n\r\n", "\r\nOrigin: https://pbx.example.com\r\nOrigin: https://evil.example\r\n\r\n", "403", ForeignOrigin},
		{"another path", "GET /sip ", "GET /other ", "404", BadUpgrade},
		{"POST", "GET", "POST", "405", BadUpgrade},
		{"a browser that only looks", "Upgrade: websocket\r\n", "", "426", BadUpgrade},
		{"an old version", "Version: 13", "Version: 8", "426", BadUpgrade},
		{"no version", "Sec-WebSocket-Version: 13\r\n", "", "426", BadUpgrade},
		{"two versions", "\r\n\r\n", "\r\nSec-WebSocket-Version: 13\r\n\r\n", "426", BadUpgrade},
		{"HTTP/1.0", "HTTP/1.1", "HTTP/1.0", "505", BadUpgrade},
		{"HTTP/1.2", "HTTP/1.1", "HTTP/1.2", "505", BadUpgrade},
		{"HTTP/3.7", "HTTP/1.1", "HTTP/3.7", "505", BadUpgrade},
		{"HTTP/11.1", "HTTP/1.1", "HTTP/11.1", "", BadUpgrade},
		{"http/1.1", "HTTP/1.1", "http/1.1", "", BadUpgrade},
		{"two blanks", "/sip HTTP", "/sip  HTTP", "", BadUpgrade},
		{"a query", "GET /sip ", "GET /sip?token=x ", "101", 0},
		{"a whole URI", "GET /sip ", "GET http://pbx.example.com/sip ", "400", BadUpgrade},
		{"no host", "Host: pbx.example.com\r\n", "", "400", BadUpgrade},
		{"an empty host", "Host: pbx.example.com", "Host: ", "400", BadUpgrade},
		{"two hosts", "\r\n\r\n", "\r\nhost: evil.example\r\n\r\n", "400", BadUpgrade},
		{"two hosts in one", "Host: pbx.example.com", "Host: pbx.example.com, evil.example", "400", BadUpgrade},
		{"a host with a user", "Host: ", "Host: evil@", "400", BadUpgrade},
		{"a host with a path", "Host: pbx.example.com", "Host: pbx.example.com/x", "400", BadUpgrade},
		{"a folded line", "Upgrade: websocket", "Upgrade:\r\n websocket", "400", BadUpgrade},
		{"a line without CR", "Upgrade: websocket\r\n", "X: y\nUpgrade: websocket\r\n", "400", BadUpgrade},
		{"a blank before the colon", "Upgrade: ", "Upgrade : ", "400", BadUpgrade},
		{"a line that is none", "\r\n\r\n", "\r\nnothing\r\n\r\n", "400", BadUpgrade},
		{"a zero octet", "chat", "ch\x00at", "400", BadUpgrade},
		{"Upgrade among others", "Upgrade: websocket", "upgrade: h2c , WebSocket", "101", 0},
		{"Upgrade of another", "Upgrade: websocket", "Upgrade: websockets", "426", BadUpgrade},
		{"Connection of another", "keep-alive, Upgrade", "keep-alive", "426", BadUpgrade},
		{"Connection in two lines", "keep-alive, Upgrade", "keep-alive\r\nConnection: ,UPGRADE", "101", 0},
		{"two keys", "\r\n\r\n", "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "400", BadUpgrade},
		{"a short key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", "400", BadUpgrade},
		{"a long key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQAA", "400", BadUpgrade},
		{"a protocol in capitals", "chat, sip", "SIP", "400", BadUpgrade},
		{"a body of nothing", "\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n", "101", 0},
		{"a body in pieces", "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", BadUpgrade},
		{"many lines", "\r\n\r\n", strings.Repeat("\r\nX: y", 14) + "\r\n\r\n", "101", 0},
		{"too many lines", "\r\n\r\n", strings.Repeat("\r\nX: y", 15) + "\r\n\r\n", "431", BadUpgrade},
		{"no key", "dGhlIHNhbXBsZSBub25jZQ==", "x", "400", BadUpgrade},
		{"another protocol", "chat, sip", "chat", "400", BadUpgrade},
		{"a body", "\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello", "400", BadUpgrade},
		{"no HTTP", "GET /sip HTTP/1.1", "OPTIONS sip:a SIP/2.0", "", BadUpgrade},
		{"too long", "\r\n\r\n", "\r\nX: " + strings.Repeat("x", 3000) + "\r\n\r\n", "431", BadUpgrade},
		{"TLS at the wrong port", "GET", "\x16\x03\x01", "", BadUpgrade},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := client(t)
			asked := good
			if x.from != "" {
				asked = strings.Replace(good, x.from, x.to, 1)
			}
			_, _ = c.Write([]byte(asked)) // the far end may have enough of it before
			got := make([]byte, 12)
			n, _ := c.Read(got)
			if want := "HTTP/1.1 " + x.want; x.want == "" && n > 0 || x.want != "" && string(got[:n]) != want {
				t.Errorf("answered %q, want %q", got[:n], want)
			}
			if x.want == "101" {
				return
			}
			ended(t, c)
			if r := next(t, refused); r != x.why {
				t.Errorf("refused for %s, want %s", r, x.why)
			}
		})
	}
}

func TestWebSocketOrigins(t *testing.T) {
	for _, x := range []struct {
		origins []string
		origin  string
		want    string
	}{
		{[]string{"https://phone.example"}, "https://phone.example", "101"},
		{[]string{"https://phone.example"}, "https://PHONE.example", "101"},
		{[]string{"https://phone.example"}, "http://phone.example", "403"},
		{[]string{"https://phone.example"}, "https://pbx.example.com", "403"},
		{[]string{"*"}, "https://anywhere.example", "101"},
	} {
		l := listen(guard.WS)
		l.Origins = x.origins
		_, client := webServer(t, l, Options{}, newTap())
		c := client(t)
		write(t, c, strings.Replace(hello, "\r\n\r\n", "\r\nOrigin: "+x.origin+"\r\n\r\n", 1))
		if got := readMessage(t, c, 12); got != "HTTP/1.1 "+x.want {
			t.Errorf("%v from %s: %q", x.origins, x.origin, got)
		}
	}
}

// Who does not finish is not waited for, in the handshake and after it.
func TestWebSocketSlow(t *testing.T) {
	for _, x := range []struct {
		sent string
		why  Reason
	}{{hello[:40], BadUpgrade}, {hello, TooSlow}, {hello + "\x81", TooSlow}} {
		refused := make(chan Reason, 1)
		_, client := webServer(t, listen(guard.WS), Options{
			Limits:  Limits{Handshake: 50 * time.Millisecond, FirstMessage: 50 * time.Millisecond},
			Refused: func(_ Flow, r Reason) { refused <- r },
		}, newTap())
		c := client(t)
		write(t, c, x.sent)
		ended(t, c)
		if r := next(t, refused); r != x.why {
			t.Errorf("%d octets: refused for %s, want %s", len(x.sent), r, x.why)
		}
	}
}

func TestNobodyIsCalledOverWebSocket(t *testing.T) {
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.WS)}}, newTap())
	if _, err := w.Connect(0, w.Addresses()[0], ""); err == nil {
		t.Error("a connection is made")
	}
}

// FuzzWebFrames: nothing that comes in is read beyond its end, kept beyond the
// limit, or read in another way when it comes in pieces.
func FuzzWebFrames(f *testing.F) {
	f.Add(masked(webFin|webText, "OPTIONS"), uint8(3))
	f.Add(slicesOf(masked(webText, "a"), masked(webFin|webPing, "b"), masked(webFin|webContinuation, "c")), uint8(1))
	f.Add([]byte("\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00mask"), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		const limit = 1000
		read := func(step int) (out []string, broken bool) {
			f := &webFramer{message: limit}
			var buf []byte
			rest := bytes.Clone(stream)
			for {
				x, n, err := f.next(buf)
				switch {
				case err != nil:
					return out, true
				case n == 0:
					if len(rest) == 0 {
						return out, false
					}
					k := min(step, len(rest))
					buf, rest = append(buf, rest[:k]...), rest[k:]
					continue
				}
				if x.opcode >= webClose {
					out = append(out, string(x.payload))
				} else {
					msg, done, err := f.whole(x)
					if err != nil {
						return out, true
					}
					if done {
						out = append(out, string(msg))
					}
				}
				if len(f.parts) > limit {
					t.Fatalf("%d octets of fragments are kept", len(f.parts))
				}
				buf = buf[n:]
			}
		}
		whole, brokenWhole := read(len(stream) + 1)
		pieces, brokenPieces := read(int(piece) + 1)
		if brokenWhole != brokenPieces || strings.Join(whole, "|") != strings.Join(pieces, "|") {
			t.Errorf("whole %q %v, in pieces %q %v", whole, brokenWhole, pieces, brokenPieces)
		}
	})
}
