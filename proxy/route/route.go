// Package route knows the next hops: which there are, which of them live, and
// which of them a call goes to.
//
// A configured host may be a domain that stands for several servers, by RFC
// 3263; they come and go as DNS says, beside the way of messages. A name that a
// message from inside brought is resolved only when Find is asked to. It knows no
// socket: probes are sent by a Prober.
package route

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"ringfence/guard"
	"ringfence/proxy/resolve"
)

// A Config is one configured next hop. A domain with several servers becomes
// several Hops.
type Config struct {
	Name      string // of the hop, as in logs and rules
	Pool      string // the pool it belongs to; default "default"
	Host      string // address or DNS name
	Port      uint16 // 0: SRV records of a name, else 5060, or 5061 over TLS (RFC 3263 section 4.2)
	Transport guard.Transport
	Any       bool           // the transport is for NAPTR and SRV records to say (RFC 3263 section 4.1)
	Priority  int            // lower is tried first, as in SRV records
	Weight    int            // share among equals, of all its servers together; 0 means 1
	Probe     time.Duration  // between OPTIONS probes; 0: none
	Prefixes  []string       // numbers that go to its pool, for trunks: "+4930", "00"
	Sources   []netip.Prefix // from where it sends, beside its own address
}

// A Hop is one address to forward to. It is read only; when a name resolves to
// something else, new Hops take the place of the old ones.
type Hop struct {
	Name      string
	Pool      string
	Host      string // as configured, for TLS and for people
	Address   netip.AddrPort
	Transport guard.Transport
	Priority  int
	Weight    int
	Probe     time.Duration

	rank   int     // Priority, then what DNS prefers
	share  float64 // of the calls, in proportion to the others of its rank
	seed   uint64  // what rendezvous hashing knows the hop by
	health *health
}

// An Outcome is how a hop answered, or did not.
type Outcome uint8

// The outcomes of sending a request to a hop.
const (
	OK      Outcome = iota // any response but 503
	Busy                   // 503
	Timeout                // nothing came: Timer B or F
	Refused                // the network said no: ICMP, connect error, closed connection
)

// A Result is what came of sending one request to a hop.
type Result struct {
	Outcome    Outcome
	Took       time.Duration // until the first response
	RetryAfter time.Duration // of a 503, 0 if it named none
}

// Tries is how many hops one request is sent to, one after the other, at most.
const Tries = 8

// A Tried remembers the hops that a request was already sent to. The zero Tried
// is ready.
type Tried struct {
	hops [Tries]*health
	n    int
}

// A Prober sends one OPTIONS to a hop and returns the status of the final
// response. It gives up when ctx ends.
type Prober interface {
	Probe(ctx context.Context, h *Hop) (status int, err error)
}

// A Resolver finds the servers of a host; *resolve.Resolver is one.
type Resolver interface {
	Locate(ctx context.Context, t resolve.Target) (resolve.Answer, error)
}

// Options says what Routes are made of. Only Now is required.
type Options struct {
	Hops        []Config
	Prober      Prober      // nil: no probes
	Resolver    Resolver    // nil: one of this package's own, with its defaults
	Store       guard.Store // nil: what DNS said does not survive a restart
	AddressOnly bool        // ByAddress ignores the port: PBXs send from other ports than they listen on

	RefuseWhenDown bool          // when no hop of a pool lives, pick none; otherwise they are tried anyway
	Fails          int           // failures in a row after which a hop is down; default 3
	Rises          int           // good probes in a row after which it is up again; default 2
	Rest           time.Duration // how long a hop without probes stays down; default 30 s
	MaxRetryAfter  time.Duration // longest Retry-After that is believed; default 60 s
	ProbeTimeout   time.Duration // default 5 s
	ProbeRate      float64       // probes a second over all hops; default 20
	Probes         int           // probes under way at once; default 8
	ResolveRetry   time.Duration // after a look-up that failed; default 10 s
	ResolveTimeout time.Duration // for one look-up; default 8 s
	Stale          time.Duration // how long servers are used that DNS does not confirm; default 72 h
	Drain          time.Duration // how long calls on a hop that DNS names no more are known; default 4 h
	Drained        int           // such hops at once; default 256
	Domains        int           // other domains that are remembered; default 1024
	Seed           uint64        // of the hash; the same on every node that shares calls

	// Outside tells whether a server of another domain may be sent to. Nil: any.
	Outside func(resolve.Server) bool
	// Changed is told of the hops in force, by New and after each change. It must
	// neither block nor ask for Names.
	Changed func([]*Hop)

	Now func() time.Time
	Log *slog.Logger
}

// A Status is the health of one hop, for metrics and people.
type Status struct {
	Hop      *Hop
	Up       bool
	Since    time.Time     // of the last change
	Until    time.Time     // when a hop that is down is tried again; zero: when probes succeed
	Fails    int           // in a row
	Failures uint64        // in all
	Took     time.Duration // smoothed time to the first response
	Last     string        // the last failure in words, "" if there was none
}
