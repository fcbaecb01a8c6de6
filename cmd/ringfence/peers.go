package main

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"

	"ringfence/proxy/route"
)

// peers are the addresses of the next hops. Those of names come and go as DNS
// says; the screen lets them in, and no ban may hit them.
type peers struct {
	screen *screen
	log    *slog.Logger
	always []netip.Prefix // screen.allow
	names  atomic.Pointer[map[netip.Addr]string]
}

// newPeers knows the hops that are configured by address.
func newPeers(c *config, s *screen, log *slog.Logger) *peers {
	p := &peers{screen: s, log: log, always: c.Screen.Allow}
	names := c.literalHops()
	p.names.Store(&names)
	return p
}

// literalHops are the next hops that are configured by address, with their names.
func (c *config) literalHops() map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, h := range c.NextHops {
		host, _, err := splitHop(h.Address)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(host); err == nil {
			out[a.Unmap()] = h.Name
		}
	}
	return out
}

// changed takes the hops that are in force now.
func (p *peers) changed(hops []*route.Hop) {
	old, names := *p.names.Load(), map[netip.Addr]string{}
	for _, h := range hops {
		names[h.Address.Addr()] = h.Name
	}
	p.names.Store(&names)
	for a := range names {
		if _, ok := old[a]; !ok {
			p.each("let in", a, screener.Allow)
		}
	}
	for a := range old {
		if _, ok := names[a]; !ok && !slices.Contains(p.always, host(a)) {
			p.each("no longer let in", a, screener.Disallow)
		}
	}
}

func (p *peers) each(what string, a netip.Addr, do func(screener, netip.Prefix) error) {
	for _, x := range p.screen.both() {
		if err := do(x, host(a)); err != nil {
			p.log.Warn("a next hop cannot be "+what, "address", a, "err", err)
		}
	}
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// within is the name of a next hop in a prefix, "" if there is none.
func (p *peers) within(prefix netip.Prefix) string {
	for a, name := range *p.names.Load() {
		if prefix.Contains(a) {
			return name
		}
	}
	return ""
}
