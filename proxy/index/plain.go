package index

import "bytes"

// plain writes raw in plain form to m.buf: folds joined by one space, compact
// names written out, blanks before a colon taken out. It judges nothing: what
// it cannot make plain it copies, and read refuses it.
//
// Blanks before a colon are legal (HCOLON, RFC 3261 section 25.1), but readers
// that do not take them for the end of a name exist; so they do not leave.
func (m *Message) plain(raw []byte) {
	out := m.buf[:0]
	at := bytes.Index(raw, crlf) + 2 // read has seen the start line
	out = append(out, raw[:at]...)
	begin := len(out)
	for at < len(raw) {
		n := bytes.Index(raw[at:], crlf)
		if n <= 0 {
			break
		}
		line := raw[at : at+n]
		at += n + 2
		if blank(line[0]) && len(out) > begin {
			m.Repairs.Folded++
			out = out[:trim(out, begin, len(out)-2)]
			out = append(out, ' ')
			out = append(out, line[skip(line, 0, n):]...)
			out = append(out, crlf...)
			continue
		}
		if colon := bytes.IndexByte(line, ':'); colon > 0 {
			key := line[:trim(line, 0, colon)]
			if len(key) < colon {
				m.Repairs.Blanks++
			}
			if long := written(key); long != "" {
				m.Repairs.Compact++
				out = append(out, long...)
			} else {
				out = append(out, key...)
			}
			line = line[colon:]
		}
		out = append(out, line...)
		out = append(out, crlf...)
	}
	m.buf = append(out, raw[at:]...)
}
