package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Ban keeps packets from p away until a time; zero is for good. A port other
// than 0 bans one flow of a single host; limit lets a trickle pass.
func (s *Screen) Ban(p netip.Prefix, port uint16, until time.Time, limit bool) error {
	key, hash, p, err := place(p, port)
	if err != nil {
		return fmt.Errorf("ban: %w", err)
	}
	t, err := boot(until)
	if err != nil {
		return fmt.Errorf("ban %s: read the clock: %w", p, err)
	}
	b := screenBan{Until: t}
	if limit {
		b.Flags = banLimit
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if hash {
		return named("ban", p, s.config.MaxBans, s.objects.Bans.Put(key, b))
	}
	if old, ok, err := s.refused(p); err != nil || ok && old.Flags&banOperator != 0 {
		return named("ban", p, 0, err)
	}
	return named("ban", p, s.config.MaxDeny, s.objects.Deny.Put(prefixOf(p), b))
}

// Lift ends a ban. To lift what is not banned is no error.
func (s *Screen) Lift(p netip.Prefix, port uint16) error {
	key, hash, p, err := place(p, port)
	if err != nil {
		return fmt.Errorf("lift: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if hash {
		return named("lift", p, 0, absent(s.objects.Bans.Delete(key)))
	}
	if old, ok, err := s.refused(p); err != nil || !ok || old.Flags&banOperator != 0 {
		return named("lift", p, 0, err)
	}
	return named("lift", p, 0, absent(s.objects.Deny.Delete(prefixOf(p))))
}

// Allow lets every packet of p in, whatever else is known of it.
func (s *Screen) Allow(p netip.Prefix) error {
	p, err := canonical(p)
	if err != nil {
		return fmt.Errorf("allow: %w", err)
	}
	return named("allow", p, s.config.MaxAllow, s.objects.Allow.Put(prefixOf(p), uint64(1)))
}

// Disallow takes back an Allow.
func (s *Screen) Disallow(p netip.Prefix) error {
	p, err := canonical(p)
	if err != nil {
		return fmt.Errorf("disallow: %w", err)
	}
	return named("disallow", p, 0, absent(s.objects.Allow.Delete(prefixOf(p))))
}

// Deny keeps p away until a time; zero is for good.
func (s *Screen) Deny(p netip.Prefix, until time.Time) error {
	p, err := canonical(p)
	if err != nil {
		return fmt.Errorf("deny: %w", err)
	}
	t, err := boot(until)
	if err != nil {
		return fmt.Errorf("deny %s: read the clock: %w", p, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return named("deny", p, s.config.MaxDeny, s.objects.Deny.Put(prefixOf(p), screenBan{Until: t, Flags: banOperator}))
}

// Undeny takes back a Deny.
func (s *Screen) Undeny(p netip.Prefix) error {
	p, err := canonical(p)
	if err != nil {
		return fmt.Errorf("undeny: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok, err := s.refused(p); err != nil || !ok || old.Flags&banOperator == 0 {
		return named("undeny", p, 0, err)
	}
	return named("undeny", p, 0, absent(s.objects.Deny.Delete(prefixOf(p))))
}

// refused reads the entry of exactly p; a lookup would find a wider one.
func (s *Screen) refused(p netip.Prefix) (b screenBan, ok bool, err error) {
	want := prefixOf(p)
	err = s.objects.Deny.Lookup(want, &b)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return b, false, nil
	}
	if err != nil {
		return b, false, err
	}
	// The match may be of a wider prefix: only an entry of this very length can
	// be written over.
	err = s.objects.Deny.Update(want, b, ebpf.UpdateExist)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return b, false, nil
	}
	return b, err == nil, err
}

// Trust gives a flow a rate of its own, even where its host is banned.
func (s *Screen) Trust(src netip.AddrPort, until time.Time) error {
	return s.flow(src, until, func(f *screenFlow, t uint64) { f.Trusted = t })
}

// Grace lets all of a flow in, for those in an emergency call.
func (s *Screen) Grace(src netip.AddrPort, until time.Time) error {
	return s.flow(src, until, func(f *screenFlow, t uint64) { f.Grace = t })
}

func (s *Screen) flow(src netip.AddrPort, until time.Time, set func(*screenFlow, uint64)) error {
	if !src.IsValid() {
		return errNoSource
	}
	t, err := boot(until)
	if err != nil {
		return fmt.Errorf("flow %s: read the clock: %w", src, err)
	}
	key := sourceOf(src.Addr(), src.Port())
	s.mu.Lock()
	defer s.mu.Unlock()
	var f screenFlow
	if err := absent(s.objects.Flows.Lookup(key, &f)); err != nil {
		return fmt.Errorf("flow %s: %w", src, err)
	}
	set(&f, t)
	return named("flow", netip.PrefixFrom(src.Addr(), src.Addr().BitLen()), s.config.MaxFlows, s.objects.Flows.Put(key, f))
}

// Emergency replaces the numbers whose INVITEs have a lane of their own.
func (s *Screen) Emergency(numbers []string) error {
	set, err := numberSet(numbers)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []screenNumber
	var n screenNumber
	var v uint32
	it := s.objects.Numbers.Iterate()
	for it.Next(&n, &v) {
		if _, ok := set[n]; !ok {
			gone = append(gone, n)
		}
	}
	errs := []error{it.Err()}
	for _, n := range gone {
		errs = append(errs, s.objects.Numbers.Delete(n))
	}
	for n := range set {
		errs = append(errs, s.objects.Numbers.Put(n, uint32(1)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("emergency numbers: %w", err)
	}
	return nil
}

// Ports replaces the guarded ports.
func (s *Screen) Ports(ports []Port) error {
	keys, values := make([]uint32, 65536), make([]uint32, 65536)
	for i := range keys {
		keys[i] = uint32(i)
	}
	for _, p := range ports {
		values[p.Number] |= uint32(p.mask())
	}
	if _, err := s.objects.Ports.BatchUpdate(keys, values, nil); err != nil {
		return fmt.Errorf("guard ports: %w", err)
	}
	return nil
}

// Limits replaces the rates.
func (s *Screen) Limits(l Limits) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config.Limits = l.filled()
	if err := s.objects.Settings.Put(uint32(0), s.config.options()); err != nil {
		return fmt.Errorf("set the rates: %w", err)
	}
	return nil
}

// Beat says that the daemon lives.
func (s *Screen) Beat(now time.Time) error {
	t, err := boot(now)
	if err == nil {
		err = s.objects.Heartbeat.Put(uint32(0), t)
	}
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

// Sweep removes what is over, and returns how many entries that were.
func (s *Screen) Sweep(now time.Time) (int, error) {
	t, err := boot(now)
	if err != nil {
		return 0, fmt.Errorf("sweep: read the clock: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	bans, e1 := sweep[screenSource](s.objects.Bans, func(b screenBan) bool { return b.Until <= t })
	deny, e2 := sweep[screenPrefix](s.objects.Deny, func(b screenBan) bool { return b.Until <= t })
	flows, e3 := sweep[screenSource](s.objects.Flows, func(f screenFlow) bool { return f.Grace <= t && f.Trusted <= t })
	if err := errors.Join(e1, e2, e3); err != nil {
		return bans + deny + flows, fmt.Errorf("sweep: %w", err)
	}
	return bans + deny + flows, nil
}

func sweep[K, V any](m *ebpf.Map, over func(V) bool) (int, error) {
	var key K
	var value V
	var gone []K
	it := m.Iterate()
	for it.Next(&key, &value) {
		if over(value) {
			gone = append(gone, key)
		}
	}
	for i, k := range gone {
		if err := absent(m.Delete(k)); err != nil {
			return i, err
		}
	}
	return len(gone), it.Err()
}

// Counters returns what was counted since the maps were made, by all CPUs.
func (s *Screen) Counters() (Counters, error) {
	var c Counters
	var each []screenCount
	for r := range c {
		if err := s.objects.Counters.Lookup(uint32(r), &each); err != nil {
			return c, fmt.Errorf("read the counters: %w", err)
		}
		for _, n := range each {
			c[r].Packets += n.Packets
			c[r].Bytes += n.Bytes
		}
	}
	return c, nil
}

// absent makes a missing key no error.
func absent(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// named says what was tried, and what to do when the map is full.
func named(what string, p netip.Prefix, limit int, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
		err = full("entries", limit)
	}
	return fmt.Errorf("%s %s: %w", what, p, err)
}
