// Package proxy is SIP on the network: a stateful proxy by RFC 3261 section 16
// that asks a guard engine about every request before it costs anything.
//
// It knows the road of a message: wire, index, transaction, judgement, and what
// a verdict means on the network. It decides nothing itself; what cannot be
// decided by a rule (a broken message, a full table, a loop) it answers as the
// RFCs say. Follow an INVITE through request.go, forward.go and response.go.
package proxy

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence/guard"
	"ringfence/proxy/dialog"
	"ringfence/proxy/index"
	"ringfence/proxy/location"
	"ringfence/proxy/resolve"
	"ringfence/proxy/route"
	"ringfence/proxy/trust"
	"ringfence/proxy/wire"
)

// A Listener is one address that we listen on.
type Listener struct {
	wire.Listener
	Advertise string // host or host:port that others reach us by; "" is Address
	Challenge Challenge
	// Stateless is for a listener that only filters (RFC 3261 section 16.11): no
	// transactions and no calls, so nothing is sent again for either side, no
	// other next hop is tried when one is silent, and calls are not counted.
	Stateless bool
}

// A Challenge says when requests get our own challenge although the next hop
// authenticates (pass-through); with local accounts the rules alone decide.
type Challenge uint8

// When to challenge in pass-through.
const (
	UnderFlood Challenge = iota // when unknown sources are over their budget
	Never
	Always // every request of a source that has not proved its address
)

// A Register says how a registration through us tells the registrar the way
// back to the phone.
type Register uint8

// The ways of Register.
const (
	RegisterAuto    Register = iota // both, until the registrar's answer shows that it knows Path
	RegisterPath                    // Path, RFC 3327
	RegisterContact                 // Contact points to us, with the phone's own inside it
)

// Config is what the operator says about the network.
type Config struct {
	Listeners []Listener
	Hops      []route.Config
	Pool      string   // where requests from outside go; default "default"
	Domains   []string // domains we serve; empty: every one

	Location bool // REGISTER is answered here and requests fork to the bindings
	Register Register
	Egress   bool // requests from inside may go where DNS says, when nothing else names a target

	// EmergencyPool takes the calls that the emergency rule allowed; default
	// Pool. With the location service and no pool such a call is answered with
	// 380 (Alternative Service, RFC 3261 section 21.3.6) and an alert in the log.
	EmergencyPool string

	SourceHeader string       // tells the PBX the real source; default X-Ringfence-Source, "-" for none
	Limits       index.Limits // Size is that of a datagram; Options.Limits.Message is that of streams
}

// An Engine judges; *guard.Engine is one.
type Engine interface {
	Judge(context.Context, *guard.Message, *guard.Decision)
	Reply(context.Context, *guard.Message, *guard.Decision)
	End(context.Context, *guard.Message, *guard.Decision)
}

// A Challenger makes challenges and knows its own nonces; *auth.Auth is one.
type Challenger interface {
	// Status is 401, 407, or 0 when m must not be challenged.
	Status(m *guard.Message) int
	// AppendChallenge appends complete header lines with CRLF.
	AppendChallenge(dst []byte, m *guard.Message, v *guard.Verdict) []byte
	// Proves tells whether m carries a nonce that we gave to its source.
	Proves(m *guard.Message) bool
	// Ours tells whether the value of an Authorization or Proxy-Authorization
	// header is for us and not for the next hop.
	Ours(m *guard.Message, value index.Span) bool
}

// A Wire moves messages; *wire.Wire is one, and tests have another.
type Wire interface {
	// Send sends msg over a flow; msg is copied. During Receive worker is the
	// one that was given, elsewhere -1.
	Send(worker int, f wire.Flow, msg []byte) error
	// Connect is the flow to a far end, and for a stream begins to connect when
	// there is none; what is sent meanwhile waits.
	Connect(listener uint16, remote netip.AddrPort, serverName string) (wire.Flow, error)
	// Keep tells that the far end of an accepted connection has earned its place.
	Keep(connection uint64)
	// Addresses are what the listeners are bound to, with their real ports.
	Addresses() []netip.AddrPort
	// Workers is how many workers call the handler.
	Workers() int
	// Run receives until ctx ends.
	Run(ctx context.Context, h wire.Handler) error
}

// Keys are the secrets of the proxy. A token of the previous key is still
// accepted. Each run has a branch key of its own, since no transaction outlives
// it: an answer to one of the run before must not find a new one, but it can be
// told and still goes back. Zero keys are made at start.
type Keys struct {
	Branch, PreviousBranch [32]byte
	Token, PreviousToken   [32]byte
}

// Options says what a proxy is made of. Engine and Now are required; every
// other zero field means its default.
type Options struct {
	Engine     Engine
	Challenger Challenger // nil: nobody is ever challenged by us
	Accounts   bool       // accounts are ours; otherwise the next hop authenticates
	Screen     wire.Screen
	Wire       Wire       // nil: real sockets for Config.Listeners
	Inherited  []*os.File // sockets that are open already, see wire.Options
	Store      guard.Store
	Keys       Keys

	// Malformed is told of every message that was refused before it could be
	// judged. It must not block.
	Malformed func(src netip.AddrPort, t guard.Transport, p index.Problem, proven bool)
	// Grace asks the screen to let a source through until then: emergency calls,
	// and sources that the next hop has just challenged.
	Grace func(src netip.AddrPort, until time.Time)
	// Banned tells whether a source is banned. The screen has asked already, except
	// for connections that are up and sources with grace. Nil: nobody is.
	Banned func(src netip.AddrPort, at time.Time) bool
	// Emergency tells whether a request calls for help; it keeps a narrow lane
	// open for sources that are over every budget. Nil: no lane.
	Emergency func(*guard.Message) bool

	// Tap is shown every message that passes. Nil: nobody looks.
	Tap Tap

	// Source is the address that the system sends from towards another, for a
	// guard with several network cards. Nil: the kernel is asked.
	Source func(to netip.Addr) netip.Addr

	Transactions  int           // at once; default 524288
	Unproven      int           // of these of all sources together that have not proved their address; default a quarter
	Memory        int64         // octets of their messages; default 1 GiB
	PerSource     int           // transactions of one source that wait for an answer; default 256
	Forks         int           // bindings one request goes to; default 8
	Amplification float64       // bytes we send to an unproven source for one of its own; default 2
	Patience      time.Duration // for the first response of a hop while another is left, or of one that is down; default 6 s
	Doubt         time.Duration // before calls of the run before are asked after, and between two rounds; default 1 min
	Questions     int           // of these a second; default 50

	Limits wire.Limits      // of the sockets
	Trust  trust.Options    // Now, Log and Store are filled in
	DNS    resolve.Options  // Usable, Now and Log are filled in
	Route  route.Options    // Hops, Prober, Resolver, Outside, Store, Now and Log are filled in
	Places location.Options // Now, Log and Store are filled in
	Calls  dialog.Options   // Now, Log, Store and Ended are filled in

	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}
