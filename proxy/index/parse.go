package index

import (
	"bytes"
	"math"
)

// The default caps; see Limits.
const (
	DefaultDatagram   = 8192
	DefaultStream     = math.MaxUint16
	DefaultLine       = 2048
	DefaultSeparators = 64
)

// Parse indexes raw as one message (RFC 3261 sections 7 and 25); stream tells
// that it came over a stream transport, where Content-Length is mandatory. It
// returns the first problem, or "": after a problem the index holds what was
// read before it and serves for a log line only.
//
// The message keeps raw, or a copy of its own if raw had to be put into plain
// form: folds joined, compact names written out, blanks before a colon taken
// out. Line ends before the start line are skipped (section 7.5), and octets
// after Content-Length are cut off a datagram (section 18.3).
//
// A From without tag, a Via without branch and a message without Max-Forwards
// are RFC 2543 and no problem; the fields show them.
func (m *Message) Parse(raw []byte, stream bool, l Limits) Problem {
	m.reset()
	l = l.filled(stream)
	if len(raw) > l.Size {
		return TooLong
	}
	for len(raw) > 1 && raw[0] == '\r' && raw[1] == '\n' {
		raw = raw[2:]
	}
	if len(raw) == 0 {
		return Empty
	}
	m.raw = raw
	p := m.read(stream, &l)
	if p != unplain {
		return p
	}
	m.reset()
	m.plain(raw)
	if len(m.buf) > l.Size {
		return TooLong
	}
	m.raw = m.buf
	if p = m.read(stream, &l); p == unplain {
		// What is left is a name broken over two lines, as in "To", line end,
		// " :": RFC 3261 has no such thing.
		p = BadHeaderName
	}
	return p
}

func (l Limits) filled(stream bool) Limits {
	if l.Size <= 0 {
		l.Size = DefaultDatagram
		if stream {
			l.Size = DefaultStream
		}
	}
	l.Size = min(l.Size, math.MaxUint16)
	if l.Line <= 0 {
		l.Line = DefaultLine
	}
	if l.Headers <= 0 || l.Headers > MaxHeaders {
		l.Headers = MaxHeaders
	}
	if l.Separators <= 0 {
		l.Separators = DefaultSeparators
	}
	return l
}

// reset forgets the message before. The header lines behind count are left:
// nobody reads them.
func (m *Message) reset() {
	m.raw = nil
	m.Request, m.Method, m.MethodText, m.URI = false, MethodOther, Span{}, URI{}
	m.Status, m.Reason, m.Via, m.Vias = 0, Span{}, Via{}, 0
	m.From, m.To, m.Contact = Address{}, Address{}, Address{}
	m.CallID, m.CSeq, m.CSeqMethod = Span{}, 0, Span{}
	m.MaxForwards, m.ContentLength, m.Expires = -1, -1, -1
	m.Body, m.Repairs = Span{}, Repairs{}
	m.count, m.contacts, m.star = 0, 0, false
	m.first, m.many = [names]uint8{}, [names]uint8{}
}

// read indexes m.raw.
func (m *Message) read(stream bool, l *Limits) Problem {
	b := m.raw
	end, p := m.line(0, l)
	if p != "" {
		return p
	}
	if p := m.startLine(end); p != "" {
		return p
	}
	at := end + 2
	for {
		if at >= len(b) {
			return NoBlankLine
		}
		if b[at] == '\r' {
			break
		}
		if end, p = m.line(at, l); p != "" {
			return p
		}
		if p = m.header(at, end, l); p != "" {
			return p
		}
		at = end + 2
	}
	if at+1 >= len(b) || b[at+1] != '\n' {
		return BareCR
	}
	if p := m.whole(); p != "" {
		return p
	}
	return m.body(at+2, stream)
}

// line finds the end of the line at an offset: where its CRLF stands.
func (m *Message) line(at int, l *Limits) (int, Problem) {
	b := m.raw
	end := control(b, at)
	for end < len(b) && b[end] == '\t' {
		end = control(b, end+1)
	}
	switch {
	case end-at > l.Line:
		return 0, LineTooLong
	case end == len(b):
		return 0, NoBlankLine
	case b[end] == '\n':
		return 0, BareLF
	case b[end] != '\r':
		return 0, Control
	case end+1 == len(b) || b[end+1] != '\n':
		return 0, BareCR
	}
	if end-at > l.Separators { // a shorter line cannot have that many
		line := b[at:end]
		if bytes.Count(line, semicolon)+bytes.Count(line, comma)+bytes.Count(line, ampersand) > l.Separators {
			return 0, TooManySeparators
		}
	}
	return end, ""
}

var (
	semicolon = []byte{';'}
	comma     = []byte{','}
	ampersand = []byte{'&'}
	crlf      = []byte("\r\n")
)

