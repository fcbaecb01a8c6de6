package route

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence/proxy/resolve"
)

// A name is what DNS said of the host of one configured hop.
type name struct {
	answer    resolve.Answer
	confirmed time.Time // when it last said so; zero: never
	stored    time.Time // what was confirmed when it was stored
	next      time.Time // when it is asked again; zero: never
	err       error     // why the last look-up gave nothing new
}

// A Name says how a configured host stands in DNS, for people.
type Name struct {
	Hop, Host string
	Servers   int       // that are in use
	By        string    // what named them, as resolve.Answer has it
	Confirmed time.Time // when DNS last said so; zero: never
	Next      time.Time // when it is asked again
	Err       error     // why the last look-up gave nothing new, nil if it did
}

// target is what is to be located for a configured hop.
func (c *Config) target() resolve.Target {
	return resolve.Target{Host: bare(c.Host), Port: c.Port, Transport: c.Transport, Named: !c.Any, Search: true}
}

// literal tells whether a hop is configured by its address.
func (c *Config) literal() bool {
	_, err := netip.ParseAddr(bare(c.Host))
	return err == nil
}

// bare is a host without the brackets of an IPv6 address.
func bare(host string) string {
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// lookUpAll looks every host up, all at once: a silent DNS server costs the start
// of the daemon the time of one. Then what it said before is used.
func (r *Routes) lookUpAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range r.names {
		wg.Go(func() {
			r.store(ctx, i, r.lookUp(ctx, i))
			r.load(ctx, i)
		})
	}
}

// follow looks a name up again and again, each time when what is known of it
// runs out, until ctx ends.
func (r *Routes) follow(ctx context.Context, i int) {
	for {
		r.mu.Lock()
		next := r.names[i].next
		r.mu.Unlock()
		if next.IsZero() {
			return
		}
		due := time.NewTimer(next.Sub(r.o.Now()))
		select {
		case <-due.C:
		case <-ctx.Done():
			due.Stop()
			return
		}
		changed := r.lookUp(ctx, i)
		if changed {
			r.rebuild()
		}
		r.store(ctx, i, changed)
	}
}

// lookUp asks what the host of one configured hop stands for, and tells whether
// that has changed. A name that cannot be resolved keeps its servers until they
// are too old.
func (r *Routes) lookUp(ctx context.Context, i int) (changed bool) {
	c := &r.o.Hops[i]
	looking, cancel := context.WithTimeout(ctx, r.o.ResolveTimeout)
	defer cancel()
	answer, err := r.o.Resolver.Locate(looking, c.target())
	if ctx.Err() != nil {
		return false // we stop: it says nothing about the name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n, now := &r.names[i], r.o.Now()
	was, failed := n.answer.Servers, n.err != nil
	n.err, n.next = err, now.Add(r.o.ResolveRetry)
	if err == nil {
		n.answer, n.next = answer, answer.Until
		if !n.next.IsZero() && n.next.Before(now.Add(time.Second)) {
			n.next = now.Add(time.Second)
		}
		if answer.Stale {
			n.err = resolve.ErrSilent
		} else {
			n.confirmed = now
		}
	}
	if n.err != nil && now.Sub(n.confirmed) >= r.o.Stale {
		n.answer.Servers = nil
	}
	switch {
	case n.err != nil && !failed:
		r.o.Log.Warn("a next hop's name cannot be resolved", "hop", c.Name, "host", c.Host, "servers", len(n.answer.Servers), "err", n.err)
	case n.err == nil && failed:
		r.o.Log.Info("a next hop's name is resolved again", "hop", c.Name, "host", c.Host)
	}
	return !slices.Equal(was, n.answer.Servers)
}

// Names says how the configured names stand in DNS, in the order of the
// configuration; hops that are configured by address have none.
func (r *Routes) Names() []Name {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Name
	for i := range r.names {
		c, n := &r.o.Hops[i], &r.names[i]
		if c.literal() {
			continue
		}
		out = append(out, Name{
			Hop: c.Name, Host: c.Host, Servers: len(n.answer.Servers), By: n.answer.By,
			Confirmed: n.confirmed, Next: n.next, Err: n.err,
		})
	}
	return out
}
