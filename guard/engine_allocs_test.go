//go:build !race

// With the race detector a sync.Pool forgets at random, and so would allocate.

package guard

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

func TestJudgeAllocatesNothing(t *testing.T) {
	e := newEngine(t, EngineOptions{
		Guards: []*Guard{{Name: "test", Facts: []Fact{
			{Name: "a", Type: Bool, Get: func(context.Context, *Facts) (Value, error) { return Truth(true), nil }},
			{Name: "broken", Type: Bool, Get: func(context.Context, *Facts) (Value, error) { return Value{}, ErrNotFound }},
			{Name: "composed", Type: String, Get: func(_ context.Context, f *Facts) (Value, error) {
				return f.Compose(func(b []byte, m *Message) []byte { return m.Src.AppendTo(b) }), nil
			}},
		}}},
		Sinks: []Sink{listen(func(*Decision) {})},
		Policy: decide(func(ctx context.Context, _ Stage, f *Facts, d *Decision) Verdict {
			if v, err := f.AskID(ctx, 0); err != nil || !v.True() {
				return Verdict{Action: Drop}
			}
			if _, err := f.AskID(ctx, 1); !errors.Is(err, ErrNotFound) {
				return Verdict{Action: Drop}
			}
			if v, err := f.AskID(ctx, 2); err != nil || v.Str() != "203.0.113.9:5060" {
				return Verdict{Action: Drop}
			}
			d.Matches = append(d.Matches, Match{Rule: "r"})
			return Verdict{}
		}),
	})
	m, d := &Message{Src: netip.MustParseAddrPort("203.0.113.9:5060")}, &Decision{}
	e.Judge(t.Context(), m, d)
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { e.Judge(ctx, m, d) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	if d.Verdict.Action != Pass || len(d.Matches) != 3 {
		t.Errorf("decision is %+v", d)
	}
}
