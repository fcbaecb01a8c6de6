package route

import (
	"hash/fnv"
	"math"
	"math/bits"
	"slices"
)

// Pick chooses the hop of a pool for a call, the same one for every request of
// the call while it lives, and adds it to tried. It never picks a hop that was
// tried before; false means that none is left.
//
// Among the hops of the best priority that has live ones it takes the one of
// the highest weighted rendezvous score, so a hop that goes or comes moves only
// its own share of the calls.
func (r *Routes) Pick(pool string, callID []byte, tried *Tried) (*Hop, bool) {
	return r.pick(r.inForce.Load().pools[pool], callID, tried, !r.o.RefuseWhenDown)
}

// PickOf is Pick among the servers of another domain (RFC 3263 section 4.3).
func (r *Routes) PickOf(d *Domain, callID []byte, tried *Tried) (*Hop, bool) {
	return r.pick(d.tiers, callID, tried, true)
}

func (r *Routes) pick(tiers []tier, callID []byte, tried *Tried, anyway bool) (*Hop, bool) {
	if tried.n == Tries {
		return nil, false
	}
	key := fnv1a(callID)
	now := r.o.Now().UnixNano()
	h := best(tiers, key, tried, now, false)
	if h == nil && anyway {
		h = best(tiers, key, tried, now, true)
	}
	if h == nil {
		return nil, false
	}
	tried.hops[tried.n] = h.health
	tried.n++
	return h, true
}

// Left tells whether a pool has a hop that was not tried.
func (r *Routes) Left(pool string, tried *Tried) bool {
	return tried.leaves(r.inForce.Load().pools[pool])
}

// LeftOf is Left of another domain.
func (r *Routes) LeftOf(d *Domain, tried *Tried) bool { return tried.leaves(d.tiers) }

func best(tiers []tier, key uint64, tried *Tried, now int64, anyway bool) *Hop {
	for _, t := range tiers {
		var found *Hop
		top := math.Inf(-1)
		for _, h := range t {
			if !anyway && h.health.until.Load() > now || tried.has(h.health) {
				continue
			}
			if s := score(key^h.seed, h.share); s > top {
				found, top = h, s
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

func (t *Tried) leaves(tiers []tier) bool {
	if t.n == Tries {
		return false
	}
	for _, hops := range tiers {
		for _, h := range hops {
			if !t.has(h.health) {
				return true
			}
		}
	}
	return false
}

func (t *Tried) has(h *health) bool {
	return slices.Contains(t.hops[:t.n], h)
}

// score is -weight / ln(u) with u drawn from (0, 1) by the hash: the highest of
// several such scores falls on each with a chance in proportion to its weight.
func score(x uint64, weight float64) float64 {
	u := (float64(mix(x)>>11) + 0.5) / (1 << 53)
	return -weight / math.Log(u)
}

// mix spreads every bit of x over all bits: the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fnv1a is the hash of hash/fnv, without its interface: a restart and another
// node must come to the same hop, so the hash has no random seed.
func fnv1a(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// seed is what a hop is known by in rendezvous hashing.
func seed(all uint64, id identity) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id.name))
	h.Write([]byte{0, byte(id.transport)})
	b, _ := id.address.MarshalBinary() // never fails
	h.Write(b)
	return mix(h.Sum64() ^ bits.RotateLeft64(all, 32))
}
