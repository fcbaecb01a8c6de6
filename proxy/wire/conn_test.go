package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
)

// readMessage reads exactly n octets.
func readMessage(t testing.TB, c io.Reader, n int) string {
	t.Helper()
	buf := make([]byte, n)
	if _, err := io.ReadFull(c, buf); err != nil {
		t.Fatal(err)
	}
	return string(buf)
}

// ended waits until the far end has closed a connection, in whatever way.
func ended(t testing.TB, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		t.Fatal("the connection stays open")
	}
}

func TestPipelinedMessagesAreAnsweredInOrder(t *testing.T) {
	for _, tr := range []guard.Transport{guard.TCP, guard.TLS} {
		t.Run(tr.String(), func(t *testing.T) {
			l, client := secured(t, listen(tr))
			h := newTap()
			h.answer = h.echo
			w, _ := run(t, Options{Listeners: []Listener{l}, Limits: Limits{Linger: 1}}, h)
			c := client(t, w.Addresses()[0])
			msgs := []string{message("INVITE", "v=0"), message("ACK", ""), message("BYE", strings.Repeat("x", 60000)), message("OPTIONS", "")}
			all := strings.Join(msgs, "")
			go func() { // in pieces that cut messages anywhere
				for rest := []byte("\r\n" + all); len(rest) > 0; {
					n := min(7777, len(rest))
					if _, err := c.Write(rest[:n]); err != nil {
						return // the reader below fails
					}
					rest = rest[n:]
				}
			}()
			if got := readMessage(t, c, len(all)); got != all {
				t.Error("the echo differs")
			}
			flows := map[Flow]bool{}
			for _, want := range msgs {
				a := h.next(t)
				flows[a.flow] = true
				if a.text != want {
					t.Errorf("got %.40q, want %.40q", a.text, want)
				}
			}
			if len(flows) != 1 {
				t.Errorf("one connection has %d flows", len(flows))
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if f := next(t, h.closed); !flows[f] {
				t.Errorf("%s closed, which never was", f)
			}
		})
	}
}

func TestPingIsAnsweredWithPong(t *testing.T) {
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.TCP)}}, h)
	c := dial(t, "tcp", w.Addresses()[0])
	write(t, c, "\r\n\r\n")
	if got := readMessage(t, c, 2); got != "\r\n" {
		t.Errorf("the answer is %q", got)
	}
	if got := w.Counters().KeepAlives; got != 1 {
		t.Errorf("%d keep-alives are counted", got)
	}
}

func TestBadFramingCloses(t *testing.T) {
	refused := make(chan Reason, 1)
	h := newTap()
	w, _ := run(t, Options{
		Listeners: []Listener{listen(guard.TCP)}, Limits: Limits{Message: 2000},
		Refused: func(_ Flow, r Reason) { refused <- r },
	}, h)
	for i, text := range []string{
		"INVITE sip:a@b SIP/2.0\r\nVia: x\r\n\r\n",
		"INVITE sip:a@b SIP/2.0\r\nl: 0\r\nl: 0\r\n\r\n",
		"INVITE sip:a@b SIP/2.0\r\nl: 2000\r\n\r\n",
		"\x16\x03\x01",
	} {
		c := dial(t, "tcp", w.Addresses()[0])
		write(t, c, message("OPTIONS", "")+text)
		ended(t, c)
		if got := h.next(t).text; got != message("OPTIONS", "") {
			t.Errorf("the message before is %q", got)
		}
		next(t, h.closed)
		if r := next(t, refused); r != BadFraming {
			t.Errorf("refused for %s", r)
		}
		if got := w.Counters().Dropped[BadFraming]; got != uint64(i+1) {
			t.Errorf("%d are counted, want %d", got, i+1)
		}
	}
}

// TestHalfClosedConnectionIsAnswered: netcat and short scripts send a request,
// say that they send no more, and wait. The answer may come later.
func TestHalfClosedConnectionIsAnswered(t *testing.T) {
	for _, tr := range []guard.Transport{guard.TCP, guard.TLS} {
		t.Run(tr.String(), func(t *testing.T) {
			l, client := secured(t, listen(tr))
			h := newTap()
			// The source may have one connection; the ones that linger do not count.
			w, _ := run(t, Options{Listeners: []Listener{l}, Limits: Limits{Linger: time.Hour, PerSource: 1, Lingering: 2}}, h)
			var lingering []net.Conn
			for range 2 {
				c := client(t, w.Addresses()[0])
				write(t, c, message("OPTIONS", ""))
				f := h.next(t).flow
				if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "it lingers", func() bool { return int(w.lingering.Load()) == len(lingering)+1 && places(w) == 0 })
				if err := w.Send(-1, f, []byte("SIP/2.0 200 OK")); err != nil {
					t.Fatal(err)
				}
				if got := readMessage(t, c, 14); got != "SIP/2.0 200 OK" {
					t.Errorf("the answer is %q", got)
				}
				lingering = append(lingering, c)
			}
			third := client(t, w.Addresses()[0])
			write(t, third, message("OPTIONS", ""))
			f := h.next(t).flow
			if err := third.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got := next(t, h.closed); got != f {
				t.Errorf("%s closed, want the one above the limit", got)
			}
		})
	}
}

