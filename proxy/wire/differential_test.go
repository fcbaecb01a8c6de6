package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"ringfence/guard"
)

// Another implementation reads the same octets as we do. Where it is less strict,
// ours may refuse; where it refuses, ours must.

// read is what a reader of frames made of a stream.
type read struct {
	frames []string // opcode and payload of what was whole: control frames and messages
	err    error    // nil: the stream ended
}

// readOurs reads a stream with our framer.
func readOurs(stream []byte, limit int) (out read) {
	f, buf := &webFramer{message: limit}, bytes.Clone(stream)
	for {
		x, n, err := f.next(buf)
		if err != nil || n == 0 {
			out.err = err
			return out
		}
		buf = buf[n:]
		if x.opcode >= webClose {
			out.frames = append(out.frames, string(x.opcode)+string(x.payload))
			continue
		}
		msg, done, err := f.whole(x)
		if err != nil {
			out.err = err
			return out
		}
		if done {
			out.frames = append(out.frames, "m"+string(msg))
		}
	}
}

// readTheirs reads it with github.com/gobwas/ws.
func readTheirs(stream []byte) (out read) {
	in, state := bytes.NewReader(stream), ws.StateServerSide
	var parts []byte
	for {
		h, err := ws.ReadHeader(in)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return out
		case err == nil:
			err = ws.CheckHeader(h, state)
		}
		if err != nil {
			out.err = err
			return out
		}
		if h.Length > int64(in.Len()) {
			return out
		}
		payload := make([]byte, h.Length)
		_, _ = io.ReadFull(in, payload) // it is there
		ws.Cipher(payload, h.Mask, 0)
		switch {
		case h.OpCode.IsControl():
			out.frames = append(out.frames, string(byte(h.OpCode))+string(payload))
		case h.Fin:
			out.frames = append(out.frames, "m"+string(parts)+string(payload))
			parts, state = nil, ws.StateServerSide
		default:
			parts, state = append(parts, payload...), ws.StateServerSide|ws.StateFragmented
		}
	}
}

func FuzzWebFramesAsOthersReadThem(f *testing.F) {
	for _, x := range [][]byte{
		masked(webFin|webText, "OPTIONS"), masked(webFin|webBinary, strings.Repeat("x", 300)),
		slicesOf(masked(webText, "a"), masked(webFin|webPing, "b"), masked(webContinuation, ""), masked(webFin|webContinuation, "c")),
		slicesOf(masked(webText, "a"), masked(webFin|webText, "b")), masked(webFin|webContinuation, "a"), masked(webPing, "a"),
		masked(webFin|webPing, strings.Repeat("x", 126)), masked(0x40|webFin|webText, "x"), masked(webFin|0x3, "x"), masked(webFin|0xB, "x"),
		[]byte("\x81\x05hello"), []byte("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffmask"), masked(webFin|webClose, "\x03\xe8"), masked(webFin|webText, "\xff"),
	} {
		f.Add(x)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		ours, theirs := readOurs(stream, 1<<20), readTheirs(stream)
		for i, frame := range ours.frames {
			if i >= len(theirs.frames) || theirs.frames[i] != frame {
				t.Fatalf("frame %d is %q to us; they read %q", i, frame, theirs.frames)
			}
		}
		// A control frame may not write a short length in many octets either.
		stricter := errors.Is(ours.err, errWebControl) || errors.Is(ours.err, errWebLength) || errors.Is(ours.err, errWebLong) || errors.Is(ours.err, errWebNotUTF8)
		if theirs.err != nil && ours.err == nil {
			t.Errorf("they refuse: %v", theirs.err)
		}
		if !stricter && len(ours.frames) != len(theirs.frames) {
			t.Errorf("we read %q, %v; they read %q, %v", ours.frames, ours.err, theirs.frames, theirs.err)
		}
	})
}

// talk is a request and the place for its answer.
type talk struct {
	io.Reader
	answer bytes.Buffer
}

func (c *talk) Write(b []byte) (int, error) { return c.answer.Write(b) }

// FuzzOpening: what we take for an opening handshake is one to others too, with the
// same answer, host and target, and nothing makes the reader read beyond its limits.
func FuzzOpening(f *testing.F) {
	f.Add([]byte(hello))
	for _, change := range [][2]string{
		{"GET / ", "GET /a/b?c=d "},
		{"HTTP/1.1", "HTTP/3.7"},
		{"keep-alive, Upgrade", ",upgrade ,"},
		{"chat, sip", "sip"},
		{"websocket", "WebSocket"},
		{"\r\n\r\n", "\r\nOrigin: https://pbx.example.com\r\nCookie: a=\"b\"\r\n\r\n"},
		{"\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"},
		{"Host", "HOST"},
		{"Upgrade: websocket", "Upgrade:\r\n websocket"},
		{"Host: ", "Host:"},
		{"chat, sip", "chat,\tsip\t"},
		{"/ HTTP", "//x/../y%00 HTTP"},
		{": websocket", ":\twebsocket"},
		{"pbx.example.com", "[2001:db8::1]:5062"},
		{"pbx.example.com", "pbx.example.com:"},
		{"\r\nUpgrade", "\r\nX-\xc3\xa9: 1\r\nUpgrade"},
		{"\r\nUpgrade", "\r\nX: \xff\r\nUpgrade"},
	} {
		f.Add([]byte(strings.Replace(hello, change[0], change[1], 1)))
	}
	l := &listener{Listener: Listener{Transport: guard.WS, Origins: []string{"*"}}}
	f.Fuzz(func(t *testing.T, head []byte) {
		const lines = 64
		o, err := readOpening(head, lines)
		if o != nil && len(o.fields) > lines {
			t.Fatalf("%d header lines are kept", len(o.fields))
		}
		if err != nil {
			_ = unreadable(err).String()
			return
		}
		if no := l.refuses(o); no != nil {
			_ = no.String()
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
		if err != nil {
			t.Fatalf("net/http cannot read %q: %v", head, err)
		}
		if host, _ := o.one("Host"); r.Host != host || r.RequestURI != o.target || r.ContentLength != 0 {
			t.Errorf("host %q, target %q; net/http reads %q, %q", host, o.target, r.Host, r.RequestURI)
		}
		if bytes.ContainsRune(head, '\t') {
			return // gobwas/ws takes no tab for a blank, as RFC 9110 section 5.6.3 does
		}
		their := &talk{Reader: bytes.NewReader(head)}
		shaken, err := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == "sip" }}.Upgrade(their)
		if err != nil {
			t.Fatalf("gobwas/ws refuses %q: %v", head, err)
		}
		key, _ := o.one("Sec-WebSocket-Key")
		accept := strings.TrimSpace(welcome(key)[strings.Index(welcome(key), "Accept: ")+len("Accept: "):])
		if shaken.Protocol != "sip" || !strings.Contains(their.answer.String(), accept) {
			t.Errorf("they answer %q, we accept with %q", their.answer.String(), accept)
		}
	})
}
