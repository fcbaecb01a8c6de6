package bpf

import (
	"encoding/binary"
	"net/netip"
)

const (
	etherIPv4 = 0x0800
	etherVLAN = 0x8100 // IEEE 802.1Q
	etherQinQ = 0x88a8 // IEEE 802.1ad
	etherIPv6 = 0x86dd

	vlans      = 2
	extensions = 4 // IPv6 extension headers that are stepped over
)

// dissect reads a frame as far as the screen needs; false is for what is not
// for a guarded port, or is in doubt.
func (s *Soft) dissect(frame []byte) (p packet, ok bool) {
	rest, kind, ok := etherType(frame)
	if !ok {
		return p, false
	}
	p.frame = len(frame)
	switch kind {
	case etherIPv4:
		rest, ok = p.ipv4(rest)
	case etherIPv6:
		rest, ok = p.ipv6(rest)
	default:
		return p, false
	}
	if !ok {
		return p, false
	}
	if p.later {
		p.from = sourceOf(p.addr.Unmap(), 0)
		return p, p.protocol == protocolUDP // only UDP brings SIP in fragments
	}
	return p, s.transport(&p, rest)
}

func etherType(frame []byte) (rest []byte, kind uint16, ok bool) {
	if len(frame) < 14 {
		return nil, 0, false
	}
	kind, rest = binary.BigEndian.Uint16(frame[12:]), frame[14:]
	for i := 0; i < vlans && (kind == etherVLAN || kind == etherQinQ); i++ {
		if len(rest) < 4 {
			return nil, 0, false
		}
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	return rest, kind, true
}

func (p *packet) ipv4(b []byte) (rest []byte, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return nil, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total < header {
		return nil, false
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	p.protocol = b[9]
	p.addr = netip.AddrFrom4([4]byte(b[12:16]))
	p.later, p.more = fragment&0x1fff != 0, fragment&0x2000 != 0
	p.room = total - header
	p.lies = total > len(b)
	if header > len(b) {
		return nil, true
	}
	return b[header:], true
}

func (p *packet) ipv6(b []byte) (rest []byte, ok bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return nil, false
	}
	next, total := b[6], int(binary.BigEndian.Uint16(b[4:]))
	p.addr = netip.AddrFrom16([16]byte(b[8:24]))
	p.v6 = true
	p.lies = total > len(b)-40 || p.addr.Is4In6() // an IPv4 address here would pass for the IPv4 host
	rest = b[40:]
	used := 0
	for range extensions {
		length := 0
		switch next {
		case 0, 43, 60: // hop by hop, routing, destination options (RFC 8200 section 4)
			if len(rest) < 2 {
				return nil, false
			}
			next, length = rest[0], (int(rest[1])+1)*8
		case 44: // fragment
			if len(rest) < 8 {
				return nil, false
			}
			fragment := binary.BigEndian.Uint16(rest[2:])
			p.later, p.more = fragment&0xfff8 != 0, fragment&1 != 0
			next, length = rest[0], 8
		}
		rest = rest[min(length, len(rest)):]
		used += length
		if length == 0 || p.later {
			break
		}
	}
	if used > total {
		return nil, false
	}
	p.protocol = next
	p.room = total - used
	return rest, true
}

// transport reads the ports and the UDP payload, and tells whether the port is
// guarded.
func (s *Soft) transport(p *packet, b []byte) bool {
	need, mask := 8, uint8(guardUDP)
	switch p.protocol {
	case protocolUDP:
	case protocolTCP:
		need, mask = 20, guardTCP
	default:
		return false
	}
	if len(b) < need || s.ports.Load()[binary.BigEndian.Uint16(b[2:])]&mask == 0 {
		return false
	}
	p.from = sourceOf(p.addr.Unmap(), binary.BigEndian.Uint16(b))
	if p.protocol == protocolTCP {
		const syn, ack = 2, 16
		p.syn = b[13]&(syn|ack) == syn
		return true
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	// Only the first of several fragments may promise more than it brings.
	p.lies = p.lies || length < 8 || p.room < 8 || length > p.room && !p.more
	if !p.lies {
		p.payload = b[8:min(length, p.room)]
	}
	return true
}
