package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/wire"
)

// A listener is a Listener with what we say of it in messages.
type listener struct {
	Listener
	bound netip.AddrPort // with the real port
	host  string         // sent-by host, as others reach us
	port  uint16
	via   []byte // "Via: SIP/2.0/UDP host:port;branch="
	uri   []byte // "host:port;transport=tcp;lr", what follows the @
}

// transportTexts are the transports as a Via writes them.
var transportTexts = [...]string{guard.UDP: "UDP", guard.TCP: "TCP", guard.TLS: "TLS", guard.WS: "WS", guard.WSS: "WSS"}

// bind opens the sockets and works out what the listeners are called.
func (p *Proxy) bind() error {
	if len(p.c.Listeners) == 0 {
		return errors.New("a proxy needs a listener")
	}
	for _, l := range p.c.Listeners {
		p.listeners = append(p.listeners, &listener{Listener: l})
	}
	if p.wire == nil {
		o := wire.Options{Inherited: p.o.Inherited, Screen: p.o.Screen, Limits: p.o.Limits, Log: p.log, Now: p.now}
		for _, l := range p.c.Listeners {
			o.Listeners = append(o.Listeners, l.Listener)
		}
		w, err := wire.New(o)
		if err != nil {
			return err
		}
		p.wire = w
	}
	bound := p.wire.Addresses()
	if len(bound) != len(p.listeners) {
		return fmt.Errorf("%d listeners and %d sockets", len(p.listeners), len(bound))
	}
	for i, l := range p.listeners {
		if err := l.name(bound[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *listener) name(bound netip.AddrPort) error {
	l.bound = netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())
	l.host, l.port = l.bound.Addr().String(), l.bound.Port()
	switch {
	case l.Advertise != "":
		host, port, err := net.SplitHostPort(l.Advertise)
		if err != nil {
			host, port = strings.Trim(l.Advertise, "[]"), strconv.Itoa(int(l.port))
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || host == "" {
			return fmt.Errorf("listener %s: %q is no host and port to advertise", l.Name, l.Advertise)
		}
		l.host, l.port = host, uint16(n)
	case l.bound.Addr().IsUnspecified():
		l.host = outward(l.bound.Addr()).String()
	}
	at := net.JoinHostPort(l.host, strconv.Itoa(int(l.port)))
	l.via = fmt.Appendf(nil, "Via: SIP/2.0/%s %s;branch=", transportTexts[l.Transport], at)
	l.uri = []byte(at)
	switch l.Transport {
	case guard.UDP:
	case guard.WSS: // RFC 7118 section 5.2 knows one transport for URIs
		l.uri = append(l.uri, ";transport=ws"...)
	default:
		l.uri = fmt.Appendf(l.uri, ";transport=%s", l.Transport)
	}
	return nil
}

// outward is the address that this machine shows to others: the one that the
// kernel would send from. Connecting a UDP socket sends nothing.
func outward(wildcard netip.Addr) netip.Addr {
	network, far, here := "udp4", "192.0.2.1:5060", netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if wildcard.Is6() {
		network, far, here = "udp6", "[2001:db8::1]:5060", netip.IPv6Loopback()
	}
	c, err := net.Dial(network, far)
	if err != nil {
		return here
	}
	defer c.Close()
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return here
}

// ours tells whether a host and port in a URI or Via mean us.
func (p *Proxy) ours(m *index.Message, host index.Span, port uint16) bool {
	text := strings.Trim(m.Text(host), "[]")
	if text == "" {
		return false
	}
	near := false // a listener has the port
	for _, l := range p.listeners {
		at := portOr(port, l)
		if at == l.port && strings.EqualFold(text, l.host) {
			return true
		}
		near = near || at == l.bound.Port()
	}
	if c := text[len(text)-1]; !near || (c < '0' || c > '9') && !strings.Contains(text, ":") {
		return false // an address ends in a digit
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	a = a.Unmap()
	for _, l := range p.listeners {
		if portOr(port, l) == l.bound.Port() && (a == l.bound.Addr() || l.bound.Addr().IsUnspecified() && p.interfaces[a]) {
			return true
		}
	}
	return false
}

// portOr is a port, or the one that a URI without one means at a listener.
func portOr(port uint16, l *listener) uint16 {
	return cmp.Or(port, l.Transport.Port())
}

// ownAddresses are the addresses of this machine, for listeners on all of them.
func ownAddresses() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return out // then only configured addresses are ours
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out[ip.Unmap()] = true
			}
		}
	}
	return out
}
