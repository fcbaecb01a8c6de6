package wire

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"ringfence/guard"
)

// TestSilentConnectionsGiveWay: with no room left, the connection that says nothing
// gives way to a new one; one that is kept, or has just spoken, does not.
func TestSilentConnectionsGiveWay(t *testing.T) {
	h, refused := newTap(), make(chan Reason, 8)
	w, _ := run(t, Options{
		Listeners: []Listener{listen(guard.TCP)}, Limits: Limits{Connections: 2, Quiet: time.Hour},
		Refused: func(_ Flow, r Reason) { refused <- r },
	}, h)
	at := w.Addresses()[0]
	trusted := dial(t, "tcp", at)
	write(t, trusted, message("OPTIONS", ""))
	flow := h.next(t).flow
	w.Keep(flow.Conn)
	w.Keep(flow.Conn + 100) // is nothing
	idle := dial(t, "tcp", at)
	eventually(t, "both are in", func() bool { return w.Counters().Accepted == 2 })

	turnedAway(t, at)
	if r := next(t, refused); r != TooMany {
		t.Fatalf("nobody was silent for long, and yet a third is refused for %s", r)
	}

	w.mu.Lock()
	for _, c := range w.conns { // an hour goes by
		c.heard.Add(int64(-2 * time.Hour))
	}
	w.mu.Unlock()
	late := dial(t, "tcp", at)
	ended(t, idle)
	if r := next(t, refused); r != Displaced || w.Counters().Dropped[Displaced] != 1 {
		t.Errorf("closed for %s, counted %d times", r, w.Counters().Dropped[Displaced])
	}
	write(t, late, message("OPTIONS", ""))
	h.next(t)
	write(t, trusted, message("OPTIONS", ""))
	h.next(t)

	turnedAway(t, at) // late has just spoken and the other is kept
	if r := next(t, refused); r != TooMany {
		t.Errorf("refused for %s", r)
	}
}

// turnedAway is a client that finds no room.
func turnedAway(t *testing.T, at netip.AddrPort) {
	t.Helper()
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		return // the reset was faster
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patient))
	ended(t, c)
}

// Looking for one that gives way costs no more with more connections.
func TestFewAreLookedAt(t *testing.T) {
	w := &Wire{conns: map[uint64]*conn{}, limits: Limits{}.withDefaults()}
	now := time.Now()
	for i := range uint64(10000) {
		c := &conn{}
		c.heard.Store(now.Add(-time.Minute).UnixNano())
		c.kept.Store(true)
		w.conns[i] = c
	}
	if c, ok := w.displace(now); ok {
		t.Errorf("%v gives way although it is kept", c)
	}
}
