package wire

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringfence/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is how long a test waits for what must come before it gives up.
const patient = 20 * time.Second

// An arrival is a message that a tap was given.
type arrival struct {
	worker int
	flow   Flow
	text   string
}

// A tap is a handler that keeps what it is given, and answers if it is told how.
type tap struct {
	wire     *Wire
	answer   func(worker int, f Flow, raw []byte)
	arrivals chan arrival
	closed   chan Flow
	unmade   sync.Map // of Flow: those of closed that could not be made
}

func newTap() *tap {
	return &tap{arrivals: make(chan arrival, 4096), closed: make(chan Flow, 4096)}
}

func (h *tap) Receive(worker int, f Flow, raw []byte, _ time.Time) {
	if h.answer != nil {
		h.answer(worker, f, raw)
	}
	h.arrivals <- arrival{worker, f, string(raw)}
}

func (h *tap) Flushed(int) {}

func (h *tap) Closed(f Flow, made bool) {
	if !made {
		h.unmade.Store(f, true)
	}
	h.closed <- f
}

// wasMade tells whether a connection that closed had been made.
func (h *tap) wasMade(f Flow) bool {
	_, unmade := h.unmade.Load(f)
	return !unmade
}

// echo answers every message with itself.
func (h *tap) echo(worker int, f Flow, raw []byte) { _ = h.wire.Send(worker, f, raw) }

func (h *tap) next(t testing.TB) arrival { return next(t, h.arrivals) }

// next is what comes out of a channel that something must come out of.
func next[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patient):
		t.Fatal("nothing came")
		panic("not reached")
	}
}

// run makes a Wire and runs it with h until the test ends or stop is called.
func run(t testing.TB, o Options, h *tap) (w *Wire, stop func()) {
	t.Helper()
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.wire = w
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, h) }()
	eventually(t, "it runs", func() bool {
		w.mu.RLock()
		defer w.mu.RUnlock()
		return w.running
	})
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := next(t, done); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return w, stop
}

// listen is a listener at a free port of 127.0.0.1.
func listen(tr guard.Transport) Listener {
	return Listener{Name: tr.String(), Transport: tr, Address: netip.MustParseAddrPort("127.0.0.1:0")}
}

// dial is a client's connection, which gives up waiting after patient.
func dial(t testing.TB, network string, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patient)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func write(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what must become true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// closedPort is an address of 127.0.0.1 that refuses datagrams.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := addrPort(c.LocalAddr())
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return at
}
