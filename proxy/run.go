package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ringfence/guard"
	"ringfence/proxy/dialog"
	"ringfence/proxy/index"
	"ringfence/proxy/location"
	"ringfence/proxy/resolve"
	"ringfence/proxy/route"
	"ringfence/proxy/transaction"
	"ringfence/proxy/trust"
	"ringfence/proxy/wire"
)

// A Proxy is the running whole. It is a wire.Handler.
type Proxy struct {
	c          Config
	o          Options
	log        *slog.Logger
	now        func() time.Time
	listeners  []*listener
	wire       Wire
	table      *transaction.Table[wire.Flow, exchange]
	unproven   unproven // transactions of sources that have not proved their address
	routes     *route.Routes
	calls      *dialog.Table
	trust      *trust.Table
	lanes      lanes
	places     *location.Service
	learned    learned
	tokens     tokens
	branchKey  [32]byte
	started    time.Time
	boot       uint32 // 24 random bits that tell the connections of this run from others'
	seed       maphash.Seed
	registrar  registrar
	interfaces map[netip.Addr]bool
	ends       chan guard.Call
	streams    streams
	lookups    chan lookup
	resolver   *resolve.Resolver // nil: another was given
	picked     picked
	metrics    *metrics

	workers []*worker
	timers  *worker
	loose   sync.Pool // of *worker, for calls from elsewhere
}

// context is what a message works with. One table holds them all.
type reqContext = transaction.Context[wire.Flow, exchange]

// New checks the configuration, binds the sockets and reads back what was
// stored. It starts nothing. A Proxy that is not going to Run keeps its sockets.
func New(c Config, o Options) (*Proxy, error) {
	c.Pool = cmp.Or(c.Pool, "default")
	c.EmergencyPool = cmp.Or(c.EmergencyPool, c.Pool)
	c.SourceHeader = cmp.Or(c.SourceHeader, "X-Ringfence-Source")
	if slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Stateless }) && (c.Location || c.Egress) {
		return nil, errors.New("a stateless listener can neither fork to the phones of a location service nor wait for DNS: it needs next hops")
	}
	o.Limits.Message = cmp.Or(o.Limits.Message, index.DefaultStream)
	o.Transactions = cmp.Or(o.Transactions, 524288)
	o.Unproven = cmp.Or(o.Unproven, max(o.Transactions/4, 1))
	o.Memory = cmp.Or(o.Memory, 1<<30)
	o.PerSource = cmp.Or(o.PerSource, 256)
	o.Forks = min(cmp.Or(o.Forks, 8), transaction.MaxClients)
	o.Amplification = cmp.Or(o.Amplification, 2)
	o.Patience = cmp.Or(o.Patience, 6*time.Second)
	o.Doubt = cmp.Or(o.Doubt, time.Minute)
	o.Questions = cmp.Or(o.Questions, 50)
	if o.Source == nil {
		o.Source = sourceOf
	}
	if o.Engine == nil || o.Now == nil {
		return nil, errors.New("a proxy needs an engine and a clock")
	}
	if !c.Location && len(c.Hops) == 0 {
		return nil, errors.New("a proxy needs a next hop or the location service")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{c: c, o: o, log: o.Log, now: o.Now, wire: o.Wire, seed: maphash.MakeSeed(), interfaces: ownAddresses(), ends: make(chan guard.Call, endings), lookups: make(chan lookup, lookupQueue)}
	p.keys()
	if err := p.bind(); err != nil {
		return nil, err
	}
	if err := p.rooms(context.Background()); err != nil {
		return nil, err
	}
	p.metrics = newMetrics(p, o.Metrics)
	for i := range p.wire.Workers() {
		p.workers = append(p.workers, p.newWorker(i))
	}
	p.timers = p.newWorker(-1)
	p.loose.New = func() any { return p.newWorker(-1) }
	return p, nil
}

