package wire

import (
	"bytes"
	"errors"
)

// The ways in which a stream stops being one of SIP messages. After any of
// them it is not known where the next message begins: the connection closes.
var (
	errNotSIP        = errors.New("what begins is no message")
	errHeaderLong    = errors.New("the header part is longer than its limit")
	errMessageLong   = errors.New("the message is longer than its limit")
	errLengthMissing = errors.New("there is no Content-Length")
	errLengthTwice   = errors.New("there is more than one Content-Length")
	errLengthBad     = errors.New("the Content-Length is not a plain number")
)

// A frame is what a stream is made of.
type frame uint8

const (
	frameNone    frame = iota // more octets are needed
	frameBlank                // one CRLF, RFC 3261 section 7.5
	framePing                 // the second CRLF of two, RFC 5626 section 4.4.1: answer with one
	frameMessage              // a message with its body
)

// A framer cuts a stream into messages by Content-Length, RFC 3261 section 18.3.
// How the stream comes in pieces makes no difference to what it finds, and no
// octet is looked at twice for the sake of a piece.
type framer struct {
	header, message int // limits, octets

	blank   bool // the frame before was one CRLF that is not answered
	scanned int  // octets of the message at hand that hold no end of header
	length  int  // of the message at hand, 0 while it is not known
}

// next finds the frame that b begins with and its length in octets. b begins
// where the frame before ended and holds at least what it held in the last call.
func (f *framer) next(b []byte) (frame, int, error) {
	if len(b) == 0 {
		return frameNone, 0, nil
	}
	if f.length == 0 {
		if b[0] == '\r' {
			return f.crlf(b)
		}
		if err := f.head(b); err != nil || f.length == 0 {
			return frameNone, 0, err
		}
	}
	if len(b) < f.length {
		return frameNone, 0, nil
	}
	n := f.length
	f.blank, f.scanned, f.length = false, 0, 0
	return frameMessage, n, nil
}

// crlf takes a line break between messages.
func (f *framer) crlf(b []byte) (frame, int, error) {
	switch {
	case len(b) == 1:
		return frameNone, 0, nil
	case b[1] != '\n':
		return frameNone, 0, errNotSIP
	case f.blank:
		f.blank = false
		return framePing, 2, nil
	}
	f.blank = true
	return frameBlank, 2, nil
}

var headEnd = []byte("\r\n\r\n")

// head looks for the end of the header part and sets length once it is there.
func (f *framer) head(b []byte) error {
	// A method and "SIP/2.0" begin with a letter in practice; a TLS or STUN client
	// at the wrong port does not, and need not be waited for.
	if c := b[0] | 0x20; c < 'a' || c > 'z' {
		return errNotSIP
	}
	end := bytes.Index(b[f.scanned:], headEnd)
	if end < 0 {
		f.scanned = max(0, len(b)-len(headEnd)+1)
		if len(b) > f.header {
			return errHeaderLong
		}
		return nil
	}
	end += f.scanned + len(headEnd)
	if end > f.header {
		return errHeaderLong
	}
	body, err := contentLength(b[:end])
	if err != nil {
		return err
	}
	if end+body > f.message {
		return errMessageLong
	}
	f.length = end + body
	return nil
}

// contentLength reads the one Content-Length of a header part, RFC 3261 section
// 20.14. Signs, lists, folded lines and repetition are refused even where they
// would make sense: another reader might see another sense.
func contentLength(head []byte) (int, error) {
	length, found := 0, false
	for rest := head; ; {
		eol := bytes.Index(rest, headEnd[:2])
		rest = rest[eol+2:] // the first line is the start line
		if bytes.HasPrefix(rest, headEnd[:2]) {
			break
		}
		line := rest[:bytes.Index(rest, headEnd[:2])]
		if !isContentLength(line) {
			continue
		}
		if found {
			return 0, errLengthTwice
		}
		if c := rest[len(line)+2]; c == ' ' || c == '\t' {
			return 0, errLengthBad // folded
		}
		n, ok := plainNumber(line[bytes.IndexByte(line, ':')+1:])
		if !ok {
			return 0, errLengthBad
		}
		length, found = n, true
	}
	if !found {
		return 0, errLengthMissing
	}
	return length, nil
}

// isContentLength tells whether a line has that name, long or compact.
func isContentLength(line []byte) bool {
	name, _, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return false
	}
	name = bytes.TrimRight(name, " \t")
	return len(name) == 1 && name[0]|0x20 == 'l' || len(name) == 14 && equalFold(name, "content-length")
}

// equalFold compares ASCII text; want is in lower case.
func equalFold(b []byte, want string) bool {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

// plainNumber reads one to nine digits between blanks.
func plainNumber(b []byte) (int, bool) {
	b = bytes.Trim(b, " \t")
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
