package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
)

// A farEnd is what a connection of ours is found under.
type farEnd struct {
	listener   uint16
	to         netip.AddrPort
	serverName string
}

// Connect gives the flow to a far end at once, over a connection that is up, or
// is being made by now: Send queues up to Limits.WriteQueue octets until it is.
// If it cannot be made the handler's Closed says so, maybe before Connect has
// returned, and what was queued is lost. There is one connection for each
// listener, address and server name. Listener gives transport, source address
// and certificate; its address is the flow's Local. serverName is whom the
// certificate of the far end must name (RFC 5922 section 7.2); "" means the
// address. ErrFull tells that the limits leave no room, ErrStopped that Run is
// not running.
func (w *Wire) Connect(listener uint16, to netip.AddrPort, serverName string) (Flow, error) {
	c, err := w.connect(listener, to, serverName)
	if err != nil {
		return Flow{}, fmt.Errorf("connect to %s: %w", to, err)
	}
	return c.flow, nil
}

// Dial is Connect for those who can wait until the connection is up.
func (w *Wire) Dial(ctx context.Context, listener uint16, to netip.AddrPort, serverName string) (Flow, error) {
	c, err := w.connect(listener, to, serverName)
	if err != nil {
		return Flow{}, fmt.Errorf("connect to %s: %w", to, err)
	}
	select {
	case <-ctx.Done():
		return Flow{}, fmt.Errorf("connect to %s: %w", to, ctx.Err())
	case <-c.up:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return Flow{}, fmt.Errorf("connect to %s: %w", to, c.failed)
	}
	return c.flow, nil
}

func (w *Wire) connect(listener uint16, to netip.AddrPort, serverName string) (*conn, error) {
	if int(listener) >= len(w.listeners) || w.listeners[listener].stream == nil {
		return nil, fmt.Errorf("listener %d keeps no connections", listener)
	}
	if !to.IsValid() {
		return nil, fmt.Errorf("%s is no address", to)
	}
	l, far := w.listeners[listener], farEnd{listener, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), serverName}
	w.mu.RLock()
	c := w.outbound[far]
	w.mu.RUnlock()
	if c != nil {
		return c, nil
	}
	c = w.newConn(l, far.to, l.local)
	c.far = far
	ctx, cancel := context.WithTimeout(context.Background(), w.limits.Connect)
	c.cancel = cancel
	w.mu.Lock()
	defer w.mu.Unlock()
	if other := w.outbound[far]; other != nil {
		cancel()
		return other, nil
	}
	if err := w.addLocked(c); err != nil {
		cancel()
		w.count.drop(TooMany)
		return nil, err
	}
	go func() {
		defer w.tasks.Done()
		defer cancel()
		c.end(c.dial(ctx, l))
	}()
	return c, nil
}

// dial is the life of a connection of ours.
func (c *conn) dial(ctx context.Context, l *listener) error {
	err := c.open(ctx, l)
	if err != nil {
		c.wire.count.drop(ConnectFailed)
		c.close(err)
		close(c.up)
		return err
	}
	c.wire.count.opened.Add(1)
	close(c.up)
	return c.read(true)
}

// open makes the connection; ctx ends the wait for TCP early.
func (c *conn) open(ctx context.Context, l *listener) error {
	d := net.Dialer{}
	if a := l.local.Addr(); !a.IsUnspecified() {
		d.LocalAddr = &net.TCPAddr{IP: a.AsSlice(), Zone: a.Zone()}
	}
	tcp, err := d.DialContext(ctx, "tcp", c.far.to.String())
	if err != nil {
		return err
	}
	if !c.hold(tcp) {
		return ErrStopped
	}
	if l.client == nil {
		c.opened(tcp)
		return nil
	}
	config := l.client.Clone()
	if config.ServerName = c.far.serverName; config.ServerName == "" {
		config.ServerName = c.far.to.Addr().WithZone("").String()
	}
	secure := tls.Client(tcp, config)
	if err := c.handshake(secure, c.wire.limits.Handshake); err != nil {
		return err
	}
	c.opened(secure)
	return nil
}
