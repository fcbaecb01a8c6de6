package route

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ringfence/guard"
)

// resolve looks the names up again, each on its own time, until ctx ends. A
// name that cannot be resolved keeps the addresses it had.
func (r *Routes) resolve(ctx context.Context) {
	due := map[int]time.Time{}
	now := r.o.Now()
	r.mu.Lock()
	for i, c := range r.o.Hops {
		if _, err := netip.ParseAddr(bare(c.Host)); err == nil {
			continue
		}
		due[i] = now.Add(r.o.Resolve)
		if r.found[i] == nil {
			due[i] = now.Add(r.o.ResolveRetry)
		}
	}
	r.mu.Unlock()
	if len(due) == 0 {
		return
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		looked := false
		for i, at := range due {
			if r.o.Now().Before(at) {
				continue
			}
			err := r.lookUp(ctx, i)
			if ctx.Err() != nil {
				return
			}
			due[i] = r.o.Now().Add(r.o.Resolve)
			if err != nil {
				due[i] = r.o.Now().Add(r.o.ResolveRetry)
				r.o.Log.Warn("a next hop's name cannot be resolved", "hop", r.o.Hops[i].Name, "host", r.o.Hops[i].Host, "err", err)
				continue
			}
			looked = true
		}
		if looked {
			r.rebuild()
		}
	}
}

// lookUp finds the addresses of one configured hop.
func (r *Routes) lookUp(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, r.o.ResolveTimeout)
	defer cancel()
	found, err := r.endpoints(ctx, r.o.Hops[i])
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.found[i] = found
	r.mu.Unlock()
	return nil
}

// endpoints are the addresses of a host: an address stands for itself; a name
// without a port has SRV records or else addresses (RFC 3263 section 4.2; the
// transport is configured, so NAPTR is not needed).
func (r *Routes) endpoints(ctx context.Context, c Config) ([]endpoint, error) {
	port := c.Port
	if port == 0 {
		port = defaultPort(c.Transport)
	}
	if a, err := netip.ParseAddr(bare(c.Host)); err == nil {
		return []endpoint{{address: netip.AddrPortFrom(a.Unmap(), port)}}, nil
	}
	if c.Port == 0 {
		if found := r.srv(ctx, c); len(found) > 0 {
			return found, nil
		}
	}
	return r.addresses(ctx, c.Host, port, endpoint{}, r.o.Addresses)
}

// srv are the addresses that SRV records name, nil if there are none.
func (r *Routes) srv(ctx context.Context, c Config) []endpoint {
	service, proto := "sip", c.Transport.String()
	switch c.Transport {
	case guard.TLS:
		service, proto = "sips", "tcp"
	case guard.WS, guard.WSS:
		return nil // RFC 7118 names none
	}
	_, records, err := r.o.Resolver.LookupSRV(ctx, service, proto, c.Host)
	if err != nil {
		return nil
	}
	var found []endpoint
	for _, s := range records {
		like := endpoint{priority: int(s.Priority), weight: int(s.Weight)}
		more, err := r.addresses(ctx, s.Target, s.Port, like, r.o.Addresses-len(found))
		if err == nil {
			found = append(found, more...)
		}
		if len(found) >= r.o.Addresses {
			break
		}
	}
	return found
}

func (r *Routes) addresses(ctx context.Context, host string, port uint16, like endpoint, most int) ([]endpoint, error) {
	addrs, err := r.o.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	// Sorted, so that the same answer in another order changes nothing.
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	if len(addrs) == 0 {
		return nil, errors.New("no address")
	}
	var found []endpoint
	for _, a := range addrs[:min(len(addrs), max(most, 0))] {
		like.address = netip.AddrPortFrom(a, port)
		found = append(found, like)
	}
	return found, nil
}

func defaultPort(t guard.Transport) uint16 {
	switch t {
	case guard.TLS:
		return 5061
	case guard.WS:
		return 80
	case guard.WSS:
		return 443
	}
	return 5060
}

// bare is a host without the brackets of an IPv6 address.
func bare(host string) string {
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
