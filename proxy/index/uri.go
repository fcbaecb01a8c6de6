package index

import (
	"math"
	"net/netip"
)

// uri reads the URI from at to end, which fills that range exactly (RFC 3261
// section 19.1, and RFC 3986 for schemes that are not sip).
func (m *Message) uri(u *URI, at, end int) Problem {
	b := m.raw
	if at >= end {
		return BadURI
	}
	colon := at
	for _, c := range b[at:end] {
		if !is(c, tokenByte) {
			break
		}
		colon++
	}
	if colon == at || colon == end || b[colon] != ':' || lower(b[at])-'a' > 25 {
		return BadScheme
	}
	ampersat := 0
	rest := b[colon+1 : end]
	for i, c := range rest {
		k := class[c] & (uriByte | markByte)
		if k == uriByte { // nearly all of them
			continue
		}
		switch {
		case k&uriByte == 0:
			return BadURI
		case c == '%':
			if p := escape(rest[i+1:]); p != "" {
				return p
			}
		case ampersat != 0:
			return ManyAts
		default:
			ampersat = colon + 1 + i
		}
	}
	*u = URI{Text: span(at, end), Scheme: span(at, colon)}
	if !equalFold(b[at:colon], "sip") && !equalFold(b[at:colon], "sips") {
		return m.opaque(u, colon+1, end)
	}
	at = colon + 1
	if ampersat != 0 {
		user := ampersat
		for i := at; i < ampersat; i++ {
			if b[i] == ':' {
				if user != ampersat {
					return BadUserinfo
				}
				user = i
			}
		}
		if user == at {
			return BadUserinfo
		}
		u.User = span(at, user)
		if user != ampersat {
			u.Password = span(user+1, ampersat)
		}
		at = ampersat + 1
	}
	next, p := m.hostport(&u.Host, &u.Port, at, end, false)
	if p != "" {
		return p
	}
	return m.tail(u, next, end)
}

// tail reads the parameters and headers of a SIP URI.
func (m *Message) tail(u *URI, at, end int) Problem {
	b := m.raw
	if at < end && b[at] == ';' {
		from := at + 1
		count := 0
		for at < end && b[at] == ';' {
			at++
			name := at
			var h uint32
			for at < end && b[at] != '=' && b[at] != ';' && b[at] != '?' {
				h = h*31 + uint32(lower(b[at]))
				at++
			}
			if at == name {
				return BadParameter
			}
			key, from := span(name, at), at
			for at < end && b[at] != ';' && b[at] != '?' {
				at++
			}
			if p := m.once(&count, h, key, span(from, at)); p != "" {
				return p
			}
		}
		u.Params = span(from, at)
	}
	if at == end {
		return ""
	}
	if b[at] != '?' || at+1 == end {
		return BadURI
	}
	u.Headers = span(at+1, end)
	return ""
}

// opaque reads what follows a scheme that is not sip.
func (m *Message) opaque(u *URI, at, end int) Problem {
	if at == end {
		return BadURI
	}
	i := at
	for i < end && m.raw[i] != ';' {
		i++
	}
	u.User = span(at, i)
	if i < end {
		u.Params = span(i+1, end)
	}
	return ""
}

// escape checks the two bytes that follow a percent sign.
func escape(b []byte) Problem {
	if len(b) < 2 {
		return BadEscape
	}
	hi, ok := unhex(b[0])
	lo, ok2 := unhex(b[1])
	if !ok || !ok2 {
		return BadEscape
	}
	switch hi<<4 | lo {
	case 0, '\n', '\r':
		return EscapedByte
	case 0xc0, 0xc1:
		return overlong(b[2:], 0xbf)
	case 0xe0:
		return overlong(b[2:], 0x9f)
	case 0xf0:
		return overlong(b[2:], 0x8f)
	}
	return ""
}

// overlong refuses an escape that goes on as a character in more octets than it
// needs: %c0%80 is NUL and %c0%ae a dot to a careless reader (RFC 3629 section
// 3). A lone %c0 is a letter of Latin-1 and may stay.
func overlong(b []byte, last byte) Problem {
	if len(b) < 3 || b[0] != '%' {
		return ""
	}
	hi, ok := unhex(b[1])
	lo, ok2 := unhex(b[2])
	if c := hi<<4 | lo; ok && ok2 && 0x80 <= c && c <= last {
		return LongEscape
	}
	return ""
}

// hostport reads a host and maybe a port, and returns where they end. In a Via
// blanks may stand around the colon.
func (m *Message) hostport(host *Span, port *uint16, at, end int, blanks bool) (int, Problem) {
	b := m.raw
	i := at
	if i < end && b[i] == '[' {
		for i < end && b[i] != ']' {
			i++
		}
		if i == end || !ipv6(b[at+1:i]) {
			return 0, BadHost
		}
		i++
	} else {
		for _, c := range b[at:end] {
			if !is(c, hostByte) {
				break
			}
			i++
		}
		if i == at {
			return 0, BadHost
		}
	}
	*host = span(at, i)
	colon := i
	if blanks {
		colon = skip(b, i, end)
	}
	if colon < end && b[colon] == ':' {
		i = colon + 1
		if blanks {
			i = skip(b, i, end)
		}
		from := i
		for i < end && digit(b[i]) {
			i++
		}
		n, ok := decimal(b[from:i], math.MaxUint16)
		if !ok || n == 0 {
			return 0, BadPort
		}
		*port = uint16(n)
		if i < end && is(b[i], hostByte) {
			return 0, BadPort
		}
	}
	if i < end && b[i] != ';' && b[i] != '?' && b[i] != ',' && !blank(b[i]) {
		return 0, BadHost
	}
	return i, ""
}

// ipv6 tells whether b is an IPv6 address without zone (RFC 5954).
func ipv6(b []byte) bool {
	const longest = len("0000:0000:0000:0000:0000:0000:255.255.255.255")
	if len(b) > longest {
		return false
	}
	a, err := netip.ParseAddr(string(b))
	return err == nil && a.Is6() && a.Zone() == ""
}
