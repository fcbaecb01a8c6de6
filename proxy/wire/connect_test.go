package wire

import (
	"errors"
	"net"
	"strconv"
	"testing"

	"ringfence/guard"
)

// farEndOf is a plain listener for what a Wire connects to.
func farEndOf(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestConnectOnUDPIsAnAddressPair(t *testing.T) {
	w, err := New(Options{Listeners: []Listener{listen(guard.UDP)}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	to := closedPort(t)
	if f, err := w.Connect(0, to, ""); err != nil || f != (Flow{Remote: to, Local: w.Addresses()[0]}) {
		t.Errorf("got %s, %v", f, err)
	}
	if _, err := w.Connect(1, to, ""); err == nil {
		t.Error("a listener that is not there connects")
	}
}

func TestConnectQueuesAndIsReused(t *testing.T) {
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.TCP)}}, h)
	far := farEndOf(t)
	want, flows := "", map[Flow]bool{}
	for i := range 10 { // some while it is being made
		f, err := w.Connect(0, addrPort(far.Addr()), "pbx.example.com")
		if err != nil {
			t.Fatal(err)
		}
		flows[f] = true
		msg := message("OPTIONS", strconv.Itoa(i))
		want += msg
		if err := w.Send(-1, f, []byte(msg)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := far.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := readMessage(t, c, len(want)); got != want {
		t.Error("what was sent did not come whole and in order")
	}
	if n := w.Counters(); len(flows) != 1 || n.Opened != 1 {
		t.Errorf("%d flows and %d connections, want one", len(flows), n.Opened)
	}
	write(t, c, message("BYE", "")) // and it reads
	if a := h.next(t); !flows[a.flow] {
		t.Errorf("the message came over %s", a.flow)
	}
	_ = c.Close()
	old := next(t, h.closed)
	if !h.wasMade(old) {
		t.Error("a connection that was used is told as one that could not be made")
	}
	again, err := w.Connect(0, addrPort(far.Addr()), "pbx.example.com")
	if err != nil || again.Conn == old.Conn {
		t.Errorf("connecting again: %s, %v; the old one was %s", again, err, old)
	}
}

// TestConnectGivesNoConnectionThatIsClosing, though it may still be in the table.
func TestConnectGivesNoConnectionThatIsClosing(t *testing.T) {
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.TCP)}}, h)
	far := farEndOf(t)
	for range 50 {
		f, err := w.Connect(0, addrPort(far.Addr()), "")
		if err != nil {
			t.Fatal(err)
		}
		w.mu.RLock()
		c := w.conns[f.Conn]
		w.mu.RUnlock()
		c.close(ErrClosed)
		again, err := w.Connect(0, addrPort(far.Addr()), "")
		if err != nil || again == f {
			t.Fatalf("got %s after %s closed, %v", again, f, err)
		}
		if err := w.Send(-1, again, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if got := next(t, h.closed); got != f {
			t.Fatalf("%s closed, want %s", got, f)
		}
		w.mu.RLock()
		c = w.conns[again.Conn]
		w.mu.RUnlock()
		c.close(ErrClosed)
		next(t, h.closed)
	}
}

func TestConnectFailureIsTold(t *testing.T) {
	secure, _ := secured(t, listen(guard.TLS))
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.TCP), secure}}, h)
	plain, err := w.Connect(0, closedPort(t), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := next(t, h.closed); got != plain {
		t.Errorf("%s closed, want %s", got, plain)
	}
	// A certificate for another name is a failure as well.
	wrong, err := w.Connect(1, w.Addresses()[1], "other.example.com")
	if err != nil {
		t.Fatal(err)
	}
	a, b := next(t, h.closed), next(t, h.closed) // its both ends
	if a != wrong && b != wrong {
		t.Errorf("%s and %s closed, want %s", a, b, wrong)
	}
	if h.wasMade(plain) || h.wasMade(wrong) {
		t.Error("a connection that failed is told as one that was made")
	}
	if got := w.Counters().Dropped[ConnectFailed]; got != 2 {
		t.Errorf("%d failures are counted, want 2", got)
	}
}

func TestConnectOverTLS(t *testing.T) {
	secure, _ := secured(t, listen(guard.TLS))
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{secure}}, h)
	f, err := w.Connect(0, w.Addresses()[0], "pbx.example.com") // to itself
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(-1, f, []byte(message("OPTIONS", ""))); err != nil {
		t.Fatal(err)
	}
	a := h.next(t)
	if a.flow.Conn == f.Conn || a.text != message("OPTIONS", "") {
		t.Errorf("%q came over %s", a.text, a.flow)
	}
	if err := w.Send(-1, a.flow, []byte(message("BYE", ""))); err != nil { // RFC 5626
		t.Fatal(err)
	}
	if back := h.next(t); back.flow != f {
		t.Errorf("the way back is %s, want %s", back.flow, f)
	}
}

// TestConnectIsBounded, and a full house of accepted connections is no reason to
// refuse.
func TestConnectIsBounded(t *testing.T) {
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.TCP)}, Limits: Limits{Connections: 1, Outbound: 1}}, h)
	dial(t, "tcp", w.Addresses()[0])
	eventually(t, "the house is full", func() bool { return places(w) == 1 })
	one, other := farEndOf(t), farEndOf(t)
	if _, err := w.Connect(0, addrPort(one.Addr()), ""); err != nil {
		t.Error(err)
	}
	if _, err := w.Connect(0, addrPort(other.Addr()), ""); !errors.Is(err, ErrFull) {
		t.Errorf("the error is %v, want %v", err, ErrFull)
	}
	if got := w.Counters().Dropped[TooMany]; got != 1 {
		t.Errorf("%d are counted, want 1", got)
	}
}
