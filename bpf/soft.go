package bpf

import (
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
)

// Soft is the screen in Go, with the semantics of screen.c: for hosts without
// XDP, for loopback, and as the oracle of the tests. It is safe for concurrent
// use and allocates nothing per packet. Its times are those it is given.
type Soft struct {
	config  Config
	options atomic.Pointer[screenOptions]
	beat    atomic.Uint64
	ports   atomic.Pointer[[65536]uint8]
	numbers atomic.Pointer[map[screenNumber]struct{}]

	mu    sync.RWMutex // of the four below
	flows map[screenSource]*softFlow
	bans  map[screenSource]*softBan
	allow *bart.Lite
	deny  *bart.Table[*softBan]

	rates, lanes        *cells
	laneBudget, arrival atomic.Uint64
	counts              [reasons]struct{ packets, bytes atomic.Uint64 }
}

type softFlow struct {
	grace, trusted atomic.Uint64
	next           atomic.Uint64
}

type softBan struct {
	until, flags uint64
	next         atomic.Uint64
}

// NewSoft makes a screen that guards no port for Verdict yet; Datagram and
// Connection need none.
func NewSoft(c Config) *Soft {
	c = c.filled()
	s := &Soft{
		config: c,
		flows:  map[screenSource]*softFlow{},
		bans:   map[screenSource]*softBan{},
		allow:  new(bart.Lite),
		deny:   new(bart.Table[*softBan]),
		rates:  newCells(c.MaxRates),
		lanes:  newCells(c.MaxLanes),
	}
	o := c.options()
	s.options.Store(&o)
	s.ports.Store(new([65536]uint8))
	s.numbers.Store(&map[screenNumber]struct{}{})
	return s
}

// Ban keeps packets from p away until a time; zero is for good. A port other
// than 0 bans one flow of a single host; limit lets a trickle pass.
func (s *Soft) Ban(p netip.Prefix, port uint16, until time.Time, limit bool) error {
	key, hash, p, err := place(p, port)
	if err != nil {
		return fmt.Errorf("ban: %w", err)
	}
	b := &softBan{until: wall(until)}
	if limit {
		b.flags = banLimit
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if hash {
		return put(s.bans, key, b, s.config.MaxBans, "bans")
	}
	if old, ok := s.deny.Get(p); ok && old.flags&banOperator != 0 {
		return nil
	}
	return s.refuse(p, b)
}

// Lift ends a ban. To lift what is not banned is no error.
func (s *Soft) Lift(p netip.Prefix, port uint16) error {
	key, hash, p, err := place(p, port)
	if err != nil {
		return fmt.Errorf("lift: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if hash {
		delete(s.bans, key)
		return nil
	}
	if old, ok := s.deny.Get(p); ok && old.flags&banOperator == 0 {
		s.deny.Delete(p)
	}
	return nil
}

// Allow lets every packet of p in, whatever else is known of it.
func (s *Soft) Allow(p netip.Prefix) error {
	p, err := canonical(p)
	if err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.allow.Size() >= s.config.MaxAllow && !s.allow.Get(p) {
		return full("allowed prefixes", s.config.MaxAllow)
	}
	s.allow.Insert(p)
	return nil
}

// Disallow takes back an Allow.
func (s *Soft) Disallow(p netip.Prefix) error {
	p, err := canonical(p)
	if err != nil {
		return fmt.Errorf("disallow: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allow.Delete(p)
	return nil
}

// Deny keeps p away until a time; zero is for good.
func (s *Soft) Deny(p netip.Prefix, until time.Time) error {
	p, err := canonical(p)
	if err != nil {
		return fmt.Errorf("deny: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refuse(p, &softBan{until: wall(until), flags: banOperator})
}

// Undeny takes back a Deny.
func (s *Soft) Undeny(p netip.Prefix) error {
	p, err := canonical(p)
	if err != nil {
		return fmt.Errorf("undeny: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.deny.Get(p); ok && old.flags&banOperator != 0 {
		s.deny.Delete(p)
	}
	return nil
}

func (s *Soft) refuse(p netip.Prefix, b *softBan) error {
	if _, ok := s.deny.Get(p); !ok && s.deny.Size() >= s.config.MaxDeny {
		return full("denied prefixes", s.config.MaxDeny)
	}
	s.deny.Insert(p, b)
	return nil
}

// Trust gives a flow a rate of its own, even where its host is banned.
func (s *Soft) Trust(src netip.AddrPort, until time.Time) error {
	return s.flow(src, func(f *softFlow) { f.trusted.Store(wall(until)) })
}

// Grace lets all of a flow in, for those in an emergency call.
func (s *Soft) Grace(src netip.AddrPort, until time.Time) error {
	return s.flow(src, func(f *softFlow) { f.grace.Store(wall(until)) })
}

func (s *Soft) flow(src netip.AddrPort, set func(*softFlow)) error {
	if !src.IsValid() {
		return errNoSource
	}
	key := sourceOf(src.Addr(), src.Port())
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flows[key]
	if f == nil {
		f = new(softFlow)
		if err := put(s.flows, key, f, s.config.MaxFlows, "flows"); err != nil {
			return err
		}
	}
	set(f)
	return nil
}

// Emergency replaces the numbers whose INVITEs have a lane of their own.
func (s *Soft) Emergency(numbers []string) error {
	set, err := numberSet(numbers)
	if err != nil {
		return err
	}
	s.numbers.Store(&set)
	return nil
}

// Ports replaces the ports that Verdict guards.
func (s *Soft) Ports(ports []Port) error {
	set := new([65536]uint8)
	for _, p := range ports {
		set[p.Number] |= p.mask()
	}
	s.ports.Store(set)
	return nil
}

// Limits replaces the rates.
func (s *Soft) Limits(l Limits) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config.Limits = l.filled()
	o := s.config.options()
	s.options.Store(&o)
	return nil
}

// Beat says that the daemon lives.
func (s *Soft) Beat(now time.Time) error {
	s.beat.Store(wall(now))
	return nil
}

// Sweep removes what is over, and returns how many entries that were.
func (s *Soft) Sweep(now time.Time) (int, error) {
	t := wall(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.bans) + len(s.flows) + s.deny.Size()
	maps.DeleteFunc(s.bans, func(_ screenSource, b *softBan) bool { return b.until <= t })
	maps.DeleteFunc(s.flows, func(_ screenSource, f *softFlow) bool { return f.grace.Load() <= t && f.trusted.Load() <= t })
	var over []netip.Prefix
	for p, b := range s.deny.All() {
		if b.until <= t {
			over = append(over, p)
		}
	}
	for _, p := range over {
		s.deny.Delete(p)
	}
	return before - len(s.bans) - len(s.flows) - s.deny.Size(), nil
}

// Counters returns what was counted since NewSoft.
func (s *Soft) Counters() (Counters, error) {
	var c Counters
	for r := range s.counts {
		c[r] = Count{Packets: s.counts[r].packets.Load(), Bytes: s.counts[r].bytes.Load()}
	}
	return c, nil
}

// put bounds a map by max entries.
func put[V any](m map[screenSource]V, key screenSource, v V, limit int, what string) error {
	if _, ok := m[key]; !ok && len(m) >= limit {
		return full(what, limit)
	}
	m[key] = v
	return nil
}
