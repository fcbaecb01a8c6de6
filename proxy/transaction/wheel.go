package transaction

import "time"

const (
	resolution = 100 * time.Millisecond
	spokes     = 512 // 51.2 s in one turn
)

// never is the deadline of a timer that does not run.
const never = ^uint32(0)

// A wheel holds the contexts of a shard by the tick at which each is due. What
// is due later than one turn stays where it is and is looked at each turn. A
// context whose time moves further away is not moved: it is found early once.
type wheel[F, T any] struct {
	heads [spokes]*Context[F, T]
}

// add hangs c in at c.due.
func (w *wheel[F, T]) add(c *Context[F, T]) {
	head := &w.heads[c.due%spokes]
	c.prev, c.next, c.hung = nil, *head, true
	if *head != nil {
		(*head).prev = c
	}
	*head = c
}

func (w *wheel[F, T]) remove(c *Context[F, T]) {
	if !c.hung {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else if w.heads[c.due%spokes] == c {
		w.heads[c.due%spokes] = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next, c.hung = nil, nil, false
}

// takeAll takes everything off one spoke.
func (w *wheel[F, T]) takeAll(tick uint32) *Context[F, T] {
	c := w.heads[tick%spokes]
	w.heads[tick%spokes] = nil
	return c
}

// settle hangs c in for its next deadline, and lets go of it when none is left.
func (c *Context[F, T]) settle() {
	due := c.deadline()
	switch {
	case due == never:
		c.shard.release(c)
	case !c.hung:
		c.due = due
		c.shard.wheel.add(c)
	case due < c.due:
		c.shard.wheel.remove(c)
		c.due = due
		c.shard.wheel.add(c)
	}
}

// after is the tick at which d has certainly gone by.
func (c *Context[F, T]) after(d time.Duration) uint32 {
	return uint32((c.at.Sub(c.table.start) + d + resolution - 1) / resolution)
}
