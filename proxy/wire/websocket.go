package wire

import (
	"encoding/binary"
	"time"
	"unicode/utf8"
)

// A WebSocket carries one SIP message in each of its own messages (RFC 7118
// section 5), cut into frames by RFC 6455 section 5.2: an octet with FIN and the
// opcode, the length with the mask bit, the mask, and the payload.

// The opcodes of RFC 6455 section 11.8.
const (
	webContinuation = 0x0
	webText         = 0x1
	webBinary       = 0x2
	webClose        = 0x8
	webPing         = 0x9
	webPong         = 0xA
)

// The close codes that we send, RFC 6455 section 7.4.1.
const (
	webGoingAway = 1001
	webProtocol  = 1002
	webNotText   = 1007
	webPolicy    = 1008
	webTooLong   = 1009
)

const (
	webFin     = 0x80 // in the first octet
	webMask    = 0x80 // in the second
	maxControl = 125  // octets of a control frame's payload, RFC 6455 section 5.5
)

// A webFramer cuts what a WebSocket client sends into messages. Fragments are put
// together within the limit of one message.
type webFramer struct {
	message int // limit, octets

	parts  []byte // of the message in fragments at hand
	opcode byte   // that it began with, 0 outside of one
	length int    // of the frame at hand, 0 while it is not known
}

// A webFrame is one frame.
type webFrame struct {
	fin     bool
	opcode  byte
	payload []byte // unmasked
}

// next finds the frame that b begins with and its length in octets, 0 while it is
// not whole. It unmasks the payload in place.
func (f *webFramer) next(b []byte) (webFrame, int, error) {
	if len(b) < 2 {
		return webFrame{}, 0, nil
	}
	x := webFrame{fin: b[0]&webFin != 0, opcode: b[0] & 0x0f}
	control := x.opcode >= webClose
	switch {
	case b[0]&0x70 != 0, x.opcode > webPong, x.opcode > webBinary && !control:
		return x, 0, errWebReserved
	case b[1]&webMask == 0:
		return x, 0, errWebUnmasked
	case control && (!x.fin || b[1]&^webMask > maxControl):
		return x, 0, errWebControl
	case !control && (x.opcode == webContinuation) == (f.opcode == 0):
		return x, 0, errWebFragments
	}
	head, length, err := webLength(b)
	switch {
	case err != nil:
		return x, 0, err
	case head == 0:
		return x, 0, nil
	case length > uint64(f.message) || !control && len(f.parts)+int(length) > f.message:
		return x, 0, errWebLong
	}
	f.length = head + 4 + int(length)
	if len(b) < f.length {
		return x, 0, nil
	}
	x.payload = b[head+4 : f.length : f.length]
	mask := [4]byte(b[head:])
	for i := range x.payload {
		x.payload[i] ^= mask[i&3]
	}
	n := f.length
	f.length = 0
	return x, n, nil
}

// webLength reads the length of a payload and tells how many octets stand before
// the mask; none while they are not all there.
func webLength(b []byte) (head int, length uint64, err error) {
	switch n := b[1] &^ webMask; {
	case n < 126:
		return 2, uint64(n), nil
	case n == 126:
		if len(b) < 4 {
			return 0, 0, nil
		}
		head, length = 4, uint64(binary.BigEndian.Uint16(b[2:]))
		if length < 126 {
			err = errWebLength
		}
	default:
		if len(b) < 10 {
			return 0, 0, nil
		}
		head, length = 10, binary.BigEndian.Uint64(b[2:])
		if length < 1<<16 || length>>63 != 0 {
			err = errWebLength
		}
	}
	return head, length, err
}

// whole takes a data frame that next has let through and gives the message that it ends, if it does.
func (f *webFramer) whole(x webFrame) (msg []byte, done bool, err error) {
	opcode := f.opcode
	if opcode == 0 {
		opcode = x.opcode
	}
	switch {
	case !x.fin:
		f.opcode, f.parts = opcode, append(f.parts, x.payload...)
		return nil, false, nil
	case f.opcode != 0:
		msg = append(f.parts, x.payload...)
		f.opcode, f.parts = 0, nil
	default:
		msg = x.payload
	}
	if opcode == webText && !utf8.Valid(msg) {
		return nil, false, errWebNotUTF8
	}
	return msg, true, nil
}

func (f *webFramer) need() int { return f.length }

// frames takes the whole frames that b begins with and tells their length.
func (f *webFramer) frames(c *conn, p *patience, b []byte) (int, error) {
	for used := 0; ; {
		x, n, err := f.next(b[used:])
		if err != nil || n == 0 {
			return used, err
		}
		used += n
		switch x.opcode {
		case webPing:
			c.wire.count.keepAlives.Add(1)
			_ = c.queueFrame(webPong, x.payload) // a full queue has better to do
			f.came(framePing, p)
		case webPong:
			f.came(framePing, p)
		case webClose:
			return used, readClose(x.payload)
		default:
			msg, done, err := f.whole(x)
			if err != nil {
				return used, err
			}
			kind := frameNone
			if done {
				kind = c.webMessage(msg)
			}
			f.came(kind, p)
		}
	}
}

// open tells whether a message in fragments waits for the rest of them.
func (f *webFramer) open() bool { return f.opcode != 0 }

// came tells that a frame has come. Within a message in fragments none begins its
// time anew, whether it is one of them or a ping between two.
func (f *webFramer) came(kind frame, p *patience) {
	if f.open() {
		p.alive(time.Now())
		return
	}
	p.frame(kind, time.Now())
}

// webMessage takes one message. Line ends alone are a keep-alive (RFC 5626
// section 4.4.1), and two of them ask for an answer.
func (c *conn) webMessage(msg []byte) frame {
	switch string(msg) {
	case "", "\r\n":
		return frameBlank
	case "\r\n\r\n":
		c.wire.count.keepAlives.Add(1)
		_ = c.queue(headEnd[:2])
		return framePing
	}
	c.wire.handleMessage(c.flow, msg)
	return frameMessage
}

// appendWebFrame appends a frame of a server, which has no mask.
func appendWebFrame(dst []byte, opcode byte, payload []byte) []byte {
	dst = append(dst, webFin|opcode)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
	return append(dst, payload...)
}

// opcodeOf is how a message goes out: as text where it is some.
func opcodeOf(msg []byte) byte {
	if utf8.Valid(msg) {
		return webText
	}
	return webBinary
}
