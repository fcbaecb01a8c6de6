package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"ringfence/guard"
)

// A conn is one connection, accepted or ours. Its reader is the goroutine that
// serves it; its writer is another. Both are joined through Wire.tasks.
type conn struct {
	wire   *Wire
	flow   Flow
	source netip.Prefix // what an accepted connection counts against
	far    farEnd       // of a connection of ours
	ours   bool

	mu     sync.Mutex // guards what follows
	net    net.Conn   // nil while it is being made
	out    []byte     // waits to be written
	spare  []byte     // the buffer of the write before, for the next one
	closed error
	wake   chan struct{} // holds one element when there is something to write or the connection closed
}

// A farEnd is what connections of ours are shared by (RFC 5923 section 3): one
// listener, one address, one name.
type farEnd struct {
	listener uint16
	remote   netip.AddrPort
	name     string
}

func (w *Wire) newConn(f Flow) *conn {
	f.Conn = w.lastConn.Add(1)
	return &conn{wire: w, flow: f, wake: make(chan struct{}, 1)}
}

// queue copies a message to what waits to be written.
func (c *conn) queue(msg []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return ErrClosed
	}
	if len(c.out)+len(msg) > c.wire.limits.WriteQueue {
		c.wire.count.drop(WriteFull)
		return ErrFull
	}
	c.out = append(c.out, msg...)
	c.signal()
	return nil
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close closes the connection; the first reason stands.
func (c *conn) close(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return
	}
	c.closed = why
	if c.net != nil {
		_ = c.net.Close() // it is going anyway
	}
	c.signal()
}

// attach gives a connection that was being made its socket.
func (c *conn) attach(n net.Conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return errors.Join(c.closed, n.Close())
	}
	c.net = n
	return nil
}

// write writes what waits until the connection closes.
func (c *conn) write() {
	for range c.wake {
		c.mu.Lock()
		out, done := c.out, c.closed != nil
		c.out, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		if done {
			return
		}
		if len(out) > 0 {
			_ = c.net.SetWriteDeadline(time.Now().Add(c.wire.limits.Write)) // the write itself fails if this does
			if _, err := c.net.Write(out); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					c.wire.count.drop(WriteTimeout)
				}
				c.close(err)
				return
			}
		}
		c.mu.Lock()
		c.spare = out
		c.mu.Unlock()
	}
}

// read gives the connection's messages to the handler until it closes. first is
// how long the first message may take; a message that began has Partial, a
// connection without one Idle.
func (c *conn) read(first time.Duration) {
	w := c.wire
	f := framer{header: w.limits.Header, message: w.limits.Message}
	number := w.firstSlot + int(c.flow.Conn)%(len(w.workers)-w.firstSlot) //nolint:gosec // a small number
	buf := make([]byte, 0, usualRead)
	idle, partial := time.Now().Add(first), time.Time{}
	for {
		from := 0
		for {
			kind, n, err := f.next(buf[from:])
			if err != nil {
				c.refuse(BadFraming, err)
				return
			}
			if kind == frameNone {
				break
			}
			c.take(kind, buf[from:from+n], number)
			from += n
			idle, partial = time.Now().Add(w.limits.Idle), time.Time{}
		}
		buf = keep(buf, from)
		deadline := idle
		if len(buf) > 0 {
			if partial.IsZero() {
				partial = time.Now().Add(w.limits.Partial)
			}
			deadline = partial
		}
		_ = c.net.SetReadDeadline(deadline) // the read itself fails if this does
		n, err := c.net.Read(buf[len(buf):cap(buf)])
		if n == 0 && err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && (len(buf) > 0 || first != w.limits.Idle) {
				c.refuse(TooSlow, err)
			}
			c.close(err)
			return
		}
		buf = buf[:len(buf)+n]
	}
}

// usualRead is room for the messages of a phone; a longer one gets more while
// it lasts.
const usualRead = 4096

// keep moves what is left to the front and makes room for more.
func keep(buf []byte, from int) []byte {
	rest := buf[from:]
	if len(rest) == 0 && cap(buf) > 4*usualRead {
		return make([]byte, 0, usualRead)
	}
	buf = append(buf[:0], rest...)
	if len(buf) == cap(buf) {
		buf = slices.Grow(buf, cap(buf))
	}
	return buf
}

// take answers a ping or hands a message over.
func (c *conn) take(kind frame, b []byte, number int) {
	switch kind {
	case framePing:
		c.wire.count.keepAlives.Add(1)
		_ = c.queue(headEnd[:2]) // RFC 5626 section 4.4.1; a full queue has better to do
	case frameMessage:
		c.wire.handleMessage(c.flow, b, number)
	}
}

func (c *conn) refuse(r Reason, err error) {
	c.wire.count.drop(r)
	c.wire.refused(c.flow, r)
	c.close(err)
}

