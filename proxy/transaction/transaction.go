// Package transaction keeps the requests that are under way: for each the
// server transaction it came in and the client transactions it left in, in one
// place (RFC 3261 section 17, RFC 6026, RFC 4320).
//
// It knows states, timers and who matches whom. It sends again what has to be
// sent again. It knows neither sockets, which it reaches through Options.Send,
// nor what a message says beyond its key and its status.
package transaction

import (
	"errors"
	"net/netip"
	"time"
)

// A State is how far a transaction has come.
type State uint8

// The states of RFC 3261 section 17 and RFC 6026.
const (
	None       State = iota // there is no such transaction
	Trying                  // Calling, of an INVITE client transaction
	Proceeding              // a provisional response went by
	Accepted                // a 2xx to INVITE went by; more may follow
	Completed               // a final response went by
	Confirmed               // and its ACK too
	Terminated              // over
)

// Final tells whether a final response went by.
func (s State) Final() bool { return s >= Accepted }

// A Failure is why a client transaction ended without a final response.
type Failure uint8

// The failures.
const (
	NoAnswer Failure = iota // Timer B or F, or nothing after CANCEL
	TooLong                 // Timer C: a call that rings for ever; it is still up
	NotSent                 // the transport refused a retransmission
	Lost                    // its flow is gone and nothing was heard
)

// Options says how many transactions there may be and how patient they are.
// Send, Failed and Now are required; every other zero field means its default.
type Options[F, T any] struct {
	Max       int   // at once; default 524288
	Memory    int64 // octets of their messages at which none begins any more; default 1 GiB
	PerSource int   // of one source without a final response; default 256
	Idle      int   // spare buffers kept for each size and shard; default 256

	T1     time.Duration // round trip; default 500 ms
	T2     time.Duration // longest time between retransmissions; default 4 s
	T4     time.Duration // how long a message stays in the network; default 5 s
	TimerC time.Duration // longest ringing; default 185 s, more than 3 min by section 16.6
	Quiet  time.Duration // how long an INVITE without a response waits for Trying; default 100 ms

	// Send sends msg, which it copies, over a flow. worker is passed through.
	Send func(worker int, f F, msg []byte) error
	// Trying tells that an INVITE has had no response for Quiet and up to 100 ms
	// more, or came again before one: it is time for the 100 of section 17.2.1,
	// which must go out within 200 ms and need not if another response does. The
	// context is locked; worker is that of Repeat, -1 when the time has come.
	Trying func(worker int, c *Context[F, T])
	// Failed tells that client transaction i got no final response. The context
	// is locked. After TooLong the transaction is still up.
	Failed func(c *Context[F, T], i int, why Failure)
	// Gone, if it is not nil, is asked at each turn of the timers which flows are
	// gone since the last; nil: none is.
	Gone func() func(F) bool
	// Ended tells that a context is about to be used again; it is locked.
	Ended func(c *Context[F, T])

	Now func() time.Time
}

// What keeps a transaction from beginning.
var (
	ErrFull   = errors.New("too many transactions")
	ErrMemory = errors.New("the messages of transactions take too much memory")
	ErrSource = errors.New("too many transactions of one source")
)

// Counts says how full a table is.
type Counts struct {
	Up     int    // contexts in use
	Held   int64  // octets of messages that are kept, to within 64 KiB a shard
	Full   uint64 // requests that found no room, of either kind
	Source uint64 // requests of sources that had too many
}

// network is what one customer has: an IPv4 address or an IPv6 /64.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() || !a.IsValid() {
		return a
	}
	b := a.As16()
	clear(b[8:])
	return netip.AddrFrom16(b)
}