// places is how many accepted connections count.
func places(w *Wire) int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.accepted
}

func TestSilentFarEndThatClosesIsGoneAtOnce(t *testing.T) {
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.TCP)}, Limits: Limits{Linger: time.Hour}}, h)
	c := dial(t, "tcp", w.Addresses()[0])
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	next(t, h.closed)
	eventually(t, "nothing is left of it", func() bool { return w.Counters().Open == 0 && places(w) == 0 })
}

func TestQueueIsBounded(t *testing.T) {
	h := newTap()
	limits := Limits{Message: 50000, WriteQueue: 50000, Write: time.Hour}
	w, stop := run(t, Options{Listeners: []Listener{listen(guard.TCP)}, Limits: limits}, h)
	c := dial(t, "tcp", w.Addresses()[0]) // and reads nothing
	write(t, c, message("OPTIONS", ""))
	f := h.next(t).flow
	msg, sent := make([]byte, 20000), 0
	// Kernel buffers take some megabytes, then the queue two messages.
	for full := 0; full < 100; sent++ {
		switch err := w.Send(-1, f, msg); {
		case errors.Is(err, ErrFull):
			full++
			time.Sleep(time.Millisecond) // the writer may still be at it
		case err != nil:
			t.Fatal(err)
		default:
			full = 0
		}
		if sent > 1<<20 {
			t.Fatal("the queue never fills")
		}
	}
	w.mu.RLock()
	conn := w.conns[f.Conn]
	w.mu.RUnlock()
	conn.mu.Lock()
	if held := len(conn.out) + conn.writing; held > limits.WriteQueue {
		t.Errorf("%d octets are held, more than %d", held, limits.WriteQueue)
	}
	conn.mu.Unlock()
	if w.Counters().Dropped[WriteFull] == 0 {
		t.Error("nothing is counted")
	}
	stop() // must break the write, which would take an hour
	next(t, h.closed)
}

func TestFarEndThatReadsNothingIsClosed(t *testing.T) {
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.TCP)}, Limits: Limits{Write: 20 * time.Millisecond}}, h)
	c := dial(t, "tcp", w.Addresses()[0])
	write(t, c, message("OPTIONS", ""))
	f := h.next(t).flow
	msg := make([]byte, 60000)
	eventually(t, "its queue is no longer taken", func() bool { return errors.Is(w.Send(-1, f, msg), ErrClosed) })
	if got := next(t, h.closed); got != f {
		t.Errorf("%s closed, want %s", got, f)
	}
	if got := w.Counters().Dropped[WriteTimeout]; got != 1 {
		t.Errorf("%d timeouts are counted, want 1", got)
	}
}

// TestClosedComesOnceAndLast, whatever ends first: the far end, the handler's
// answers or the wire.
func TestClosedComesOnceAndLast(t *testing.T) {
	const clients = 40
	h := newTap()
	h.answer = h.echo
	w, stop := run(t, Options{Listeners: []Listener{listen(guard.TCP)}, StreamWorkers: 3}, h)
	msg := message("OPTIONS", "")
	for i := range clients {
		c := dial(t, "tcp", w.Addresses()[0])
		write(t, c, strings.Repeat(msg, 3))
		if i%2 == 0 {
			readMessage(t, c, len(msg))
			_ = c.Close()
		}
	}
	eventually(t, "all are accepted", func() bool { return w.Counters().Accepted == clients })
	stop()
	close(h.closed)
	seen := map[Flow]bool{}
	for f := range h.closed {
		if seen[f] {
			t.Errorf("%s closed twice", f)
		}
		seen[f] = true
	}
	if len(seen) != clients {
		t.Errorf("%d closed, want %d", len(seen), clients)
	}
	close(h.arrivals)
	for a := range h.arrivals {
		if !seen[a.flow] {
			t.Errorf("%s never closed", a.flow)
		}
	}
}

func TestFlowString(t *testing.T) {
	f := Flow{Remote: netip.MustParseAddrPort("198.51.100.7:40000"), Local: netip.MustParseAddrPort("192.0.2.1:5060")}
	if got, want := f.String(), "udp 198.51.100.7:40000 to 192.0.2.1:5060"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f.Transport, f.Conn = guard.TLS, 7
	if got, want := fmt.Sprint(f), "tls 198.51.100.7:40000 to 192.0.2.1:5060, connection 7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTLSConnectionSaysThatItEnds(t *testing.T) {
	l, client := secured(t, listen(guard.TLS))
	h := newTap()
	h.answer = h.echo
	w, stop := run(t, Options{Listeners: []Listener{l}}, h)
	c, msg := client(t, w.Addresses()[0]), message("OPTIONS", "")
	write(t, c, msg)
	readMessage(t, c, len(msg)) // and the session tickets before it
	stop()
	rest, err := io.ReadAll(c.(*tls.Conn).NetConn())
	if err != nil || len(rest) == 0 {
		t.Errorf("%d octets came before the end, %v; want an alert", len(rest), err)
	}
}

func TestReasonsHaveTexts(t *testing.T) {
	if len(reasonTexts) != int(Reasons) || slices.Contains(reasonTexts[:], "") {
		t.Errorf("%d texts for %d reasons", len(reasonTexts), Reasons)
	}
}
