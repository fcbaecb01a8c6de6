package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// longestNonce is how long a next hop's nonce may be to be remembered, in bytes.
const longestNonce = 256

// nonces remembers which nonce was sent to which source, as keyed fingerprints.
// The key never leaves the process, so nobody can make a nonce that fits a cell.
type nonces struct {
	*cells
	key  [32]byte
	life int64
}

func newNonces(n int, life time.Duration) *nonces {
	t := &nonces{cells: newCells(n), life: int64(life)}
	rand.Read(t.key[:]) // never fails, see crypto/rand
	return t
}

// mark is SHA-256 over key, source and nonce, cut to 64 bits. The parts before
// the nonce have a fixed length, so no two inputs run together.
func (t *nonces) mark(nonce []byte, src netip.AddrPort) uint64 {
	var in [32 + 16 + 2 + longestNonce]byte
	addr := src.Addr().As16()
	copy(in[:], t.key[:])
	copy(in[32:], addr[:])
	binary.BigEndian.PutUint16(in[48:], src.Port())
	n := copy(in[50:], nonce)
	sum := sha256.Sum256(in[:50+n])
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

// Offered notes that a next hop's nonce is being sent to a source. A nonce
// longer than 256 bytes is not remembered.
func (t *Table) Offered(nonce []byte, src netip.AddrPort, at time.Time) {
	if len(nonce) == 0 || len(nonce) > longestNonce || !src.IsValid() {
		return
	}
	mark := t.nonces.mark(nonce, src)
	set, mu := t.nonces.lock(mark)
	claim(set, mark).when = at.UnixNano()
	mu.Unlock()
}

// Returned tells whether a nonce was lately sent to this source: then who
// brings it back can receive there. It stays good for its life, for phones use
// one nonce for several requests.
func (t *Table) Returned(nonce []byte, src netip.AddrPort, at time.Time) bool {
	if len(nonce) == 0 || len(nonce) > longestNonce || !src.IsValid() {
		return false
	}
	mark := t.nonces.mark(nonce, src)
	set, mu := t.nonces.lock(mark)
	defer mu.Unlock()
	c := find(set, mark)
	return c != nil && at.UnixNano()-c.when < t.nonces.life
}
