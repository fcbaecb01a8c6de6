// Package resolve finds the servers of a SIP domain: NAPTR, SRV and address
// records in the order of RFC 3263, and what to do when DNS does not answer.
//
// It asks DNS itself, because the standard library knows no NAPTR records and
// hides how long an answer holds. What servers said is remembered for as long as
// they said, within bounds; when they fall silent, what they said before goes on
// for a while. Nothing here is on the way of a message: who calls Locate may wait.
package resolve

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"ringfence/guard"
)

// A Target is where a URI or a configured next hop points to, before DNS is
// asked (RFC 3263 section 4).
type Target struct {
	Host      string          // a name in lower case, or an address without brackets
	Port      uint16          // 0: what SRV records say, else the transport's own
	Transport guard.Transport // if Named
	Named     bool            // the transport is given; otherwise NAPTR and SRV records choose
	Secure    bool            // a sips URI: only TLS will do
	Search    bool            // the name may be a short one of this network, see resolv.conf(5)
}

// A Server is one address to send to.
type Server struct {
	Address   netip.AddrPort
	Transport guard.Transport
	Tier      int     // lower is tried first; from 0 without a gap
	Share     float64 // of the load, in proportion to the others of its tier (RFC 2782)
}

// An Answer is what DNS says of a target. It is read only.
type Answer struct {
	Servers []Server  // best first, at least one
	By      string    // what named them: "NAPTR", "SRV", "A, AAAA", "hosts file" or "address"
	Until   time.Time // when to ask again; zero: it never changes
	Stale   bool      // a part of it is old: the servers that know are silent
}

// What keeps a target from being located.
var (
	ErrNotFound = errors.New("DNS names no server")
	ErrUnusable = errors.New("no listener reaches a server that DNS names")
	ErrSilent   = errors.New("no DNS server answers")
)

// Options says whom to ask and how much is remembered. Only Now is required.
type Options struct {
	Servers []netip.AddrPort // to ask; empty: those of ResolvConf
	// ResolvConf and Hosts are read again when they change; default
	// /etc/resolv.conf and /etc/hosts.
	ResolvConf, Hosts string

	Timeout  time.Duration // for one server to answer; default 2 s
	Attempts int           // rounds over all servers; default 2
	Flights  int           // questions under way at once; default 64

	MinTTL   time.Duration // an answer holds at least so long; default 5 s
	MaxTTL   time.Duration // and at most so long; default 1 h
	Negative time.Duration // that there is no record holds at most so long; default 5 min
	Retry    time.Duration // how long silent servers are left alone with a question; default 10 s
	Stale    time.Duration // how long an answer is good after its time when nobody gives a newer one; default 72 h

	Entries   int // answers remembered; default 4096
	Addresses int // servers of one target; default 16
	Records   int // of one answer; default 128
	Bytes     int // of one answer; default 16384, at least 1232
	Chain     int // aliases (CNAME) that are followed; default 8

	// Usable tells whether we can send over a transport to an address. An
	// address that is not valid asks for the transport alone. Nil: always.
	Usable func(guard.Transport, netip.Addr) bool

	Now func() time.Time
	Log *slog.Logger
}

// A Resolver locates SIP servers. It is safe for concurrent use.
type Resolver struct {
	o      Options
	system *system
	room   chan struct{} // a place for each question under way

	mu      sync.Mutex
	entries map[question]*entry // guarded by mu
	counts  Counts              // guarded by mu
}

// Counts says how the servers do.
type Counts struct {
	Asked   uint64 // messages sent to servers
	Failed  uint64 // of them without an answer that could be used
	TCP     uint64 // of them over TCP, because the answer was too long
	Stale   uint64 // questions that an old answer had to do for
	Entries int    // answers that are remembered
}

// New makes a resolver. It starts nothing and asks nothing.
func New(o Options) (*Resolver, error) {
	if o.Now == nil {
		return nil, errors.New("a resolver needs a clock")
	}
	o.ResolvConf = cmp.Or(o.ResolvConf, "/etc/resolv.conf")
	o.Hosts = cmp.Or(o.Hosts, "/etc/hosts")
	o.Timeout = cmp.Or(o.Timeout, 2*time.Second)
	o.Attempts = cmp.Or(o.Attempts, 2)
	o.Flights = cmp.Or(o.Flights, 64)
	o.MinTTL = cmp.Or(o.MinTTL, 5*time.Second)
	o.MaxTTL = max(cmp.Or(o.MaxTTL, time.Hour), o.MinTTL)
	o.Negative = max(cmp.Or(o.Negative, 5*time.Minute), o.MinTTL)
	o.Retry = cmp.Or(o.Retry, 10*time.Second)
	o.Stale = cmp.Or(o.Stale, 72*time.Hour)
	o.Entries = cmp.Or(o.Entries, 4096)
	o.Addresses = cmp.Or(o.Addresses, 16)
	o.Records = cmp.Or(o.Records, 128)
	o.Bytes = min(max(cmp.Or(o.Bytes, 16384), datagram), 65535)
	o.Chain = cmp.Or(o.Chain, 8)
	if o.Usable == nil {
		o.Usable = func(guard.Transport, netip.Addr) bool { return true }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Resolver{
		o: o, system: newSystem(&o), room: make(chan struct{}, o.Flights), entries: map[question]*entry{},
	}, nil
}

// Servers are the DNS servers that are asked, in order.
func (r *Resolver) Servers() []netip.AddrPort { return r.system.read(r.o.Now()).servers }

// Counts says how the servers do.
func (r *Resolver) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts
	c.Entries = len(r.entries)
	return c
}

// Locate finds the servers of a target. The error is ErrNotFound, ErrUnusable or
// ErrSilent, with what was looked for.
func (r *Resolver) Locate(ctx context.Context, t Target) (Answer, error) {
	l := look{r: r, t: t}
	return l.locate(ctx)
}
