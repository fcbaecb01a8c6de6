package transaction

import (
	"net/netip"
	"time"
)

// A Context is one request under way. It is given out locked, with the shard it
// lies in, and must be unlocked soon; nothing of it may be used after that.
type Context[F, T any] struct {
	Server  Server[F]
	Clients []Client[F]
	Data    T

	table      *Table[F, T]
	shard      *shard[F, T]
	at         time.Time // when it was given out
	slot       uint32
	generation uint32
	used       bool
	key        Key
	first      [1]Client[F] // most requests go to one place

	source netip.Addr // that counts it; zero when it is not counted any more

	due        uint32 // tick at which the wheel holds it
	hung       bool   // it hangs in the wheel
	prev, next *Context[F, T]
}

// open gives the context out.
func (c *Context[F, T]) open(at time.Time) *Context[F, T] {
	c.at = at
	return c
}

// Unlock lets others use the context. One that waits for nothing any more is
// over.
func (c *Context[F, T]) Unlock() {
	s := c.shard
	c.settle()
	s.mu.Unlock()
}

// ID names client transaction i.
func (c *Context[F, T]) ID(i int) ID {
	return ID{Slot: c.slot, Generation: c.generation, Client: uint8(i)}
}

// MaxClients is how many client transactions one context may have.
const MaxClients = 255

// Waiting tells whether a client transaction has no final response yet.
func (c *Context[F, T]) Waiting() bool {
	for i := range c.Clients {
		if s := c.Clients[i].State; s != None && !s.Final() {
			return true
		}
	}
	return false
}

// deadline is the tick at which something is to be done next.
func (c *Context[F, T]) deadline() uint32 {
	due := c.Server.deadline()
	for i := range c.Clients {
		due = min(due, c.Clients[i].deadline())
	}
	return due
}

// fire does what is due.
func (c *Context[F, T]) fire(now uint32) {
	c.fireServer(now)
	for i := range len(c.Clients) {
		c.fireClient(i, now)
	}
}

// Keep copies msg into memory of the table; give it back with Discard.
func (c *Context[F, T]) Keep(msg []byte) []byte { return c.shard.buffers.keep(msg) }

// Discard gives a copy back and leaves nil in its place.
func (c *Context[F, T]) Discard(buf *[]byte) {
	if *buf != nil {
		c.shard.buffers.drop(buf)
	}
}
