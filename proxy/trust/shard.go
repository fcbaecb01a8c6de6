package trust

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"ringfence/guard"
)

// A key is a Flow without pointers, so that the collector need not look into
// the table.
type key struct {
	addr      [16]byte
	port      uint16
	transport guard.Transport
}

func (f Flow) key() key {
	return key{addr: f.Remote.Addr().As16(), port: f.Remote.Port(), transport: f.Transport}
}

// appendTo writes the key as it stands in the store.
func (k key) appendTo(b []byte) []byte {
	b = append(b, k.addr[:]...)
	b = binary.BigEndian.AppendUint16(b, k.port)
	return append(b, byte(k.transport))
}

func parseKey(b []byte) (k key, ok bool) {
	if len(b) != 16+2+1 {
		return key{}, false
	}
	copy(k.addr[:], b)
	k.port = binary.BigEndian.Uint16(b[16:])
	k.transport = guard.Transport(b[18])
	return k, k.transport <= guard.WSS && netip.AddrFrom16(k.addr).IsValid()
}

// none is the end of a list.
const none = int32(-1)

// An entry is one flow. It stands in the list of its state, oldest first.
type entry struct {
	key        key
	proved     guard.Trust // Challenged or Trusted
	list       guard.Trust // the list it is in: proved, or Limited
	expires    int64       // Unix nanoseconds, of what it proved
	limited    int64       // until then
	arrival    int64       // of its budget
	stored     int64       // the expiry that the store knows
	prev, next int32
}

type list struct {
	first, last int32
	n           int
}

// A shard holds the flows of some addresses. All flows of an address are in one
// shard, so whoever makes many can push out only its neighbours there.
type shard struct {
	mu      sync.Mutex // guards all below
	flows   map[key]int32
	entries []entry // grows up to max
	free    int32
	lists   [guard.Limited + 1]list // by state; Unknown is not used
	max     int
	evicted uint64
	refused uint64
}

func newShard(most int) *shard {
	s := &shard{flows: map[key]int32{}, free: none, max: most}
	for i := range s.lists {
		s.lists[i] = list{first: none, last: none}
	}
	return s
}

// find is the entry of a flow that is still good, in the list where it belongs.
func (s *shard) find(k key, now int64) *entry {
	i, ok := s.flows[k]
	if !ok {
		return nil
	}
	e := &s.entries[i]
	if e.list == guard.Limited && e.limited <= now {
		s.move(i, e.proved)
		e.arrival = 0
	}
	if e.expires <= now && e.list != guard.Limited {
		s.remove(i)
		return nil
	}
	return e
}

// add makes room for a flow and adds it; false if there is none that it may
// take.
func (s *shard) add(k key, proved guard.Trust, now int64) (*entry, bool) {
	if len(s.flows) >= s.max && !s.makeRoom(proved, now) {
		s.refused++
		return nil, false
	}
	i := s.free
	if i != none {
		s.free = s.entries[i].next
	} else {
		i = int32(len(s.entries)) // #nosec G115 -- bounded by max
		s.entries = append(s.entries, entry{})
	}
	s.entries[i] = entry{key: k, proved: proved, list: proved, prev: none, next: none}
	s.flows[k] = i
	s.push(i)
	return &s.entries[i], true
}

// makeRoom takes out one flow: an expired one, else the challenged one that was
// proven longest ago, else a limited one, and a trusted one only for another
// trusted one.
func (s *shard) makeRoom(proved guard.Trust, now int64) bool {
	for st := guard.Challenged; st <= guard.Limited; st++ {
		if i := s.lists[st].first; i != none && s.entries[i].expires <= now && s.entries[i].limited <= now {
			s.remove(i)
			return true
		}
	}
	for _, st := range [...]guard.Trust{guard.Challenged, guard.Limited, guard.Trusted} {
		if st == guard.Trusted && proved != guard.Trusted {
			return false
		}
		if i := s.lists[st].first; i != none {
			s.remove(i)
			s.evicted++
			return true
		}
	}
	return false
}

// sweep takes out what has expired, and ends limits whose time is up.
func (s *shard) sweep(now int64) {
	for i := s.lists[guard.Limited].first; i != none; {
		next := s.entries[i].next
		s.find(s.entries[i].key, now)
		i = next
	}
	for _, st := range [...]guard.Trust{guard.Challenged, guard.Trusted} {
		for i := s.lists[st].first; i != none && s.entries[i].expires <= now; i = s.lists[st].first {
			s.remove(i)
		}
	}
}

func (s *shard) remove(i int32) {
	s.unlink(i)
	delete(s.flows, s.entries[i].key)
	s.entries[i] = entry{next: s.free}
	s.free = i
}

// move puts an entry at the young end of a list.
func (s *shard) move(i int32, to guard.Trust) {
	s.unlink(i)
	s.entries[i].list = to
	s.push(i)
}

func (s *shard) push(i int32) {
	e := &s.entries[i]
	l := &s.lists[e.list]
	e.prev, e.next = l.last, none
	if l.last != none {
		s.entries[l.last].next = i
	} else {
		l.first = i
	}
	l.last = i
	l.n++
}

func (s *shard) unlink(i int32) {
	e := &s.entries[i]
	l := &s.lists[e.list]
	if e.prev != none {
		s.entries[e.prev].next = e.next
	} else {
		l.first = e.next
	}
	if e.next != none {
		s.entries[e.next].prev = e.prev
	} else {
		l.last = e.prev
	}
	l.n--
}
