//go:build !linux

package wire

import (
	"errors"
	"net/netip"
	"syscall"

	"ringfence/guard"
)

// prepare has nothing to set: batches, shared addresses and the address that a
// datagram came to are Linux's.
func (s *packetSocket) prepare(_ int, shared bool, _ Limits) error {
	if shared {
		return errors.New("several sockets for one address are served on Linux only")
	}
	return nil
}

// kernelDrops is not told elsewhere.
func (s *packetSocket) kernelDrops() (n uint32, ok bool) { return 0, false }

// A receiver takes one datagram at a time.
type receiver struct {
	socket *packetSocket
	buffer []byte
	size   int
	last   datagram
}

func newReceiver(s *packetSocket, limits Limits) *receiver {
	return &receiver{socket: s, buffer: make([]byte, limits.Datagram+1), size: limits.Datagram}
}

func (r *receiver) receive(bool) (int, error) {
	n, from, err := r.socket.conn.ReadFromUDPAddrPort(r.buffer)
	if err != nil {
		return 0, err
	}
	r.last = datagram{
		payload: r.buffer[:min(n, r.size)], local: r.socket.local, cut: n > r.size,
		remote: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
	}
	return 1, nil
}

func (r *receiver) datagram(int) datagram { return r.last }

// A ring sends each datagram at once.
type ring struct {
	count *counters
	last  error
}

func newRing(w *Wire) *ring { return &ring{count: &w.count} }

func (r *ring) add(s *packetSocket, f Flow, msg []byte) {
	_, r.last = s.conn.WriteToUDPAddrPort(msg, f.Remote)
	switch {
	case r.last == nil:
		r.count.sent[guard.UDP].Add(1)
	case errors.Is(r.last, syscall.EMSGSIZE):
		r.count.drop(SendTooLong)
	default:
		r.count.drop(SendFailed)
	}
}

func (r *ring) flush() error {
	err := r.last
	r.last = nil
	return err
}