// startLine reads the request or status line in front of end.
func (m *Message) startLine(end int) Problem {
	b := m.raw
	if end >= 4 && equalFold(b[:4], "SIP/") {
		return m.statusLine(end)
	}
	one := bytes.IndexByte(b[:end], ' ')
	if one <= 0 {
		return BadRequestLine
	}
	for _, c := range b[:one] {
		if !is(c, tokenByte) {
			return BadRequestLine
		}
	}
	two := bytes.IndexByte(b[one+1:end], ' ')
	if two <= 0 {
		return BadRequestLine
	}
	two += one + 1
	if bytes.IndexByte(b[two+1:end], ' ') >= 0 {
		return BadRequestLine
	}
	if !equalFold(b[two+1:end], "SIP/2.0") {
		return BadVersion
	}
	m.Request = true
	m.MethodText = span(0, one)
	m.Method = method(b[:one])
	if p := m.uri(&m.URI, one+1, two); p != "" {
		return p
	}
	if !m.URI.Headers.Empty() {
		return URIHeaders
	}
	return ""
}

func (m *Message) statusLine(end int) Problem {
	b := m.raw
	if end < 8 || b[7] != ' ' {
		return BadStatusLine
	}
	if !equalFold(b[:7], "SIP/2.0") {
		return BadVersion
	}
	if end < 11 || !digit(b[8]) || !digit(b[9]) || !digit(b[10]) {
		return BadStatus
	}
	m.Status = int(b[8]-'0')*100 + int(b[9]-'0')*10 + int(b[10]-'0')
	if m.Status < 100 || m.Status > 699 {
		return BadStatus
	}
	if end == 11 {
		return BadStatusLine
	}
	if b[11] != ' ' {
		return BadStatus
	}
	m.Reason = span(12, end)
	return ""
}

// header indexes the header line from at to end.
func (m *Message) header(at, end int, l *Limits) Problem {
	b := m.raw
	if blank(b[at]) {
		if m.count == 0 {
			return FoldedFirst
		}
		return unplain
	}
	colon := bytes.IndexByte(b[at:end], ':')
	if colon <= 0 {
		return BadHeaderName
	}
	key := b[at : at+colon]
	n := lookup(key)
	if n == Other {
		if blank(key[colon-1]) || written(key) != "" {
			return unplain
		}
		for _, c := range key {
			if !is(c, tokenByte) {
				return BadHeaderName
			}
		}
	}
	if m.count == l.Headers {
		return TooManyHeaders
	}
	from := skip(b, at+colon+1, end)
	to := trim(b, from, end)
	m.headers[m.count] = Header{Name: n, Line: span(at, end+2), Key: span(at, at+colon), Value: span(from, to)}
	m.count++
	if n == Other {
		return ""
	}
	m.many[n]++
	if m.many[n] == 1 {
		m.first[n] = uint8(m.count)
	} else if p := duplicates[n]; p != "" {
		return p
	}
	// A fold can still follow: then the value is read in the second pass, and
	// what it looks like without its end is no problem of the message.
	if end+2 < len(b) && blank(b[end+2]) {
		return unplain
	}
	return m.value(n, from, to)
}

// whole checks what only all headers together tell.
func (m *Message) whole() Problem {
	switch {
	case m.many[ViaName] == 0:
		return MissingVia
	case m.many[FromName] == 0:
		return MissingFrom
	case m.many[ToName] == 0:
		return MissingTo
	case m.many[CallIDName] == 0:
		return MissingCallID
	case m.many[CSeqName] == 0:
		return MissingCSeq
	case m.star && (m.contacts > 1 || m.Request && m.Method != Register):
		return BadStar
	}
	if !m.Request {
		m.Method = method(m.Bytes(m.CSeqMethod))
	} else if string(m.Bytes(m.CSeqMethod)) != string(m.Bytes(m.MethodText)) {
		return CSeqMethod
	}
	return ""
}

// body frames the body that begins at an offset.
func (m *Message) body(at int, stream bool) Problem {
	have := len(m.raw) - at
	switch want := m.ContentLength; {
	case want < 0 && stream:
		return MissingLength
	case want > have:
		return ShortBody
	case want >= 0 && want < have && stream:
		return TrailingBytes
	case want >= 0 && want < have:
		m.Repairs.Cut = have - want
		m.raw = m.raw[: at+want : at+want]
	}
	m.Body = span(at, len(m.raw))
	return ""
}

// KeepAlive tells whether a datagram is one of those that phones send to hold
// a NAT binding open: nothing, line ends (RFC 5626 section 3.5.1) or zeros.
func KeepAlive(raw []byte) bool {
	if len(raw) > 8 {
		return false
	}
	for _, c := range raw {
		if c != '\r' && c != '\n' && c != 0 {
			return false
		}
	}
	return true
}
