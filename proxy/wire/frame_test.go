package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// message is one whole message with a body.
func message(method, body string) string {
	return fmt.Sprintf("%s sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\nContent-Length: %d\r\n\r\n%s",
		method, len(body), body)
}

// A found is what a framer says of a stream.
type found struct {
	frames []string // messages, and "blank" and "ping"
	rest   string
	err    error
}

// frames gives a stream to a framer in pieces of these lengths, the last of
// which repeats, the way that a connection's reader does.
func frames(f *framer, stream []byte, pieces ...int) found {
	var out found
	var buf []byte
	for i := 0; ; {
		for {
			kind, n, err := f.next(buf)
			if err != nil {
				out.err, out.rest = err, ""
				return out
			}
			if kind == frameNone {
				break
			}
			switch kind {
			case frameBlank:
				out.frames = append(out.frames, "blank")
			case framePing:
				out.frames = append(out.frames, "ping")
			default:
				out.frames = append(out.frames, string(buf[:n]))
			}
			buf = buf[n:]
		}
		if len(stream) == 0 {
			out.rest = string(buf)
			return out
		}
		n := min(max(1, pieces[min(i, len(pieces)-1)]), len(stream))
		i++
		buf, stream = append(slices.Clone(buf), stream[:n]...), stream[n:]
	}
}

func TestFrames(t *testing.T) {
	invite, bye := message("INVITE", "v=0\r\n\r\no=-"), message("BYE", "")
	start := "INVITE sip:a@b SIP/2.0\r\n"
	for _, c := range []struct {
		name, stream string
		want         []string
		rest         string
		err          error
	}{
		{name: "one", stream: invite, want: []string{invite}},
		{name: "pipelined", stream: invite + bye + invite, want: []string{invite, bye, invite}},
		{name: "begun", stream: bye + invite[:30], want: []string{bye}, rest: invite[:30]},
		{name: "body to come", stream: invite[:len(invite)-1], rest: invite[:len(invite)-1]},
		{name: "leading line breaks", stream: "\r\n" + bye + "\r\n\r\n" + bye, want: []string{"blank", bye, "blank", "ping", bye}},
		{name: "pings", stream: "\r\n\r\n\r\n\r\n", want: []string{"blank", "ping", "blank", "ping"}},
		{name: "compact", stream: start + "l:2\r\n\r\nab", want: []string{start + "l:2\r\n\r\nab"}},
		{name: "case and blanks", stream: start + "cOnTeNt-LENGTH \t: \t 2 \t\r\n\r\nab", want: []string{start + "cOnTeNt-LENGTH \t: \t 2 \t\r\n\r\nab"}},
		{name: "leading zeros", stream: start + "L: 002\r\n\r\nab", want: []string{start + "L: 002\r\n\r\nab"}},
		{name: "response", stream: "SIP/2.0 200 OK\r\nl: 0\r\n\r\n", want: []string{"SIP/2.0 200 OK\r\nl: 0\r\n\r\n"}},
		{name: "name in another header", stream: start + "Subject: Content-Length: 9\r\nl: 0\r\n\r\n", want: []string{start + "Subject: Content-Length: 9\r\nl: 0\r\n\r\n"}},
		{name: "name in a folded line", stream: start + "Subject: x\r\n Content-Length: 9\r\nl: 0\r\n\r\n", want: []string{start + "Subject: x\r\n Content-Length: 9\r\nl: 0\r\n\r\n"}},

		{name: "missing", stream: start + "Via: x\r\n\r\n", err: errLengthMissing},
		{name: "no header at all", stream: "INVITE\r\n\r\n", err: errLengthMissing},
		{name: "twice the same", stream: start + "l: 0\r\nl: 0\r\n\r\n", err: errLengthTwice},
		{name: "twice, long and compact", stream: start + "Content-Length: 0\r\nl: 5\r\n\r\n", err: errLengthTwice},
		{name: "list", stream: start + "l: 0, 0\r\n\r\n", err: errLengthBad},
		{name: "negative", stream: start + "l: -1\r\n\r\n", err: errLengthBad},
		{name: "signed", stream: start + "l: +1\r\n\r\n", err: errLengthBad},
		{name: "hexadecimal", stream: start + "l: 0x10\r\n\r\n", err: errLengthBad},
		{name: "empty", stream: start + "l: \r\n\r\n", err: errLengthBad},
		{name: "fraction", stream: start + "l: 1.0\r\n\r\n", err: errLengthBad},
		{name: "folded", stream: start + "l: 1\r\n 0\r\n\r\n", err: errLengthBad},
		{name: "2^32 and something", stream: start + "l: 4294967297\r\n\r\nx", err: errLengthBad},
		{name: "2^64", stream: start + "l: 18446744073709551616\r\n\r\n", err: errLengthBad},
		{name: "longer than may be", stream: start + "l: 4000\r\n\r\n", err: errMessageLong},
		{name: "999999999", stream: start + "l: 999999999\r\n\r\n", err: errMessageLong},
		{name: "endless start line", stream: strings.Repeat("A", 600), err: errHeaderLong},
		{name: "header above its limit", stream: start + "X: " + strings.Repeat("A", 600) + "\r\nl: 0\r\n\r\n", err: errHeaderLong},
		{name: "tls at the wrong port", stream: "\x16\x03\x01\x02\x00\x01", err: errNotSIP},
		{name: "line feed", stream: "\n" + bye, err: errNotSIP},
		{name: "carriage return", stream: "\r" + bye, err: errNotSIP},
		{name: "good, then not", stream: bye + "\x00", want: []string{bye}, err: errNotSIP},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, piece := range []int{len(c.stream), 1, 3} {
				got := frames(&framer{header: 512, message: 2048}, []byte(c.stream), piece)
				if !slices.Equal(got.frames, c.want) || got.rest != c.rest || !errors.Is(got.err, c.err) {
					t.Errorf("in pieces of %d: %q, rest %q, %v", piece, got.frames, got.rest, got.err)
				}
			}
		})
	}
}

