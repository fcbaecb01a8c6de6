package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
	"golang.org/x/time/rate"

	"ringfence/guard"
	"ringfence/proxy/resolve"
)

// Routes are the next hops in their pools. They are safe for concurrent use.
type Routes struct {
	o        Options
	pace     *rate.Limiter // of probes
	inForce  atomic.Pointer[table]
	domains  atomic.Pointer[map[resolve.Target]*Domain] // a map is never written to, only replaced
	prefixes map[string]string                          // number prefix to pool; read only after New
	longest  int                                        // the longest of them

	mu      sync.Mutex           // held while a table is made or a domain is added
	names   []name               // guarded by mu; by position in Options.Hops
	healths map[identity]*health // guarded by mu; of every hop that is in the table, or leaves
}

// A table is one state of what the names resolve to. It is immutable.
type table struct {
	hops      []*Hop
	pools     map[string][]tier
	addresses map[netip.AddrPort]*Hop
	sources   bart.Table[*Hop]
	leaving   map[netip.AddrPort]leaving
}

// A tier is the hops of a pool that share a rank.
type tier []*Hop

// An identity is what a hop's health belongs to.
type identity struct {
	name      string
	address   netip.AddrPort
	transport guard.Transport
}

// New checks the configuration and resolves its names; one that cannot be
// resolved is said in the log and tried again by Run. It starts nothing.
func New(ctx context.Context, o Options) (*Routes, error) {
	if o.Now == nil {
		return nil, errors.New("routes need a clock")
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Routes{
		o: o, pace: rate.NewLimiter(rate.Limit(o.ProbeRate), 1),
		names: make([]name, len(o.Hops)), healths: map[identity]*health{}, prefixes: map[string]string{},
	}
	r.inForce.Store(new(table))
	r.domains.Store(&map[resolve.Target]*Domain{})
	names := map[string]bool{}
	for i := range o.Hops {
		c := &o.Hops[i]
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("next hop %d: %w", i+1, err)
		}
		if names[c.Name] {
			return nil, fmt.Errorf("next hop %d: the name %q is used twice", i+1, c.Name)
		}
		names[c.Name] = true
		for _, p := range c.Prefixes {
			if pool, taken := r.prefixes[p]; taken && pool != c.Pool {
				return nil, fmt.Errorf("next hop %s: prefix %q already goes to pool %s", c.Name, p, pool)
			}
			r.prefixes[p] = c.Pool
			r.longest = max(r.longest, len(p))
		}
	}
	r.lookUpAll(ctx)
	r.rebuild()
	return r, nil
}

func (o Options) withDefaults() (Options, error) {
	o.Hops = append([]Config(nil), o.Hops...)
	if o.Resolver == nil {
		own, err := resolve.New(resolve.Options{Now: o.Now, Log: o.Log})
		if err != nil {
			return o, err
		}
		o.Resolver = own
	}
	o.Fails = cmp.Or(o.Fails, defaultFails)
	o.Rises = cmp.Or(o.Rises, defaultRises)
	o.Rest = cmp.Or(o.Rest, defaultRest)
	o.MaxRetryAfter = cmp.Or(o.MaxRetryAfter, defaultMaxRetryAfter)
	o.ProbeTimeout = cmp.Or(o.ProbeTimeout, defaultProbeTimeout)
	o.ProbeRate = cmp.Or(o.ProbeRate, defaultProbeRate)
	o.Probes = cmp.Or(o.Probes, defaultProbes)
	o.ResolveRetry = cmp.Or(o.ResolveRetry, defaultResolveRetry)
	o.ResolveTimeout = cmp.Or(o.ResolveTimeout, defaultResolveTimeout)
	o.Stale = cmp.Or(o.Stale, defaultStale)
	o.Drain = cmp.Or(o.Drain, defaultDrain)
	o.Drained = cmp.Or(o.Drained, defaultDrained)
	o.Domains = cmp.Or(o.Domains, defaultDomains)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return o, nil
}

