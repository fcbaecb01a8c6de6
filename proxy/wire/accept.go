package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
)

// acceptAll takes connections until the socket closes.
func (w *Wire) acceptAll(ctx context.Context, l *listener) {
	for {
		nc, err := l.stream.Accept()
		switch {
		case err == nil:
			w.accept(l, nc, addrPort(nc.RemoteAddr()), addrPort(nc.LocalAddr()))
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default: // out of descriptors, or gone before it was accepted
			w.count.drop(ReceiveFailed)
			w.log.Debug("a connection could not be accepted", "listener", l.Name, "error", err)
			if !sleep(ctx, pause) {
				return
			}
		}
	}
}

// accept takes a connection that the screen and the limits let in. Nothing is
// allocated for one that they do not.
func (w *Wire) accept(l *listener, tcp net.Conn, src, dst netip.AddrPort) {
	if w.screen != nil && !w.screen.Connection(src, dst, w.now()) {
		w.count.drop(Screened)
		reset(tcp)
		return
	}
	c := w.newConn(l, src, dst)
	c.source = sourceOf(src.Addr())
	if err := w.add(c); err != nil {
		w.count.drop(TooMany)
		c.cancel()
		reset(tcp)
		return
	}
	w.count.accepted.Add(1)
	go func() {
		defer w.tasks.Done()
		c.end(c.serve(l, tcp))
	}()
}

// serve is the life of an accepted connection.
func (c *conn) serve(l *listener, tcp net.Conn) error {
	if !c.hold(tcp) {
		return ErrStopped
	}
	nc := tcp
	if l.server != nil {
		secure := tls.Server(tcp, l.server)
		if err := c.handshake(secure, c.wire.limits.Handshake); err != nil {
			c.wire.refused(c.flow, BadHandshake)
			return err
		}
		nc = secure
	}
	c.opened(nc)
	return c.read(false)
}

func (w *Wire) newConn(l *listener, remote, local netip.AddrPort) *conn {
	number := w.lastConn.Add(1)
	slots := len(w.workers) - w.firstSlot
	return &conn{
		wire:   w,
		flow:   Flow{Listener: l.number, Transport: l.Transport, Remote: remote, Local: local, Conn: number},
		worker: w.firstSlot + int(number%uint64(slots)), //nolint:gosec // less than slots
		up:     make(chan struct{}),
		cancel: func() {},
	}
}

// add enters a connection, whose goroutine is the caller's to start, or tells
// which limit stands against it.
func (w *Wire) add(c *conn) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addLocked(c)
}

func (w *Wire) addLocked(c *conn) error {
	ours := c.far != farEnd{}
	switch {
	case !w.running:
		return ErrStopped
	case len(w.conns) >= w.limits.Connections,
		ours && len(w.outbound) >= w.limits.Outbound,
		!ours && w.sources[c.source] >= w.limits.PerSource:
		return ErrFull
	}
	w.conns[c.flow.Conn] = c
	if ours {
		w.outbound[c.far] = c
	} else {
		w.sources[c.source]++
	}
	w.tasks.Add(1)
	return nil
}

// end takes a connection out and tells the handler. Its goroutine calls it last.
func (c *conn) end(why error) {
	c.close(why)
	w := c.wire
	w.mu.Lock()
	delete(w.conns, c.flow.Conn)
	if c.far == (farEnd{}) {
		if w.sources[c.source]--; w.sources[c.source] == 0 {
			delete(w.sources, c.source)
		}
	} else {
		delete(w.outbound, c.far)
	}
	w.mu.Unlock()
	w.log.Debug("a connection ended", "flow", c.flow, "error", why)
	w.handler.Closed(c.flow)
}

// sourceOf is what connections are counted by: an IPv4 address, or the /64 that
// one IPv6 host can choose its addresses from, RFC 4291 section 2.5.4.
func sourceOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{} // of no address: they share one count
	}
	return p
}

// reset closes a connection without leaving the kernel anything to wait for.
func reset(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // then it ends in the ordinary way
	}
	_ = nc.Close() // likewise
}
