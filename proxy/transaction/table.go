package transaction

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shardBits = 5
	shards    = 1 << shardBits
	chunk     = 64 // contexts that are made at once
)

// A Table is all requests that are under way. F is a way to send messages, T
// what the owner remembers with a context. It is safe for concurrent use.
type Table[F, T any] struct {
	o       Options[F, T]
	seeds   [2]maphash.Seed
	start   time.Time
	now     atomic.Uint32 // ticks since start
	up      atomic.Int64
	held    atomic.Int64  // octets of messages
	local   atomic.Uint32 // spreads contexts without a key over the shards
	full    atomic.Uint64
	refused atomic.Uint64
	sources sources
	shards  [shards]shard[F, T]
}

// A shard is a part of the table under one lock.
type shard[F, T any] struct {
	mu      sync.Mutex // guards everything in the shard, its contexts included
	keys    map[Key]uint32
	chunks  []*[chunk]Context[F, T]
	free    []uint32 // indexes of contexts that are not in use
	wheel   wheel[F, T]
	buffers buffers
}

// New makes a table. It starts nothing.
func New[F, T any](o Options[F, T]) (*Table[F, T], error) {
	if o.Send == nil || o.Failed == nil || o.Now == nil {
		return nil, errors.New("a transaction table needs Send, Failed and a clock")
	}
	o.Max = cmp.Or(o.Max, 524288)
	o.Memory = cmp.Or(o.Memory, 1<<30)
	o.PerSource = cmp.Or(o.PerSource, 256)
	o.Idle = cmp.Or(o.Idle, 256)
	o.T1 = cmp.Or(o.T1, 500*time.Millisecond)
	o.T2 = cmp.Or(o.T2, 4*time.Second)
	o.T4 = cmp.Or(o.T4, 5*time.Second)
	o.TimerC = cmp.Or(o.TimerC, 185*time.Second)
	o.Quiet = cmp.Or(o.Quiet, 100*time.Millisecond)
	if o.Trying == nil {
		o.Trying = func(int, *Context[F, T]) {}
	}
	if o.Ended == nil {
		o.Ended = func(*Context[F, T]) {}
	}
	t := &Table[F, T]{o: o, start: o.Now()}
	t.sources.init(o.PerSource)
	for i := range t.seeds {
		t.seeds[i] = maphash.MakeSeed()
	}
	for i := range t.shards {
		t.shards[i].keys = map[Key]uint32{}
		t.shards[i].buffers.idle, t.shards[i].buffers.held = o.Idle, &t.held
	}
	return t, nil
}

// Match is the context of the server transaction with a key, locked; nil if
// there is none. What is done with it is done at that time.
func (t *Table[F, T]) Match(k Key, at time.Time) *Context[F, T] {
	s := &t.shards[k[1]%shards]
	s.mu.Lock()
	if i, ok := s.keys[k]; ok {
		return s.at(i).open(at)
	}
	s.mu.Unlock()
	return nil
}

// Find is the context of a client transaction, locked; nil if it is over.
func (t *Table[F, T]) Find(id ID, at time.Time) *Context[F, T] {
	s := &t.shards[id.Slot%shards]
	s.mu.Lock()
	if i := id.Slot >> shardBits; int(i) < len(s.chunks)*chunk {
		c := s.at(i)
		if c.used && c.generation == id.Generation && int(id.Client) < len(c.Clients) &&
			c.Clients[id.Client].State != Terminated {
			return c.open(at)
		}
	}
	s.mu.Unlock()
	return nil
}

