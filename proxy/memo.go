package proxy

import (
	"encoding/binary"

	"ringfence/proxy/wire"
)

// A memo is what a stateless listener must know of a request when its response
// comes. It travels as a token in our Via, which every server sends back.
type memo struct {
	flow    wire.Flow // that the request came over
	size    uint16    // of the request, in bytes
	traits  byte
	purpose uint32
}

// What a request was.
const (
	fromInside   byte = 1 << iota
	fromProven        // its source had proved its address
	credentialed      // it brought credentials
	wasStripped       // some of them were unfit and were taken out
	wasAnswer         // they answer a challenge of our servers
)

func (o *memo) is(trait byte) bool { return o.traits&trait != 0 }

// memo notes the request of an exchange, of size bytes.
func (x *exchange) memo(f wire.Flow, size int) memo {
	o := memo{flow: f, purpose: x.purpose, size: uint16(min(size, 1<<16-1))}
	for _, t := range [...]struct {
		trait byte
		has   bool
	}{{fromInside, x.inside}, {fromProven, x.proven}, {credentialed, x.credentials}, {wasStripped, x.stripped}, {wasAnswer, x.answers}} {
		if t.has {
			o.traits |= t.trait
		}
	}
	return o
}

// appendMemo appends the token of a memo.
func (p *Proxy) appendMemo(dst []byte, o *memo) []byte {
	var body [64]byte
	b := binary.BigEndian.AppendUint16(append(body[:0], memoToken, o.traits), o.size)
	b = binary.BigEndian.AppendUint32(b, o.purpose)
	return p.tokens.seal(dst, p.appendFlow(b, o.flow))
}

// readMemo reads what appendMemo wrote.
func (p *Proxy) readMemo(w *worker, token []byte) (o memo, ok bool) {
	body, _, ok := p.tokens.open(&w.token, token)
	if !ok || body[0] != memoToken || len(body) < 8 {
		return o, false
	}
	o.traits, o.size, o.purpose = body[1], binary.BigEndian.Uint16(body[2:]), binary.BigEndian.Uint32(body[4:])
	flow, rest, ok := p.readFlow(body[8:])
	o.flow = flow
	return o, ok && len(rest) == 0
}
