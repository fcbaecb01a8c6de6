package route

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// look is how often Run looks for hops whose probe is due.
const look = 500 * time.Millisecond

// Run probes hops and looks names up again until ctx ends, and joins what it
// started.
func (r *Routes) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range r.o.Hops {
		wg.Go(func() { r.follow(ctx, i) })
	}
	if r.o.Prober == nil {
		return nil
	}
	room := make(chan struct{}, r.o.Probes)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		for _, h := range r.inForce.Load().hops {
			if !h.health.due(r.o.Now(), h.Probe) {
				continue
			}
			// The limiter keeps a list of many hops from becoming a burst.
			if r.pace.Wait(ctx) != nil {
				return nil
			}
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			wg.Go(func() {
				defer func() { <-room }()
				r.probe(ctx, h)
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// due tells whether a probe is to be sent, and notes that it is.
func (x *health) due(now time.Time, every time.Duration) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if every <= 0 || x.probing || now.Sub(x.probed) < every {
		return false
	}
	x.probing, x.probed = true, now
	return true
}

func (r *Routes) probe(ctx context.Context, h *Hop) {
	probing, cancel := context.WithTimeout(ctx, r.o.ProbeTimeout)
	defer cancel()
	began := r.o.Now()
	status, err := r.o.Prober.Probe(probing, h)
	now := r.o.Now()
	x := h.health
	x.mu.Lock()
	defer x.mu.Unlock()
	x.probing = false
	switch {
	case ctx.Err() != nil: // we stop: it says nothing about the hop
	case err != nil:
		r.bad(h, now, "probe: "+err.Error())
	case !alive(status):
		r.bad(h, now, "probe: status "+strconv.Itoa(status))
	default:
		was := x.down
		x.good(now, now.Sub(began), r.o.Rises, true)
		if was && !x.down {
			r.o.Log.Info("a next hop is up again", "hop", h.Name, "address", h.Address)
		}
	}
}

// alive tells whether the final response to an OPTIONS comes from a server that
// works. A refusal does: 404 and 405 are as good as 200. 408 and 5xx do not,
// except 501, which only says that it knows no OPTIONS.
func alive(status int) bool {
	return status >= 200 && status < 500 && status != 408 || status == 501 || status >= 600
}
