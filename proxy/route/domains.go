package route

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"ringfence/proxy/resolve"
)

// A Domain is a domain that is no next hop of ours, with its servers: where DNS
// lets requests from inside go. It is read only and is replaced when it has run
// out.
type Domain struct {
	hops  []*Hop
	tiers []tier
	err   error

	until     time.Time // when DNS is asked again
	confirmed time.Time // when it last said so
	used      atomic.Bool
}

// Err is why the domain has no server, nil if it has one.
func (d *Domain) Err() error { return d.err }

// Domain is what is known of a target. It costs neither a lock nor memory; false:
// Find has to be asked, which may take a while.
func (r *Routes) Domain(t resolve.Target) (*Domain, bool) {
	d := (*r.domains.Load())[t]
	if d == nil || !r.o.Now().Before(d.until) {
		return nil, false
	}
	if !d.used.Load() {
		d.used.Store(true)
	}
	return d, true
}

// Find asks DNS for a target and remembers what it says. The host of t must not
// change any more.
func (r *Routes) Find(ctx context.Context, t resolve.Target) *Domain {
	if d, ok := r.Domain(t); ok {
		return d // found since
	}
	looking, cancel := context.WithTimeout(ctx, r.o.ResolveTimeout)
	defer cancel()
	answer, err := r.o.Resolver.Locate(looking, t)
	r.mu.Lock()
	defer r.mu.Unlock()
	known, now := *r.domains.Load(), r.o.Now()
	old := known[t]
	d := &Domain{err: err, until: now.Add(r.o.ResolveRetry)}
	switch {
	case err == nil:
		if d.confirmed = now; answer.Stale && old != nil {
			d.confirmed = old.confirmed
		}
		if answer.Until.After(now) {
			d.until = answer.Until
		}
		r.settle(d, old, t, answer.Servers)
	case !errors.Is(err, resolve.ErrNotFound) && old != nil && old.err == nil && now.Sub(old.confirmed) < r.o.Stale:
		d.err, d.hops, d.tiers, d.confirmed = nil, old.hops, old.tiers, old.confirmed
	}
	if ctx.Err() == nil { // otherwise we stop, which says nothing about the name
		known = maps.Clone(known)
		r.makeRoom(known, t)
		known[t] = d
		r.domains.Store(&known)
	}
	return d
}

// settle makes the hops of a domain; those that it had before keep their health.
func (r *Routes) settle(d, old *Domain, t resolve.Target, servers []resolve.Server) {
	for _, s := range servers {
		if r.o.Outside != nil && !r.o.Outside(s) {
			continue
		}
		id := identity{t.Host, s.Address, s.Transport}
		h := &health{since: r.o.Now()}
		if old != nil {
			for _, o := range old.hops {
				if o.Address == s.Address && o.Transport == s.Transport {
					h = o.health
				}
			}
		}
		hop := &Hop{
			Name: t.Host, Host: t.Host, Address: s.Address, Transport: s.Transport, Weight: 1,
			rank: s.Tier, share: s.Share, seed: seed(r.o.Seed, id), health: h,
		}
		d.hops = append(d.hops, hop)
		d.tiers = place(d.tiers, hop)
	}
	if len(d.hops) == 0 {
		d.err = resolve.ErrUnusable
	}
}

// makeRoom takes domains out when there are too many: those that have run out,
// and those that nobody asked for since the last time; r.mu is held.
func (r *Routes) makeRoom(known map[resolve.Target]*Domain, t resolve.Target) {
	if _, ok := known[t]; ok || len(known) < r.o.Domains {
		return
	}
	now := r.o.Now()
	maps.DeleteFunc(known, func(_ resolve.Target, d *Domain) bool {
		return !now.Before(d.until) || !d.used.Swap(false)
	})
	for x := range known {
		if len(known) < r.o.Domains {
			break
		}
		delete(known, x)
	}
}

// Domains is how many domains are known, for people.
func (r *Routes) Domains() int { return len(*r.domains.Load()) }

// place puts a hop into its tier.
func place(tiers []tier, h *Hop) []tier {
	at := 0
	for at < len(tiers) && tiers[at][0].rank < h.rank {
		at++
	}
	if at < len(tiers) && tiers[at][0].rank == h.rank {
		tiers[at] = append(tiers[at], h)
		return tiers
	}
	return slices.Insert(tiers, at, tier{h})
}
