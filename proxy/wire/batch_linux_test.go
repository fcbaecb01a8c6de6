package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence/guard"
)

// inNamespace runs f in a network namespace of its own, whose loopback has an
// MTU of 1400 and the addresses fd00::1 and fd00::2 besides its own.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Run("in a namespace", func(t *testing.T) {
		runtime.LockOSThread() // and never unlocked: the thread ends with the test
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Skipf("a network namespace cannot be made: %v", err)
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(netlink.LinkSetMTU(lo, 1400), netlink.LinkSetUp(lo)); err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{"fd00::1/128", "fd00::2/128"} {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				t.Fatal(err)
			}
			addr.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrAdd(lo, addr); err != nil {
				t.Skipf("loopback takes no IPv6 address: %v", err)
			}
		}
		f(t)
	})
}

// setOption sets a socket option of a listener's first UDP socket.
func setOption(t *testing.T, w *Wire, level, name, value int) {
	t.Helper()
	var failed error
	err := w.listeners[0].packets[0].raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, name, value) })
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
}

// answersFrom sends to an address of a wildcard listener. The client's socket is
// connected: it takes an answer from that address only.
func answersFrom(t *testing.T, w *Wire, h *tap, to netip.Addr) {
	t.Helper()
	at := netip.AddrPortFrom(to, w.Addresses()[0].Port())
	c := dial(t, "udp", at)
	write(t, c, "to "+to.String())
	if got := receive(t, c); got != "to "+to.String() {
		t.Errorf("the answer is %q", got)
	}
	if got, want := h.next(t).flow, (Flow{Remote: addrPort(c.LocalAddr()), Local: at}); got != want {
		t.Errorf("the flow is %s, want %s", got, want)
	}
}

func TestWildcardAnswersFromTheAddressAsked(t *testing.T) {
	for _, c := range []struct{ listen, ask string }{
		{"0.0.0.0:0", "127.0.0.1 127.0.0.2 127.1.2.3"},
		{"[::]:0", "::1 127.0.0.1 127.0.0.2"},
	} {
		t.Run(c.listen, func(t *testing.T) {
			h := newTap()
			h.answer = h.echo
			w, err := New(Options{Listeners: []Listener{{Address: netip.MustParseAddrPort(c.listen)}}})
			if err != nil {
				t.Skipf("this machine has no such socket: %v", err)
			}
			w.Close()
			w, _ = run(t, Options{Listeners: []Listener{{Address: netip.MustParseAddrPort(c.listen)}}}, h)
			for a := range strings.FieldsSeq(c.ask) {
				answersFrom(t, w, h, netip.MustParseAddr(a))
			}
		})
	}
}

func TestWildcardAnswersFromEitherIPv6Address(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		h := newTap()
		h.answer = h.echo
		w, _ := run(t, Options{Listeners: []Listener{{Address: netip.MustParseAddrPort("[::]:0")}}}, h)
		for _, a := range []string{"fd00::1", "fd00::2", "::1"} {
			answersFrom(t, w, h, netip.MustParseAddr(a))
		}
	})
}

func TestDatagramAboveTheMTUIsCountedAndNotFatal(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		h := newTap()
		h.answer = func(worker int, f Flow, _ []byte) {
			for _, text := range []string{"before", strings.Repeat("x", 1500), "after"} {
				_ = h.wire.Send(worker, f, []byte(text))
			}
		}
		w, _ := run(t, Options{Listeners: []Listener{listen(guard.UDP)}}, h)
		setOption(t, w, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		c := dial(t, "udp", w.Addresses()[0])
		f := Flow{Remote: addrPort(c.LocalAddr()), Local: w.Addresses()[0]}
		if err := w.Send(-1, f, make([]byte, 1500)); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("the error is %v, want %v", err, unix.EMSGSIZE)
		}
		// In a batch it must not take the others with it.
		write(t, c, "three please")
		for _, want := range []string{"before", "after"} {
			if got := receive(t, c); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		eventually(t, "two are counted as too long", func() bool { return w.Counters().Dropped[SendTooLong] == 2 })
	})
}

