package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence/guard"
)

// A look is one target on its way through RFC 3263 section 4.
type look struct {
	r      *Resolver
	t      Target
	by     string
	until  time.Time // the earliest at which a part runs out
	stale  bool
	failed error // why a part is missing
	none   bool  // SRV records say that there is no server
	beyond bool  // it may have addresses of a family that we have no listener for
}

// A place is what an SRV record names: a host whose addresses are not known yet.
type place struct {
	host      string
	port      uint16
	transport guard.Transport
	step      int // of the transport, in the order in which they are preferred
	priority  uint16
	weight    uint16
}

func (l *look) locate(ctx context.Context) (Answer, error) {
	t := &l.t
	t.Host = canonical(t.Host)
	if a, err := netip.ParseAddr(t.Host); err == nil {
		return Answer{By: "address", Servers: []Server{{
			Address: netip.AddrPortFrom(a.Unmap(), l.port(l.transport())), Transport: l.transport(), Share: 1,
		}}}, nil
	}
	if Nowhere(t.Host) {
		return Answer{}, ErrNotFound
	}
	if a := l.r.system.read(l.r.o.Now()).hosts[t.Host]; len(a) > 0 {
		l.by, l.until = "hosts file", l.r.o.Now().Add(l.r.o.MaxTTL)
		return l.settle([]place{l.plain(t.Host)}, [][]netip.Addr{a})
	}
	names := []string{t.Host}
	if t.Search {
		names = l.r.system.read(l.r.o.Now()).names(t.Host)
	}
	var first error
	for _, name := range names {
		answer, err := l.name(ctx, name)
		if err == nil {
			return answer, nil
		}
		if first == nil || errors.Is(first, ErrNotFound) {
			first = err
		}
		if errors.Is(err, ErrSilent) {
			break // the others would wait as long
		}
		*l = look{r: l.r, t: l.t}
	}
	return Answer{}, fmt.Errorf("%s: %w", t.Host, first)
}

// name locates a domain: by its records, else by its addresses.
func (l *look) name(ctx context.Context, name string) (Answer, error) {
	var places []place
	if l.t.Port == 0 {
		var err error
		if places, err = l.records(ctx, name); err != nil {
			return Answer{}, err
		}
	}
	switch {
	case len(places) > 0:
	case l.none:
		return Answer{}, ErrNotFound
	default:
		l.by, places = "A, AAAA", []place{l.plain(name)}
	}
	return l.addresses(ctx, places)
}

// transport is what is used when no record says it: the one that was named, TLS
// for sips, else UDP or the first that we have.
func (l *look) transport() guard.Transport {
	switch {
	case l.t.Named && (!l.t.Secure || l.t.Transport.Secure()):
		return l.t.Transport
	case l.t.Secure:
		return guard.TLS
	}
	for _, s := range services {
		if l.r.o.Usable(s.transport, netip.Addr{}) {
			return s.transport
		}
	}
	return guard.UDP
}

func (l *look) port(t guard.Transport) uint16 { return cmp.Or(l.t.Port, t.Port()) }

// plain is a host without SRV records.
func (l *look) plain(host string) place {
	t := l.transport()
	return place{host: host, port: l.port(t), transport: t}
}

// services are the transports that records can name, as we prefer them when the
// domain does not say (RFC 3263 section 4.1). WebSocket has none (RFC 7118).
var services = []service{
	{guard.UDP, "SIP+D2U", "_sip._udp."},
	{guard.TCP, "SIP+D2T", "_sip._tcp."},
	{guard.TLS, "SIPS+D2T", "_sips._tcp."},
}

type service struct {
	transport guard.Transport
	naptr     string // service field
	srv       string // what precedes the domain
}

// wanted tells whether a transport may be used for the target.
func (l *look) wanted(t guard.Transport) bool {
	return (!l.t.Named || l.t.Transport == t) && (!l.t.Secure || t.Secure()) && l.r.o.Usable(t, netip.Addr{})
}

// records are the places that NAPTR and SRV records name; none if there are no
// such records.
func (l *look) records(ctx context.Context, name string) ([]place, error) {
	if !l.t.Named {
		places, err := l.naptr(ctx, name)
		if err != nil || len(places) > 0 {
			return places, err
		}
	}
	for _, s := range services {
		if !l.wanted(s.transport) {
			continue
		}
		// A domain that gives its transports no order gets the one we prefer.
		places, err := l.srv(ctx, s.srv+name, s.transport, 0)
		if err != nil || len(places) > 0 {
			l.by = "SRV"
			return places, err
		}
	}
	return nil, nil
}

// naptr are the places of all transports of a domain, as it prefers them. After
// a secure one there is no other: that nobody answers must not lead into the
// clear.
func (l *look) naptr(ctx context.Context, name string) (places []place, err error) {
	found, err := l.ask(ctx, name, typeNAPTR)
	if err != nil {
		return nil, err
	}
	l.by = "NAPTR"
	secure, step := false, 0
	for _, n := range found.naptr {
		i := slices.IndexFunc(services, func(s service) bool { return strings.EqualFold(s.naptr, n.service) })
		if i < 0 || !l.wanted(services[i].transport) || secure && !services[i].transport.Secure() || step == mostSteps {
			continue
		}
		more, failed := l.srv(ctx, n.replacement, services[i].transport, step)
		if failed != nil {
			err = failed
		}
		secure = secure || services[i].transport.Secure()
		step++
		places = append(places, more...)
	}
	if len(places) > 0 && err != nil {
		l.failed, err = err, nil // the others will do for now
	}
	return places, err
}

