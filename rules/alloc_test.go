//go:build !race

package rules_test

import (
	"context"
	"net/netip"
	"testing"

	"ringfence/guard"
	"ringfence/rules"
)

// messageOnly is a set that ends the judgement after stage message.
type messageOnly struct{ *rules.Set }

func (m messageOnly) Decide(ctx context.Context, s guard.Stage, f *guard.Facts, d *guard.Decision) guard.Verdict {
	v := m.Set.Decide(ctx, s, f, d)
	if v.Action == guard.Pass {
		v.Action = guard.Allow
	}
	return v
}

// A passing message costs no allocation at stage message with the whole default
// pack: it is the stage that a flood reaches. (With the race detector
// sync.Pool forgets at random, so there is nothing to measure.)
func TestDefaultPackAllocatesNothing(t *testing.T) {
	e, m := defaultEngine(t)
	e.Swap(messageOnly{e.Policy().(*rules.Set)})
	var d guard.Decision
	for _, c := range []struct {
		name string
		set  func()
	}{
		{"of a next hop", func() { m.Inside = true }},
		{"of a trusted phone", func() { m.Inside, m.Trust, m.Proven = false, guard.Trusted, true }},
		{"of a stranger", func() { m.Trust, m.Proven = guard.Unknown, false }}, // nobody knows its country
	} {
		c.set()
		ip := m.Src.Addr().As4()
		got := testing.AllocsPerRun(200, func() {
			ip[3]++ // each address sends little
			m.Src = netip.AddrPortFrom(netip.AddrFrom4(ip), 5060)
			e.Judge(t.Context(), m, &d)
		})
		if d.Verdict.Action != guard.Allow || d.Verdict.Rule != "" {
			t.Fatalf("a message %s did not pass: %+v", c.name, d.Verdict)
		}
		if got != 0 {
			t.Errorf("a message %s costs %v allocations at stage message", c.name, got)
		}
	}
}
