package dialog

import (
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// legs is how many legs one side of a call may have: a next hop that sends the
// INVITE back through us adds one.
const legs = 4

// A call is one entry of the table. Its strings are cut from one piece.
type call struct {
	key      string // Call-ID, 0, tag of the caller
	id       string
	account  string
	dialed   string
	from, to string // user@host
	state    State
	open     int // INVITEs without a final response
	status   int
	caller   side
	callees  []side
	towards  netip.AddrPort
	start    int64 // Unix nanoseconds, like the next ones
	answered int64
	expires  int64
	waits    bool // its change is to be stored
	unstored bool // it should, and the queue was full
	stored   bool // the store has it
	urgent   bool // it calls for help
	doubtful bool // it was read back, and nobody was heard of it since
	silent   uint8
}

// A side is one party as the table keeps it.
type side struct {
	tag, uri, target, route string
	cseq                    uint32
	answered, gone          bool // of a callee
	legs                    []Leg
}

// appendKey writes the key of a call.
func appendKey(b, callID, tag []byte) []byte {
	b = append(b, callID...)
	b = append(b, 0)
	return append(b, tag...)
}

// pack copies the parts into one string and cuts it into out.
func pack(out []string, parts ...[]byte) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	all := make([]byte, 0, n)
	for _, p := range parts {
		all = append(all, p...)
	}
	text := unsafe.String(unsafe.SliceData(all), len(all)) // all is nobody else's
	for i, p := range parts {
		out[i], text = text[:len(p)], text[len(p):]
	}
}

// newCall makes the entry of an INVITE.
func newCall(m *guard.Message, from, to Leg, own Own) *call {
	x := m.Index
	var s [9]string
	var b [5][128]byte // what most pieces fit into
	pack(s[:],
		appendKey(b[0][:0], x.Bytes(x.CallID), x.Bytes(x.From.Tag)), append(b[1][:0], m.Account...), x.Bytes(x.URI.User),
		appendAoR(b[2][:0], x, x.From.URI), appendAoR(b[3][:0], x, x.To.URI),
		x.Bytes(x.From.URI.Text), x.Bytes(x.To.URI.Text), x.Bytes(x.Contact.URI.Text),
		recordRoutes(x, b[4][:0], own))
	n := x.CallID.Len()
	return &call{
		key: s[0], id: s[0][:n], account: s[1], dialed: s[2], from: s[3], to: s[4], open: 1,
		caller:  side{tag: s[0][n+1:], uri: s[5], target: s[7], route: s[8], cseq: x.CSeq, legs: []Leg{from}},
		towards: to.Address, start: m.At.UnixNano(),
	}
}

// appendAoR writes user@host, or what a URI without a host has.
func appendAoR(b []byte, x *index.Message, u index.URI) []byte {
	b = append(b, x.Bytes(u.User)...)
	if u.Host.Empty() {
		return b
	}
	if len(b) > 0 {
		b = append(b, '@')
	}
	return append(b, x.Bytes(u.Host)...)
}

// callee finds a fork by its tag.
func (c *call) callee(tag []byte) *side {
	for i := range c.callees {
		if c.callees[i].tag == string(tag) {
			return &c.callees[i]
		}
	}
	return nil
}

// at tells whether a message came from where the side is: an address of one of
// its legs, or the configured peer of one. The port is not compared: NATs and
// PBXs change it within a call.
func (s *side) at(m *guard.Message) bool {
	src := m.Src.Addr().Unmap()
	for i := range s.legs {
		l := &s.legs[i]
		if l.Address.Addr().Unmap() == src || l.Peer != "" && l.Peer == m.Peer {
			return true
		}
	}
	return false
}

func (s *side) addLeg(l Leg) {
	if slices.Contains(s.legs, l) {
		return
	}
	if len(s.legs) < legs {
		s.legs = append(s.legs, l)
	}
}

func (s *side) copy() Side {
	out := Side{Tag: s.tag, CSeq: s.cseq, URI: s.uri, Target: s.target, Route: s.route, Answered: s.answered}
	if len(s.legs) > 0 {
		out.Leg = s.legs[0]
	}
	return out
}

func (c *call) copy() Call {
	out := Call{
		ID: c.id, State: c.state, Account: c.account, Dialed: c.dialed,
		Caller: c.caller.copy(), Start: instant(c.start), Answered: instant(c.answered), Expires: instant(c.expires),
	}
	for i := range c.callees {
		if f := &c.callees[i]; c.state != Answered || f.answered && !f.gone {
			out.Callees = append(out.Callees, f.copy())
		}
	}
	return out
}

// record is the call as stage end is told of it.
func (c *call) record(by string, at time.Time) guard.Call {
	out := guard.Call{
		ID: c.id, Account: c.account, From: c.from, To: c.to, Dialed: c.dialed, Start: instant(c.start), End: at,
		Answered: instant(c.answered), Status: c.status, EndedBy: by, FromTag: c.caller.tag, Towards: c.towards,
	}
	if len(c.caller.legs) > 0 {
		out.Source = c.caller.legs[0].Address
	}
	for i := range c.callees {
		if s := &c.callees[i]; out.ToTag == "" || s.answered {
			out.ToTag = s.tag
			if len(s.legs) > 0 {
				out.Towards = s.legs[0].Address
			}
			if s.answered {
				break
			}
		}
	}
	return out
}

// instant is the time of Unix nanoseconds, the zero time of 0.
func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
