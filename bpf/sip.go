package bpf

import "bytes"

// methods are the beginnings of what is SIP: the methods of RFC 3261, 3262,
// 3265, 3311, 3428, 3515, 3903 and 6086, and a response.
var methods = [...]string{
	"ACK ", "BYE ", "CANCEL ", "INFO ", "INVITE ", "MESSAGE ", "NOTIFY ", "OPTIONS ", "PRACK ",
	"PUBLISH ", "REFER ", "REGISTER ", "SIP/2.0 ", "SUBSCRIBE ", "UPDATE ",
}

func method(payload []byte) bool {
	if len(payload) < head {
		return false
	}
	for _, m := range methods {
		if string(payload[:len(m)]) == m {
			return true
		}
	}
	return false
}

// emergency tells whether the payload is an INVITE to an emergency service (RFC
// 5031), or to a user that is one of the emergency numbers.
func (s *Soft) emergency(payload []byte) bool {
	if len(payload) < line || string(payload[:7]) != "INVITE " {
		return false
	}
	uri := payload[7:line]
	switch {
	case folded(uri, "urn:service:sos"):
		return bytes.IndexByte([]byte(" .;?"), uri[15]) >= 0
	case folded(uri, "sip:"), folded(uri, "tel:"):
		return s.known(uri[4:])
	case folded(uri, "sips:"):
		return s.known(uri[5:])
	}
	return false
}

// folded tells whether text begins with lower, letters in either case.
func folded(text []byte, lower string) bool {
	for i := range len(lower) {
		c := text[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func (s *Soft) known(user []byte) bool {
	var n screenNumber
	for i := range n.Digits {
		switch c := user[i]; c {
		case '@', ';', ':', '?', ' ':
			_, ok := (*s.numbers.Load())[n]
			return i > 0 && ok
		default:
			if i == len(n.Digits)-1 {
				return false
			}
			n.Digits[i] = c
		}
	}
	return false
}
