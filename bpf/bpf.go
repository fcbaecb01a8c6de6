// Package bpf screens packets before they cost anything: an XDP program for the
// driver, its loader, and Soft, the same screen in Go for where XDP is not.
//
// Only packets for the ports given to Ports are judged; all others pass at once.
// README.md has the order of the checks, every reason, and every map's bound.
package bpf

import (
	"net/netip"
	"time"
)

// A Mode is how the program hangs on an interface.
type Mode string

// The modes of Attach. Native runs in the driver, Generic in the kernel's
// receive path for drivers without XDP; Auto tries them in this order.
const (
	Auto    Mode = "auto"
	Native  Mode = "native"
	Generic Mode = "generic"
)

// A Port is one that is guarded, for the transports said.
type Port struct {
	Number   uint16
	UDP, TCP bool
}

// A Config says how large the maps are and what is done in doubt. Its zero value
// works. MaxRates and MaxLanes are allocated at once, the others as they fill.
type Config struct {
	PinDir   string // a folder in a bpffs; empty: nothing outlives the process
	MaxBans  int    // hosts, /64s and flows banned at a time; 262,144
	MaxDeny  int    // denied and banned prefixes of other lengths; 65,536
	MaxAllow int    // allowed prefixes; 4,096
	MaxFlows int    // trusted and graced flows; 65,536
	MaxRates int    // sources whose rate is remembered; 65,536
	MaxLanes int    // sources whose emergency calls are remembered; 4,096

	Limits         Limits
	PassKeepalives bool          // let keep-alives of 0 to 4 octets through instead of absorbing them
	DropFragments  bool          // drop later UDP fragments of sources that are not allowed; they have no port, so other services lose theirs too
	FailClosed     bool          // with no heartbeat, drop all but allowed, trusted, graced and emergency packets
	Stale          time.Duration // age of a heartbeat that means the daemon is gone; 30 s
	BansOnly       bool          // Soft only: judge no rates, because XDP in front of it does
}

// MaxNumbers bounds Emergency: the numbers of one place are few.
const MaxNumbers = 64

func (c Config) filled() Config {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&c.MaxBans, 1<<18)
	def(&c.MaxDeny, 1<<16)
	def(&c.MaxAllow, 1<<12)
	def(&c.MaxFlows, 1<<16)
	def(&c.MaxRates, 1<<16)
	def(&c.MaxLanes, 1<<12)
	if c.Stale <= 0 {
		c.Stale = 30 * time.Second
	}
	c.Limits = c.Limits.filled()
	return c
}

// lists is what Screen and Soft have in common; the compiler holds them to it.
type lists interface {
	// Ban keeps packets from p away until a time; zero is for good. A port other
	// than 0 bans that one flow, for which p must be a single host. With limit, a
	// trickle passes (Limits.Trickle). An operator's Deny is not weakened.
	Ban(p netip.Prefix, port uint16, until time.Time, limit bool) error
	// Lift ends a ban. To lift what is not banned is no error.
	Lift(p netip.Prefix, port uint16) error
	// Allow lets every packet of p in, whatever else is known of it.
	Allow(p netip.Prefix) error
	Disallow(p netip.Prefix) error
	// AllowOnly replaces all that is allowed.
	AllowOnly(list []netip.Prefix) error
	// Deny keeps p away until a time; zero is for good. The longest prefix
	// counts: one that is over hides a wider one until Sweep removes it.
	Deny(p netip.Prefix, until time.Time) error
	Undeny(p netip.Prefix) error
	// Trust lets a flow have a rate of its own (Limits.Trusted), and passes it
	// even where its host is banned.
	Trust(src netip.AddrPort, until time.Time) error
	// Grace lets all of a flow in, for those in an emergency call.
	Grace(src netip.AddrPort, until time.Time) error
	// Emergency replaces the numbers whose INVITEs have a lane of their own.
	Emergency(numbers []string) error
	// Ports replaces the guarded ports.
	Ports(ports []Port) error
	// Limits replaces the rates.
	Limits(l Limits) error
	// Beat says that the daemon lives.
	Beat(now time.Time) error
	// Sweep removes what is over, and returns how many entries that were.
	Sweep(now time.Time) (int, error)
	// Counters returns what was counted since the maps were made.
	Counters() (Counters, error)
}

var (
	_ lists = (*Screen)(nil)
	_ lists = (*Soft)(nil)
)
