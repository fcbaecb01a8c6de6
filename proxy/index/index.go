// Package index says where the parts of a SIP message lie in its bytes, and
// refuses every message that two readers could read differently.
//
// It copies nothing and allocates nothing for a message in plain form. It knows
// RFC 3261 section 7 and 25 and nothing of sockets, transactions or rules. It
// is the bottom of the house: guard, rules and proxy read messages through it.
package index

import "unsafe"

// MaxHeaders is how many header lines an index can hold; Limits.Headers may
// only lower it.
const MaxHeaders = 128

// A Span is a half-open range of bytes in Message.Raw. The zero Span is empty
// and means "not there".
type Span struct{ From, To uint16 }

// Len is the number of bytes in the span.
func (s Span) Len() int { return int(s.To) - int(s.From) }

// Empty tells whether the span holds no byte.
func (s Span) Empty() bool { return s.From >= s.To }

// A Problem is the stable name of the first thing wrong with a message, for
// example "bare-lf" or "duplicate-call-id". "" means none. The names are
// published (docs/problems.md) and never renamed.
type Problem string

// Error makes a Problem an error.
func (p Problem) Error() string { return "sip: " + string(p) }

// Limits are the caps that hold before anything is parsed. A zero field means
// its default.
type Limits struct {
	Size       int // bytes of a whole message; default 8192 on UDP, 65535 on streams
	Line       int // bytes of one header line after unfolding; default 2048
	Headers    int // header lines; default and most MaxHeaders
	Separators int // ; , & in one line; default 64
}

// Repairs counts what was put into plain form before the message was judged.
type Repairs struct {
	Folded  int // folded lines joined
	Compact int // compact header names written out
	Blanks  int // header names with blanks between them and the colon
	Cut     int // octets after Content-Length cut off a datagram
}

// Any tells whether anything was repaired.
func (r Repairs) Any() bool { return r != Repairs{} }

// A Header is one header line.
type Header struct {
	Name  Name // Other if the index does not know it
	Line  Span // the whole line with its CRLF
	Key   Span // the name as written
	Value Span // the value without surrounding white space
}

// A URI is a sip, sips, tel or other URI. For tel and urn User holds what
// follows the scheme up to the first semicolon and Host is empty.
type URI struct {
	Text     Span // the whole URI
	Scheme   Span
	User     Span // as written, escapes not undone
	Password Span
	Host     Span // IPv6 with its brackets
	Port     uint16
	Params   Span // without the first semicolon
	Headers  Span // without the question mark
}

// An Address is the value of From, To, Contact, Route and their kin.
type Address struct {
	Text    Span // the whole value of this one address
	Display Span // as written, quotes included
	URI     URI
	Params  Span // header parameters, without the first semicolon
	Tag     Span
	Angled  bool // the URI stands in angle brackets
}

// A Via is one Via value.
type Via struct {
	Text      Span // this one value, without the comma
	Transport Span
	Host      Span
	Port      uint16 // 0 if absent
	Params    Span
	Branch    Span
	Received  Span
	RPort     Span // value of rport, empty if valueless
	HasRPort  bool
	RPortKey  Span // the word rport itself, where a value is to be put in
}

// A Message is the index of one message. The fields are set by Parse and are
// read only. It may be used again for another message; nothing it gave out is
// valid then.
type Message struct {
	raw []byte
	buf []byte // the plain form, when Parse had to make one

	Request       bool
	Method        Method // of a request; of a response the CSeq's
	MethodText    Span   // as written
	URI           URI    // requests only
	Status        int    // responses only
	Reason        Span
	Via           Via // topmost
	Vias          int // number of Via values
	From, To      Address
	Contact       Address // the first; see Contacts
	CallID        Span
	CSeq          uint32
	CSeqMethod    Span
	MaxForwards   int // -1 if absent
	ContentLength int // -1 if absent
	Expires       int // -1 if absent
	Body          Span
	Repairs       Repairs

	headers [MaxHeaders]Header
	count   int
	first   [names]uint8 // 1 + position in headers
	many    [names]uint8 // lines of that name

	contacts int      // Contact values
	star     bool     // one of them is *
	seen     [64]seen // parameter names of the list being read
}

// Raw is the message in plain form: the bytes that are judged and forwarded.
func (m *Message) Raw() []byte { return m.raw }

// Bytes gives the bytes of a span; they alias Raw.
func (m *Message) Bytes(s Span) []byte { return m.raw[s.From:s.To:s.To] }

// Text gives a span as a string that aliases Raw: clone it to keep it longer
// than the message.
func (m *Message) Text(s Span) string {
	if s.Empty() {
		return ""
	}
	return unsafe.String(&m.raw[s.From], s.Len())
}

// Headers are the header lines in order.
func (m *Message) Headers() []Header { return m.headers[:m.count] }

// First is the first header of that name.
func (m *Message) First(n Name) (Header, bool) {
	if i := m.first[n]; i != 0 {
		return m.headers[i-1], true
	}
	return Header{}, false
}

// Value is the value of the first header of that name, empty if there is none.
func (m *Message) Value(n Name) Span {
	h, _ := m.First(n)
	return h.Value
}

// Count is the number of header lines of that name.
func (m *Message) Count(n Name) int { return int(m.many[n]) }

// InDialog tells whether the message has a To tag.
func (m *Message) InDialog() bool { return !m.To.Tag.Empty() }
