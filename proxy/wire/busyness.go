package wire

import (
	"sync/atomic"
	"time"
)

// A busyness tells whether batches follow each other so closely that it is
// cheaper to watch for the next one than to be woken for it.
type busyness struct {
	last time.Time
	gap  time.Duration // between batches, a moving average over eight
}

const (
	busyGap = time.Millisecond      // shorter is busy
	longGap = 10 * time.Millisecond // no pause counts for more, so that a burst is noticed soon
)

// batch notes that a batch came in.
func (b *busyness) batch(at time.Time) {
	gap := min(max(at.Sub(b.last), 0), longGap)
	b.last = at
	b.gap += (gap - b.gap) / 8
}

func (b *busyness) busy() bool { return b.gap < busyGap }

// watchers are the readers that watch. Each holds a place in the scheduler, so
// one place is left for the others; a socket that is the only one has it to
// itself.
type watchers struct {
	most int32
	now  atomic.Int32
}

func mostWatchers(sockets, places int) int32 {
	if sockets < 2 {
		return 1
	}
	return int32(places - 1)
}

// enter tells whether one more may watch; it leaves when it has watched.
func (w *watchers) enter() bool {
	if w.now.Add(1) <= w.most {
		return true
	}
	w.now.Add(-1)
	return false
}

func (w *watchers) leave() { w.now.Add(-1) }
