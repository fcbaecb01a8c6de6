package wire

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"time"
	"unicode/utf8"
)

// A WebSocket ends with a close frame from each side, and then the server closes
// the connection (RFC 6455 section 7). Our frame is the last that we send: after it
// our side of the connection ends, and what still comes is thrown away until the
// far end closes too. To close at once would reset the connection and might take
// the frame away from a far end that had not read it.

// A webError is why a WebSocket closes, with the code that its far end is told.
type webError struct {
	code uint16
	text string
}

// Error is error's.
func (e *webError) Error() string { return e.text }

var (
	errWebReserved   = &webError{webProtocol, "a frame has reserved bits or an opcode that does not exist"}
	errWebUnmasked   = &webError{webProtocol, "a frame of a client is not masked"}
	errWebLength     = &webError{webProtocol, "a frame writes its length in more octets than it needs, or a negative one"}
	errWebControl    = &webError{webProtocol, "a control frame is in fragments or too long"}
	errWebFragments  = &webError{webProtocol, "the fragments of a message are out of order"}
	errWebLong       = &webError{webTooLong, "the message is longer than its limit"}
	errWebNotUTF8    = &webError{webNotText, "a text message or the reason of a close frame is not UTF-8"}
	errWebCloseFrame = &webError{webProtocol, "a close frame holds half a code or one that nobody may send"}
	errWebSilent     = &webError{webGoingAway, "the far end says nothing and answers no ping"}
)

// A webFarewell is the close frame of a far end that leaves.
type webFarewell struct {
	code uint16 // 0: it gave none
}

// Error is error's.
func (*webFarewell) Error() string { return "the far end says goodbye" }

// readClose reads the payload of a close frame, RFC 6455 section 5.5.1: nothing,
// or a code and a reason in UTF-8.
func readClose(payload []byte) error {
	if len(payload) == 0 {
		return &webFarewell{}
	}
	if len(payload) == 1 {
		return errWebCloseFrame
	}
	code := binary.BigEndian.Uint16(payload)
	switch {
	case !sendable(code):
		return errWebCloseFrame
	case !utf8.Valid(payload[2:]):
		return errWebNotUTF8
	}
	return &webFarewell{code}
}

// sendable tells whether a close frame may hold a code: those of RFC 6455 section
// 7.4.1 and the registry of section 11.7, and those for libraries and private use.
// 1005, 1006 and 1015 are for programs to tell themselves, 1004 means nothing yet.
func sendable(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	}
	return code >= 3000 && code <= 4999
}

// closeFrame is the close frame with a code, and without one for 0.
func closeFrame(code uint16) []byte {
	if code == 0 {
		return appendWebFrame(nil, webClose, nil)
	}
	return appendWebFrame(nil, webClose, binary.BigEndian.AppendUint16(nil, code))
}

// part says goodbye to a WebSocket and why, and waits for its far end to close, for
// Limits.Linger at most. A goodbye is answered with its own code.
func (c *conn) part(err error) {
	by := time.Now().Add(c.wire.limits.Linger)
	if bye, ok := errors.AsType[*webFarewell](err); ok {
		c.leave(closeFrame(bye.code), err, by)
	} else if e, ok := errors.AsType[*webError](err); ok && c.leave(closeFrame(e.code), err, by) && e != errWebSilent {
		c.wire.count.drop(BadFraming)
		c.wire.refused(c.flow, BadFraming)
	}
	c.drain(err)
}

// tooSlow closes a connection whose far end did not send what it had to in time.
func (c *conn) tooSlow(err error) {
	if c.web() && c.leave(closeFrame(webPolicy), err, time.Now().Add(c.wire.limits.Linger)) {
		c.wire.count.drop(TooSlow)
		c.wire.refused(c.flow, TooSlow)
		c.drain(err)
		return
	}
	c.refuse(TooSlow, err)
}

// stopped closes a connection because we end: a WebSocket is told, and has until
// farewell is over.
func (c *conn) stopped() {
	if !c.web() || !c.leave(closeFrame(webGoingAway), ErrStopped, time.Now().Add(farewell)) {
		c.close(ErrStopped)
	}
}

// leave makes a connection that is served close when what waits has been written,
// and last behind it, or when it is time. It tells whether it was this call that
// did.
func (c *conn) leave(last []byte, why error, by time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil || c.leaving != nil || !c.served {
		return false
	}
	c.leaving, c.by, c.out = why, by, append(c.out, last...)
	_ = c.net.SetDeadline(by) // fails on a socket that is broken already
	c.look()
	return true
}

// leaves tells whether the connection is to close.
func (c *conn) leaves() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving != nil
}

// drained is how many of the longest messages are thrown away of a far end that leaves.
const drained = 16

// drain throws away what the far end of a connection that leaves still sends, until
// it ends, its time does, or there is too much of it.
func (c *conn) drain(why error) {
	buf := make([]byte, usualRead)
	for left := drained * c.wire.limits.Message; left > 0; {
		n, err := c.net.Read(buf)
		if err != nil {
			break
		}
		left -= n
	}
	c.close(why)
}

// endWriting tells the far end that nothing follows, and closes where that cannot be
// told.
func (c *conn) endWriting(why error) {
	n := c.net
	if t, ok := n.(*tls.Conn); ok {
		n = t.NetConn()
		limit := time.AfterFunc(farewell, func() { _ = n.Close() }) // closed twice at worst
		_ = t.CloseWrite()                                          // the alert is a courtesy
		limit.Stop()
	}
	if t, ok := n.(interface{ CloseWrite() error }); !ok || t.CloseWrite() != nil {
		c.close(why)
	}
}
