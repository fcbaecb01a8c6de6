// Package route knows the next hops: which there are, which of them live, and
// which of them a call goes to.
//
// It resolves only names that stand in the configuration, never one that a
// message brought, and it knows no socket: probes are sent by a Prober.
package route

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"ringfence/guard"
)

// A Config is one configured next hop. A name with several addresses becomes
// several Hops.
type Config struct {
	Name      string // of the hop, as in logs and rules
	Pool      string // the pool it belongs to; default "default"
	Host      string // address or DNS name
	Port      uint16 // 0: SRV records of a name, else 5060, or 5061 over TLS (RFC 3263 section 4.2)
	Transport guard.Transport
	Priority  int            // lower is tried first, as in SRV records
	Weight    int            // share among equals; 0 means 1
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

	rank   int    // Priority, then that of the SRV record
	seed   uint64 // what rendezvous hashing knows the hop by
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

// A Resolver looks up names; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Options says what Routes are made of. Only Now is required.
type Options struct {
	Hops        []Config
	Prober      Prober   // nil: no probes
	Resolver    Resolver // nil: net.DefaultResolver
	AddressOnly bool     // ByAddress ignores the port: PBXs send from other ports than they listen on

	RefuseWhenDown bool          // when no hop of a pool lives, pick none; otherwise they are tried anyway
	Fails          int           // failures in a row after which a hop is down; default 3
	Rises          int           // good probes in a row after which it is up again; default 2
	Rest           time.Duration // how long a hop without probes stays down; default 30 s
	MaxRetryAfter  time.Duration // longest Retry-After that is believed; default 60 s
	ProbeTimeout   time.Duration // default 5 s
	ProbeRate      float64       // probes a second over all hops; default 20
	Probes         int           // probes under way at once; default 8
	Resolve        time.Duration // between look-ups of a name; default 60 s
	ResolveRetry   time.Duration // after a failed one; default 10 s
	ResolveTimeout time.Duration // for one look-up; default 5 s
	Addresses      int           // addresses of one name that are used; default 8
	Seed           uint64        // of the hash; the same on every node that shares calls

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
