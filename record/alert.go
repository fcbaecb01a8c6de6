package record

import (
	"context"
	"sync"
	"time"

	"ringfence/guard"
)

// A Notice is an alert on its way out, with the number that it stands for.
type Notice struct {
	guard.Alert
	Stands int // alerts of its group since the last notice
}

// A Channel takes notices to people. Send may take its time, within ctx.
type Channel interface {
	Send(ctx context.Context, n Notice) error
	Name() string
}

// groups holds when each group was last told of; at most maxGroups of them.
type groups struct {
	mu   sync.Mutex // guards last
	last map[string]*group
}

type group struct {
	told  time.Time
	every time.Duration
	held  int
}

const maxGroups = 4096

// due tells whether a group is to be told of now, and for how many.
func (g *groups) due(a guard.Alert) (int, bool) {
	every := a.Every
	if every <= 0 {
		every = time.Minute
	}
	key := a.Rule + "\x00" + a.Group
	g.mu.Lock()
	defer g.mu.Unlock()
	x := g.last[key]
	if x == nil {
		if len(g.last) >= maxGroups {
			for k, old := range g.last {
				if a.At.Sub(old.told) > old.every {
					delete(g.last, k)
				}
			}
		}
		if len(g.last) >= maxGroups {
			key, every = "\x00everything else", time.Minute
			if x = g.last[key]; x == nil {
				x = &group{every: every}
				g.last[key] = x
			}
		} else {
			x = &group{every: every}
			g.last[key] = x
		}
	}
	x.held++
	if !x.told.IsZero() && a.At.Sub(x.told) < x.every {
		return 0, false
	}
	n := x.held
	x.told, x.held = a.At, 0
	return n, true
}

// runAlerts tells the channels of what is due until ctx ends.
func (r *Recorder) runAlerts(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-r.alerts:
			n, due := r.groups.due(a)
			if !due {
				continue
			}
			r.o.Log.Warn("alert", "rule", a.Rule, "title", a.Title, "severity", a.Severity, "group", a.Group, "stands_for", n, "text", a.Text)
			for _, c := range r.o.Alerts {
				err := c.Send(ctx, Notice{a, n})
				r.metrics.alerted(c.Name(), err)
				if err != nil {
					r.o.Log.Error("an alert did not go out", "channel", c.Name(), "rule", a.Rule, "error", err)
				}
			}
		}
	}
}
