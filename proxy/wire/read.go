package wire

import (
	"errors"
	"io"
	"os"
	"time"
)

// A cutter takes the whole frames that the octets of a connection begin with.
type cutter interface {
	// frames takes them and tells their length.
	frames(c *conn, p *patience, b []byte) (used int, err error)
	// need is how long the frame at hand is, 0 while that is not known.
	need() int
	// open tells whether it keeps part of a message.
	open() bool
}

// read gives the connection's messages to the handler until it closes. early is
// what it has sent already.
func (c *conn) read(early []byte) {
	w := c.wire
	var f cutter = &framer{header: w.limits.Header, message: w.limits.Message}
	if c.web() {
		f = &webFramer{message: w.limits.Message}
	}
	p := newPatience(&w.limits, c.ours, c.web(), time.Now())
	buf := append(make([]byte, 0, usualRead), early...)
	for {
		used, err := f.frames(c, &p, buf)
		if used > 0 {
			c.heard.Store(w.now().UnixNano())
		}
		switch {
		case err != nil && c.web():
			c.part(err)
			return
		case err != nil:
			c.refuse(BadFraming, err)
			return
		}
		buf = keep(buf, used, f.need())
		part := len(buf) > 0 || f.open()
		if !c.readBy(p.deadline(part, time.Now())) {
			c.drain(ErrClosed)
			return
		}
		n, err := c.net.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n == 0 && err != nil && !c.asks(err, &p, part) {
			c.readFailed(err, &p, part)
			return
		}
	}
}

func (f *framer) need() int { return f.length }

func (f *framer) open() bool { return false } // a message stays in the buffer until it is whole

// frames takes the whole frames that b begins with and tells their length.
func (f *framer) frames(c *conn, p *patience, b []byte) (int, error) {
	for used := 0; ; {
		kind, n, err := f.next(b[used:])
		switch {
		case err != nil:
			return used, err
		case kind == frameNone:
			return used, nil
		case kind == framePing:
			c.wire.count.keepAlives.Add(1)
			_ = c.queue(headEnd[:2]) // RFC 5626 section 4.4.1; a full queue has better to do
		case kind == frameMessage:
			c.wire.handleMessage(c.flow, b[used:used+n:used+n])
		}
		used += n
		p.frame(kind, time.Now())
	}
}

// asks tells whether a read only failed because a WebSocket said nothing for
// Limits.Ping, and asks its far end whether it is there.
func (c *conn) asks(err error, p *patience, part bool) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || part || !p.ask(time.Now()) {
		return false
	}
	_ = c.queueFrame(webPing, nil) // who takes nothing will not answer either
	return true
}

// readFailed closes the connection, or lets it linger when its far end only
// says that it sends no more. A WebSocket says that with a close frame.
func (c *conn) readFailed(err error, p *patience, part bool) {
	late := errors.Is(err, os.ErrDeadlineExceeded) && c.ctx.Err() == nil
	switch {
	case c.leaves():
	case late && (part || p.unheard()):
		c.tooSlow(err)
	case late && c.web():
		c.part(errWebSilent)
	case errors.Is(err, io.EOF) && !c.ours && !c.web():
		c.linger(time.Until(p.message.Add(c.wire.limits.Linger)))
	}
	c.close(err)
}

// linger waits for the answers to what came last, RFC 9293 section 3.6.1. A
// connection that lingers counts against the limit of those alone, so that many
// short ones do not keep their source from coming back.
func (c *conn) linger(d time.Duration) {
	if d <= 0 || !c.wire.mayLinger(c) {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
	c.wire.lingering.Add(-1)
}

func (w *Wire) mayLinger(c *conn) bool {
	if int(w.lingering.Add(1)) > w.limits.Lingering {
		w.lingering.Add(-1)
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(c)
	return true
}

// handleMessage gives one message to the handler; connections share workers,
// one at a time.
func (w *Wire) handleMessage(f Flow, msg []byte) {
	number := w.firstSlot + int(f.Conn%uint64(len(w.workers)-w.firstSlot))
	slot := w.workers[number]
	slot.mu.Lock()
	defer slot.mu.Unlock()
	w.count.received[f.Transport].Add(1)
	w.handler.Receive(number, f, msg, w.now())
	w.handler.Flushed(number)
	_ = slot.ring.flush() // what could not be sent is counted
}

// usualRead is room for the messages of a phone; a longer one gets more while
// it lasts.
const usualRead = 4096

// keep moves what was not used to the front and makes room for more: for the
// message at hand if its length is known, and never less than one octet.
func keep(buf []byte, used, length int) []byte {
	rest := buf[used:]
	room := usualRead
	for room <= len(rest) {
		room *= 2
	}
	room = max(room, length)
	if room > cap(buf) || cap(buf) > 4*room {
		return append(make([]byte, 0, room), rest...)
	}
	return append(buf[:0], rest...)
}
