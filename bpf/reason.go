package bpf

import "iter"

// A Reason is why a packet passed or was dropped. screen.h has the same list.
type Reason uint8

// The reasons, those that pass first.
const (
	Unguarded     Reason = iota // not for a guarded port; passes and is not counted
	Graced                      // of a flow in an emergency call
	Allowed                     // the operator allows its prefix
	Trusted                     // of a trusted flow, within its rate
	Emergency                   // an emergency call by its lane
	Trickle                     // limited, and this is the one that passes
	LaterFragment               // has no port, so it passes unless fragments are dropped
	Passed                      // nothing against it
	Malformed                   // lengths that lie, or an IPv4 address in an IPv6 header
	TrustedRate                 // a trusted flow over its rate
	Banned                      // its flow, host, /64 or prefix is banned
	Limited                     // banned with a trickle, and not its turn
	Denied                      // the operator denies its prefix
	Fragment                    // a later fragment, and fragments are dropped
	Static                      // the daemon is gone and the screen fails closed
	Keepalive                   // CRLF or as short (RFC 5626 section 4.4.1), absorbed
	NotSIP                      // begins with no method and no SIP/2.0
	SynRate                     // connections of this source over its rate
	SourceRate                  // packets of this source over its rate
	NewSource                   // more new sources at once than are remembered
	reasons
)

var reasonNames = [reasons]string{
	"unguarded", "grace", "allowed", "trusted", "emergency", "trickle", "later-fragment", "passed",
	"malformed", "trusted-rate", "banned", "limited", "denied", "fragment", "static",
	"keepalive", "not-sip", "syn-rate", "source-rate", "new-source",
}

// String returns the name that metrics and logs use.
func (r Reason) String() string {
	if r >= reasons {
		return "unknown"
	}
	return reasonNames[r]
}

// Action returns what the reason does to a packet.
func (r Reason) Action() Action {
	if r <= Passed {
		return Pass
	}
	return Drop
}

// An Action is what happens to a packet; its values are those of XDP.
type Action uint8

// The actions.
const (
	Drop Action = 1
	Pass Action = 2
)

// A Count is how many packets a reason decided, and their octets.
type Count struct {
	Packets, Bytes uint64
}

// Counters holds a Count for each Reason.
type Counters [reasons]Count

// All yields every counted reason with its count.
func (c *Counters) All() iter.Seq2[Reason, Count] {
	return func(yield func(Reason, Count) bool) {
		for r := Unguarded + 1; r < reasons; r++ {
			if !yield(r, c[r]) {
				return
			}
		}
	}
}

// Dropped sums the counts of the reasons that drop.
func (c *Counters) Dropped() Count {
	var sum Count
	for r, n := range c.All() {
		if r.Action() == Drop {
			sum.Packets += n.Packets
			sum.Bytes += n.Bytes
		}
	}
	return sum
}
