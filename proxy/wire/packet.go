package wire

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"ringfence/guard"
)

// A packetSocket is one UDP socket.
type packetSocket struct {
	conn   *net.UDPConn
	raw    syscall.RawConn
	local  netip.AddrPort
	worker int
	six    bool // an IPv6 socket, where IPv4 addresses are mapped
	any    bool // at a wildcard: each datagram says what address it came to

	overflow overflow
}

func newPacketSocket(network string, at netip.AddrPort, shared bool, limits Limits) (*packetSocket, error) {
	s := &packetSocket{any: at.Addr().IsUnspecified()}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = s.prepare(int(fd), shared, limits) })
		return errors.Join(err, failed)
	}}
	c, err := config.ListenPacket(context.Background(), network, at.String())
	if err != nil {
		return nil, err
	}
	s.conn = c.(*net.UDPConn)
	s.local = addrPort(c.LocalAddr())
	s.six = !at.Addr().Unmap().Is4()
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

// adoptPacketSocket prepares a socket that somebody else has bound.
func adoptPacketSocket(c *net.UDPConn, at netip.AddrPort, limits Limits) (*packetSocket, error) {
	s := &packetSocket{conn: c, local: addrPort(c.LocalAddr()), any: at.Addr().IsUnspecified(), six: !at.Addr().Unmap().Is4()}
	var err error
	if s.raw, err = c.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	var failed error
	err = s.raw.Control(func(fd uintptr) { failed = s.prepare(int(fd), false, limits) })
	if err = errors.Join(err, failed); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

// pause is how long a reader or an accepter waits after an error that is none of
// a single datagram's or connection's, so that it never spins.
const pause = 10 * time.Millisecond

// readPackets gives the datagrams of one socket to the handler until it closes.
func (w *Wire) readPackets(ctx context.Context, l *listener, s *packetSocket) {
	r := newReceiver(s, w.limits)
	worker, ring := s.worker, w.workers[s.worker].ring
	var b busyness
	for {
		busy := b.busy() && ctx.Err() == nil && w.watchers.enter()
		n, err := r.receive(busy)
		if busy {
			w.watchers.leave()
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			w.count.drop(ReceiveFailed)
			w.log.Debug("datagrams could not be read", "listener", l.Name, "error", err)
			if !sleep(ctx, pause) {
				return
			}
			continue
		}
		at := w.now()
		b.batch(at)
		w.handlePackets(l, r, n, worker, at)
		_ = ring.flush() // what could not be sent is counted
	}
}

// handlePackets takes the n datagrams that r holds.
func (w *Wire) handlePackets(l *listener, r *receiver, n, worker int, at time.Time) {
	given := uint64(0)
	for i := range n {
		d := r.datagram(i)
		switch {
		case d.cut:
			w.count.drop(TooLong)
		case isKeepAlive(d.payload):
			w.count.keepAlives.Add(1)
		case w.screen != nil && !w.screen.Datagram(d.remote, d.local, d.payload, at):
			w.count.drop(Screened)
		default:
			given++
			f := Flow{Listener: l.number, Transport: guard.UDP, Remote: d.remote, Local: d.local}
			w.handler.Receive(worker, f, d.payload, at)
		}
	}
	w.count.received[guard.UDP].Add(given)
	w.handler.Flushed(worker)
}

// A datagram is valid until the next receive.
type datagram struct {
	payload       []byte
	remote, local netip.AddrPort
	cut           bool // it was longer than its limit
}

// isKeepAlive tells the datagrams that phones send to keep a binding of a NAT
// open: nothing, line breaks, or zeros.
func isKeepAlive(b []byte) bool {
	if len(b) > 4 {
		return false
	}
	for _, c := range b {
		if c != '\r' && c != '\n' && c != 0 {
			return false
		}
	}
	return true
}

// sleep waits and tells whether ctx still holds.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
