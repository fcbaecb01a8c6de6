package wire

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
)

// An echoer answers every message with itself and keeps nothing.
type echoer struct{ wire *Wire }

func (h *echoer) Receive(worker int, f Flow, raw []byte, _ time.Time) {
	_ = h.wire.Send(worker, f, raw)
}
func (h *echoer) Flushed(int)       {}
func (h *echoer) Closed(Flow, bool) {}

func runEcho(t testing.TB, o Options, h *echoer) *Wire {
	t.Helper()
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.wire = w
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := next(t, done); err != nil {
			t.Error(err)
		}
	})
	return w
}

// volley is how many datagrams are on their way at a time: enough for batches,
// few enough for any socket buffer.
const volley = 32

// pingPong sends n messages of the size of an INVITE through c, volley by
// volley, and waits for their echoes.
func pingPong(b testing.TB, c net.Conn, n int) {
	msg, buf := []byte(strings.Repeat("INVITE sip", 82)), make([]byte, 2048)
	for n > 0 {
		k := min(n, volley)
		for range k {
			if _, err := c.Write(msg); err != nil {
				b.Fatal(err)
			}
		}
		for range k {
			if _, err := c.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
		n -= k
	}
}

// plainEcho is what a plain reader of package net does.
func plainEcho(c *net.UDPConn) {
	buf := make([]byte, 8192)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if _, err := c.WriteToUDPAddrPort(buf[:n], from); err != nil {
			return
		}
	}
}

// BenchmarkEcho prints the time of an echo through a Wire, and as a ratio of the
// same through a plain net.UDPConn in the same run. Both hold the client's cost.
func BenchmarkEcho(b *testing.B) {
	plain, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); plainEcho(plain) }()
	b.Cleanup(func() { _ = plain.Close(); <-done })
	w := runEcho(b, Options{Listeners: []Listener{listen(guard.UDP)}}, &echoer{})
	ours, theirs := dial(b, "udp", w.Addresses()[0]), dial(b, "udp", addrPort(plain.LocalAddr()))
	for _, c := range []net.Conn{ours, theirs} {
		if err := c.SetDeadline(time.Time{}); err != nil {
			b.Fatal(err)
		}
		pingPong(b, c, volley)
	}
	b.ReportAllocs()
	var mine, other time.Duration
	for left := b.N; left > 0; left -= volley * 8 { // in turns, so that both see the same machine
		n := min(left, volley*8)
		start := time.Now()
		pingPong(b, ours, n)
		middle := time.Now()
		pingPong(b, theirs, n)
		mine, other = mine+middle.Sub(start), other+time.Since(middle)
	}
	b.ReportMetric(float64(mine.Nanoseconds())/float64(b.N), "wire-ns/echo")
	b.ReportMetric(float64(mine)/float64(other), "wire/net")
}

// BenchmarkFrame prints what it costs to find a message in a stream.
func BenchmarkFrame(b *testing.B) {
	msg := []byte(message("INVITE", strings.Repeat("v=0\r\n", 50)))
	f := framer{header: 16384, message: 65535}
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if kind, _, err := f.next(msg); kind != frameMessage || err != nil {
			b.Fatal(kind, err)
		}
	}
}
