// Package dialog keeps the table of calls: who talks to whom, over which flows,
// since when, and who hung up (RFC 3261 section 12, as a proxy sees it).
//
// It is told of messages by the proxy, after they were judged, and sends
// nothing. A call over the ceiling is not tracked; it is never refused.
package dialog

import (
	"log/slog"
	"net/netip"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// A Leg is how one side of a call is reached.
type Leg struct {
	Address   netip.AddrPort
	Transport guard.Transport
	Peer      string // the configured next hop or trunk, "" if none
	Flow      string // flow token, "" if the address is enough
}

// A Side is one party of a call, for display and for the BYE that ends it.
type Side struct {
	Tag      string
	CSeq     uint32 // the highest seen from this side, 0 if none
	URI      string // of From or To
	Target   string // Contact URI: the Request-URI of a request towards it
	Route    string // Route header value of a request towards it, without our own entries; "" if none
	Leg      Leg    // the leg that is nearest to it
	Answered bool   // of a callee: it sent a 2xx
}

// A State is how far a call has come.
type State uint8

// The states of a call.
const (
	Calling State = iota // the INVITE was forwarded
	Early                // a provisional response gave a To tag
	Answered
	Ended // kept for a while, so that what is still under way is recognised
)

// A Call is a copy of what is known of one call.
type Call struct {
	ID       string // Call-ID
	State    State
	Account  string // of the caller, "user@realm"
	Dialed   string // user part of the first Request-URI
	Caller   Side
	Callees  []Side // each fork that gave a To tag; of an answered call those that are up
	Start    time.Time
	Answered time.Time // zero if it was not
	Expires  time.Time
}

// Own tells whether the host and port of a Record-Route value are ours: what lies
// beyond our own leads to the callee.
type Own func(x *index.Message, host index.Span, port uint16) bool

// Options says how much is remembered. Now is required; every other zero field
// means its default.
type Options struct {
	Max    int           // calls; default 65536
	Forks  int           // To tags of one call; default 8
	Setup  time.Duration // longest time to an answer; default 5 min
	Length time.Duration // longest call; default 24 h
	Linger time.Duration // how long an ended call is still recognised; default 32 s

	Store guard.Store // nil: nothing survives a restart
	Queue int         // calls whose change waits to be stored; default 65536
	// Behind is how far the store may be behind. A call that is shorter than half
	// of it is never written. Default 1 s.
	Behind time.Duration
	Sweep  time.Duration // between looks for calls that ran out; default 2 s

	// Own must be set for route sets to be known. Nil: no call has one.
	Own Own

	// Ended is told of calls that end by running out of time. It is called from
	// Run and must not block.
	Ended func(*guard.Call)

	Now func() time.Time
	Log *slog.Logger
}

// Counts says how full the table is.
type Counts struct {
	Up        int    // calls that have not ended
	Tracked   int    // with those that linger
	Untracked uint64 // calls that found the table full
	Unstored  uint64 // changes that found the queue full
}