// Begin makes a context, locked. With the zero Key it has no server transaction:
// the request is our own. A valid source counts against its cap until a final
// response went to it. When another context took the key meanwhile, that one is
// returned and fresh is false.
func (t *Table[F, T]) Begin(k Key, source netip.Addr, at time.Time) (c *Context[F, T], fresh bool, err error) {
	n := k[1]
	if k == (Key{}) {
		n = uint64(t.local.Add(1))
	}
	if t.held.Load() >= t.o.Memory {
		t.full.Add(1)
		return nil, false, ErrMemory
	}
	if t.up.Add(1) > int64(t.o.Max) {
		t.up.Add(-1)
		t.full.Add(1)
		return nil, false, ErrFull
	}
	source = network(source)
	if source.IsValid() && !t.sources.take(source) {
		t.up.Add(-1)
		t.refused.Add(1)
		return nil, false, ErrSource
	}
	s := &t.shards[n%shards]
	s.mu.Lock()
	if i, ok := s.keys[k]; ok {
		t.up.Add(-1)
		t.sources.give(source)
		return s.at(i).open(at), false, nil
	}
	c = s.take(t, uint32(n%shards)).open(at)
	c.key, c.source = k, source
	if k != (Key{}) {
		s.keys[k] = c.slot >> shardBits
		c.Server.State = Trying
	}
	return c, true, nil
}

func (s *shard[F, T]) at(i uint32) *Context[F, T] { return &s.chunks[i/chunk][i%chunk] }

// take takes a context that is not in use, and makes more when there is none.
func (s *shard[F, T]) take(t *Table[F, T], number uint32) *Context[F, T] {
	if len(s.free) == 0 {
		base := uint32(len(s.chunks) * chunk)
		more := new([chunk]Context[F, T])
		for i := range more {
			c := &more[i]
			c.table, c.shard = t, s
			c.slot = (base+uint32(i))<<shardBits | number
			s.free = append(s.free, c.slot>>shardBits)
		}
		s.chunks = append(s.chunks, more)
	}
	c := s.at(s.free[len(s.free)-1])
	s.free = s.free[:len(s.free)-1]
	c.used = true
	c.Clients = c.first[:0]
	return c
}

// release puts a context back; it is locked and stays so.
func (s *shard[F, T]) release(c *Context[F, T]) {
	t := c.table
	t.o.Ended(c)
	t.sources.give(c.source)
	if c.key != (Key{}) {
		delete(s.keys, c.key)
	}
	s.wheel.remove(c)
	s.buffers.drop(&c.Server.last)
	for i := range c.Clients {
		s.buffers.drop(&c.Clients[i].request)
		s.buffers.drop(&c.Clients[i].cancel)
	}
	*c = Context[F, T]{table: t, shard: s, slot: c.slot, generation: c.generation + 1}
	s.free = append(s.free, c.slot>>shardBits)
	t.up.Add(-1)
}

// Up is how many contexts are in use.
func (t *Table[F, T]) Up() int { return int(t.up.Load()) }

// Held is how many octets of messages are kept, to within 64 KiB a shard.
func (t *Table[F, T]) Held() int64 { return max(t.held.Load(), 0) }

// Counts says how full the table is.
func (t *Table[F, T]) Counts() Counts {
	return Counts{Up: t.Up(), Held: t.Held(), Full: t.full.Load(), Source: t.refused.Load()}
}

// Run turns the timers until ctx ends.
func (t *Table[F, T]) Run(ctx context.Context) error {
	tick := time.NewTicker(resolution)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.Turn()
		case <-ctx.Done():
			return nil
		}
	}
}

// Turn lets everything happen whose time has come. Run calls it; a test with a
// clock of its own may do so too.
func (t *Table[F, T]) Turn() {
	at := t.o.Now()
	now := uint32(at.Sub(t.start) / resolution)
	last := t.now.Load()
	if now <= last {
		return
	}
	t.now.Store(now)
	for i := range t.shards {
		t.shards[i].turn(last, now, at)
	}
	if t.o.Gone != nil {
		if gone := t.o.Gone(); gone != nil {
			t.lose(gone, at)
		}
	}
}

func (s *shard[F, T]) turn(last, now uint32, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tick := max(last+1, now-min(now, spokes-1)); tick <= now; tick++ {
		for c := s.wheel.takeAll(tick); c != nil; {
			next := c.next
			c.next, c.prev, c.hung = nil, nil, false
			if c.due <= now {
				c.open(at).fire(now)
			}
			c.settle()
			c = next
		}
	}
}
