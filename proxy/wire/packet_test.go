package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
)

func receive(t testing.TB, c net.Conn) string {
	t.Helper()
	buf := make([]byte, 65536)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestDatagramIsAnswered(t *testing.T) {
	h := newTap()
	h.answer = h.echo
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.UDP)}}, h)
	c := dial(t, "udp", w.Addresses()[0])
	write(t, c, "hello")
	if got := receive(t, c); got != "hello" {
		t.Errorf("the answer is %q", got)
	}
	want := arrival{0, Flow{Remote: addrPort(c.LocalAddr()), Local: w.Addresses()[0]}, "hello"}
	if got := h.next(t); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	eventually(t, "one message received and one sent", func() bool {
		n := w.Counters()
		return n.Received[guard.UDP] == 1 && n.Sent[guard.UDP] == 1
	})
}

func TestSendFromElsewhereGoesOutAtOnce(t *testing.T) {
	w, err := New(Options{Listeners: []Listener{listen(guard.UDP)}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := dial(t, "udp", w.Addresses()[0])
	f := Flow{Remote: addrPort(c.LocalAddr()), Local: w.Addresses()[0]}
	if err := w.Send(-1, f, []byte("from a timer")); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, c); got != "from a timer" {
		t.Errorf("got %q", got)
	}
}

func TestSendRefuses(t *testing.T) {
	w, err := New(Options{Listeners: []Listener{listen(guard.UDP), listen(guard.TCP)}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	to := netip.MustParseAddrPort("127.0.0.1:9")
	if err := w.Send(-1, Flow{Remote: to}, make([]byte, maxDatagram+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("a message above the longest datagram: %v", err)
	}
	if got := w.Counters().Dropped[SendTooLong]; got != 1 {
		t.Errorf("%d are counted as too long, want 1", got)
	}
	for _, f := range []Flow{{Listener: 1, Remote: to}, {Listener: 2, Remote: to}} {
		if err := w.Send(-1, f, []byte("x")); err == nil {
			t.Errorf("sent over %s of listener %d, which has no such socket", f, f.Listener)
		}
	}
	if err := w.Send(-1, Flow{Transport: guard.TCP, Conn: 7}, []byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("a connection that never was: %v", err)
	}
}

func TestUnreachableAddressIsCounted(t *testing.T) {
	w, err := New(Options{Listeners: []Listener{listen(guard.UDP)}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_ = w.Send(-1, Flow{Remote: netip.MustParseAddrPort("[2001:db8::1]:5060")}, []byte("x"))
	_ = w.Send(-1, Flow{}, []byte("x"))
	if got := w.Counters().Dropped[SendFailed]; got != 2 {
		t.Errorf("%d failures are counted, want 2", got)
	}
}

func TestKeepAlivesStopHere(t *testing.T) {
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.UDP)}}, h)
	c := dial(t, "udp", w.Addresses()[0])
	alive := []string{"", "\r\n", "\r\n\r\n", "\x00", "\x00\x00\x00\x00", "\n"}
	for _, text := range alive {
		write(t, c, text)
	}
	write(t, c, "jaK")
	if got := h.next(t); got.text != "jaK" {
		t.Errorf("the handler was given %q", got.text)
	}
	if got := w.Counters().KeepAlives; got != uint64(len(alive)) {
		t.Errorf("%d keep-alives are counted, want %d", got, len(alive))
	}
}

func TestLongDatagramIsDropped(t *testing.T) {
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.UDP)}, Limits: Limits{Datagram: 100}}, h)
	c := dial(t, "udp", w.Addresses()[0])
	write(t, c, strings.Repeat("x", 101))
	write(t, c, strings.Repeat("y", 100))
	if got := h.next(t).text; got != strings.Repeat("y", 100) {
		t.Errorf("the handler was given %q", got)
	}
	if got := w.Counters().Dropped[TooLong]; got != 1 {
		t.Errorf("%d are counted as too long, want 1", got)
	}
}

// A noScreen refuses what begins with "no", and connections if it is told to.
type noScreen struct{ connections bool }

func (noScreen) Datagram(_, _ netip.AddrPort, payload []byte, _ time.Time) bool {
	return !bytes.HasPrefix(payload, []byte("no"))
}

func (s noScreen) Connection(_, _ netip.AddrPort, _ time.Time) bool { return s.connections }

func TestScreenIsAskedFirst(t *testing.T) {
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.UDP)}, Screen: noScreen{}}, h)
	c := dial(t, "udp", w.Addresses()[0])
	write(t, c, "no way")
	write(t, c, "yes")
	if got := h.next(t).text; got != "yes" {
		t.Errorf("the handler was given %q", got)
	}
	if got := w.Counters().Dropped[Screened]; got != 1 {
		t.Errorf("%d are counted as screened, want 1", got)
	}
}

// TestHandlerCannotReachTheNextDatagram: what a handler appends to a message
// does not write over the next one of the batch.
func TestHandlerCannotReachTheNextDatagram(t *testing.T) {
	h, hold := newTap(), make(chan struct{})
	h.answer = func(_ int, _ Flow, raw []byte) {
		<-hold // the ones after the first come in one batch
		_ = append(raw, strings.Repeat("!", 200)...)
	}
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.UDP)}, Limits: Limits{Datagram: 64}}, h)
	c := dial(t, "udp", w.Addresses()[0])
	for i := range 4 {
		write(t, c, fmt.Sprint("message ", i))
	}
	close(hold)
	for i := range 4 {
		if got, want := h.next(t).text, fmt.Sprint("message ", i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNothingIsAllocatedForADatagram(t *testing.T) {
	h := &echoer{}
	w := runEcho(t, Options{Listeners: []Listener{listen(guard.UDP)}, Screen: noScreen{}}, h)
	c := dial(t, "udp", w.Addresses()[0])
	msg, buf := []byte(strings.Repeat("OPTIONS ", 80)), make([]byte, 2048)
	if n := testing.AllocsPerRun(500, func() {
		if _, err := c.Write(msg); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations from receiving to sending, want none", n)
	}
}

func TestSendFromElsewhereAllocatesNothing(t *testing.T) {
	w, err := New(Options{Listeners: []Listener{listen(guard.UDP)}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := dial(t, "udp", w.Addresses()[0])
	f, msg := Flow{Remote: addrPort(c.LocalAddr()), Local: w.Addresses()[0]}, []byte("SIP/2.0 200 OK")
	if n := testing.AllocsPerRun(200, func() {
		if err := w.Send(-1, f, msg); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
