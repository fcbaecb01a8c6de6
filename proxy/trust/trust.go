// Package trust remembers what each flow has proved, and gives each flow the
// budget that its proof is worth (architecture: no state before proof).
//
// A source that has proved nothing costs one slot of a table of fixed size and
// can evict nothing but such slots. It knows neither sockets nor rules.
package trust

import (
	"log/slog"
	"net/netip"
	"time"

	"ringfence/guard"
)

// A Flow is a remote address and port over one transport (RFC 5626 section 2).
type Flow struct {
	Remote    netip.AddrPort
	Transport guard.Transport
}

// A Rate is a budget: so many messages a second, and so many at once.
type Rate struct {
	PerSecond float64
	Burst     int
}

// An Admission is the answer to a flow that wants to send one more message.
type Admission uint8

// The answers of Admit.
const (
	Admitted   Admission = iota
	OverSource           // over the flow's or the unknown source's own budget
	OverPipe             // over the budget of all unknown sources together
)

// Options says how much is remembered and how long. Now is required; every
// other zero field means its default.
type Options struct {
	Max        int           // flows; default 262144
	Trusted    time.Duration // how long a flow stays trusted after its last success; default 2 h
	Challenged time.Duration // how long an address stays proven; default 10 min
	Limited    time.Duration // how long a flow is limited when Limit is given no time; default 60 s

	TrustedRate    Rate // of one trusted flow; default 50/s, 200 at once
	ChallengedRate Rate // of one challenged flow; default 10/s, 40 at once
	LimitedRate    Rate // of one limited flow; default 0.2/s, 1 at once
	UnknownRate    Rate // of one unknown source; default 5/s, 20 at once
	Pipe           Rate // of all unknown sources together; default 500/s, 1000 at once

	Sources int           // slots for unknown sources; default 65536, rounded up to a power of two
	Nonces  int           // slots for nonces that a next hop offered; default 65536, rounded likewise
	Nonce   time.Duration // how long an offered nonce proves an address; default 5 min

	Store guard.Store   // nil: nothing survives a restart
	Queue int           // changes that wait to be stored; default 4096
	Sweep time.Duration // between looks for expired flows; default 10 s

	Now func() time.Time
	Log *slog.Logger
}

// Counts says how full the table is.
type Counts struct {
	Challenged, Trusted, Limited int
	Evicted                      uint64 // flows that made room for others
	Refused                      uint64 // flows that found no room
	Unstored                     uint64 // changes that found the queue full
}
