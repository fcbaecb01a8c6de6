package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// A conn is one connection, accepted or ours. The goroutine that serves it makes
// its socket, reads and closes it; another writes. Wire.tasks joins both.
type conn struct {
	wire    *Wire
	flow    Flow
	ours    bool
	source  netip.Prefix // what an accepted connection counts against
	counted bool         // that it still does; guarded by wire.mu
	far     farEnd       // of a connection of ours
	standing

	ctx  context.Context // ends when the connection is to close, with the reason
	end  context.CancelCauseFunc
	wake chan struct{} // holds one element when there is something to write

	mu      sync.Mutex // guards what follows, and that deadlines of a closing connection stay in the past
	net     net.Conn   // nil while it is being made; set by the serving goroutine only
	out     []byte     // waits to be written
	spare   []byte     // the buffer of the write before, for the next one
	writing int        // octets of the write under way
	served  bool       // it has a reader and a writer
	leaving error      // why the connection closes once nothing waits; nil: it stays
	by      time.Time  // when one that leaves closes at the latest
}

// web tells whether it is a WebSocket.
func (c *conn) web() bool { return c.flow.Transport.Web() }

func (w *Wire) newConn(f Flow) *conn {
	f.Conn = w.lastConn.Add(1)
	c := &conn{wire: w, flow: f, wake: make(chan struct{}, 1)}
	c.ctx, c.end = context.WithCancelCause(context.Background())
	return c
}

// queue copies a message to what waits to be written.
func (c *conn) queue(msg []byte) error {
	if c.web() {
		return c.queueFrame(opcodeOf(msg), msg)
	}
	return c.add(msg, func(dst []byte) []byte { return append(dst, msg...) })
}

// queueFrame queues a frame of a WebSocket.
func (c *conn) queueFrame(opcode byte, payload []byte) error {
	return c.add(payload, func(dst []byte) []byte { return appendWebFrame(dst, opcode, payload) })
}

func (c *conn) add(msg []byte, write func(dst []byte) []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil || c.leaving != nil {
		return ErrClosed
	}
	if len(c.out)+c.writing+len(msg) > c.wire.limits.WriteQueue {
		c.wire.count.drop(WriteFull)
		return ErrFull
	}
	c.out = write(c.out)
	c.look()
	return nil
}

// look tells the writer to.
func (c *conn) look() {
	select {
	case c.wake <- struct{}{}:
	default: // it is to look anyway
	}
}

// close makes the connection close and tells whether it was this call that did.
// It does not wait: reading, writing, dialling or agreeing on TLS end at once,
// and then the serving goroutine closes the socket.
func (c *conn) close(why error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.end(why)
	if c.net != nil {
		_ = c.net.SetDeadline(time.Unix(1, 0)) // fails on a socket that is broken already
	}
	return true
}

// refuse closes the connection for what it sent or did not send.
func (c *conn) refuse(r Reason, err error) {
	if c.close(err) {
		c.wire.count.drop(r)
		c.wire.refused(c.flow, r)
	}
}

// attach gives the connection its socket, or the TLS session on it.
func (c *conn) attach(n net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.net = n
	if c.ctx.Err() != nil {
		_ = n.SetDeadline(time.Unix(1, 0)) // as in close
	}
}

// readBy says until when the next read may take, and whether there is to be one.
func (c *conn) readBy(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx.Err() == nil && c.leaving == nil && c.net.SetReadDeadline(t) == nil
}

// writeBy is readBy of writing.
func (c *conn) writeBy(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx.Err() == nil && c.net.SetWriteDeadline(t) == nil
}

// serve reads and writes until the connection closes. early is what it has sent
// already.
func (c *conn) serve(early []byte) {
	c.mu.Lock()
	c.served = true
	c.mu.Unlock()
	var writer sync.WaitGroup
	writer.Go(c.write)
	c.read(early)
	writer.Wait()
}

// write writes what waits until the connection closes.
func (c *conn) write() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.wake:
		}
		out, ok := c.waiting()
		if !ok {
			return
		}
		if _, err := c.net.Write(out); err != nil {
			if c.close(err) && errors.Is(err, os.ErrDeadlineExceeded) {
				c.wire.count.drop(WriteTimeout)
			}
			return
		}
		if !c.written(out) {
			return
		}
	}
}

// waiting takes what waits, and is not true when the connection is to close.
func (c *conn) waiting() ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := time.Now().Add(c.wire.limits.Write)
	if c.leaving != nil && c.by.Before(by) {
		by = c.by
	}
	if c.ctx.Err() != nil || c.net.SetWriteDeadline(by) != nil {
		return nil, false
	}
	out := c.out
	c.out, c.spare, c.writing = c.spare[:0], nil, len(out)
	return out, true
}

// written gives back the buffer of a write, unless a burst made it large. It is
// not true when that was the last.
func (c *conn) written(out []byte) bool {
	c.mu.Lock()
	c.writing = 0
	if cap(out) <= 4*usualRead {
		c.spare = out
	}
	why, last := c.leaving, len(c.out) == 0
	c.mu.Unlock()
	if why != nil && last {
		c.endWriting(why)
		return false
	}
	return true
}

// farewell is how long a TLS session has to say that it ends, and a WebSocket when
// we stop.
const farewell = 100 * time.Millisecond

// hangUp closes the socket. A TLS session says so first, RFC 8446 section 6.1,
// but does not wait for a far end that reads nothing.
func (c *conn) hangUp() {
	if c.net == nil {
		return
	}
	if t, ok := c.net.(*tls.Conn); ok {
		limit := time.AfterFunc(farewell, func() { _ = t.NetConn().Close() }) // closed twice at worst
		defer limit.Stop()
	}
	_ = c.net.Close() // it is going anyway
}

// gone closes the socket, takes the connection out of the tables and tells the
// handler.
func (w *Wire) gone(c *conn) {
	c.close(ErrClosed)
	c.hangUp()
	w.mu.Lock()
	delete(w.conns, c.flow.Conn)
	w.release(c)
	if w.outbound[c.far] == c {
		delete(w.outbound, c.far)
	}
	w.mu.Unlock()
	w.log.Debug("connection closed", "flow", c.flow, "reason", context.Cause(c.ctx))
	w.handler.Closed(c.flow, c.net != nil)
}
