package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// A shape builds one Ethernet frame.
type shape struct {
	src          netip.AddrPort
	port         uint16 // of the destination
	tags         int
	tcp          byte // flags; 0 is UDP
	payload      string
	fragment     uint16 // IPv4: flags and offset; IPv6: offset, reserved and more
	extensions   []byte // IPv6 extension headers, by number
	lie          int    // added to the UDP length
	pad          int    // octets after the packet
	truncate     int    // octets cut from the end
	noFragHeader bool
}

func (s shape) frame() []byte {
	b := make([]byte, 12)
	for range s.tags {
		b = append(b, 0x81, 0, 0, 7)
	}
	var l4 []byte
	if s.tcp != 0 {
		l4 = make([]byte, 20)
		l4[12], l4[13] = 5<<4, s.tcp
	} else {
		l4 = make([]byte, 8)
		binary.BigEndian.PutUint16(l4[4:], uint16(8+len(s.payload)+s.lie))
	}
	binary.BigEndian.PutUint16(l4, s.src.Port())
	binary.BigEndian.PutUint16(l4[2:], s.port)
	l4 = append(l4, s.payload...)
	protocol := byte(protocolUDP)
	if s.tcp != 0 {
		protocol = protocolTCP
	}
	if s.src.Addr().Is4() {
		b = append(b, 8, 0)
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, protocol
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(l4)))
		binary.BigEndian.PutUint16(ip[6:], s.fragment)
		src := s.src.Addr().As4()
		copy(ip[12:], src[:])
		copy(ip[16:], []byte{192, 0, 2, 1})
		b = append(append(b, ip...), l4...)
	} else {
		b = append(b, 0x86, 0xdd)
		chain := s.extensions
		if s.fragment != 0 && !s.noFragHeader {
			chain = append(slices.Clip(chain), 44)
		}
		var ext []byte
		for i := range chain {
			next := protocol
			if i+1 < len(chain) {
				next = chain[i+1]
			}
			h := make([]byte, 8)
			h[0] = next
			if chain[i] == 44 {
				binary.BigEndian.PutUint16(h[2:], s.fragment)
			}
			ext = append(ext, h...)
		}
		ip := make([]byte, 40)
		ip[0], ip[6] = 0x60, protocol
		if len(chain) > 0 {
			ip[6] = chain[0]
		}
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ext)+len(l4)))
		src := s.src.Addr().As16()
		copy(ip[8:], src[:])
		b = append(append(append(b, ip...), ext...), l4...)
	}
	b = append(b, make([]byte, s.pad)...)
	return b[:len(b)-s.truncate]
}

func request(method, uri string) string {
	return method + " " + uri + " SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n" + strings.Repeat("X: y\r\n", 8) + "\r\n"
}
