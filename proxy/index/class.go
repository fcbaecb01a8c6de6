package index

import "math/bits"

// The classes of bytes that the grammar of RFC 3261 section 25.1 tells apart.
const (
	tokenByte   = 1 << iota // token
	valueByte               // an unquoted parameter value: token, host and what phones add to it
	uriByte                 // may stand in a URI
	hostByte                // may stand in a host name
	displayByte             // may stand in a display name without quotes
	callIDByte              // may stand in a Call-ID
	markByte                // @ and %, which a URI is taken apart by
)

var class = classes()

func classes() (t [256]uint8) {
	for c := '!'; c <= '~'; c++ {
		t[c] = valueByte | uriByte | displayByte | callIDByte
	}
	// A byte beyond ASCII belongs to UTF-8 text: RFC 3261 allows it in quotes
	// only, but phones write names without quotes and no reader splits there.
	for c := 0x80; c < 256; c++ {
		t[c] = displayByte
	}
	t[' '] |= displayByte
	t['\t'] |= displayByte
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= tokenByte | hostByte
		t[c-'a'+'A'] |= tokenByte | hostByte
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= tokenByte | hostByte
	}
	for _, c := range "-.!%*_+`'~" {
		t[c] |= tokenByte
	}
	for _, c := range "-._" { // the underscore is not RFC 1123 but widely in use
		t[c] |= hostByte
	}
	for _, c := range `",;<>` {
		t[c] &^= valueByte
	}
	for _, c := range `"<>\` {
		t[c] &^= uriByte
	}
	for _, c := range `",;:<>@\` {
		t[c] &^= displayByte
	}
	for _, c := range ",;" {
		t[c] &^= callIDByte
	}
	t['@'] |= markByte
	t['%'] |= markByte
	return t
}

func is(c byte, k uint8) bool { return class[c]&k != 0 }

func blank(c byte) bool { return c == ' ' || c == '\t' }

func digit(c byte) bool { return c-'0' <= 9 }

func lower(c byte) byte {
	if c-'A' <= 'Z'-'A' {
		return c | 0x20
	}
	return c
}

func unhex(c byte) (byte, bool) {
	switch {
	case digit(c):
		return c - '0', true
	case lower(c)-'a' <= 5:
		return lower(c) - 'a' + 10, true
	}
	return 0, false
}

// equalFold compares without regard to the case of ASCII letters.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	if string(b) == s {
		return true
	}
	for i, c := range b {
		if lower(c) != lower(s[i]) {
			return false
		}
	}
	return true
}

// control is the offset of the first control byte at or after at, or len(b).
// It looks at eight bytes at a time: most bytes of a message are text.
func control(b []byte, at int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; at+8 <= len(b); at += 8 {
		w := b[at : at+8 : at+8]
		x := uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 |
			uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
		d := x ^ 0x7f*ones
		if hit := ((x-0x20*ones)&^x | (d-ones)&^d) & highs; hit != 0 {
			return at + bits.TrailingZeros64(hit)/8
		}
	}
	for ; at < len(b); at++ {
		if b[at] < 0x20 || b[at] == 0x7f {
			break
		}
	}
	return at
}

// skip is the offset of the first byte at or after at that is no blank, or end.
func skip(b []byte, at, end int) int {
	for at < end && blank(b[at]) {
		at++
	}
	return at
}

// trim is the offset behind the last byte before end that is no blank, or at.
func trim(b []byte, at, end int) int {
	for end > at && blank(b[end-1]) {
		end--
	}
	return end
}

func span(from, to int) Span { return Span{uint16(from), uint16(to)} }