func (c *Config) check() error {
	c.Pool = cmp.Or(c.Pool, "default")
	c.Weight = cmp.Or(c.Weight, 1)
	switch {
	case c.Name == "":
		return errors.New("it has no name")
	case c.Host == "":
		return fmt.Errorf("%s has no host", c.Name)
	case c.Weight < 0:
		return fmt.Errorf("%s has a negative weight", c.Name)
	case c.Priority < 0:
		return fmt.Errorf("%s has a negative priority", c.Name)
	case c.Probe < 0:
		return fmt.Errorf("%s has a negative probe interval", c.Name)
	}
	for _, p := range c.Prefixes {
		if p == "" || strings.Trim(p, "+0123456789*#") != "" {
			return fmt.Errorf("%s: %q is no number prefix", c.Name, p)
		}
	}
	for _, p := range c.Sources {
		if !p.IsValid() {
			return fmt.Errorf("%s has an invalid source prefix", c.Name)
		}
	}
	return nil
}

// ByAddress is the hop that sends from an address: what tells inside from
// outside. Beside the hops' own addresses it knows their configured sources.
func (r *Routes) ByAddress(a netip.AddrPort) (*Hop, bool) {
	t := r.inForce.Load()
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if h, ok := t.addresses[a]; ok {
		return h, true
	}
	return t.sources.Lookup(a.Addr())
}

// ByNumber is the pool of the longest configured prefix of a number.
func (r *Routes) ByNumber(number string) (pool string, ok bool) {
	for n := min(len(number), r.longest); n > 0; n-- {
		if pool, ok := r.prefixes[number[:n]]; ok {
			return pool, true
		}
	}
	return "", false
}

// rebuild puts a table in force that says what is known now.
func (r *Routes) rebuild() {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &table{pools: map[string][]tier{}, addresses: map[netip.AddrPort]*Hop{}}
	healths := map[identity]*health{}
	for i := range r.o.Hops {
		c := &r.o.Hops[i]
		shares := map[int]float64{} // of each tier, together
		for _, s := range r.names[i].answer.Servers {
			shares[s.Tier] += s.Share
		}
		for _, s := range r.names[i].answer.Servers {
			id := identity{c.Name, s.Address, s.Transport}
			h := r.healths[id]
			if h == nil {
				h = &health{since: r.o.Now()}
			}
			healths[id] = h
			t.add(&Hop{
				Name: c.Name, Pool: c.Pool, Host: c.Host, Address: s.Address, Transport: s.Transport,
				Priority: c.Priority, Weight: c.Weight, Probe: c.Probe,
				rank: c.Priority<<8 | min(s.Tier, 255), share: float64(c.Weight) * s.Share / shares[s.Tier],
				seed: seed(r.o.Seed, id), health: h,
			}, c.Sources, r.o.AddressOnly)
		}
	}
	r.leave(r.inForce.Load(), t)
	for _, l := range t.leaving {
		healths[identity{l.hop.Name, l.hop.Address, l.hop.Transport}] = l.hop.health
	}
	r.healths = healths
	r.inForce.Store(t)
	if r.o.Changed != nil {
		r.o.Changed(t.hops)
	}
}

func (t *table) add(h *Hop, sources []netip.Prefix, addressOnly bool) {
	t.hops = append(t.hops, h)
	if _, taken := t.addresses[h.Address]; !taken {
		t.addresses[h.Address] = h
	}
	t.pools[h.Pool] = place(t.pools[h.Pool], h)
	for _, p := range sources {
		t.claim(p.Masked(), h)
	}
	if a := h.Address.Addr(); addressOnly {
		t.claim(netip.PrefixFrom(a, a.BitLen()), h)
	}
}

// claim notes that a hop sends from a prefix; who is configured first has it.
func (t *table) claim(p netip.Prefix, h *Hop) {
	if _, taken := t.sources.Get(p); !taken {
		t.sources.Insert(p, h)
	}
}
