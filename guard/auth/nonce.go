package auth

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/dchest/siphash"
)

// A nonce is text, so that the kernel can write and check one without a table:
//
//	r1 SSSSSSSS HHHHHHHHHHHHHHHH [CCCC TTTTTTTTTTTT]
//
// r1 is the version. S is the slot, Unix seconds divided by 32, as 8 hexadecimal
// digits. H is SipHash-2-4 under the first 16 bytes of the key over 24 bytes:
// the source address as 16 bytes (IPv4 mapped into IPv6), the source port (big
// endian), two zero bytes, the slot (big endian). It is written as 16 digits,
// most significant first, and proves that the nonce was given to this source.
//
// The daemon adds a tail, which the kernel ignores: C is a counter that makes
// every nonce differ, T the upper 48 bits of SipHash-2-4 under the last 16
// bytes of the key over H's text, C, the algorithm, the realm and, by setting,
// the Call-ID. It proves that this realm and this algorithm were offered, so
// that a weaker algorithm cannot be picked (RFC 7616 section 5.7).
const (
	slotLength = 32 * time.Second
	plainSize  = 2 + 8 + 16
	tailSize   = 4 + 12
)

// freshness is what a nonce is good for.
type freshness uint8

const (
	foreign  freshness = iota // not ours, or not given to this source
	outdated                  // ours, too old for digest
	fresh                     // ours, good for digest
	proving                   // fresh, and of the current or the previous slot
)

// A keyPair is one generation of keys.
type keyPair struct{ address, tail [16]byte }

func pairOf(k [32]byte) keyPair { return keyPair{[16]byte(k[:16]), [16]byte(k[16:])} }

func slotOf(t time.Time) uint32 { return uint32(t.Unix() / int64(slotLength/time.Second)) }

func addressHash(key *[16]byte, src netip.AddrPort, slot uint32) uint64 {
	var b [24]byte
	ip := src.Addr().As16()
	copy(b[:], ip[:])
	binary.BigEndian.PutUint16(b[16:], src.Port())
	binary.BigEndian.PutUint32(b[20:], slot)
	return hash(key, b[:])
}

func appendPlain(dst []byte, key *keyPair, src netip.AddrPort, slot uint32) []byte {
	dst = append(dst, 'r', '1')
	dst = appendHex(dst, uint64(slot), 8)
	return appendHex(dst, addressHash(&key.address, src, slot), 16)
}

// tailHash is over parts that are apart by zero bytes, which SIP text cannot hold.
func tailHash(key *keyPair, head, algorithm, realm, callID string) uint64 {
	var room [256]byte
	b := append(room[:0], head...)
	for _, part := range [...]string{algorithm, realm, callID} {
		b = append(append(b, 0), part...)
	}
	return hash(&key.tail, b) >> 16
}

// freshness looks at the part that proves the address, and says which
// generation of keys made it.
func (a *Auth) freshness(nonce string, src netip.AddrPort, at time.Time) (freshness, *keyPair) {
	if len(nonce) != plainSize && len(nonce) != plainSize+tailSize || nonce[:2] != "r1" {
		return foreign, nil
	}
	number, ok := parseHex(nonce[2:10])
	hash, ok2 := parseHex(nonce[10:plainSize])
	if !ok || !ok2 {
		return foreign, nil
	}
	slot, now := uint32(number), slotOf(at)
	for i := range a.keys {
		if !equal(hash, addressHash(&a.keys[i].address, src, slot)) {
			continue
		}
		switch age := int64(now) - int64(slot); {
		case age < 0:
			return foreign, nil
		case age <= 1:
			return proving, &a.keys[i]
		case time.Duration(age)*slotLength <= a.o.NonceLife:
			return fresh, &a.keys[i]
		default:
			return outdated, &a.keys[i]
		}
	}
	return foreign, nil
}

// offered tells whether a nonce that is ours was given out for this realm and
// algorithm. One without a tail comes from the kernel, which offers what is
// configured.
func (a *Auth) offered(nonce string, key *keyPair, algorithm, realm, callID string) bool {
	if len(nonce) == plainSize {
		return realm == a.realmText && a.configured(algorithm)
	}
	if !a.o.BindCallID {
		callID = ""
	}
	tail, ok := parseHex(nonce[plainSize+4:])
	return ok && equal(tail, tailHash(key, nonce[:plainSize+4], algorithm, realm, callID))
}

func equal(a, b uint64) bool {
	var x, y [8]byte
	binary.BigEndian.PutUint64(x[:], a)
	binary.BigEndian.PutUint64(y[:], b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

const digits = "0123456789abcdef"

func appendHex(dst []byte, n uint64, width int) []byte {
	for shift := 4 * (width - 1); shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&15])
	}
	return dst
}

// parseHex takes up to 16 lower-case digits, the only form that we write.
func parseHex(s string) (n uint64, ok bool) {
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			n = n<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, len(s) > 0 && len(s) <= 16
}

// hash is SipHash-2-4 (Aumasson and Bernstein, 2012) with a 64-bit result, the
// keyed hash that the kernel filter can compute as well.
func hash(key *[16]byte, p []byte) uint64 {
	return siphash.Hash(binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:]), p)
}
