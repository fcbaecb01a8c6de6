package wire

import (
	"sync/atomic"

	"ringfence/guard"
)

// A Reason is why something was dropped or a connection closed.
type Reason uint8

// The reasons.
const (
	Screened      Reason = iota // the screen said no
	TooLong                     // a datagram longer than its limit
	TooMany                     // a connection above a limit
	Displaced                   // a silent connection gave way to a new one
	BadFraming                  // no one Content-Length that can be believed
	TooSlow                     // a deadline passed: first message, or one that is not whole
	BadHandshake                // TLS was not agreed, or not in time
	WriteFull                   // the queue of a connection was full
	WriteTimeout                // the far end did not take what we wrote
	SendFailed                  // the kernel refused a datagram
	SendTooLong                 // the path or the socket takes no datagram of that length
	SendFull                    // the kernel's buffers stayed full
	ConnectFailed               // a connection of ours could not be made
	BadUpgrade                  // no opening handshake of a WebSocket for SIP, or not in time
	ForeignOrigin               // a page of elsewhere asked for a WebSocket
	ReceiveFailed               // the kernel could not give us a datagram or connection
	Reasons                     // how many
)

var reasonTexts = [...]string{
	"screened", "too_long", "too_many", "displaced", "bad_framing", "too_slow", "bad_handshake", "write_full",
	"write_timeout", "send_failed", "send_too_long", "send_full", "connect_failed", "bad_upgrade", "foreign_origin", "receive_failed",
}

// String is the reason as the label of a metric.
func (r Reason) String() string { return reasonTexts[r] }

// transports is how many guard.Transports there are.
const transports = int(guard.WSS) + 1

// Counters is what happened since New. All of them only grow, except Open.
type Counters struct {
	Received   [transports]uint64 // messages given to the handler, by guard.Transport
	Sent       [transports]uint64 // messages handed to the kernel or to a connection's queue
	KeepAlives uint64             // RFC 5626 section 4.4.1, and empty datagrams
	Accepted   uint64             // connections
	Opened     uint64             // connections of ours
	Open       int                // connections that are up now or being made
	Dropped    [Reasons]uint64
	Overflow   uint64 // datagrams that the kernel had no room for, or that were damaged; 0 where it does not say
}

// counters is Counters while it is counted.
type counters struct {
	received, sent               [transports]atomic.Uint64
	keepAlives, accepted, opened atomic.Uint64
	dropped                      [Reasons]atomic.Uint64
}

func (c *counters) drop(r Reason) { c.dropped[r].Add(1) }

func (c *counters) snapshot() Counters {
	out := Counters{KeepAlives: c.keepAlives.Load(), Accepted: c.accepted.Load(), Opened: c.opened.Load()}
	for i := range out.Received {
		out.Received[i], out.Sent[i] = c.received[i].Load(), c.sent[i].Load()
	}
	for i := range out.Dropped {
		out.Dropped[i] = c.dropped[i].Load()
	}
	return out
}
