package bans

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"ringfence/guard"
	"ringfence/intel/store"
)

// A refusing store is one whose disk may be full.
type refusing struct {
	guard.Store
	full  bool
	wrote []string
}

func (s *refusing) Put(ctx context.Context, key, val []byte, ttl time.Duration) error {
	if s.full {
		return store.ErrFull
	}
	s.wrote = append(s.wrote, string(key))
	return s.Store.Put(ctx, key, val, ttl)
}

func host(a, b, c, d byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b, c, d}), 32)
}

func decide(b *Book, p netip.Prefix, span time.Duration, limit bool) {
	now := b.o.Now()
	b.Decided(&guard.Decision{Bans: []guard.Ban{{Prefix: p, At: now, Until: now.Add(span), For: span, Limit: limit, Rule: "r"}}})
}

func runOnce(t *testing.T, b *Book) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, s guard.Store, o Options) *Book {
	t.Helper()
	o.Now = func() time.Time { return start }
	b, err := Open(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLimitsKeepNoBanFromTheDisk(t *testing.T) {
	s := &refusing{Store: open(t, Options{}).store}
	b := opened(t, s, Options{Queue: 8})
	for i := range 1000 {
		decide(b, host(11, 0, byte(i>>8), byte(i)), time.Minute, true)
	}
	for i := range 100 {
		decide(b, host(12, 0, 0, byte(i)), time.Hour, false)
	}
	if _, _, lost := b.Counts(); lost != 1000-8 {
		t.Fatalf("%d changes found no room, want %d", lost, 1000-8)
	}
	runOnce(t, b)
	if len(s.wrote) != 108 {
		t.Fatalf("%d entries on disk, want 100 bans and 8 limits", len(s.wrote))
	}
	for _, k := range s.wrote[:100] {
		if k[:5] != "b/12." {
			t.Fatalf("%s was written before a ban", k)
		}
	}
}

func TestRefusedByTheDisk(t *testing.T) {
	s := &refusing{Store: open(t, Options{}).store, full: true}
	b := opened(t, s, Options{})
	for i := range 200 {
		decide(b, host(12, 0, 0, byte(i)), time.Hour, false)
	}
	runOnce(t, b) // ends although nothing can be written
	if n := len(opened(t, s, Options{}).all); n != 0 {
		t.Fatalf("%d bans on a full disk", n)
	}
	s.full = false
	runOnce(t, b)
	if n := len(opened(t, s, Options{}).all); n != 200 {
		t.Fatalf("%d of 200 bans on disk once there is room", n)
	}

	s.full = true
	if _, err := b.Lift(t.Context(), host(12, 0, 0, 7), "mistake"); !errors.Is(err, store.ErrFull) {
		t.Fatalf("a lift that is not on disk says %v", err)
	}
	s.full = false
	runOnce(t, b)
	if found := opened(t, s, Options{}).Find(host(12, 0, 0, 7).Addr()); len(found) != 0 {
		t.Fatalf("a lifted ban is back after a restart: %+v", found)
	}
}

func TestReopenWithLessRoom(t *testing.T) {
	s := open(t, Options{}).store
	b := opened(t, s, Options{})
	for i := range 20 {
		decide(b, host(11, 0, 0, byte(i)), time.Minute, true) // before the bans in the order of keys
	}
	for i := range 10 {
		decide(b, host(12, 0, 0, byte(i)), time.Hour, false)
	}
	runOnce(t, b)
	again := opened(t, s, Options{Max: 10})
	if bans, limits, _ := again.Counts(); bans != 10 || limits != 0 {
		t.Fatalf("%d bans and %d limits, want 10 and 0", bans, limits)
	}
}
