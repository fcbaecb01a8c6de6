package transaction

import "time"

// lose ends the client transactions that were sent over a flow that is gone and
// heard nothing: their requests may never have left (RFC 3261 section 17.1.4).
// Those that were answered with a 1xx go on, since the far end may come back on
// another connection.
func (t *Table[F, T]) lose(gone func(F) bool, at time.Time) {
	for i := range t.shards {
		t.shards[i].lose(gone, at)
	}
}

func (s *shard[F, T]) lose(gone func(F) bool, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, some := range s.chunks {
		for i := range some {
			if c := &some[i]; c.used {
				c.lose(gone, at)
			}
		}
	}
}

func (c *Context[F, T]) lose(gone func(F) bool, at time.Time) {
	lost := false
	for i := range len(c.Clients) { // what replaces one comes after it
		if cl := &c.Clients[i]; cl.State == Trying && cl.Reliable && gone(cl.Flow) {
			lost = true
			c.open(at).Drop(i)
			c.table.o.Failed(c, i, Lost)
		}
	}
	if lost {
		c.settle()
	}
}
