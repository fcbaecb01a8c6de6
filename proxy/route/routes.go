package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
	"golang.org/x/time/rate"
)

// Routes are the next hops in their pools. They are safe for concurrent use.
type Routes struct {
	o       Options
	pace    *rate.Limiter // of probes
	inForce atomic.Pointer[table]

	mu       sync.Mutex           // guards what follows; held while a table is made
	found    [][]endpoint         // by position in Options.Hops: what its name last resolved to
	healths  map[identity]*health // of every endpoint that is in the table
	prefixes map[string]string    // number prefix to pool; read only after New
	longest  int                  // the longest of them
}

// A table is one state of what the names resolve to. It is immutable.
type table struct {
	hops      []*Hop
	pools     map[string][]tier
	addresses map[netip.AddrPort]*Hop
	sources   bart.Table[*Hop]
}

// A tier is the hops of a pool that share a rank.
type tier []*Hop

// An endpoint is one address that a configured host stands for.
type endpoint struct {
	address  netip.AddrPort
	priority int // of an SRV record, after the configured one
	weight   int
}

// An identity is what a hop's health belongs to.
type identity struct {
	name    string
	address netip.AddrPort
}

// New checks the configuration and resolves its names; one that cannot be
// resolved is said in the log and tried again by Run. It starts nothing.
func New(ctx context.Context, o Options) (*Routes, error) {
	if o.Now == nil {
		return nil, errors.New("routes need a clock")
	}
	o = o.withDefaults()
	r := &Routes{
		o: o, pace: rate.NewLimiter(rate.Limit(o.ProbeRate), 1),
		found: make([][]endpoint, len(o.Hops)), healths: map[identity]*health{}, prefixes: map[string]string{},
	}
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
	for i := range o.Hops {
		if err := r.lookUp(ctx, i); err != nil {
			o.Log.Warn("a next hop has no address yet", "hop", o.Hops[i].Name, "host", o.Hops[i].Host, "err", err)
		}
	}
	r.rebuild()
	return r, nil
}

func (o Options) withDefaults() Options {
	o.Hops = append([]Config(nil), o.Hops...)
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	o.Fails = cmp.Or(o.Fails, defaultFails)
	o.Rises = cmp.Or(o.Rises, defaultRises)
	o.Rest = cmp.Or(o.Rest, defaultRest)
	o.MaxRetryAfter = cmp.Or(o.MaxRetryAfter, defaultMaxRetryAfter)
	o.ProbeTimeout = cmp.Or(o.ProbeTimeout, defaultProbeTimeout)
	o.ProbeRate = cmp.Or(o.ProbeRate, defaultProbeRate)
	o.Probes = cmp.Or(o.Probes, defaultProbes)
	o.Resolve = cmp.Or(o.Resolve, defaultResolve)
	o.ResolveRetry = cmp.Or(o.ResolveRetry, defaultResolveRetry)
	o.ResolveTimeout = cmp.Or(o.ResolveTimeout, defaultResolveTimeout)
	o.Addresses = cmp.Or(o.Addresses, defaultAddresses)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return o
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

// rebuild puts a table in force that says what is found now.
func (r *Routes) rebuild() {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &table{pools: map[string][]tier{}, addresses: map[netip.AddrPort]*Hop{}}
	healths := map[identity]*health{}
	for i, c := range r.o.Hops {
		for _, e := range r.found[i] {
			id := identity{c.Name, e.address}
			h := r.healths[id]
			if h == nil {
				h = &health{since: r.o.Now()}
			}
			healths[id] = h
			t.add(&Hop{
				Name: c.Name, Pool: c.Pool, Host: c.Host, Address: e.address, Transport: c.Transport,
				Priority: c.Priority, Weight: c.Weight * max(e.weight, 1), Probe: c.Probe,
				rank: c.Priority<<16 | e.priority, seed: seed(r.o.Seed, id), health: h,
			}, c.Sources, r.o.AddressOnly)
		}
	}
	r.healths = healths
	r.inForce.Store(t)
}

func (t *table) add(h *Hop, sources []netip.Prefix, addressOnly bool) {
	t.hops = append(t.hops, h)
	if _, taken := t.addresses[h.Address]; !taken {
		t.addresses[h.Address] = h
	}
	tiers := t.pools[h.Pool]
	at := 0
	for at < len(tiers) && tiers[at][0].rank < h.rank {
		at++
	}
	if at < len(tiers) && tiers[at][0].rank == h.rank {
		tiers[at] = append(tiers[at], h)
	} else {
		tiers = append(tiers[:at], append([]tier{{h}}, tiers[at:]...)...)
	}
	t.pools[h.Pool] = tiers
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
