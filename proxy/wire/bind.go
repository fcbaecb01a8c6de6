package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"ringfence/guard"
)

// bind opens the sockets of l; others are all listeners, which decide whether a
// wildcard takes both families.
func (l *listener) bind(others []Listener, in *inherited, limits Limits) error {
	if packets, stream := in.give(l); packets != nil || stream != nil {
		return l.adopt(packets, stream, limits)
	}
	if l.Transport != guard.UDP {
		stream, err := (&net.ListenConfig{}).Listen(context.Background(), l.network("tcp", others), l.Address.String())
		if err != nil {
			return l.bindError(err)
		}
		l.stream, l.local = stream, addrPort(stream.Addr())
		return nil
	}
	network, n := l.network("udp", others), max(1, l.Sockets)
	l.local = l.Address
	if n > 1 && l.Address.Port() != 0 {
		// SO_REUSEPORT would share the address with another program without a word:
		// bind once without it.
		c, err := (&net.ListenConfig{}).ListenPacket(context.Background(), network, l.Address.String())
		if err != nil {
			return l.bindError(err)
		}
		_ = c.Close() // it was only asked whether it is free
	}
	for range n {
		s, err := newPacketSocket(network, l.local, n > 1, limits)
		if err != nil {
			return l.bindError(err)
		}
		l.packets, l.local = append(l.packets, s), s.local
	}
	return nil
}

// adopt uses sockets that somebody else has opened.
func (l *listener) adopt(packets []*net.UDPConn, stream *net.TCPListener, limits Limits) error {
	l.local = netip.AddrPortFrom(l.Address.Addr().Unmap(), l.Address.Port())
	if stream != nil {
		l.stream = stream
		return nil
	}
	for _, c := range packets {
		s, err := adoptPacketSocket(c, l.Address, limits)
		if err != nil {
			return l.bindError(err)
		}
		l.packets = append(l.packets, s)
	}
	return nil
}

// network is the name that package net wants: "udp" and "tcp" take both families
// at a wildcard, with a digit they take one.
func (l *listener) network(name string, others []Listener) string {
	if l.Address.Addr().Unmap().Is4() {
		return name + "4"
	}
	for _, o := range others {
		if o.Transport.Stream() == l.Transport.Stream() && o.Address.Port() == l.Address.Port() &&
			l.Address.Port() != 0 && o.Address.Addr().Unmap().Is4() {
			return name + "6"
		}
	}
	return name
}

// bindError says in one line what is wrong and what can be done.
func (l *listener) bindError(err error) error {
	family, proto, port := l.Transport, "t", l.Address.Port()
	if l.Transport == guard.UDP {
		proto = "u"
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s %s is taken by another socket: `ss -%slnp sport = :%d` shows whose; stop that or choose another port: %w",
			family, l.Address, proto, port, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s is no address of this machine: `ip address` shows those that are: %w",
			family, l.Address, syscall.EADDRNOTAVAIL)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s %s needs the capability CAP_NET_BIND_SERVICE; or choose a port above 1023: %w",
			family, l.Address, syscall.EACCES)
	}
	return fmt.Errorf("%s %s cannot be opened: %w", family, l.Address, err)
}

// stopReading makes the readers of datagrams and the accepters return.
func (w *Wire) stopReading() {
	for _, l := range w.listeners {
		for _, s := range l.packets {
			_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed socket, which is as good
		}
		if l.stream != nil {
			_ = l.stream.Close() // nothing is written to it
		}
	}
}

func (w *Wire) closeSockets() {
	for _, l := range w.listeners {
		for _, s := range l.packets {
			_ = s.conn.Close() // nothing is written later than this
		}
		if l.stream != nil {
			_ = l.stream.Close() // closed twice at worst
		}
	}
}

// addrPort is the address of a UDP or TCP socket, unmapped; the zero one for others.
func addrPort(a net.Addr) netip.AddrPort {
	var out netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		out = a.AddrPort()
	case *net.TCPAddr:
		out = a.AddrPort()
	}
	return netip.AddrPortFrom(out.Addr().Unmap(), out.Port())
}
