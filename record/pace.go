package record

import (
	"sync"
	"time"
)

// pace counts what passes in the second at hand.
type pace struct {
	mu     sync.Mutex // guards what follows
	second int64
	n      int
}

// take tells whether one more is within the pace.
func (p *pace) take(at time.Time, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := at.Unix(); s != p.second {
		p.second, p.n = s, 0
	}
	p.n++
	return p.n <= most
}
