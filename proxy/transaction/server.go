package transaction

import "time"

// A Server is a server transaction, RFC 3261 section 17.2 and RFC 6026.
type Server[F any] struct {
	Flow     F // the way back
	State    State
	Invite   bool
	Reliable bool // the transport retransmits
	Mute     bool // nothing is sent twice unasked: the source has proved nothing

	last     []byte // response that is sent again
	again    uint32 // tick of Timer G
	interval time.Duration
	expire   uint32 // tick of Timer H, I, J or L, or of Hold; 0 if there is none
	trying   uint32 // tick at which the client must hear something; 0 if it has
}

func (s *Server[F]) deadline() uint32 {
	switch s.State {
	case None, Terminated:
		return never
	case Trying, Proceeding: // the client transactions have the clock, unless it is held
		due := never
		if s.trying != 0 {
			due = s.trying
		}
		if s.expire != 0 {
			due = min(due, s.expire)
		}
		return due
	}
	return min(s.again, s.expire)
}

// Respond sends a response towards the client and keeps what has to be sent
// again. It tells whether the response was wanted: after a final one none is,
// except another 2xx to an INVITE.
func (c *Context[F, T]) Respond(worker, status int, msg []byte) bool {
	s, t := &c.Server, c.table
	switch {
	case s.State == Accepted && status/100 == 2:
		_ = t.o.Send(worker, s.Flow, msg) // what is lost comes again end to end
		return true
	case s.State == None || s.State.Final():
		return false
	}
	_ = t.o.Send(worker, s.Flow, msg) // a lost response is asked for again
	s.trying = 0
	if status < 200 {
		s.State = Proceeding
		c.keepLast(msg)
		return true
	}
	t.sources.give(c.source)
	c.source = zeroAddr
	s.again, s.interval = never, t.o.T1
	if s.Invite && status < 300 {
		s.State, s.expire = Accepted, c.after(64*t.o.T1) // Timer L
		c.shard.buffers.drop(&s.last)
		return true
	}
	s.State = Completed
	switch {
	case s.Invite: // Timer H, and G
		s.expire = c.after(64 * t.o.T1)
		if !s.Reliable && !s.Mute {
			s.again = c.after(s.interval)
		}
	case s.Reliable: // Timer J is 0
		s.State = Terminated
		c.shard.buffers.drop(&s.last)
		return true
	default:
		s.expire = c.after(64 * t.o.T1)
	}
	c.keepLast(msg)
	return true
}

func (c *Context[F, T]) keepLast(msg []byte) {
	c.shard.buffers.drop(&c.Server.last)
	c.Server.last = c.shard.buffers.keep(msg)
}

// Repeat answers a retransmission of the request with the last response.
func (c *Context[F, T]) Repeat(worker int) {
	s := &c.Server
	switch {
	case s.trying != 0 && !s.State.Final():
		s.trying = 0
		c.table.o.Trying(worker, c)
	case s.last != nil && s.State != Confirmed:
		_ = c.table.o.Send(worker, s.Flow, s.last) // it is asked for again if lost
	}
}

// Ack takes an ACK with the key of the INVITE. False: it is the ACK to a 2xx,
// which is not for us.
func (c *Context[F, T]) Ack() bool {
	s, t := &c.Server, c.table
	if s.State == Accepted {
		return false
	}
	if s.State == Completed && s.Invite {
		s.State, s.again = Confirmed, never
		c.shard.buffers.drop(&s.last)
		s.expire = c.after(t.o.T4) // Timer I
		if s.Reliable {
			s.State = Terminated
		}
	}
	return true
}

// Quieten notes that an INVITE is under way and that its client has heard
// nothing: Options.Trying is called unless a response goes by soon.
func (c *Context[F, T]) Quieten() { c.Server.trying = c.after(c.table.o.Quiet) }

// Hold keeps a request for so long although it was not forwarded yet; 0 lets go.
func (c *Context[F, T]) Hold(d time.Duration) {
	if c.Server.State.Final() {
		return
	}
	c.Server.expire = 0
	if d > 0 {
		c.Server.expire = c.after(d)
	}
}

// Abandon ends the server transaction without an answer, RFC 4320 section 4.2.
func (c *Context[F, T]) Abandon() {
	if !c.Server.State.Final() {
		c.Server.State = Terminated
		c.shard.buffers.drop(&c.Server.last)
	}
}

func (c *Context[F, T]) fireServer(now uint32) {
	s, t := &c.Server, c.table
	if s.deadline() > now {
		return
	}
	if s.trying != 0 && s.trying <= now && !s.State.Final() {
		s.trying = 0
		t.o.Trying(-1, c)
	}
	if s.deadline() > now {
		return
	}
	if s.expire <= now {
		s.State = Terminated
		c.shard.buffers.drop(&s.last)
		return
	}
	s.interval = min(2*s.interval, t.o.T2)
	s.again = c.after(s.interval)
	_ = t.o.Send(-1, s.Flow, s.last) // Timer G comes again
}
