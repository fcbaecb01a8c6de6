package wire

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringfence/guard"
)

func TestTakenPortIsOneClearLine(t *testing.T) {
	for _, tr := range []guard.Transport{guard.UDP, guard.TCP} {
		first, err := New(Options{Listeners: []Listener{listen(tr)}})
		if err != nil {
			t.Fatal(err)
		}
		at := first.Addresses()[0]
		// The one that could be bound before must be free again.
		_, err = New(Options{Listeners: []Listener{listen(tr), {Transport: tr, Address: at}}})
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("the error is %v", err)
		}
		for _, want := range []string{tr.String() + " " + at.String(), "ss -", "another port"} {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q does not say %q in one line", err, want)
			}
		}
		first.Close()
		second, err := New(Options{Listeners: []Listener{{Transport: tr, Address: at}}})
		if err != nil {
			t.Fatalf("after Close: %v", err)
		}
		second.Close()
	}
}

func TestForeignAddressIsOneClearLine(t *testing.T) {
	_, err := New(Options{Listeners: []Listener{{Address: netip.MustParseAddrPort("192.0.2.77:0")}}})
	if !errors.Is(err, syscall.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "no address of this machine") {
		t.Errorf("the error is %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	one := []Listener{listen(guard.UDP)}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "no listener"},
		{Options{Listeners: []Listener{{Name: "a"}}}, "no address"},
		{Options{Listeners: []Listener{{Transport: guard.WSS + 1, Address: listen(guard.WS).Address}}}, "not served"},
		{Options{Listeners: []Listener{listen(guard.WSS)}}, "wss needs a certificate"},
		{Options{Listeners: []Listener{listen(guard.TLS)}}, "needs a certificate"},
		{Options{Listeners: []Listener{{Address: one[0].Address, Sockets: 65}}}, "1 to 64"},
		{Options{Listeners: one, StreamWorkers: -1}, "stream workers"},
		{Options{Listeners: one, Limits: Limits{Batch: -1}}, "limit batch"},
		{Options{Listeners: one, Limits: Limits{Idle: -time.Second}}, "limit idle"},
		{Options{Listeners: one, Limits: Limits{WriteQueue: 100}}, "limit write queue"},
	} {
		if w, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			if w != nil {
				w.Close()
			}
			t.Errorf("the error is %v, want one with %q", err, c.want)
		}
	}
}

func TestWildcardBesideAnIPv4Listener(t *testing.T) {
	four := Listener{Address: netip.MustParseAddrPort("127.0.0.1:5060")}
	six := Listener{Address: netip.MustParseAddrPort("[::]:5060")}
	if got := newListener(six, 1).network("udp", []Listener{four, six}); got != "udp6" {
		t.Errorf("it would be opened as %s", got)
	}
	if got := newListener(six, 1).network("tcp", []Listener{six}); got != "tcp" {
		t.Errorf("alone it would be opened as %s", got)
	}
}
