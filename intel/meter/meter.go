// Package meter counts things in sliding windows: how many, and how many
// different ones.
//
// Memory is fixed when a meter is made. A meter is a table of sets of eight
// keys; a ninth key of a set takes the place of the one that was heard of
// longest ago. Whoever sends a million sources evicts his own.
package meter

import (
	"hash/maphash"
	"log/slog"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"ringfence/guard"
)

const (
	ways    = 8   // keys of a set
	slices  = 8   // a window is counted in that many parts
	shards  = 64  // locks of a meter
	exact   = 32  // different items of a key that are told apart exactly
	ticks   = 64  // parts of a window to which an item's age is known
	buckets = 256 // registers of a distinct counter
)

// Options says how much is counted.
type Options struct {
	Keys     int           // of each meter, rounded up; default 65,536
	Distinct int           // of each meter of different items; default 8,192
	Snapshot time.Duration // how far durable meters may be behind; default 1 min
	Store    guard.Store   // nil: nothing is durable
	Now      func() time.Time
	Log      *slog.Logger
}

// Meters count. They are safe for concurrent use.
type Meters struct {
	o    Options
	mu   sync.Mutex // one Respec at a time
	list atomic.Pointer[counters]
}

// New makes meters that count nothing yet; see Respec.
func New(o Options) *Meters {
	if o.Keys <= 0 {
		o.Keys = 65536
	}
	if o.Distinct <= 0 {
		o.Distinct = 8192
	}
	if o.Snapshot <= 0 {
		o.Snapshot = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Meters{o: o}
	m.list.Store(&counters{})
	return m
}

// A meter is one table.
type meter struct {
	spec  guard.MeterSpec
	part  int64 // nanoseconds of one slice
	seed  uint64
	sets  int
	locks [shards]sync.Mutex
	cells []cell
	items []different // of distinct meters, beside the cells
}

// A cell is one key. part is the number of the newest slice; the value of the
// oldest that still overlaps the window is weighed by how much of it does.
type cell struct {
	key    uint64
	part   int64
	used   bool
	counts [slices + 1]uint32
}

// different are the items of one key: the newest exactly, and a sketch of all
// for when there were more within a window. The sketch is a HyperLogLog of 256
// registers for each of two halves of the window: the one that fills and the
// one before it.
type different struct {
	item  [exact]uint32 // hash
	seen  [exact]uint32 // tick, 0: free
	spill uint32        // tick at which an item of the window was last pushed out, 0: never
	half  [2][buckets]uint8
	turn  int64
}

// counters are the meters of one Respec.
type counters []*meter

// Respec says what is counted from now on, see guard.Meters.
func (m *Meters) Respec(specs []guard.MeterSpec) guard.Counters {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.list.Load()
	list := make(counters, len(specs))
	for i, s := range specs {
		for _, o := range old {
			if o.spec.Name == s.Name && o.spec.Hash == s.Hash {
				list[i] = o
			}
		}
		if list[i] == nil {
			list[i] = newMeter(s, m.o)
			m.restore(list[i])
		}
	}
	m.list.Store(&list)
	return list
}

func newMeter(s guard.MeterSpec, o Options) *meter {
	keys := o.Keys
	if s.Distinct {
		keys = o.Distinct
	}
	sets := shards
	for sets*ways < keys {
		sets *= 2
	}
	t := &meter{spec: s, part: max(int64(s.Window)/slices, 1), seed: maphash.Comparable(maphash.MakeSeed(), 0), sets: sets, cells: make([]cell, sets*ways)}
	if s.Distinct {
		t.items = make([]different, sets*ways)
	}
	return t
}

// find locks the key's set and returns its cell, a new one if make is set; the
// caller unlocks.
func (t *meter) find(key uint64, at int64, make bool) (i int, lock *sync.Mutex) {
	set := int(mix(key^t.seed) % uint64(t.sets))
	lock = &t.locks[set%shards]
	lock.Lock()
	oldest := -1
	for i := set * ways; i < (set+1)*ways; i++ {
		c := &t.cells[i]
		if c.used && c.key == key {
			return i, lock
		}
		if oldest < 0 || !c.used && t.cells[oldest].used || c.used == t.cells[oldest].used && c.part < t.cells[oldest].part {
			oldest = i
		}
	}
	if !make {
		return -1, lock
	}
	t.cells[oldest] = cell{key: key, used: true, part: at / t.part}
	if t.items != nil {
		t.items[oldest] = different{}
	}
	return oldest, lock
}

// mix spreads the bits of a key (SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// advance moves the cell's slices to now; a clock that went back a little counts
// into the newest, one that went back by more than a window starts again.
func (t *meter) advance(c *cell, at int64) {
	now := at / t.part
	step := now - c.part
	if step <= 0 && step >= -slices {
		return
	}
	if step > slices || step < 0 {
		c.counts = [slices + 1]uint32{}
	} else {
		copy(c.counts[step:], c.counts[:slices+1-step])
		clear(c.counts[:step])
	}
	c.part = now
}

func (t *meter) sum(c *cell, at int64) int64 {
	total := int64(0)
	for _, n := range c.counts[:slices] {
		total += int64(n)
	}
	in := at - c.part*t.part // how far into the newest slice
	if in < 0 || in > t.part {
		in = t.part
	}
	return total + int64(float64(c.counts[slices])*float64(t.part-in)/float64(t.part))
}

// Add adds n for key and returns the value of the window including it.
func (list counters) Add(i int, key uint64, n int64, at time.Time) int64 {
	if i < 0 || i >= len(list) {
		return 0
	}
	t, ns := list[i], at.UnixNano()
	at0, lock := t.find(key, ns, true)
	defer lock.Unlock()
	c := &t.cells[at0]
	t.advance(c, ns)
	c.counts[0] = uint32(max(min(int64(c.counts[0])+min(n, math.MaxUint32), math.MaxUint32), 0))
	return t.sum(c, ns)
}

// AddDistinct notes item for key and returns the number of different items. Up
// to 32 it is exact, with an age that is known to a 64th of the window; above it
// is an estimate over the last half to whole window, about a sixteenth off, and
// never below 32.
func (list counters) AddDistinct(i int, key, item uint64, at time.Time) int64 {
	if i < 0 || i >= len(list) || list[i].items == nil {
		return 0
	}
	t, ns := list[i], at.UnixNano()
	at0, lock := t.find(key, ns, true)
	defer lock.Unlock()
	t.cells[at0].part = ns / t.part
	r := &t.items[at0]
	r.rotate(ns, t)
	h := mix(item ^ t.seed)
	b := h % buckets
	r.half[0][b] = max(r.half[0][b], uint8(bits.LeadingZeros64(h|buckets-1))+1)
	tick := t.tick(ns)
	r.note(uint32(h>>32)^uint32(h), tick)
	return r.value(tick)
}

// tick is the time in parts of the window, never 0.
func (t *meter) tick(ns int64) uint32 {
	return max(uint32(ns/max(int64(t.spec.Window)/ticks, 1)), 1)
}

// note puts an item among the exact ones, in the place of the oldest.
func (r *different) note(item, tick uint32) {
	oldest := 0
	for i := range r.item {
		if r.seen[i] != 0 && r.item[i] == item {
			r.seen[i] = tick
			return
		}
		if old(r.seen[i], tick) > old(r.seen[oldest], tick) {
			oldest = i
		}
	}
	if old(r.seen[oldest], tick) < ticks {
		r.spill = tick
	}
	r.item[oldest], r.seen[oldest] = item, tick
}

// old is the age in ticks; what was never seen is the oldest, and what a clock
// that went back has not seen yet is new.
func old(seen, tick uint32) uint32 {
	switch age := tick - seen; {
	case seen == 0:
		return math.MaxUint32
	case age > math.MaxInt32:
		return 0
	default:
		return age
	}
}

// value is the number of different items of the window.
func (r *different) value(tick uint32) int64 {
	n := int64(0)
	for _, seen := range r.seen {
		if old(seen, tick) < ticks {
			n++
		}
	}
	if old(r.spill, tick) < ticks {
		return max(r.estimate(), exact, n)
	}
	return n
}

func (r *different) rotate(ns int64, t *meter) {
	turn := ns / max(int64(t.spec.Window)/2, 1)
	switch turn - r.turn {
	case 0:
	case -1, -2: // heard of late: it counts into the half that fills
		return
	case 1:
		r.half[1], r.half[0] = r.half[0], [buckets]uint8{}
	default:
		r.half = [2][buckets]uint8{}
	}
	r.turn = turn
}

// estimate is HyperLogLog's with linear counting for small numbers.
func (r *different) estimate() int64 {
	sum, zero := 0.0, 0
	for i := range buckets {
		v := max(r.half[0][i], r.half[1][i])
		sum += math.Float64frombits((1023 - uint64(v)) << 52) // 2 to the minus v
		if v == 0 {
			zero++
		}
	}
	e := 0.709 * buckets * buckets / sum
	if e < 2.5*buckets && zero > 0 {
		e = buckets * math.Log(float64(buckets)/float64(zero))
	}
	return int64(math.Round(e))
}

// Value is the value of the window.
func (list counters) Value(i int, key uint64, at time.Time) int64 {
	if i < 0 || i >= len(list) {
		return 0
	}
	t, ns := list[i], at.UnixNano()
	at0, lock := t.find(key, ns, false)
	defer lock.Unlock()
	if at0 < 0 {
		return 0
	}
	if t.items != nil {
		t.items[at0].rotate(ns, t)
		return t.items[at0].value(t.tick(ns))
	}
	c := &t.cells[at0]
	t.advance(c, ns)
	return t.sum(c, ns)
}