// TestRefusedDatagramHarmsNoOther: IP_RECVERR makes the kernel tell a socket
// of ours that a port is closed, with whatever call comes next. What it spoils
// must be neither the next datagram nor the reader.
func TestRefusedDatagramHarmsNoOther(t *testing.T) {
	h := newTap()
	h.answer = h.echo
	w, _ := run(t, Options{Listeners: []Listener{listen(guard.UDP)}}, h)
	setOption(t, w, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	to, c := closedPort(t), dial(t, "udp", w.Addresses()[0])
	back := Flow{Remote: addrPort(c.LocalAddr()), Local: w.Addresses()[0]}
	for i := range 20 {
		_ = w.Send(-1, Flow{Remote: to, Local: w.Addresses()[0]}, []byte("anyone?"))
		text := fmt.Sprint("from elsewhere ", i)
		if err := w.Send(-1, back, []byte(text)); err != nil {
			t.Errorf("a datagram for another address: %v", err)
		}
		if got := receive(t, c); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
		write(t, c, "still there?")
		if got := receive(t, c); got != "still there?" {
			t.Errorf("got %q", got)
		}
	}
}

func TestSendBufferThatStaysFull(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		w, err := New(Options{Listeners: []Listener{listen(guard.UDP)}})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		r := newRing(w)
		s := w.listeners[0].packets[0]
		if err := s.conn.SetWriteBuffer(1); err != nil { // the kernel makes it 4608
			t.Fatal(err)
		}
		r.add(s, Flow{Remote: w.Addresses()[0]}, make([]byte, 60000))
		r.add(s, Flow{Remote: w.Addresses()[0]}, []byte("small"))
		if err := r.flush(); err == nil {
			t.Error("60000 octets went through a buffer of 4608")
		}
		if n := w.Counters(); n.Dropped[SendFull] != 1 || n.Sent[guard.UDP] != 1 {
			t.Errorf("dropped %d and sent %d, want one of each", n.Dropped[SendFull], n.Sent[guard.UDP])
		}
	})
}

func TestRingSendsEarlyWhenItIsFull(t *testing.T) {
	w, err := New(Options{Listeners: []Listener{listen(guard.UDP)}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := dial(t, "udp", w.Addresses()[0])
	if err := c.(*net.UDPConn).SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	r, f := newRing(w), Flow{Remote: addrPort(c.LocalAddr()), Local: w.Addresses()[0]}
	for i := range ringDatagrams + 1 {
		r.add(w.listeners[0].packets[0], f, fmt.Append(nil, i))
	}
	if r.waiting != 1 {
		t.Errorf("%d wait, want the last one alone", r.waiting)
	}
	for range 3 { // three do not fit together
		r.add(w.listeners[0].packets[0], f, make([]byte, 60000))
	}
	if r.waiting != 1 || r.used != 60000 {
		t.Errorf("%d wait with %d octets, want the last one alone", r.waiting, r.used)
	}
	for i := range ringDatagrams + 1 {
		if got := receive(t, c); got != strconv.Itoa(i) {
			t.Fatalf("got %q, want %d", got, i)
		}
	}
}

// TestFlowsKeepTheirOrderAndWorker: with several sockets for one address, a
// flow's messages come in order and with one worker.
func TestFlowsKeepTheirOrderAndWorker(t *testing.T) {
	const clients, each = 16, 40
	l := listen(guard.UDP)
	l.Sockets = 4
	h := newTap()
	w, _ := run(t, Options{Listeners: []Listener{l}, Limits: Limits{Batch: 5}, StreamWorkers: 1}, h)
	if got := w.Workers(); got != 5 {
		t.Errorf("%d workers, want one for each socket and one for connections", got)
	}
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = dial(t, "udp", w.Addresses()[0])
	}
	for n := range each {
		for _, c := range conns {
			write(t, c, strconv.Itoa(n))
		}
	}
	type place struct{ worker, n int }
	at, workers := map[Flow]place{}, map[int]bool{}
	for range clients * each {
		a := h.next(t)
		p, seen := at[a.flow]
		if seen && p.worker != a.worker {
			t.Fatalf("%s has workers %d and %d", a.flow, p.worker, a.worker)
		}
		if a.text != strconv.Itoa(p.n) {
			t.Fatalf("%s brought %s, want %d", a.flow, a.text, p.n)
		}
		at[a.flow], workers[a.worker] = place{a.worker, p.n + 1}, true
	}
	if len(at) != clients || len(workers) < 2 {
		t.Errorf("%d flows over %d sockets, want %d over several", len(at), len(workers), clients)
	}
}

// TestSharedAddressIsNotTakenSilently: SO_REUSEPORT would let a second program
// share the port and lose every other datagram to it.
func TestSharedAddressIsNotTakenSilently(t *testing.T) {
	l := listen(guard.UDP)
	l.Sockets = 2
	first, err := New(Options{Listeners: []Listener{l}})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	l.Address = first.Addresses()[0]
	if w, err := New(Options{Listeners: []Listener{l}}); !errors.Is(err, unix.EADDRINUSE) {
		if err == nil {
			w.Close()
		}
		t.Errorf("the error is %v, want %v", err, unix.EADDRINUSE)
	}
}
