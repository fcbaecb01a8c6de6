// Package hep mirrors messages and verdicts to a capture server by HEPv3, the
// Homer Encapsulation Protocol.
//
// It knows the wire format and how to keep a connection. It sees what the tap
// shows it, masks the answers to challenges, and holds nobody up: what cannot be
// sent soon enough is dropped and counted.
package hep

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"ringfence/guard"
)

// The generic chunks (vendor 0), HEP3 Network Protocol Specification rev. 36,
// section "Generic Chunk Types".
const (
	chunkFamily      = 0x0001 // IP protocol family
	chunkProtocol    = 0x0002 // IP protocol ID
	chunkSource4     = 0x0003
	chunkTarget4     = 0x0004
	chunkSource6     = 0x0005
	chunkTarget6     = 0x0006
	chunkSourcePort  = 0x0007
	chunkTargetPort  = 0x0008
	chunkSeconds     = 0x0009
	chunkMicros      = 0x000a
	chunkType        = 0x000b // protocol type
	chunkAgent       = 0x000c // capture agent ID
	chunkKey         = 0x000e // authenticate key
	chunkPayload     = 0x000f
	chunkCorrelation = 0x0011 // internal correlation id
)

// A Type is what the payload of a packet is.
type Type uint8

// The protocol types that we send.
const (
	SIP Type = 1
	Log Type = 100 // here a verdict, as JSON
)

// Address families and IP protocols, as the chunks hold them.
const (
	inet, inet6 = 2, 10
	tcp, udp    = 6, 17
)

// A Packet is one message or verdict with where and when it was seen.
type Packet struct {
	At          time.Time
	Src, Dst    netip.AddrPort
	Transport   guard.Transport
	Type        Type
	Agent       uint32
	Key         []byte // left out if empty
	Correlation string // left out if empty
	Payload     []byte
}

// errTooLong is the error of a packet that its 16 bit length cannot tell.
var errTooLong = errors.New("too long for a HEP packet")

// Append appends the packet to dst. The payload is the last chunk.
func (p *Packet) Append(dst []byte) ([]byte, error) {
	at := len(dst)
	dst = append(dst, "HEP3\x00\x00"...)
	src, dest := p.Src.Addr().Unmap(), p.Dst.Addr().Unmap()
	protocol := byte(udp)
	if p.Transport.Stream() {
		protocol = tcp
	}
	if family(src, dest) == inet {
		a, b := four(src), four(dest)
		dst = append8(dst, chunkFamily, inet)
		dst = append8(dst, chunkProtocol, protocol)
		dst = appendBytes(dst, chunkSource4, a[:])
		dst = appendBytes(dst, chunkTarget4, b[:])
	} else {
		a, b := sixteen(src), sixteen(dest)
		dst = append8(dst, chunkFamily, inet6)
		dst = append8(dst, chunkProtocol, protocol)
		dst = appendBytes(dst, chunkSource6, a[:])
		dst = appendBytes(dst, chunkTarget6, b[:])
	}
	dst = append16(dst, chunkSourcePort, p.Src.Port())
	dst = append16(dst, chunkTargetPort, p.Dst.Port())
	dst = append32(dst, chunkSeconds, uint32(p.At.Unix()))
	dst = append32(dst, chunkMicros, uint32(p.At.Nanosecond()/1000))
	dst = append8(dst, chunkType, byte(p.Type))
	dst = append32(dst, chunkAgent, p.Agent)
	if len(p.Key) > 0 {
		dst = appendBytes(dst, chunkKey, p.Key)
	}
	if p.Correlation != "" {
		dst = appendBytes(dst, chunkCorrelation, []byte(p.Correlation))
	}
	if n := len(dst) - at + head + len(p.Payload); n >= 1<<16 {
		return dst[:at], errTooLong
	}
	dst = appendBytes(dst, chunkPayload, p.Payload)
	binary.BigEndian.PutUint16(dst[at+4:], uint16(len(dst)-at))
	return dst, nil
}

// family is that of two addresses. A wildcard has the family of the other one.
func family(a, b netip.Addr) int {
	if (a.Is4() || !a.IsValid() || a.IsUnspecified()) && (b.Is4() || !b.IsValid() || b.IsUnspecified()) {
		return inet
	}
	return inet6
}

func four(a netip.Addr) [4]byte {
	if a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}

func sixteen(a netip.Addr) [16]byte {
	if !a.IsValid() || a.IsUnspecified() {
		return [16]byte{}
	}
	return a.As16()
}

// head is the length of a chunk without what it holds: vendor, type and length.
const head = 6

func appendHead(dst []byte, chunk uint16, n int) []byte {
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, chunk)
	return binary.BigEndian.AppendUint16(dst, uint16(head+n))
}

func append8(dst []byte, chunk uint16, v byte) []byte { return append(appendHead(dst, chunk, 1), v) }

func append16(dst []byte, chunk, v uint16) []byte {
	return binary.BigEndian.AppendUint16(appendHead(dst, chunk, 2), v)
}

func append32(dst []byte, chunk uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(dst, chunk, 4), v)
}

func appendBytes(dst []byte, chunk uint16, v []byte) []byte {
	return append(appendHead(dst, chunk, len(v)), v...)
}
