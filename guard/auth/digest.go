package auth

import (
	"crypto/md5" //nolint:gosec // RFC 7616 section 3.3: offered for phones that know nothing better
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"strings"
)

// The algorithms of RFC 7616 section 6.1 that are offered. SHA-512-256 is
// SHA-512/256 of FIPS 180-4; the example in section 3.9.2 used SHA-512 cut to
// 256 bits, which is an erratum.
const (
	md5Name    = "MD5"
	sha256Name = "SHA-256"
	sha512Name = "SHA-512-256"
)

var algorithmNames = [...]string{md5Name, sha256Name, sha512Name}

// canonical gives an algorithm its registered spelling. Credentials without one
// mean MD5 (RFC 7616 section 3.3). The -sess forms are not offered.
func canonical(algorithm string) (string, bool) {
	if algorithm == "" {
		return md5Name, true
	}
	for _, name := range algorithmNames {
		if strings.EqualFold(algorithm, name) {
			return name, true
		}
	}
	return "", false
}

// appendHash appends H(text) in lower-case hexadecimal.
func appendHash(dst []byte, algorithm string, text []byte) []byte {
	switch algorithm {
	case sha256Name:
		sum := sha256.Sum256(text)
		return appendBytes(dst, sum[:])
	case sha512Name:
		sum := sha512.Sum512_256(text)
		return appendBytes(dst, sum[:])
	default:
		sum := md5.Sum(text) //nolint:gosec // as above
		return appendBytes(dst, sum[:])
	}
}

func appendBytes(dst, sum []byte) []byte {
	for _, b := range sum {
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	return dst
}

// HA1 gives the digests of a password by algorithm, in lower-case hexadecimal:
// H(user:realm:password), RFC 7616 section 3.4.2. Under "MD5@" and so on stand
// those for phones that send user@realm as the user name.
func HA1(user, realm, password string) map[string]string {
	out := make(map[string]string, 2*len(algorithmNames))
	for _, name := range algorithmNames {
		out[name] = string(appendHash(nil, name, []byte(user+":"+realm+":"+password)))
		out[name+"@"] = string(appendHash(nil, name, []byte(user+"@"+realm+":"+realm+":"+password)))
	}
	return out
}

// verify computes the response of RFC 7616 section 3.4.1 and compares it in
// constant time. Without qop it is the form of RFC 2069.
func verify(c *credentials, algorithm, ha1, method string) bool {
	var textRoom [1024]byte
	var hashRoom, wantRoom [64]byte
	text := append(append(append(textRoom[:0], method...), ':'), c.uri...)
	ha2 := appendHash(hashRoom[:0], algorithm, text)

	text = append(append(append(text[:0], ha1...), ':'), c.nonce...)
	if c.qop != "" {
		for _, part := range [...]string{c.nc, c.cnonce, c.qop} {
			text = append(append(text, ':'), part...)
		}
	}
	text = append(append(text, ':'), ha2...)
	want := appendHash(wantRoom[:0], algorithm, text)

	var gotRoom [64]byte
	if len(c.response) != len(want) {
		return false
	}
	got := append(gotRoom[:0], c.response...)
	for i, b := range got {
		if 'A' <= b && b <= 'F' {
			got[i] = b + 'a' - 'A'
		}
	}
	return subtle.ConstantTimeCompare(got, want) == 1
}
