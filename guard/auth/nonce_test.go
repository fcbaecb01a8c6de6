package auth

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// The vectors of the authors of SipHash: key 00 01 ... 0f over the messages
// "", 00, 00 01, ..., read as little-endian numbers.
func TestSipHash(t *testing.T) {
	var key [16]byte
	for i := range key {
		key[i] = byte(i)
	}
	var message [15]byte
	for i := range message {
		message[i] = byte(i)
	}
	for n, want := range map[int]uint64{
		0:  0x726fdb47dd0e0e31,
		1:  0x74f839c593dc67fd,
		7:  0xab0200f58b01d137,
		8:  0x93f5f5799a932462,
		15: 0xa129ca6149be45e5,
	} {
		if got := hash(&key, message[:n]); got != want {
			t.Errorf("%d bytes: %016x, want %016x", n, got, want)
		}
	}
}

// The nonce is what the kernel filter writes: these bytes may only change
// together with the version.
func TestNonceBytes(t *testing.T) {
	var key [32]byte
	for i := range key {
		key[i] = byte(i)
	}
	pair := pairOf(key)
	v4 := appendPlain(nil, &pair, netip.MustParseAddrPort("192.0.2.7:5060"), 0x01020304)
	mapped := appendPlain(nil, &pair, netip.MustParseAddrPort("[::ffff:192.0.2.7]:5060"), 0x01020304)
	if string(v4) != string(mapped) {
		t.Errorf("IPv4 %s and mapped %s differ", v4, mapped)
	}
	want := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7, 0x13, 0xc4, 0, 0, 1, 2, 3, 4}
	address := [16]byte(key[:16])
	if text := "r101020304" + string(appendHex(nil, hash(&address, want), 16)); string(v4) != text {
		t.Errorf("nonce is %s, want %s", v4, text)
	}
}

// Whatever the order of counts, each is accepted at most once, and every one
// that rises is accepted.
func TestReplayProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newReplayTable(8, 0)
		seen, top := map[uint32]bool{}, uint32(0)
		for _, count := range rapid.SliceOf(rapid.Uint32Range(1, 200)).Draw(t, "counts") {
			before := table.used(7, count)
			got := table.note(7, count, 10, 1)
			if got == newCount && (seen[count] || before) {
				t.Fatalf("count %d was accepted twice", count)
			}
			if count > top && got != newCount {
				t.Fatalf("count %d rises above %d and was refused", count, top)
			}
			if !seen[count] && count+63 >= top && got != newCount {
				t.Fatalf("count %d is new, within 64 of %d, and was refused", count, top)
			}
			seen[count], top = true, max(top, count)
			if !table.used(7, count) {
				t.Fatalf("count %d was forgotten", count)
			}
		}
	})
}
