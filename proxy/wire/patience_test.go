package wire

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
)

// A pipe is a connection in memory that has addresses, so that time is the test's.
type pipe struct{ net.Conn }

func (pipe) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:5060"))
}

func (pipe) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.7:40000"))
}

// A timed is when a connection closed, from when it was accepted, and why.
type timed struct {
	after time.Duration
	slow  uint64
}

// closes tells when a Wire closes a connection on which a client does this. The
// limits are 10 s for a first message, 5 s for the rest of one, a minute idle.
func closes(t *testing.T, tr guard.Transport, client func(c net.Conn)) (out timed) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newTap()
		limits := Limits{FirstMessage: 10 * time.Second, Partial: 5 * time.Second, Idle: time.Minute}
		w := &Wire{
			limits: limits.withDefaults(), refused: func(Flow, Reason) {}, log: Options{}.withDefaults().Log, now: time.Now,
			conns: map[uint64]*conn{}, sources: map[netip.Prefix]int{}, outbound: map[farEnd]*conn{},
		}
		w.workers = []*worker{{ring: newRing(w)}}
		w.start(h)
		ours, theirs := net.Pipe()
		start := time.Now()
		w.accept(&listener{Listener: Listener{Transport: tr}}, pipe{ours})
		var group sync.WaitGroup
		group.Go(func() { client(theirs) })
		group.Go(func() { _, _ = io.Copy(io.Discard, theirs) }) // until it closes
		<-h.closed
		out = timed{time.Since(start), w.Counters().Dropped[TooSlow]}
		_ = theirs.Close()
		group.Wait()
		w.stop()
	})
	return out
}

// drip writes a text in so many pieces, with a pause after each.
func drip(c net.Conn, text string, size int, every time.Duration) {
	for len(text) > 0 {
		n := min(size, len(text))
		if _, err := c.Write([]byte(text[:n])); err != nil {
			return // it was closed, as it should
		}
		text = text[n:]
		time.Sleep(every)
	}
}

func TestA69SlowFarEndsAreClosed(t *testing.T) {
	msg := message("OPTIONS", "")
	for _, c := range []struct {
		name   string
		client func(net.Conn)
		want   timed
	}{
		{"says nothing", func(net.Conn) {}, timed{10 * time.Second, 1}},
		{"one octet a second", func(c net.Conn) { drip(c, msg, 1, time.Second) }, timed{5 * time.Second, 1}},
		{"line breaks alone", func(c net.Conn) {
			for range 20 {
				drip(c, "\r\n", 2, time.Second)
			}
		}, timed{10 * time.Second, 1}},
		{"begins late", func(c net.Conn) { time.Sleep(8 * time.Second); drip(c, msg, 1, time.Second) }, timed{10 * time.Second, 1}},
		{"then nothing more", func(c net.Conn) { drip(c, msg, len(msg), 0) }, timed{time.Minute, 0}},
		{"a good one, then slowly", func(c net.Conn) {
			drip(c, msg, len(msg), 20*time.Second)
			drip(c, msg, 1, time.Second)
		}, timed{25 * time.Second, 1}},
		{"keep-alives are life", func(c net.Conn) {
			drip(c, msg, len(msg), 50*time.Second)
			drip(c, "\r\n", 2, 50*time.Second)
			drip(c, "\r\n", 1, time.Second)
		}, timed{161 * time.Second, 0}},
		{"the rest never comes", func(c net.Conn) { drip(c, msg+msg[:20], len(msg)+20, 0) }, timed{5 * time.Second, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := closes(t, guard.TCP, c.client); got != c.want {
				t.Errorf("closed after %v with %d counted as too slow, want %v and %d", got.after, got.slow, c.want.after, c.want.slow)
			}
		})
	}
}

// A message in fragments is a message that is not whole: neither the next fragment
// nor a ping between two gives it more time.
func TestSlowWebSocketsAreClosed(t *testing.T) {
	msg, part := string(masked(webFin|webText, message("OPTIONS", ""))), string(masked(webText, "OPTIONS"))
	ping, more := string(masked(webFin|webPing, "")), string(masked(webContinuation, "x"))
	say := func(texts ...string) func(net.Conn) {
		return func(c net.Conn) {
			for _, text := range texts {
				drip(c, text, len(text), time.Second)
			}
		}
	}
	for _, c := range []struct {
		name   string
		client func(net.Conn)
		want   timed
	}{
		{"says nothing", say(hello), timed{10 * time.Second, 1}},
		{"pings alone", say(hello, strings.Repeat(ping, 3), ping, ping, ping, ping, ping, ping, ping, ping, ping), timed{10 * time.Second, 1}},
		{"one fragment", say(hello+msg, part), timed{6 * time.Second, 1}},
		{"one fragment, first of all", say(hello, part), timed{6 * time.Second, 1}},
		{"one fragment with the message before", say(hello + msg + part), timed{5 * time.Second, 1}},
		{"fragments without end", say(hello+msg, part, more, more, more, more, more, more, more), timed{6 * time.Second, 1}},
		{"pings between fragments", say(hello+msg, part, ping, ping, ping, ping, ping, ping, ping), timed{6 * time.Second, 1}},
		{"half a ping between fragments", say(hello+msg, part, ping, ping[:1]), timed{6 * time.Second, 1}},
		{"a fragment that comes slowly", say(hello+msg, part[:3], part[3:8], part[8:], more), timed{6 * time.Second, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := closes(t, guard.WS, c.client); got != c.want {
				t.Errorf("closed after %v with %d counted as too slow, want %v and %d", got.after, got.slow, c.want.after, c.want.slow)
			}
		})
	}
}
