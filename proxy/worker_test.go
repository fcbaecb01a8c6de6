package proxy

import (
	"testing"

	"ringfence/proxy/route"
	"ringfence/proxy/wire"
)

// A next hop that closes an idle connection is well; one that cannot be
// connected to is not.
func TestClosedConnections(t *testing.T) {
	l := newLab(t, onePBX, nil)
	pbx := wire.Flow{Listener: l.flow("pbx").Listener, Remote: l.flow("pbx").Remote}
	state := func() route.Status { return l.p.Hops()[0] }
	for range 20 {
		l.p.Closed(pbx, true)
	}
	if s := state(); !s.Up || s.Failures > 0 {
		t.Errorf("after idle connections were closed: %+v", s)
	}
	for range 20 {
		l.p.Closed(pbx, false)
	}
	if s := state(); s.Up {
		t.Errorf("after connections could not be made: %+v", s)
	}
}
