package transaction

import (
	"net/netip"
	"time"
)

var zeroAddr netip.Addr

// A Client is a client transaction, RFC 3261 section 17.1 and RFC 6026.
type Client[F any] struct {
	Flow     F
	State    State
	Invite   bool
	Reliable bool
	Sent     time.Time // first
	Status   int       // of the last response, 0 before one
	Canceled bool      // nobody wants its answer any more

	request  []byte // as it was sent; or its ACK, if acked
	acked    bool
	late     bool   // no final response came in time
	again    uint32 // tick of Timer A or E
	interval time.Duration
	expire   uint32 // tick of Timer B, C, D, F, K or M

	asked          bool   // a CANCEL was sent
	cancel         []byte // the CANCEL while it has no answer
	cancelAgain    uint32
	cancelInterval time.Duration
}

func (cl *Client[F]) deadline() uint32 {
	if cl.State == None || cl.State == Terminated {
		return never
	}
	due := min(cl.again, cl.expire)
	if cl.cancel != nil {
		due = min(due, cl.cancelAgain)
	}
	return due
}

// Add makes room for one more client transaction and returns its number, which
// its branch must carry (ID). It is nothing before Forward. False: there are too
// many.
func (c *Context[F, T]) Add() (int, bool) {
	if len(c.Clients) >= MaxClients {
		return 0, false
	}
	c.Clients = append(c.Clients, Client[F]{again: never, expire: never, cancelAgain: never})
	return len(c.Clients) - 1, true
}

// Forward sends the request of client transaction i and starts its timers. On an
// error the transaction is over.
func (c *Context[F, T]) Forward(worker, i int, f F, invite, reliable bool, msg []byte) error {
	cl, t := &c.Clients[i], c.table
	cl.Flow, cl.Invite, cl.Reliable, cl.Sent = f, invite, reliable, c.at
	if err := t.o.Send(worker, f, msg); err != nil {
		cl.State = Terminated
		return err
	}
	cl.State = Trying
	if invite || !reliable {
		cl.request = c.shard.buffers.keep(msg)
	}
	cl.expire = c.after(64 * t.o.T1) // Timer B or F
	if !reliable {
		cl.interval = t.o.T1
		cl.again = c.after(cl.interval) // Timer A or E
	}
	return nil
}

// Request is the request of client transaction i as it was sent; nil when it is
// not needed any more. It is valid while the context is locked and no response
// is taken.
func (c *Context[F, T]) Request(i int) []byte {
	if cl := &c.Clients[i]; !cl.acked {
		return cl.request
	}
	return nil
}

// A Taking is what a response means to a client transaction.
type Taking uint8

// The takings.
const (
	Absorbed    Taking = iota // a retransmission, or too late
	Provisional               // 1xx
	Success                   // 2xx, to INVITE also another one or again
	Refusal                   // the first final response that is no 2xx; an INVITE wants an ACK (Acknowledge)
)

// Take takes a response of client transaction i. A refusal of an INVITE that
// comes again is answered with its ACK.
func (c *Context[F, T]) Take(worker, i, status int) Taking {
	cl, t := &c.Clients[i], c.table
	switch cl.State {
	case Trying, Proceeding:
	case Accepted:
		if status/100 == 2 {
			return Success
		}
		return Absorbed
	case Completed:
		switch {
		case cl.acked && status >= 300:
			_ = t.o.Send(worker, cl.Flow, cl.request) // the response comes again if this is lost
		case cl.late && status/100 == 2:
			cl.State, cl.expire = Accepted, c.after(64*t.o.T1)
			return Success
		}
		return Absorbed
	default:
		return Absorbed
	}
	cl.Status = status
	if status < 200 {
		c.proceed(cl, status)
		return Provisional
	}
	cl.again = never
	c.shard.buffers.drop(&cl.cancel)
	switch {
	case cl.Invite && status < 300:
		cl.State, cl.expire = Accepted, c.after(64*t.o.T1) // Timer M
		c.shard.buffers.drop(&cl.request)
		return Success
	case cl.Invite:
		cl.State, cl.expire = Completed, c.after(max(64*t.o.T1, 32*time.Second)) // Timer D
		return Refusal
	}
	c.shard.buffers.drop(&cl.request)
	cl.State, cl.expire = Completed, c.after(t.o.T4) // Timer K
	if cl.Reliable {
		cl.State = Terminated
	}
	if status < 300 {
		return Success
	}
	return Refusal
}

