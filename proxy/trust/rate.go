package trust

import (
	"sync/atomic"
	"time"
)

// A budget is a Rate as the generic cell rate algorithm wants it (ITU-T I.371):
// one number a key, the theoretical arrival time in Unix nanoseconds.
type budget struct {
	interval int64 // between messages
	slack    int64 // how far ahead of the clock the arrival time may be
}

func (r Rate) orElse(def Rate) budget {
	if r.PerSecond <= 0 {
		r.PerSecond = def.PerSecond
	}
	if r.Burst <= 0 {
		r.Burst = def.Burst
	}
	interval := max(int64(float64(time.Second)/r.PerSecond), 1)
	return budget{interval: interval, slack: interval * int64(r.Burst-1)}
}

// take gives the arrival time after one more message at now, or false if it is
// over the budget.
func (b budget) take(arrival, now int64) (int64, bool) {
	ahead := arrival - now
	switch {
	case ahead <= 0, ahead > b.slack+b.interval:
		// Nothing is owed; or the arrival time is further ahead than this budget
		// can put it: the clock was set back, which must lock nobody out.
		return now + b.interval, true
	case ahead > b.slack:
		return arrival, false
	}
	return arrival + b.interval, true
}

// A pipe is one budget that many share.
type pipe struct {
	budget
	arrival atomic.Int64
}

func (p *pipe) take(now int64) bool {
	for {
		old := p.arrival.Load()
		next, ok := p.budget.take(old, now)
		if !ok {
			return false
		}
		if p.arrival.CompareAndSwap(old, next) {
			return true
		}
	}
}
