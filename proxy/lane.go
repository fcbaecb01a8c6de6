package proxy

import (
	"context"
	"fmt"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/trust"
	"ringfence/proxy/wire"
)

// Calls for help of sources that are not trusted take a lane of their own,
// whatever their budgets are: narrow for each, so that nobody can keep those busy
// who help, and never shut. Sources that have proved nothing have one together
// and those that have another, so that forged ones hold up only each other.
type lanes struct{ unproven, proven *trust.Table }

// Their widths.
var (
	laneOfSource = trust.Rate{PerSecond: 1, Burst: 3} // who redials, or was asked for credentials
	laneOfAll    = trust.Rate{PerSecond: 50, Burst: 50}
)

func (p *Proxy) openLanes(ctx context.Context) error {
	for _, lane := range []**trust.Table{&p.lanes.unproven, &p.lanes.proven} {
		t, err := trust.New(ctx, trust.Options{Max: 1, Now: p.now, Log: p.log, UnknownRate: laneOfSource, Pipe: laneOfAll})
		if err != nil {
			return fmt.Errorf("emergency lane: %w", err)
		}
		*lane = t
	}
	return nil
}

// calling tells whether a message begins a call for help.
func (p *Proxy) calling(m *guard.Message) bool {
	return m.Index.Method == index.Invite && !m.Index.InDialog() && p.o.Emergency != nil && p.o.Emergency(m)
}

// helped tells whether there is room in its lane for a call for help.
func (p *Proxy) helped(m *guard.Message, f wire.Flow, at time.Time) bool {
	lane := p.lanes.unproven
	if m.Proven {
		lane = p.lanes.proven
	}
	_, answer := lane.Admit(trustFlow(f), at)
	return answer == trust.Admitted
}
