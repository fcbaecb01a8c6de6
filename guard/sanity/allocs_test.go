//go:build !race

// With the race detector a sync.Pool forgets at random, and so would allocate.

package sanity

import (
	"context"
	"testing"
	"time"

	"ringfence/guard"
)

// An engine that asks for every fact of stage message allocates nothing.
func TestAllocations(t *testing.T) {
	m := parse(t, plain, "application/sdp", offer)
	g := newChecker(t, Config{Domains: []string{"example.com"}})
	e, err := guard.NewEngine(guard.EngineOptions{Guards: []*guard.Guard{g}, Policy: everything{}, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	d := new(guard.Decision)
	if n := testing.AllocsPerRun(100, func() { e.Judge(context.Background(), m, d) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// everything asks for each fact of stage message but dialog.known, by number.
type everything struct{}

func (everything) Version() string { return "test" }

func (everything) Decide(ctx context.Context, _ guard.Stage, f *guard.Facts, _ *guard.Decision) guard.Verdict {
	for id := range messageFactCount {
		if _, err := f.AskID(ctx, id); err != nil {
			return guard.Verdict{Action: guard.Drop}
		}
	}
	return guard.Verdict{Action: guard.Allow}
}

var messageFactCount = len((&checker{}).messageFacts())