// TestPiecesMakeNoDifference: however a stream is cut into pieces, the same
// frames come out of it, and the same end.
func TestPiecesMakeNoDifference(t *testing.T) {
	parts := []string{
		message("INVITE", "v=0"), message("BYE", ""), message("MESSAGE", "\r\n\r\nBYE x\r\nl: 9\r\n\r\n"),
		"\r\n", "\r\n\r\n", "INVITE sip:a@b SIP/2.0\r\nl: 3\r\n\r\nabc", "SIP/2.0 200 OK\r\n", "l: 4\r\n", "l: 0\r\n\r\n", "x", "\r", "\n",
		"A: " + strings.Repeat("y", 200) + "\r\n",
	}
	rapid.Check(t, func(t *rapid.T) {
		stream := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 12).Draw(t, "stream"), ""))
		pieces := rapid.SliceOfN(rapid.IntRange(1, 80), 1, 40).Draw(t, "pieces")
		limits := framer{header: rapid.IntRange(40, 400).Draw(t, "header"), message: rapid.IntRange(40, 600).Draw(t, "message")}
		whole, cut := limits, limits
		a, b := frames(&whole, stream, len(stream)), frames(&cut, stream, pieces...)
		if !slices.Equal(a.frames, b.frames) || a.rest != b.rest || !errors.Is(b.err, a.err) || !errors.Is(a.err, b.err) {
			t.Fatalf("whole: %q rest %q %v\npieces: %q rest %q %v", a.frames, a.rest, a.err, b.frames, b.rest, b.err)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(message("INVITE", "v=0")+"\r\n\r\n"+message("BYE", "")), uint8(7))
	f.Add([]byte("INVITE sip:a@b SIP/2.0\r\nl:2\r\n\r\nab\r"), uint8(1))
	f.Add([]byte("\r\n\r\n\r\nA\r\n\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		limits := framer{header: 256, message: 1024}
		whole, cut := limits, limits
		a, b := frames(&whole, stream, max(1, len(stream))), frames(&cut, stream, int(piece))
		if !slices.Equal(a.frames, b.frames) || a.rest != b.rest || !errors.Is(b.err, a.err) || !errors.Is(a.err, b.err) {
			t.Fatalf("whole: %q rest %q %v\npieces of %d: %q rest %q %v", a.frames, a.rest, a.err, piece, b.frames, b.rest, b.err)
		}
		joined := ""
		for _, m := range a.frames {
			switch {
			case m == "blank" || m == "ping":
				m = "\r\n"
			case len(m) > limits.message || bytes.Index([]byte(m), headEnd)+len(headEnd) > limits.header:
				t.Fatalf("%q is above a limit", m)
			}
			joined += m
		}
		if a.err == nil {
			joined += a.rest
		}
		if !strings.HasPrefix(string(stream), joined) || a.err == nil && len(joined) != len(stream) {
			t.Fatalf("frames %q are not what the stream %q begins with", a.frames, stream)
		}
	})
}

func TestFramingAllocatesNothing(t *testing.T) {
	msg := []byte(message("INVITE", "v=0"))
	f := framer{header: 16384, message: 65535}
	if n := testing.AllocsPerRun(100, func() {
		if kind, _, err := f.next(msg); kind != frameMessage || err != nil {
			t.Fatal(kind, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// TestKeepAlwaysHasRoom: what was not used stays, there is room to read more,
// and never much more than the message at hand needs.
func TestKeepAlwaysHasRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 20000).Draw(t, "buffer")
		used := rapid.IntRange(0, len(b)).Draw(t, "used")
		rest, length := slices.Clone(b[used:]), 0
		if rapid.Bool().Draw(t, "known") {
			length = len(rest) + rapid.IntRange(1, 65535).Draw(t, "missing")
		}
		got := keep(b, used, length)
		if !bytes.Equal(got, rest) {
			t.Fatal("what was not used changed")
		}
		if cap(got) <= len(got) || cap(got) < length || cap(got) > 4*max(usualRead, 2*len(rest), length) {
			t.Fatalf("room for %d with %d kept and %d to come", cap(got), len(got), length)
		}
	})
}
