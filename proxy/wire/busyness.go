package wire

import "time"

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