// handleMessage gives one message to the handler; connections share workers,
// one at a time.
func (w *Wire) handleMessage(f Flow, msg []byte, number int) {
	slot := w.workers[number]
	slot.mu.Lock()
	defer slot.mu.Unlock()
	w.count.received[f.Transport].Add(1)
	w.handler.Receive(number, f, msg, w.now())
	w.handler.Flushed(number)
	_ = slot.ring.flush() // what could not be sent is counted
}

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
	no := func(r Reason) {
		w.count.drop(r)
		w.refused(f, r)
		if t, ok := n.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // nothing of it is kept
		}
		_ = n.Close() // it is going anyway
	}
	if w.screen != nil && !w.screen.Connection(f.Remote, f.Local, w.now()) {
		no(Screened)
		return
	}
	c := w.newConn(f)
	c.net = n
	c.source = site(f.Remote.Addr())
	w.mu.Lock()
	if !w.running || len(w.conns) >= w.limits.Connections || w.sources[c.source] >= w.limits.PerSource {
		w.mu.Unlock()
		no(TooMany)
		return
	}
	w.sources[c.source]++
	w.conns[c.flow.Conn] = c
	w.tasks.Add(1)
	w.mu.Unlock()
	w.count.accepted.Add(1)
	go func() {
		defer w.tasks.Done()
		defer w.gone(c)
		if l.server != nil {
			t := tls.Server(n, l.server)
			if !c.handshake(t, w.limits.Handshake) {
				return
			}
			c.mu.Lock()
			c.net = t
			c.mu.Unlock()
		}
		c.serve(w.limits.FirstMessage)
	}()
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

func (c *conn) handshake(t *tls.Conn, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		c.refuse(BadHandshake, err)
		return false
	}
	return true
}

// serve reads and writes until the connection closes.
func (c *conn) serve(first time.Duration) {
	var writer sync.WaitGroup
	writer.Go(c.write)
	c.read(first)
	writer.Wait()
}

// gone takes a closed connection out of the tables and tells the handler.
func (w *Wire) gone(c *conn) {
	c.close(ErrClosed)
	w.mu.Lock()
	delete(w.conns, c.flow.Conn)
	if c.ours {
		if w.outbound[c.far] == c {
			delete(w.outbound, c.far)
		}
	} else if w.sources[c.source]--; w.sources[c.source] <= 0 {
		delete(w.sources, c.source)
	}
	w.mu.Unlock()
	w.handler.Closed(c.flow)
}

// Connect gives the flow to a far end over a listener. On UDP that is an address
// pair. For streams it is a connection of ours that is up already, or a new one
// that is being made: what is sent meanwhile waits in its queue, and Closed
// tells if it cannot be made. It does not wait.
func (w *Wire) Connect(number uint16, remote netip.AddrPort, serverName string) (Flow, error) {
	if int(number) >= len(w.listeners) {
		return Flow{}, errors.New("there is no such listener")
	}
	l := w.listeners[number]
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	f := Flow{Listener: number, Transport: l.Transport, Remote: remote, Local: l.local}
	if l.Transport == guard.UDP {
		return f, nil
	}
	far := farEnd{number, remote, serverName}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.outbound[far]; c != nil {
		return c.flow, nil
	}
	if !w.running {
		return f, ErrStopped
	}
	if len(w.outbound) >= w.limits.Outbound || len(w.conns) >= w.limits.Connections {
		w.count.drop(TooMany)
		return f, ErrFull
	}
	c := w.newConn(f)
	c.ours, c.far = true, far
	w.outbound[far], w.conns[c.flow.Conn] = c, c
	w.tasks.Add(1)
	go func() {
		defer w.tasks.Done()
		defer w.gone(c)
		if w.dial(c, l, serverName) {
			w.count.opened.Add(1)
			c.serve(w.limits.Idle)
		}
	}()
	return c.flow, nil
}

// dial makes a connection of ours.
func (w *Wire) dial(c *conn, l *listener, serverName string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), w.limits.Connect)
	defer cancel()
	d := net.Dialer{}
	if a := l.local.Addr(); !a.IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
	}
	n, err := d.DialContext(ctx, "tcp", c.flow.Remote.String())
	if err == nil && l.client != nil {
		config := l.client.Clone()
		config.ServerName = serverName
		t := tls.Client(n, config)
		if err = t.HandshakeContext(ctx); err != nil {
			_ = n.Close() // the first error says more
		}
		n = t
	}
	if err == nil {
		err = c.attach(n)
	}
	if err != nil {
		w.count.drop(ConnectFailed)
		w.log.Debug("a connection could not be made", "to", c.flow.Remote, "error", err)
		c.close(err)
		return false
	}
	return true
}
