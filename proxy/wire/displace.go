package wire

import (
	"errors"
	"sync/atomic"
	"time"
)

// Whoever fills the room for connections with ones that say nothing would keep
// everybody else out for Limits.Idle. So when there is no room, a connection that
// has been silent for Limits.Quiet gives way to the new one, unless Keep was said of
// it. The one that was silent for longest among a few is taken: to look at all of
// them for each new connection would be what an attacker wants.

// looked is how many connections are looked at for one that gives way.
const looked = 32

var errDisplaced = errors.New("a new connection takes the place of this silent one")

// A standing is what a connection has to say for itself when room is needed.
type standing struct {
	heard atomic.Int64 // Unix nanoseconds of its last message, or of its beginning
	kept  atomic.Bool
}

// Keep tells that the far end of an accepted connection has earned its place: it
// does not give way to others. A connection that is gone is nothing.
func (w *Wire) Keep(connection uint64) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if c := w.conns[connection]; c != nil {
		c.kept.Store(true)
	}
}

// displace takes its place from a connection that was silent, and tells whether
// there was one; mu is held.
func (w *Wire) displace(now time.Time) (*conn, bool) {
	var silent *conn
	since, n := now.Add(-w.limits.Quiet).UnixNano(), 0
	for _, c := range w.conns { // in no order that anybody can know
		if n++; n > looked {
			break
		}
		if heard := c.heard.Load(); c.counted && !c.kept.Load() && heard <= since {
			silent, since = c, heard
		}
	}
	if silent == nil {
		return nil, false
	}
	w.release(silent)
	return silent, true
}
