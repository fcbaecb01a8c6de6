package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
)

// acceptAll accepts the connections of one listener until it closes.
func (w *Wire) acceptAll(ctx context.Context, l *listener) {
	for {
		n, err := l.stream.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			w.count.drop(ReceiveFailed)
			w.log.Debug("a connection could not be accepted", "listener", l.Name, "error", err)
			if !sleep(ctx, pause) {
				return
			}
			continue
		}
		w.accept(l, n)
	}
}

// accept takes a connection in, if the screen and the limits let it.
func (w *Wire) accept(l *listener, n net.Conn) {
	f := Flow{Listener: l.number, Transport: l.Transport, Remote: addrPort(n.RemoteAddr()), Local: addrPort(n.LocalAddr())}
	if w.screen != nil && !w.screen.Connection(f.Remote, f.Local, w.now()) {
		w.turnAway(f, n, Screened)
		return
	}
	c := w.newConn(f)
	c.net, c.source = n, site(f.Remote.Addr())
	if !w.admit(c) {
		w.turnAway(f, n, TooMany)
		return
	}
	w.count.accepted.Add(1)
	go func() {
		defer w.tasks.Done()
		defer w.gone(c)
		if l.server != nil && !c.agree(tls.Server(n, l.server)) {
			return
		}
		var early []byte
		if c.web() {
			var ok bool
			if early, ok = c.upgrade(l); !ok {
				return
			}
		}
		c.serve(early)
	}()
}

// turnAway closes a connection with a reset: the kernel keeps nothing of it.
func (w *Wire) turnAway(f Flow, n net.Conn, r Reason) {
	w.count.drop(r)
	w.refused(f, r)
	if t, ok := n.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // else it closes in the slow way
	}
	_ = n.Close() // it is going anyway
}

// admit takes a connection into the tables and adds it to tasks, if there is room.
func (w *Wire) admit(c *conn) bool {
	silent, ok := w.enter(c)
	if silent != nil {
		silent.refuse(Displaced, errDisplaced)
	}
	return ok
}

// enter is admit; a connection that gave way for it is to be closed.
func (w *Wire) enter(c *conn) (silent *conn, ok bool) {
	now := w.now()
	c.heard.Store(now.UnixNano())
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running || w.sources[c.source] >= w.limits.PerSource {
		return nil, false
	}
	if w.accepted >= w.limits.Connections {
		if silent, ok = w.displace(now); !ok {
			return nil, false
		}
	}
	w.accepted++
	w.sources[c.source]++
	w.conns[c.flow.Conn], c.counted = c, true
	w.tasks.Add(1)
	return silent, true
}

// release makes room for another connection of the same source; mu is held.
func (w *Wire) release(c *conn) {
	if !c.counted {
		return
	}
	c.counted = false
	w.accepted--
	if w.sources[c.source]--; w.sources[c.source] == 0 {
		delete(w.sources, c.source)
	}
}

// site is whose connections count together: an IPv4 address, an IPv6 /64.
func site(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // always within the address
	return p
}

// agree makes an accepted connection one with TLS.
func (c *conn) agree(t *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(c.ctx, c.wire.limits.Handshake)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		c.refuse(BadHandshake, err)
		return false
	}
	c.attach(t)
	return true
}
