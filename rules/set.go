package rules

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ringfence/guard"
)

// A Set is a checked and compiled rule set. It never changes and is safe for
// concurrent use. It is a guard.Policy.
type Set struct {
	env        *Env
	counters   guard.Counters // nil: nothing is counted
	key        [2]uint64      // of SipHash
	version    string
	rules      []*Rule
	rates      []*rate
	exceptions []*exception
	lists      []*variable
	terms      int
	specs      []guard.MeterSpec
	stages     [guard.Stages]struct {
		rules []*Rule
		rates []int
	}
	pool      sync.Pool // of *memory
	emergency *hits
}

// Version is a hash of the files, "none" without any.
func (s *Set) Version() string { return s.version }

// Rules are the rules in the order in which they are tried.
func (s *Set) Rules() []*Rule { return s.rules }

// Challenges tells whether a rule of the set, in force and not in shadow, asks for
// credentials: without one nobody has to give any.
func (s *Set) Challenges() bool {
	return slices.ContainsFunc(s.rules, func(r *Rule) bool { return r.Mode == Enforce && r.Action == guard.Challenge })
}

// Count has the set count its rates by m from now on. It is called once, before
// the set is put in force; a set that is only checked counts nothing.
func (s *Set) Count(m guard.Meters) { s.counters = m.Respec(s.specs) }

// hits counts what a rule did.
type hits struct {
	matched, enforced, shadow, excepted, errors atomic.Uint64
	last                                        atomic.Int64 // Unix ns
}

// Hits is what a rule did since the first set that had it was loaded.
type Hits struct {
	Rule, Mode                                  string
	Matched, Enforced, Shadow, Excepted, Errors uint64
	Last                                        time.Time // zero: never
}

func (h *hits) copy(rule, mode string) Hits {
	out := Hits{
		Rule: rule, Mode: mode, Matched: h.matched.Load(), Enforced: h.enforced.Load(), Shadow: h.shadow.Load(),
		Excepted: h.excepted.Load(), Errors: h.errors.Load(),
	}
	if t := h.last.Load(); t != 0 {
		out.Last = time.Unix(0, t)
	}
	return out
}

// Continue has the rules that before has too, by their ids, count on from what
// they did there. It is called before the set is put in force, so that what
// before still decides meanwhile is counted as well.
func (s *Set) Continue(before *Set) {
	s.emergency = before.emergency
	known := make(map[string]*hits, len(before.rules))
	for _, r := range before.rules {
		known[r.ID] = r.hits
	}
	for _, r := range s.rules {
		if h := known[r.ID]; h != nil {
			r.hits = h
		}
	}
}

// Hits are what every rule did, the built-in one first.
func (s *Set) Hits() []Hits {
	out := []Hits{s.emergency.copy(EmergencyRule, Enforce.String())}
	for _, r := range s.rules {
		out = append(out, r.hits.copy(r.ID, r.Mode.String()))
	}
	return out
}
