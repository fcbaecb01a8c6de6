package wire

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 asks for it, and it protects nothing
	"encoding/base64"
	"fmt"
	"io"
	"time"
)

// webGUID is what RFC 6455 section 1.3 puts behind the client's key.
const webGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// upgrade makes a connection a WebSocket with the subprotocol sip (RFC 6455
// section 4.2, RFC 7118 section 4). early is what the client sent behind its
// request.
func (c *conn) upgrade(l *listener) (early []byte, ok bool) {
	if !c.readBy(time.Now().Add(c.wire.limits.Handshake)) {
		return nil, false
	}
	head, early, err := c.readHead()
	if err != nil {
		c.refuse(BadUpgrade, fmt.Errorf("opening handshake: %w", err))
		return nil, false
	}
	o, err := (*opening)(nil), error(errHeaderLong)
	if head != nil {
		o, err = readOpening(head, c.wire.limits.HeaderLines)
	}
	var no *refusal
	if err != nil {
		no = unreadable(err)
	} else {
		no = l.refuses(o)
	}
	if no != nil {
		c.turnBack(no)
		return nil, false
	}
	key, _ := o.one("Sec-WebSocket-Key")
	if !c.say(welcome(key)) {
		return nil, false
	}
	return early, true
}

// welcome is the answer to a client that gets a WebSocket, by its key.
func welcome(key string) string {
	sum := sha1.Sum([]byte(key + webGUID)) //nolint:gosec // as above
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
}

// readHead reads as far as the empty line, and what came with it. A head that is
// nil is longer than its limit.
func (c *conn) readHead() (head, early []byte, err error) {
	buf, limit := make([]byte, 0, 1024), c.wire.limits.Header
	for scanned := 0; ; {
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := c.net.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > 0 && (buf[0] < 'A' || buf[0] > 'Z') {
			return nil, nil, errNotHTTP // of no method: a TLS client perhaps, which need not be waited for
		}
		if i := bytes.Index(buf[scanned:], headEnd); i >= 0 && scanned+i+len(headEnd) <= limit {
			end := scanned + i + len(headEnd)
			return buf[:end:end], buf[end:], nil
		}
		if len(buf) >= limit {
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		scanned = max(0, len(buf)-len(headEnd)+1)
	}
}

// turnBack answers a client that gets no WebSocket, a browser that was pointed here
// perhaps, and waits for it to read that, for Limits.Linger at most.
func (c *conn) turnBack(no *refusal) {
	err := fmt.Errorf("opening handshake: %s", no.text)
	if no.status == 0 || !c.say(no.String()) {
		c.refuse(no.reason, err)
		return
	}
	c.wire.count.drop(no.reason)
	c.wire.refused(c.flow, no.reason)
	c.endWriting(err)
	if c.readBy(time.Now().Add(c.wire.limits.Linger)) {
		c.drain(err)
	}
	c.close(err)
}

// say writes before there is a writer.
func (c *conn) say(text string) bool {
	if !c.writeBy(time.Now().Add(c.wire.limits.Write)) {
		return false
	}
	if _, err := io.WriteString(c.net, text); err != nil {
		c.close(err)
		return false
	}
	return true
}
