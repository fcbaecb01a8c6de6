package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"ringfence/guard"
)

// A farEnd is what connections of ours are shared by (RFC 5923 section 3): one
// listener, one address, one name.
type farEnd struct {
	listener uint16
	remote   netip.AddrPort
	name     string
}

// Connect gives the flow to a far end over a listener. On UDP that is an address
// pair. For streams it is a connection of ours that is up already, or a new one
// that is being made: what is sent meanwhile waits in its queue, and Closed
// tells if it cannot be made. It does not wait. ErrFull means that there are as
// many as Limits.Outbound, ErrStopped that Run is not under way.
func (w *Wire) Connect(number uint16, remote netip.AddrPort, serverName string) (Flow, error) {
	if int(number) >= len(w.listeners) {
		return Flow{}, errors.New("there is no such listener")
	}
	l := w.listeners[number]
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	f := Flow{Listener: number, Transport: l.Transport, Remote: remote, Local: l.local}
	switch l.Transport {
	case guard.UDP:
		return f, nil
	case guard.WS, guard.WSS:
		return f, fmt.Errorf("connect to %s: nobody is reached over WebSocket but who has come", remote)
	case guard.TCP, guard.TLS:
	}
	far := farEnd{number, remote, serverName}
	if c := w.connected(far); c != nil {
		return c.flow, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.outbound[far]; c != nil && c.ctx.Err() == nil {
		return c.flow, nil // made since
	}
	if !w.running {
		return f, ErrStopped
	}
	if len(w.outbound) >= w.limits.Outbound {
		w.count.drop(TooMany)
		return f, ErrFull
	}
	c := w.newConn(f)
	c.ours, c.far = true, far
	w.outbound[far], w.conns[c.flow.Conn] = c, c
	w.tasks.Go(func() {
		defer w.gone(c)
		if c.dial(l, serverName) {
			w.count.opened.Add(1)
			c.serve(nil)
		}
	})
	return c.flow, nil
}

// connected is the connection of ours to a far end, nil if there is none that
// takes messages.
func (w *Wire) connected(far farEnd) *conn {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if c := w.outbound[far]; c != nil && c.ctx.Err() == nil {
		return c
	}
	return nil
}

// dial makes a connection of ours, unless it is closed meanwhile.
func (c *conn) dial(l *listener, serverName string) bool {
	ctx, cancel := context.WithTimeout(c.ctx, c.wire.limits.Connect)
	defer cancel()
	n, err := l.dial(ctx, c.flow.Remote, serverName)
	if err != nil {
		if c.close(err) {
			c.wire.count.drop(ConnectFailed)
		}
		return false
	}
	c.attach(n)
	return true
}

// dial connects from the address of the listener, with TLS if the listener has it.
func (l *listener) dial(ctx context.Context, to netip.AddrPort, serverName string) (net.Conn, error) {
	d := net.Dialer{}
	if a := l.local.Addr(); !a.IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
	}
	n, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil || l.client == nil {
		return n, err
	}
	config := l.client.Clone()
	config.ServerName = serverName
	t := tls.Client(n, config)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = n.Close() // the first error says more
		return nil, err
	}
	return t, nil
}
