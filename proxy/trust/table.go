package trust

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"ringfence/guard"
)

// shards is how many locks the flows are spread over.
const shards = 16

// A Table is the trust of all flows. It is safe for concurrent use.
type Table struct {
	o        Options
	seed     maphash.Seed
	shards   [shards]*shard
	budgets  [guard.Limited + 1]budget // of one flow, by state
	sources  *sources
	pipe     pipe
	nonces   *nonces
	changes  chan change
	unstored atomic.Uint64
	complain rate.Sometimes
}

// New makes a table and reads the trusted flows back from the store. It starts
// nothing.
func New(ctx context.Context, o Options) (*Table, error) {
	if o.Now == nil {
		return nil, errors.New("a trust table needs a clock")
	}
	o.Max = cmp.Or(o.Max, 262144)
	o.Trusted = cmp.Or(o.Trusted, 2*time.Hour)
	o.Challenged = cmp.Or(o.Challenged, 10*time.Minute)
	o.Limited = cmp.Or(o.Limited, time.Minute)
	o.Sources = cmp.Or(o.Sources, 65536)
	o.Nonces = cmp.Or(o.Nonces, 65536)
	o.Nonce = cmp.Or(o.Nonce, 5*time.Minute)
	o.Queue = cmp.Or(o.Queue, 4096)
	o.Sweep = cmp.Or(o.Sweep, 10*time.Second)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	t := &Table{
		o: o, seed: maphash.MakeSeed(),
		sources:  newSources(o.Sources, o.UnknownRate.orElse(Rate{5, 20})),
		nonces:   newNonces(o.Nonces, o.Nonce),
		changes:  make(chan change, o.Queue),
		complain: rate.Sometimes{Interval: time.Minute},
	}
	t.pipe.budget = o.Pipe.orElse(Rate{500, 1000})
	t.budgets[guard.Challenged] = o.ChallengedRate.orElse(Rate{10, 40})
	t.budgets[guard.Trusted] = o.TrustedRate.orElse(Rate{50, 200})
	t.budgets[guard.Limited] = o.LimitedRate.orElse(Rate{0.2, 1})
	for i := range t.shards {
		t.shards[i] = newShard(max((o.Max+shards-1)/shards, 1))
	}
	return t, t.load(ctx)
}

func (t *Table) shard(f Flow) *shard {
	b := network(f.Remote.Addr())
	return t.shards[maphash.Bytes(t.seed, b[:])%shards]
}

// Admit takes one message from the budget of a flow, and tells its state. An
// unknown source pays from its own small budget first, so that what is too much
// for one source takes nothing from the others.
func (t *Table) Admit(f Flow, at time.Time) (guard.Trust, Admission) {
	now := at.UnixNano()
	if state, ok, known := t.admitKnown(f, now); known {
		if !ok {
			return state, OverSource
		}
		return state, Admitted
	}
	switch {
	case !t.sources.take(f.Remote.Addr(), now):
		return guard.Unknown, OverSource
	case !t.pipe.take(now):
		return guard.Unknown, OverPipe
	}
	return guard.Unknown, Admitted
}

func (t *Table) admitKnown(f Flow, now int64) (state guard.Trust, ok, known bool) {
	s := t.shard(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(f.key(), now)
	if e == nil {
		return guard.Unknown, false, false
	}
	e.arrival, ok = t.budgets[e.list].take(e.arrival, now)
	return e.list, ok, true
}

// State tells what a flow has proved.
func (t *Table) State(f Flow, at time.Time) guard.Trust {
	s := t.shard(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(f.key(), at.UnixNano()); e != nil {
		return e.list
	}
	return guard.Unknown
}

// Promote notes that a flow has proved its address (guard.Challenged) or that
// its credentials were accepted (guard.Trusted, which also ends a limit). A
// lower proof never takes a higher one away. False: there was no room, or the
// state is not one that can be proved.
func (t *Table) Promote(f Flow, to guard.Trust, at time.Time) bool {
	if to != guard.Challenged && to != guard.Trusted || !f.Remote.IsValid() {
		return false
	}
	now := at.UnixNano()
	s := t.shard(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(f.key(), now)
	if e == nil {
		var ok bool
		if e, ok = s.add(f.key(), to, now); !ok {
			return false
		}
	}
	if to < e.proved {
		return true
	}
	if to > e.proved {
		e.arrival = 0
	}
	e.proved = to
	if to == guard.Challenged {
		e.expires = now + int64(t.o.Challenged)
	} else {
		e.expires = now + int64(t.o.Trusted)
		e.limited = 0
	}
	if e.list != guard.Limited || e.limited <= now {
		s.move(s.flows[e.key], to)
	}
	t.keep(e, now)
	return true
}

// Limit leaves a flow that has proved its address a trickle until a time; zero
// means Options.Limited from now on. False: the flow is unknown, and as such
// limited already.
func (t *Table) Limit(f Flow, until, at time.Time) bool {
	if until.IsZero() {
		until = at.Add(t.o.Limited)
	}
	s := t.shard(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(f.key(), at.UnixNano())
	if e == nil {
		return false
	}
	if e.list != guard.Limited {
		e.arrival = 0
	}
	e.limited = until.UnixNano()
	s.move(s.flows[e.key], guard.Limited)
	return true
}

// Forget takes a flow out, when its connection closed or an operator says so.
func (t *Table) Forget(f Flow) {
	s := t.shard(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.flows[f.key()]
	if !ok {
		return
	}
	if s.entries[i].stored != 0 {
		t.send(change{key: f.key()})
	}
	s.remove(i)
}

// Counts says how full the table is.
func (t *Table) Counts() Counts {
	c := Counts{Unstored: t.unstored.Load()}
	for _, s := range t.shards {
		s.mu.Lock()
		c.Challenged += s.lists[guard.Challenged].n
		c.Trusted += s.lists[guard.Trusted].n
		c.Limited += s.lists[guard.Limited].n
		c.Evicted += s.evicted
		c.Refused += s.refused
		s.mu.Unlock()
	}
	return c
}

func (k key) flow() Flow {
	return Flow{Remote: netip.AddrPortFrom(netip.AddrFrom16(k.addr).Unmap(), k.port), Transport: k.transport}
}
