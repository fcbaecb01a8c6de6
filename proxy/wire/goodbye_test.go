package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
)

// Who says goodbye gets its own code back, and what was asked before is answered.
func TestGoodbyeIsAnsweredInKind(t *testing.T) {
	h := newTap()
	h.answer = h.echo
	w, client := webServer(t, listen(guard.WS), Options{}, h)
	for _, x := range []struct{ sent, want string }{
		{"", ""}, {"\x03\xe8", "\x03\xe8"}, {"\x03\xe9the page is left", "\x03\xe9"}, {"\x0f\xa0", "\x0f\xa0"}, {"\x0b\xb8caf\u00e9", "\x0b\xb8"},
	} {
		c := browser(t, client)
		write(t, c, string(slicesOf(masked(webFin|webText, message("OPTIONS", "")), masked(webFin|webClose, x.sent), masked(webFin|webPing, "late"))))
		if _, got := readFrame(t, c); got != message("OPTIONS", "") {
			t.Errorf("the answer is %q", got)
		}
		if opcode, got := readFrame(t, c); opcode != webClose || got != x.want {
			t.Errorf("a goodbye of %q is answered by %d %q, want %q", x.sent, opcode, got, x.want)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after the goodbye: %d octets, %v", n, err)
		}
		_ = c.Close()
		next(t, h.closed)
	}
	if n := w.Counters().Dropped[BadFraming]; n != 0 {
		t.Errorf("%d broken frames", n)
	}
}

// A far end that is still writing hears why it must go: no reset takes that away.
func TestGoodbyeComesBeforeTheEnd(t *testing.T) {
	for _, tr := range []guard.Transport{guard.WS, guard.WSS} {
		t.Run(tr.String(), func(t *testing.T) {
			h := newTap()
			_, client := webServer(t, listen(tr), Options{}, h)
			c := browser(t, client)
			write(t, c, "\x81\x02hi"+strings.Repeat("x", 30000))
			write(t, c, strings.Repeat("x", 10000))
			if opcode, got := readFrame(t, c); opcode != webClose || got != "\x03\xea" {
				t.Errorf("opcode %d %q", opcode, got)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("the end is %v", err)
			}
			_ = c.Close()
			next(t, h.closed)
		})
	}
}

// Who does not close, or sends on without end, is not waited for.
func TestGoodbyeIsBounded(t *testing.T) {
	h := newTap()
	_, client := webServer(t, listen(guard.WS), Options{Limits: Limits{Linger: time.Hour, Message: 10000}}, h)
	c := browser(t, client)
	write(t, c, "\x81\x02hi")
	for n, text := 0, strings.Repeat("x", 1000); n < 1<<20; n++ {
		if _, err := c.Write([]byte(text)); err != nil {
			break
		}
	}
	next(t, h.closed) // although it may linger for an hour
}

// When we stop, WebSockets are told that we go away; a page that reads nothing holds
// nobody up.
func TestStopSaysGoingAway(t *testing.T) {
	for _, tr := range []guard.Transport{guard.WS, guard.WSS} {
		t.Run(tr.String(), func(t *testing.T) {
			h := newTap()
			l, client := secured(t, listen(tr))
			w, stop := run(t, Options{Listeners: []Listener{l}, Limits: Limits{Write: time.Hour, Linger: time.Hour, Message: 60000, WriteQueue: 60000}}, h)
			open := func(t testing.TB) net.Conn { return client(t, w.Addresses()[0]) }
			c, dead := browser(t, open), browser(t, open)
			write(t, dead, string(masked(webFin|webText, message("OPTIONS", ""))))
			f, msg := h.next(t).flow, make([]byte, 50000)
			for full := 0; full < 20; { // what its kernel takes, and its queue
				if errors.Is(w.Send(-1, f, msg), ErrFull) {
					full++
					time.Sleep(time.Millisecond) // the writer may still be at it
				} else {
					full = 0
				}
			}
			stop()
			if opcode, got := readFrame(t, c); opcode != webClose || got != "\x03\xe9" {
				t.Errorf("opcode %d %q", opcode, got)
			}
			ended(t, c)
			next(t, h.closed)
			next(t, h.closed)
			if n := w.Counters().Dropped; n[TooSlow] != 0 || n[BadFraming] != 0 {
				t.Errorf("counted as %v", n)
			}
		})
	}
}

