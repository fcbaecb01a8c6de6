package route

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Options.
const (
	defaultFails          = 3
	defaultRises          = 2
	defaultRest           = 30 * time.Second
	defaultMaxRetryAfter  = time.Minute
	defaultProbeTimeout   = 5 * time.Second
	defaultProbeRate      = 20
	defaultProbes         = 8
	defaultResolveRetry   = 10 * time.Second
	defaultResolveTimeout = 8 * time.Second
	defaultStale          = 72 * time.Hour
	defaultDrain          = 4 * time.Hour
	defaultDrained        = 256
	defaultDomains        = 1024
)

// forProbes is the until of a hop that is down until probes bring it up.
const forProbes = math.MaxInt64

// A health is how one endpoint is. It outlives the Hop values that name it.
type health struct {
	until atomic.Int64 // Unix nanoseconds; not to be picked before. The only field that Pick reads.

	mu       sync.Mutex // guards what follows
	down     bool       // by failures; a Retry-After alone is not down
	since    time.Time
	fails    int // in a row
	rises    int // good probes in a row while down
	failures uint64
	took     time.Duration
	last     string
	probed   time.Time // when the last probe began
	probing  bool
}

var outcomeTexts = [...]string{OK: "ok", Busy: "503", Timeout: "timeout", Refused: "refused"}

// String is the outcome in a word.
func (o Outcome) String() string { return outcomeTexts[o] }

// Report tells what came of sending a request to a hop. A 503 with Retry-After
// keeps the hop out of picks for that long (RFC 3261 section 21.5.4); without
// one it is a failure like a timeout.
func (r *Routes) Report(h *Hop, res Result) {
	now := r.o.Now()
	x := h.health
	x.mu.Lock()
	defer x.mu.Unlock()
	if res.Outcome == OK {
		x.good(now, res.Took, r.o.Rises, r.probes(h))
		return
	}
	if res.Outcome == Busy && res.RetryAfter > 0 && !x.down {
		x.failures++
		x.last = "503 with Retry-After"
		x.until.Store(now.Add(min(res.RetryAfter, r.o.MaxRetryAfter)).UnixNano())
		return
	}
	r.bad(h, now, res.Outcome.String())
}

// good notes a response. A hop without probes is up again at once; one with
// probes after enough good ones in a row, which a response to a request counts
// as too.
func (x *health) good(now time.Time, took time.Duration, rises int, probed bool) {
	x.fails = 0
	if took > 0 {
		// The smoothing of RFC 6298: an eighth of what is new.
		if x.took == 0 {
			x.took = took
		} else {
			x.took += (took - x.took) / 8
		}
	}
	if !x.down {
		return
	}
	if x.rises++; probed && x.rises < rises {
		return
	}
	x.down, x.rises, x.since = false, 0, now
	x.until.Store(0)
}

// bad notes a failure; x.mu is held.
func (r *Routes) bad(h *Hop, now time.Time, why string) {
	x := h.health
	x.fails++
	x.failures++
	x.rises = 0
	x.last = why
	if x.fails < r.o.Fails && !x.down {
		return
	}
	if !x.down {
		x.down, x.since = true, now
		level := slog.LevelWarn
		if h.Pool == "" {
			level = slog.LevelDebug // a server of another domain
		}
		r.o.Log.Log(context.Background(), level, "a next hop is down", "hop", h.Name, "address", h.Address, "why", why)
	}
	if r.probes(h) {
		x.until.Store(forProbes)
	} else {
		x.until.Store(now.Add(r.o.Rest).UnixNano())
	}
}

// probes tells whether a hop is probed.
func (r *Routes) probes(h *Hop) bool { return h.Probe > 0 && r.o.Prober != nil }

// Up tells whether a hop is to be picked now.
func (r *Routes) Up(h *Hop) bool { return h.health.until.Load() <= r.o.Now().UnixNano() }

// Snapshot is the health of every hop, in the order of the configuration.
func (r *Routes) Snapshot() []Status {
	now := r.o.Now().UnixNano()
	hops := r.inForce.Load().hops
	out := make([]Status, 0, len(hops))
	for _, h := range hops {
		x := h.health
		x.mu.Lock()
		s := Status{
			Hop: h, Up: x.until.Load() <= now, Since: x.since, Fails: x.fails,
			Failures: x.failures, Took: x.took, Last: x.last,
		}
		if u := x.until.Load(); u > now && u != forProbes {
			s.Until = time.Unix(0, u)
		}
		x.mu.Unlock()
		out = append(out, s)
	}
	return out
}
