package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

const (
	messages = iota
	syns
)

var mapped = netip.MustParsePrefix("::ffff:0:0/96")

// sourceOf is the key of one host and port; port 0 is every port.
func sourceOf(a netip.Addr, port uint16) screenSource {
	b := a.As16()
	return screenSource{
		High: binary.NativeEndian.Uint64(b[:8]),
		Low:  binary.NativeEndian.Uint64(b[8:]),
		Port: port,
		Bits: 128,
	}
}

// site is the source whose packets count together: a host, or an IPv6 /64.
func site(s screenSource, v6 bool) screenSource {
	s.Port = 0
	if v6 {
		s.Low, s.Bits = 0, 64
	}
	return s
}

// canonical masks p and unmaps it.
func canonical(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() {
		return p, errors.New("the prefix is not valid")
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return p, fmt.Errorf("%s covers more than the IPv4 addresses in IPv6: give IPv4 as IPv4", p)
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	if p.Addr().Zone() != "" {
		return p, fmt.Errorf("%s has a zone", p)
	}
	return p.Masked(), nil
}

// place says where the ban of p is kept: in the hash under key, or, for lengths
// other than a host and an IPv6 /64, in the prefixes.
func place(p netip.Prefix, port uint16) (key screenSource, hash bool, masked netip.Prefix, err error) {
	if p, err = canonical(p); err != nil {
		return key, false, p, err
	}
	if port != 0 && !p.IsSingleIP() {
		return key, false, p, fmt.Errorf("%s port %d: a port can be banned of a single host only", p, port)
	}
	if p.IsSingleIP() {
		return sourceOf(p.Addr(), port), true, p, nil
	}
	if p.Addr().Is6() && p.Bits() == 64 {
		return site(sourceOf(p.Addr(), 0), true), true, p, nil
	}
	return key, false, p, nil
}

// prefixOf is the key of the prefix maps.
func prefixOf(p netip.Prefix) screenPrefix {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += mapped.Bits()
	}
	return screenPrefix{Bits: uint32(bits), Address: p.Addr().As16()}
}

// number is the key of an emergency number.
func number(digits string) (n screenNumber, err error) {
	if digits == "" || len(digits) >= len(n.Digits) {
		return n, fmt.Errorf("emergency number %q: 1 to %d characters", digits, len(n.Digits)-1)
	}
	for i := range len(digits) {
		switch c := digits[i]; {
		case c >= '0' && c <= '9', c == '+', c == '*', c == '#':
			n.Digits[i] = c
		default:
			return n, fmt.Errorf("emergency number %q: %q is no digit", digits, c)
		}
	}
	return n, nil
}