// mostSteps is how many NAPTR records of one domain are followed.
const mostSteps = 4

// srv are the places of one service. A record with the target "." says that
// there are none, and that nobody is to try the address of the domain (RFC 2782).
func (l *look) srv(ctx context.Context, name string, t guard.Transport, step int) ([]place, error) {
	found, err := l.ask(ctx, name, typeSRV)
	if err != nil {
		return nil, err
	}
	l.none = l.none || found.none && len(found.srv) == 0
	var places []place
	for _, s := range found.srv {
		places = append(places, place{s.target, s.port, t, step, s.priority, s.weight})
	}
	return places, nil
}

// addresses looks up the hosts of places, all at once.
func (l *look) addresses(ctx context.Context, places []place) (Answer, error) {
	slices.SortStableFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.priority, b.priority), cmp.Compare(b.weight, a.weight), strings.Compare(a.host, b.host))
	})
	places = places[:min(len(places), l.r.o.Addresses)]
	found, errs := make([][]netip.Addr, len(places)), make([]error, len(places))
	looks := make([]look, len(places)) // of their own, since they run at the same time
	var wg sync.WaitGroup
	for i := range places {
		looks[i] = look{r: l.r, t: l.t}
		wg.Go(func() { found[i], errs[i] = looks[i].host(ctx, places[i].host, places[i].transport) })
	}
	wg.Wait()
	for i := range looks {
		l.ends(looks[i].until, looks[i].stale)
		l.beyond = l.beyond || looks[i].beyond
	}
	l.failed = cmp.Or(append(errs, l.failed)...)
	return l.settle(places, found)
}

// host finds the addresses of one host that we can send to, in a fixed order, so
// that the same answer in another order changes nothing.
func (l *look) host(ctx context.Context, host string, t guard.Transport) ([]netip.Addr, error) {
	if a := l.r.system.read(l.r.o.Now()).hosts[host]; len(a) > 0 {
		return a, nil
	}
	var wg sync.WaitGroup
	looks, errs := make([]look, 2), make([]error, 2)
	found := make([]records, 2)
	skipped := false
	for i, kind := range []uint16{typeA, typeAAAA} {
		if !l.r.o.Usable(t, samples[i]) {
			skipped = true
			continue
		}
		looks[i] = look{r: l.r}
		wg.Go(func() { found[i], errs[i] = looks[i].ask(ctx, host, kind) })
	}
	wg.Wait()
	for i := range looks {
		l.ends(looks[i].until, looks[i].stale)
	}
	l.beyond = skipped && !found[0].absent && !found[1].absent
	all := append(slices.Clone(found[0].addresses), found[1].addresses...)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), cmp.Or(errs...)
}

// samples stand for all addresses of a family (RFC 5737, RFC 3849).
var samples = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// settle turns places and their addresses into an answer. That a part could not
// be looked up is no error as long as there is another; it is tried again soon.
func (l *look) settle(places []place, found [][]netip.Addr) (Answer, error) {
	answer := Answer{By: l.by, Stale: l.stale}
	seen := map[Server]bool{}
	tier := 0
	for i, p := range places {
		if n := len(answer.Servers); n > 0 && answer.Servers[n-1].Tier == tier && (p.step != places[i-1].step || p.priority != places[i-1].priority) {
			tier++
		}
		for _, a := range found[i] {
			s := Server{Address: netip.AddrPortFrom(a, p.port), Transport: p.transport}
			if !l.r.o.Usable(p.transport, a) {
				l.beyond = true
				continue
			}
			if seen[s] || len(answer.Servers) == l.r.o.Addresses {
				continue
			}
			seen[s] = true
			s.Tier, s.Share = tier, share(p.weight, len(found[i]))
			answer.Servers = append(answer.Servers, s)
		}
	}
	switch {
	case len(answer.Servers) > 0:
	case l.failed != nil:
		return Answer{}, l.failed
	case l.beyond:
		return Answer{}, ErrUnusable
	default:
		return Answer{}, ErrNotFound
	}
	if l.failed != nil {
		l.ends(l.r.o.Now().Add(l.r.o.Retry), false)
	}
	answer.Until = l.until
	return answer, nil
}

// share is what one of n addresses of an SRV record gets of the load. A weight
// of 0 is a very small one (RFC 2782); among none but zeros it is as good as any.
func share(weight uint16, n int) float64 { return max(float64(weight), 0.01) / float64(n) }

// ends notes until when a part of the answer holds.
func (l *look) ends(until time.Time, stale bool) {
	l.stale = l.stale || stale
	if !until.IsZero() && (l.until.IsZero() || until.Before(l.until)) {
		l.until = until
	}
}

// ask asks for the records of a name. That there are none is no error.
func (l *look) ask(ctx context.Context, name string, kind uint16) (records, error) {
	if !hostname(name) || Nowhere(name) {
		return records{}, nil
	}
	found, err := l.r.lookUp(ctx, question{name, kind})
	l.ends(found.until, found.stale)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return found, err
}