// A WebSocket that says nothing is asked whether it is there. Who answers stays; who
// does not is told that we go, and that ends in time.
func TestSilentWebSocketIsAsked(t *testing.T) {
	h := newTap()
	w, client := webServer(t, listen(guard.WS), Options{Limits: Limits{Ping: time.Millisecond, Pong: 10 * time.Second, Linger: time.Millisecond}}, h)
	c := browser(t, client)
	write(t, c, string(masked(webFin|webText, message("OPTIONS", ""))))
	h.next(t)
	for range 5 {
		if opcode, got := readFrame(t, c); opcode != webPing || got != "" {
			t.Fatalf("opcode %d %q, want a ping", opcode, got)
		}
		write(t, c, string(masked(webFin|webPong, "")))
	}
	w.mu.RLock()
	if len(w.conns) != 1 {
		t.Error("it is gone")
	}
	w.mu.RUnlock()
}

// A page that is gone without a word ends a ping and a pong after it was heard last,
// whether its connection takes what we write or not.
func TestDeadPagesEnd(t *testing.T) {
	msg := string(masked(webFin|webText, message("OPTIONS", "")))
	for _, c := range []struct {
		name   string
		client func(net.Conn)
		want   timed
	}{
		{"no pong", func(c net.Conn) { drip(c, hello+msg, 1<<10, 0) }, timed{40 * time.Second, 0}},
		{"one pong", func(c net.Conn) {
			drip(c, hello+msg, 1<<10, 35*time.Second)
			drip(c, string(masked(webFin|webPong, "")), 10, 0)
		}, timed{75 * time.Second, 0}},
		{"its own ping", func(c net.Conn) {
			drip(c, hello+msg, 1<<10, 20*time.Second)
			drip(c, string(masked(webFin|webPing, "")), 10, 0)
		}, timed{60 * time.Second, 0}},
		{"half a pong", func(c net.Conn) {
			drip(c, hello+msg, 1<<10, 35*time.Second)
			drip(c, "\x8a", 1, 0)
		}, timed{40 * time.Second, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := closes(t, guard.WS, c.client); got != c.want {
				t.Errorf("closed after %v with %d counted as too slow, want %v and %d", got.after, got.slow, c.want.after, c.want.slow)
			}
		})
	}
}

// An idle WebSocket hears that we go away, a slow one that this is no way.
func TestWhyAWebSocketIsClosed(t *testing.T) {
	for _, x := range []struct{ sent, want string }{
		{string(masked(webFin|webText, message("OPTIONS", ""))), "\x03\xe9"},
		{string(masked(webText, "OPTIONS")), "\x03\xf0"},
		{"", "\x03\xf0"},
	} {
		h := newTap()
		_, client := webServer(t, listen(guard.WS), Options{Limits: Limits{
			Idle: 20 * time.Millisecond, Partial: 20 * time.Millisecond, FirstMessage: 500 * time.Millisecond, Linger: time.Second,
		}}, h)
		c := browser(t, client)
		if x.sent != "" {
			write(t, c, x.sent)
		}
		if opcode, got := readFrame(t, c); opcode != webClose || got != x.want {
			t.Errorf("after %q: opcode %d %q, want %q", x.sent, opcode, got, x.want)
		}
		_ = c.Close()
		next(t, h.closed)
	}
}

// Half a connection is none: without its close frame a WebSocket cannot be ended in
// order, and it is gone at once.
func TestHalfClosedWebSocketIsGone(t *testing.T) {
	h := newTap()
	_, client := webServer(t, listen(guard.WS), Options{Limits: Limits{Linger: time.Hour}}, h)
	c := browser(t, client)
	write(t, c, string(masked(webFin|webText, message("OPTIONS", ""))))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	h.next(t)
	next(t, h.closed)
	if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
}
