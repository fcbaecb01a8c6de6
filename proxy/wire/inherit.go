package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"ringfence/guard"
)

// A process that takes over sockets which stay open meanwhile loses nothing:
// what arrives while nobody reads waits in the kernel (systemd.socket(5) keeps
// such sockets).

// inherited are open sockets by what they are bound to.
type inherited struct {
	packets map[netip.AddrPort][]*net.UDPConn
	streams map[netip.AddrPort]*net.TCPListener
}

// inherit takes bound UDP and listening TCP sockets over; the files are closed.
func inherit(files []*os.File) (*inherited, error) {
	in := &inherited{packets: map[netip.AddrPort][]*net.UDPConn{}, streams: map[netip.AddrPort]*net.TCPListener{}}
	for _, f := range files {
		err := in.take(f)
		_ = f.Close() // in.take has made a copy
		if err != nil {
			in.close()
			return nil, fmt.Errorf("inherited socket %s: %w", f.Name(), err)
		}
	}
	return in, nil
}

func (in *inherited) take(f *os.File) error {
	if p, err := net.FilePacketConn(f); err == nil {
		c, ok := p.(*net.UDPConn)
		if !ok {
			return errors.Join(errors.New("it is neither UDP nor TCP"), p.Close())
		}
		at := addrPort(c.LocalAddr())
		in.packets[at] = append(in.packets[at], c)
		return nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return errors.New("it is neither a bound UDP socket nor a listening TCP one")
	}
	t, ok := l.(*net.TCPListener)
	if !ok {
		return errors.Join(errors.New("it is neither UDP nor TCP"), l.Close())
	}
	in.streams[addrPort(t.Addr())] = t
	return nil
}

// give is what l is to use; nil if nothing is bound to its address.
func (in *inherited) give(l *listener) (packets []*net.UDPConn, stream *net.TCPListener) {
	at := netip.AddrPortFrom(l.Address.Addr().Unmap(), l.Address.Port())
	if l.Transport == guard.UDP {
		packets = in.packets[at]
		delete(in.packets, at)
		return packets, nil
	}
	stream = in.streams[at]
	delete(in.streams, at)
	return nil, stream
}

// left tells of a socket that no listener wanted: the configuration and who
// opened the sockets do not agree.
func (in *inherited) left() error {
	for at := range in.packets {
		return fmt.Errorf("an inherited socket is bound to udp %s, and no listener is: the configuration and the socket unit must name the same addresses", at)
	}
	for at := range in.streams {
		return fmt.Errorf("an inherited socket listens on tcp %s, and no listener does: the configuration and the socket unit must name the same addresses", at)
	}
	return nil
}

func (in *inherited) close() {
	for _, all := range in.packets {
		for _, c := range all {
			_ = c.Close() // nothing was done with it
		}
	}
	for _, l := range in.streams {
		_ = l.Close() // nothing was done with it
	}
}
