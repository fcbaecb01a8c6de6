package proxy

import (
	"net/netip"
	"testing"
	"time"

	"ringfence/guard"
	"ringfence/proxy/wire"
)

// TestPick has listeners on two addresses of loopback and one that no card has.
func TestPick(t *testing.T) {
	l := func(t guard.Transport, at string) Listener {
		return Listener{Listener: wire.Listener{Name: at, Transport: t, Address: netip.MustParseAddrPort(at)}}
	}
	all := []Listener{
		l(guard.UDP, "198.51.100.1:5060"), l(guard.UDP, "127.0.0.1:5060"), l(guard.UDP, "127.0.0.9:5060"),
		l(guard.TCP, "127.0.0.9:5060"), l(guard.UDP, "[::1]:5060"),
	}
	for _, c := range []struct {
		name      string
		transport guard.Transport
		to        string
		source    string // what the kernel says
		like      uint16
		want      int // -1: none
	}{
		{"the inner card", guard.UDP, "127.0.0.5", "127.0.0.1", 0, 1},
		{"the inner card, over the address asked at", guard.UDP, "127.0.0.5", "127.0.0.1", 2, 2},
		{"the only one of its family", guard.UDP, "2001:db8::1", "2001:db8::2", 0, 4},
		{"the only one of its transport", guard.TCP, "192.0.2.1", "", 0, 3},
		{"a card without a listener", guard.UDP, "192.0.2.1", "203.0.113.4", 2, 2},
		{"no route", guard.UDP, "192.0.2.1", "", 1, 1},
		{"an address that no card has", guard.UDP, "192.0.2.1", "198.51.100.1", 2, 0},
		{"no such transport", guard.TLS, "192.0.2.1", "", 0, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			p := &Proxy{now: time.Now, o: Options{Source: func(netip.Addr) netip.Addr {
				asked++
				a, _ := netip.ParseAddr(c.source)
				return a
			}}}
			for _, l := range all {
				p.listeners = append(p.listeners, &listener{Listener: l, bound: l.Address})
			}
			for range 3 {
				got, ok := p.pick(c.transport, netip.MustParseAddr(c.to), c.like)
				if ok != (c.want >= 0) || ok && int(got) != c.want {
					t.Fatalf("%d %v, want %d", got, ok, c.want)
				}
			}
			if asked > 1 {
				t.Errorf("the kernel was asked %d times", asked)
			}
		})
	}
}

func TestPickedIsBounded(t *testing.T) {
	p := &Proxy{now: time.Now, o: Options{Source: func(netip.Addr) netip.Addr { return netip.Addr{} }}}
	for _, at := range []string{"198.51.100.1:5060", "198.51.100.2:5060"} {
		p.listeners = append(p.listeners, &listener{bound: netip.MustParseAddrPort(at)})
	}
	a := netip.MustParseAddr("10.0.0.0")
	for range 3 * knownWays {
		a = a.Next()
		p.pick(guard.UDP, a, 0)
	}
	if n := len(p.picked.ways); n > knownWays {
		t.Errorf("%d ways are remembered", n)
	}
}
