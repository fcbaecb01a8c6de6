package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A conn is one TCP or TLS connection, or one that is being made.
type conn struct {
	wire   *Wire
	flow   Flow
	worker int // one of the stream workers
	// source is what an accepted connection is counted under, far what one of ours
	// is found under; the other is zero.
	source netip.Prefix
	far    farEnd
	up     chan struct{} // closed once it is up, or never will be
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	nc      net.Conn   // nil while nothing may be written yet
	tcp     net.Conn   // its socket; below nc when that is TLS
	pending []byte     // waits to be written
	writing bool       // a goroutine writes
	failed  error      // why it is closed; nil while it is not
}

// Memory of a connection, octets: what a read begins with and what an idle one
// keeps.
const (
	readSize = 4096
	keepSize = 16384
)

// queue takes a message that is to be written, whole or not at all.
func (c *conn) queue(msg []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return ErrClosed
	}
	if len(c.pending)+len(msg) > c.wire.limits.WriteQueue {
		c.wire.count.drop(WriteFull)
		return ErrFull
	}
	c.pending = append(c.pending, msg...)
	c.wake()
	return nil
}

// wake starts the writer if there is something to write. The caller holds mu.
// The reader is one of the wire's tasks until failed is set, so the group
// cannot be joined before this.
func (c *conn) wake() {
	if c.nc == nil || c.writing || len(c.pending) == 0 {
		return
	}
	c.writing = true
	c.wire.tasks.Add(1)
	go c.write()
}

// write writes until nothing waits. A writer lives only that long: most
// connections are idle most of the time.
func (c *conn) write() {
	defer c.wire.tasks.Done()
	var spare []byte
	c.mu.Lock()
	for c.failed == nil && len(c.pending) > 0 {
		out := c.pending
		c.pending = spare[:0]
		c.mu.Unlock()
		err := c.nc.SetWriteDeadline(c.wire.now().Add(c.wire.limits.Write))
		if err == nil {
			_, err = c.nc.Write(out)
		}
		spare = out
		if err != nil {
			var slow net.Error
			if errors.As(err, &slow) && slow.Timeout() {
				c.wire.count.drop(WriteTimeout)
			}
			c.close(fmt.Errorf("write: %w", err))
		}
		c.mu.Lock()
	}
	c.writing = false
	if cap(c.pending) > keepSize {
		c.pending = nil
	}
	c.mu.Unlock()
}

// close ends the connection from any goroutine; the reader does the rest. The
// first reason stays.
func (c *conn) close(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return
	}
	c.failed = why
	c.pending = nil
	c.cancel()
	if c.tcp != nil {
		// Not the TLS connection: it would wait for the far end to take an alert, and
		// Content-Length tells a cut message without one.
		_ = c.tcp.Close() // the reader sees the end of it
	}
}

// hold gives the connection its socket, so that close can end it. Nothing is
// written before opened. It is false when the connection was closed meanwhile.
func (c *conn) hold(tcp net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		_ = tcp.Close() // nobody else has it
		return false
	}
	c.tcp = tcp
	return true
}

// opened lets what waited out over nc, which is TLS over the socket or itself.
func (c *conn) opened(nc net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc = nc
	c.wake()
}

// handshake agrees on TLS before the deadline.
func (c *conn) handshake(secure *tls.Conn, within time.Duration) error {
	if err := secure.SetDeadline(c.wire.now().Add(within)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	if err := secure.Handshake(); err != nil {
		c.wire.count.drop(BadHandshake)
		return fmt.Errorf("agree on TLS: %w", err)
	}
	return secure.SetDeadline(time.Time{})
}

// A reading is what the reader of a connection knows.
type reading struct {
	framer
	buf      []byte
	have     int       // octets in buf
	deadline time.Time // that is set
	began    time.Time // when the connection was there
	alive    time.Time // of the last message or keep-alive
	partial  time.Time // when the message at hand began; zero between messages
	greeted  bool      // a message came, or the connection is ours
}

// read gives what comes to the handler until the connection ends, and returns why.
func (c *conn) read(ours bool) error {
	w, now := c.wire, c.wire.now()
	r := &reading{
		framer: framer{header: w.limits.Header, message: w.limits.Message},
		buf:    make([]byte, readSize), began: now, alive: now, greeted: ours,
	}
	for {
		if err := c.setDeadline(r); err != nil {
			return err
		}
		n, err := c.nc.Read(r.buf[r.have:])
		if n > 0 {
			r.have += n
			if err := c.take(r); err != nil {
				c.refuse(BadFraming)
				return err
			}
		}
		if err != nil {
			var slow net.Error
			if errors.As(err, &slow) && slow.Timeout() && (!r.greeted || !r.partial.IsZero()) {
				c.refuse(TooSlow)
			}
			return fmt.Errorf("read: %w", err)
		}
	}
}

func (c *conn) refuse(why Reason) {
	c.wire.count.drop(why)
	c.wire.refused(c.flow, why)
}

// setDeadline says how long the far end may take for what is awaited. Only whole
// messages and keep-alives move it: an octet now and then does not.
func (c *conn) setDeadline(r *reading) error {
	l := &c.wire.limits
	until := r.alive.Add(l.Idle)
	if !r.partial.IsZero() {
		until = r.partial.Add(l.Partial)
	}
	// Keep-alives do not hold a place for somebody who never says anything.
	if first := r.began.Add(l.FirstMessage); !r.greeted && first.Before(until) {
		until = first
	}
	if until.Equal(r.deadline) {
		return nil
	}
	r.deadline = until
	return c.nc.SetReadDeadline(until)
}

// take handles the frames that are whole. The messages among them are one batch.
func (c *conn) take(r *reading) error {
	at, used := c.wire.now(), 0
	batch := false
	var failed error
	for failed == nil {
		kind, n, err := r.next(r.buf[used:r.have])
		if failed = err; err != nil || kind == frameNone {
			break
		}
		switch kind {
		case framePing:
			_ = c.queue(headEnd[:2]) // who does not read pongs misses them
			fallthrough
		case frameBlank:
			c.wire.count.keepAlives.Add(1)
		case frameMessage:
			if !batch {
				batch = true
				c.wire.workers[c.worker].mu.Lock()
			}
			r.greeted = true
			c.wire.count.received[c.flow.Transport].Add(1)
			c.wire.handler.Receive(c.worker, c.flow, r.buf[used:used+n:used+n], at)
		}
		used += n
		r.alive, r.partial = at, time.Time{}
	}
	if batch {
		k := c.wire.workers[c.worker]
		c.wire.handler.Flushed(c.worker)
		_ = k.flush() // what could not be sent is counted
		k.mu.Unlock()
	}
	if failed != nil {
		return failed
	}
	r.keep(used, at)
	return nil
}

// keep moves what is left to the front and makes room for the next read.
func (r *reading) keep(used int, at time.Time) {
	left := r.buf[used:r.have]
	if len(left) > 0 && r.partial.IsZero() {
		r.partial = at
	}
	switch {
	case len(left) == 0 && len(r.buf) > keepSize:
		r.buf = make([]byte, readSize)
	case len(left) == len(r.buf):
		grown := make([]byte, min(2*len(r.buf), max(r.message, r.header)+len(headEnd)))
		copy(grown, left)
		r.buf = grown
	default:
		copy(r.buf, left)
	}
	r.have = len(left)
}