// keys takes the secrets, or makes some.
func (p *Proxy) keys() {
	k := p.o.Keys
	if k.Token == ([32]byte{}) {
		rand.Read(k.Token[:]) // never fails, see crypto/rand
	}
	if p.branchKey = k.Branch; k.Branch == ([32]byte{}) {
		rand.Read(p.branchKey[:])
	}
	p.started = p.now()
	p.tokens = tokens{current: k.Token, previous: k.PreviousToken}
	var b [4]byte
	rand.Read(b[1:])
	p.boot = binary.BigEndian.Uint32(b[:])
}

// rooms makes the tables beside the proxy.
func (p *Proxy) rooms(ctx context.Context) (err error) {
	p.table, err = transaction.New(transaction.Options[wire.Flow, exchange]{
		Max: p.o.Transactions, Memory: p.o.Memory, PerSource: p.o.PerSource, Now: p.now,
		Send: p.transmit, Trying: p.trying, Failed: p.failed, Gone: p.streams.gone, Ended: p.ended,
	})
	if err != nil {
		return err
	}
	r := p.o.Route
	r.Hops, r.Outside, r.Store, r.Now, r.Log = p.c.Hops, p.outside, p.o.Store, p.now, p.log
	if r.Resolver == nil {
		d := p.o.DNS
		d.Usable, d.Now, d.Log = p.usable, p.now, p.log
		if p.resolver, err = resolve.New(d); err != nil {
			return fmt.Errorf("dns: %w", err)
		}
		r.Resolver = p.resolver
	}
	if r.Prober == nil {
		r.Prober = prober{p}
	}
	if p.routes, err = route.New(ctx, r); err != nil {
		return fmt.Errorf("next hops: %w", err)
	}
	t := p.o.Trust
	t.Now, t.Log, t.Store = p.now, p.log, p.o.Store
	if p.trust, err = trust.New(ctx, t); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	if err := p.openLanes(ctx); err != nil {
		return err
	}
	d := p.o.Calls
	d.Now, d.Log, d.Store, d.Ended = p.now, p.log, p.o.Store, p.ranOut
	d.Own = p.ours
	if p.calls, err = dialog.New(ctx, d); err != nil {
		return fmt.Errorf("calls: %w", err)
	}
	if p.c.Location {
		l := p.o.Places
		l.Now, l.Log, l.Store = p.now, p.log, p.o.Store
		if p.places, err = location.New(ctx, l); err != nil {
			return fmt.Errorf("location service: %w", err)
		}
	}
	return nil
}

// Run serves until ctx ends and joins everything it started.
func (p *Proxy) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.wire.Run(ctx, p) })
	g.Go(func() error { return p.table.Run(ctx) })
	g.Go(func() error { return p.routes.Run(ctx) })
	g.Go(func() error { return p.trust.Run(ctx) })
	g.Go(func() error { return p.calls.Run(ctx) })
	g.Go(func() error { return p.judgeEnds(ctx) })
	g.Go(func() error { return p.doubts(ctx) })
	for range lookupWorkers {
		g.Go(func() error { return p.lookUp(ctx) })
	}
	if p.places != nil {
		g.Go(func() error { return p.places.Run(ctx) })
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Addresses are what the listeners are bound to, with their real ports.
func (p *Proxy) Addresses() []netip.AddrPort { return p.wire.Addresses() }

// Sockets is what happened at the sockets; all zeros where the wire does not count.
func (p *Proxy) Sockets() wire.Counters {
	if w, ok := p.wire.(interface{ Counters() wire.Counters }); ok {
		return w.Counters()
	}
	return wire.Counters{}
}

// Dialogs are the calls, for guards.
func (p *Proxy) Dialogs() guard.Dialogs { return p.calls }

// Calls are the calls that are up.
func (p *Proxy) Calls() iter.Seq[dialog.Call] { return p.calls.All() }

// Bindings are where an account of the location service is registered.
func (p *Proxy) Bindings(user, realm string) []location.Binding {
	if p.places == nil {
		return nil
	}
	return p.places.Of(user, realm)
}

// Hops is the health of the next hops.
func (p *Proxy) Hops() []route.Status { return p.routes.Snapshot() }

// TrustCounts says how many flows have proved what.
func (p *Proxy) TrustCounts() trust.Counts { return p.trust.Counts() }
