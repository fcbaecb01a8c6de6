package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/netip"

	"github.com/dchest/siphash"

	"ringfence/guard"
	"ringfence/proxy/wire"
)

// A token is a signed note to ourselves that travels in a Record-Route, a Path
// or a Contact and comes back in a later request, also after a restart (RFC
// 5626 section 5.2). Who has one may reach what it names; nobody can make one.
//
//	kind, then for flowToken a flow, for dialogToken the hash of the caller's tag
//	and two flows, for contactToken a flow and a URI, for memoToken what a memo
//	says; then a MAC
//
// all in base64url, which may stand in the user part and in parameters.
const (
	flowToken    = 'f'
	dialogToken  = 'd'
	contactToken = 'c'
	memoToken    = 'm'
)

// encoding has one text for each token.
var encoding = base64.RawURLEncoding.Strict()

// macLen is how much of SHA-256 over key and token is kept. Cutting it keeps
// anybody from making a longer token out of a short one.
const macLen = 10

// longestToken bounds what is decoded, in bytes before base64.
const longestToken = 1024

// A tokens signs and opens tokens.
type tokens struct {
	current, previous [32]byte // previous is zero if there is none
}

func mac(key *[32]byte, body []byte) [macLen]byte {
	var in [32 + longestToken]byte
	n := copy(in[:], key[:])
	n += copy(in[n:], body)
	sum := sha256.Sum256(in[:n])
	return [macLen]byte(sum[:macLen])
}

// seal appends the token with a body.
func (t *tokens) seal(dst, body []byte) []byte {
	sum := mac(&t.current, body)
	var raw [longestToken + macLen]byte
	n := copy(raw[:longestToken], body)
	n += copy(raw[n:], sum[:])
	return encoding.AppendEncode(dst, raw[:n])
}

// open gives the body of a token, in buf, and the key that it was sealed with.
// False: it is not one of ours.
func (t *tokens) open(buf *[longestToken + macLen]byte, token []byte) ([]byte, *[32]byte, bool) {
	n := encoding.DecodedLen(len(token))
	if n <= macLen || n > len(buf) {
		return nil, nil, false
	}
	n, err := encoding.Decode(buf[:n], token)
	if err != nil {
		return nil, nil, false
	}
	body, sum := buf[:n-macLen], buf[n-macLen:n]
	for _, key := range []*[32]byte{&t.current, &t.previous} {
		want := mac(key, body)
		if *key != ([32]byte{}) && subtle.ConstantTimeCompare(want[:], sum) == 1 {
			return body, key, true
		}
	}
	return nil, nil, false
}

// appendFlow writes a flow: listener, transport with the family of the address
// in bit 7, address, port, and for a connection its number.
func (p *Proxy) appendFlow(dst []byte, f wire.Flow) []byte {
	a := f.Remote.Addr().Unmap()
	kind := byte(f.Transport)
	if a.Is6() {
		kind |= 0x80
	}
	dst = append(dst, byte(f.Listener>>8), byte(f.Listener), kind)
	if a.Is6() {
		b := a.As16()
		dst = append(dst, b[:]...)
	} else {
		b := a.As4()
		dst = append(dst, b[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, f.Remote.Port())
	if f.Transport.Stream() {
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.boot)<<40|f.Conn)
	}
	return dst
}

// readFlow reads what appendFlow wrote and gives the rest. The token was signed
// by us, but perhaps by an earlier run with other listeners.
func (p *Proxy) readFlow(b []byte) (f wire.Flow, rest []byte, ok bool) {
	if len(b) < 3+4+2 {
		return f, nil, false
	}
	f.Listener = binary.BigEndian.Uint16(b)
	f.Transport = guard.Transport(b[2] &^ 0x80)
	size := 4
	if b[2]&0x80 != 0 {
		size = 16
	}
	b, six := b[3:], b[2]&0x80 != 0
	if f.Transport > guard.WSS || len(b) < size+2 {
		return f, nil, false
	}
	a := netip.AddrFrom4([4]byte(b))
	if six {
		a = netip.AddrFrom16([16]byte(b))
	}
	f.Remote = netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[size:]))
	b = b[size+2:]
	if f.Transport.Stream() {
		if len(b) < 8 {
			return f, nil, false
		}
		// Connections of an earlier run are gone, and their numbers used again.
		if n := binary.BigEndian.Uint64(b); n>>40 == uint64(p.boot) {
			f.Conn = n & (1<<40 - 1)
		}
		b = b[8:]
	}
	if int(f.Listener) >= len(p.listeners) || p.listeners[f.Listener].Transport != f.Transport {
		return f, nil, false
	}
	f.Local = p.listeners[f.Listener].bound
	return f, b, true
}

// appendFlowToken appends the token of one flow.
func (p *Proxy) appendFlowToken(dst []byte, f wire.Flow) []byte {
	var body [64]byte
	return p.tokens.seal(dst, p.appendFlow(append(body[:0], flowToken), f))
}

// appendDialogToken appends the token of a dialog: who has fromTag called over
// the first flow, and the call went on over the second. It is good for that
// Call-ID only.
func (p *Proxy) appendDialogToken(dst, callID, fromTag []byte, caller, callee wire.Flow) []byte {
	var body [128]byte
	b := binary.BigEndian.AppendUint32(append(body[:0], dialogToken), sideHash(&p.tokens.current, callID, fromTag))
	return p.tokens.seal(dst, p.appendFlow(p.appendFlow(b, caller), callee))
}

// appendContactToken appends the token of a phone behind a flow, with the URI
// that it wants to be called by. False: the URI is too long.
func (p *Proxy) appendContactToken(dst []byte, f wire.Flow, uri []byte) ([]byte, bool) {
	var body [longestToken]byte
	if len(uri) > longestToken/2 {
		return dst, false
	}
	return p.tokens.seal(dst, append(p.appendFlow(append(body[:0], contactToken), f), uri...)), true
}

// sideHash tells the two sides of one dialog apart. It is keyed, so that nobody
// can make tags that fit a token into another call.
func sideHash(key *[32]byte, callID, tag []byte) uint32 {
	k0, k1 := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:16])
	return uint32(siphash.Hash(k0^siphash.Hash(k0, k1, callID), k1, tag))
}

// A ticket is what a token says.
type ticket struct {
	kind           byte
	flow           wire.Flow // flowToken, contactToken
	caller, callee wire.Flow // dialogToken
	side           uint32    // dialogToken: sideHash of the caller
	key            *[32]byte // that it was sealed with
	uri            []byte    // contactToken; in the worker's memory
}

// redeem reads a token.
func (p *Proxy) redeem(w *worker, token []byte) (ticket, bool) {
	body, key, ok := p.tokens.open(&w.token, token)
	if !ok {
		return ticket{}, false
	}
	t := ticket{kind: body[0], key: key}
	rest := body[1:]
	switch t.kind {
	case flowToken:
		t.flow, rest, ok = p.readFlow(rest)
		return t, ok && len(rest) == 0
	case contactToken:
		t.flow, rest, ok = p.readFlow(rest)
		t.uri = w.piece(rest)
		return t, ok
	case dialogToken:
		if len(rest) < 4 {
			return t, false
		}
		t.side = binary.BigEndian.Uint32(rest)
		if t.caller, rest, ok = p.readFlow(rest[4:]); !ok {
			return t, false
		}
		t.callee, rest, ok = p.readFlow(rest)
		return t, ok && len(rest) == 0
	}
	return t, false
}
