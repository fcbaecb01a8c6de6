package transaction

import (
	"hash/maphash"
	"net/netip"
	"strings"

	"ringfence/proxy/index"
)

// A Key is what a request matches a server transaction by: a keyed hash, so
// that nobody can aim at one. The zero Key matches nothing.
type Key [2]uint64

// cookie begins the branch of everybody who follows RFC 3261 section 17.2.3.
const cookie = "z9hG4bK"

// Key is the key of a request from a source (RFC 3261 section 17.2.3). ACK and
// CANCEL have that of their INVITE. The source's address is part of it, so that
// nobody can cancel or repeat what somebody else asked for.
func (t *Table[F, T]) Key(m *index.Message, src netip.Addr) Key {
	var k Key
	for i := range k {
		k[i] = t.hash(i, m, src)
	}
	k[0] |= 1 << 63 // never the zero Key
	return k
}

func (t *Table[F, T]) hash(i int, m *index.Message, src netip.Addr) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seeds[i])
	from := src.As16()
	_, _ = h.Write(from[:])
	part := func(s index.Span) {
		_, _ = h.Write(m.Bytes(s))
		_ = h.WriteByte(0)
	}
	branch := m.Bytes(m.Via.Branch)
	modern := len(branch) > len(cookie) && strings.EqualFold(string(branch[:len(cookie)]), cookie)
	if modern {
		part(m.Via.Branch)
	} else { // RFC 2543
		part(m.URI.Text)
		part(m.From.Tag)
		part(m.CallID)
		part(m.Via.Branch)
		_, _ = h.Write([]byte{byte(m.CSeq >> 24), byte(m.CSeq >> 16), byte(m.CSeq >> 8), byte(m.CSeq)})
	}
	part(m.Via.Host)
	_, _ = h.Write([]byte{byte(m.Via.Port >> 8), byte(m.Via.Port)})
	switch m.Method {
	case index.Ack, index.Cancel:
		_, _ = h.WriteString("INVITE")
	default:
		_, _ = h.Write(m.Bytes(m.MethodText))
	}
	return h.Sum64()
}