func (c *Context[F, T]) proceed(cl *Client[F], status int) {
	t := c.table
	first := cl.State == Trying
	cl.State = Proceeding
	if !cl.Invite { // section 17.1.2.2: at T2 from now on, Timer F goes on
		if !cl.Reliable && first {
			cl.interval = t.o.T2
			cl.again = c.after(t.o.T2)
		}
		return
	}
	cl.again = never
	if (first || status > 100) && !cl.Canceled {
		cl.expire = c.after(t.o.TimerC) // section 16.7 step 2
	}
}

// Acknowledge sends the ACK to a refusal and keeps it for refusals that come
// again.
func (c *Context[F, T]) Acknowledge(worker, i int, ack []byte) {
	cl := &c.Clients[i]
	_ = c.table.o.Send(worker, cl.Flow, ack) // the response comes again if this is lost
	c.shard.buffers.drop(&cl.request)
	if cl.Reliable {
		cl.State = Terminated // Timer D is 0
		return
	}
	cl.request, cl.acked = c.shard.buffers.keep(ack), true
}

// Cancel sends a CANCEL for client transaction i, which waits for a final
// response 64*T1 longer (section 9.1), and sends it again until AnswerCancel.
func (c *Context[F, T]) Cancel(worker, i int, msg []byte) {
	cl, t := &c.Clients[i], c.table
	if cl.State != Proceeding || cl.asked {
		return
	}
	cl.Canceled, cl.asked = true, true
	cl.expire = c.after(64 * t.o.T1)
	_ = t.o.Send(worker, cl.Flow, msg) // it comes again
	if !cl.Reliable {
		cl.cancel = c.shard.buffers.keep(msg)
		cl.cancelInterval = t.o.T1
		cl.cancelAgain = c.after(cl.cancelInterval)
	}
}

// AnswerCancel takes the response to a CANCEL.
func (c *Context[F, T]) AnswerCancel(i int) { c.shard.buffers.drop(&c.Clients[i].cancel) }

// Drop ends client transaction i at once.
func (c *Context[F, T]) Drop(i int) {
	cl := &c.Clients[i]
	cl.State = Terminated
	c.shard.buffers.drop(&cl.request)
	c.shard.buffers.drop(&cl.cancel)
}

func (c *Context[F, T]) fireClient(i int, now uint32) {
	cl, t := &c.Clients[i], c.table
	if cl.deadline() > now {
		return
	}
	if cl.cancel != nil && cl.cancelAgain <= now {
		cl.cancelInterval = min(2*cl.cancelInterval, t.o.T2)
		cl.cancelAgain = c.after(cl.cancelInterval)
		_ = t.o.Send(-1, cl.Flow, cl.cancel) // it comes again
	}
	if cl.expire <= now {
		c.expireClient(i)
		return
	}
	if cl.again > now {
		return
	}
	cl.interval *= 2
	if !cl.Invite {
		cl.interval = min(cl.interval, t.o.T2)
	}
	cl.again = c.after(cl.interval)
	if err := t.o.Send(-1, cl.Flow, cl.request); err != nil {
		c.Drop(i)
		t.o.Failed(c, i, NotSent)
	}
}

func (c *Context[F, T]) expireClient(i int) {
	cl, t := &c.Clients[i], c.table
	switch {
	case cl.State.Final():
		c.Drop(i)
	case cl.Invite && cl.State == Proceeding && !cl.Canceled:
		cl.Canceled, cl.expire = true, c.after(64*t.o.T1)
		t.o.Failed(c, i, TooLong)
	case cl.Invite: // a 2xx that comes yet must not be lost: somebody pays for that call
		cl.State, cl.late, cl.again, cl.expire = Completed, true, never, c.after(64*t.o.T1)
		c.shard.buffers.drop(&cl.request)
		c.shard.buffers.drop(&cl.cancel)
		t.o.Failed(c, i, NoAnswer)
	default:
		c.Drop(i)
		t.o.Failed(c, i, NoAnswer)
	}
}

// Hurry shortens Timer B or F of client transaction i: there is somebody else
// to ask.
func (c *Context[F, T]) Hurry(i int, d time.Duration) {
	if cl := &c.Clients[i]; cl.State == Trying {
		cl.expire = min(cl.expire, c.after(d))
	}
}
