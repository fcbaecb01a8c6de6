package dialog

import (
	"bytes"
	"time"

	"ringfence/proxy/index"
)

// Two parties that refresh their call from time to time (RFC 4028) tell when it
// is dead: a side that lost power, or a BYE that passed while we were down.

// sessionGrace is how long a call outlives its session: a refresh may be late on
// the way, and whoever missed it sends a BYE first (section 10).
const sessionGrace = 32 * time.Second

// session is the Session-Expires of a message, 0 if it has none that can be read.
func session(x *index.Message) time.Duration {
	v, _, _ := bytes.Cut(x.Bytes(x.Value(index.SessionExpiresName)), []byte(";"))
	v = bytes.TrimRight(v, " \t")
	n := 0
	for _, c := range v {
		if c < '0' || c > '9' || n > 1e7 {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return time.Duration(n) * time.Second
}

// lives is when an answered call ends by itself, as Unix nanoseconds: at its
// longest length, or when the session that a 2xx has just begun or refreshed is
// over.
func (t *Table) lives(c *call, x *index.Message, at time.Time) int64 {
	end := instant(c.answered).Add(t.o.Length)
	if d := session(x); d > 0 && at.Add(d+sessionGrace).Before(end) {
		end = at.Add(d + sessionGrace)
	}
	return end.UnixNano()
}

// Refresh notes a 2xx to an INVITE or UPDATE within a dialog.
func (t *Table) Refresh(x *index.Message, at time.Time) {
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	id, from, to := x.Bytes(x.CallID), x.Bytes(x.From.Tag), x.Bytes(x.To.Tag)
	c := s.find(id, from)
	if c == nil {
		c = s.find(id, to) // the callee refreshes
	}
	if c == nil || c.state != Answered || c.callee(to) == nil && c.callee(from) == nil {
		return
	}
	if f := c.callee(to); f != nil {
		retarget(f, x)
	} else {
		retarget(&c.caller, x)
	}
	c.expires, c.doubtful = t.lives(c, x, at), false
	t.changed(c)
}
