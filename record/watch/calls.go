package watch

import "slices"

// A call is the messages of one Call-ID.
type call struct {
	id       string
	From, To string
	known    known
	early    []*Line
	last     [8]uint64 // hashes of the messages that passed last
	next     int
	prev     *call // older
	after    *call // younger
}

// known is which questions of a filter were answered with yes.
type known struct{ from, to, source, rule bool }

// again tells whether one of the last messages had the same hash: a
// retransmission (RFC 3261 section 17).
func (c *call) again(hash uint64) bool {
	if slices.Contains(c.last[:], hash) {
		return true
	}
	c.last[c.next] = hash
	c.next = (c.next + 1) % len(c.last)
	return false
}

// calls are the calls that were seen last: the oldest goes when there are too
// many, since attackers choose Call-IDs.
type calls struct {
	most   int
	by     map[string]*call
	oldest *call
	newest *call
}

// of is the call of a Call-ID; it becomes the newest.
func (c *calls) of(id string) *call {
	x := c.by[id]
	if x == nil {
		if len(c.by) >= c.most {
			delete(c.by, c.oldest.id)
			c.unlink(c.oldest)
		}
		x = &call{id: id}
		c.by[id] = x
	} else {
		c.unlink(x)
	}
	x.prev, x.after = c.newest, nil
	if c.newest != nil {
		c.newest.after = x
	} else {
		c.oldest = x
	}
	c.newest = x
	return x
}

func (c *calls) unlink(x *call) {
	if x.prev != nil {
		x.prev.after = x.after
	} else {
		c.oldest = x.after
	}
	if x.after != nil {
		x.after.prev = x.prev
	} else {
		c.newest = x.prev
	}
}
