package main

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"ringfence/proxy/route"
)

// peers are the addresses of the next hops. Those of names come and go as DNS
// says; the screen lets them in, because what they send is for rules to judge,
// and no ban may hit them.
type peers struct {
	config *config
	screen *screen
	log    *slog.Logger
	names  atomic.Pointer[map[netip.Addr]string]
}

// newPeers knows the hops that are configured by address.
func newPeers(c *config, s *screen, log *slog.Logger) *peers {
	p := &peers{config: c, screen: s, log: log}
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

// allowed are all prefixes that the screen lets in.
func allowed(c *config, hops map[netip.Addr]string) []netip.Prefix {
	out := slices.Clone(c.Screen.Allow)
	for a := range hops {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// changed takes the hops that are in force now.
func (p *peers) changed(hops []*route.Hop) {
	names := map[netip.Addr]string{}
	for _, h := range hops {
		names[h.Address.Addr()] = h.Name
	}
	if maps.Equal(*p.names.Load(), names) {
		return
	}
	p.names.Store(&names)
	for _, x := range p.screen.both() {
		if err := x.AllowOnly(allowed(p.config, names)); err != nil {
			p.log.Warn("the filter does not know all next hops", "err", err)
		}
	}
}

// within is the name of a next hop in a prefix, "" if there is none.
func (p *peers) within(prefix netip.Prefix) string {
	for a, name := range *p.names.Load() {
		if prefix.Contains(a) {
			return name
		}
	}
	return ""
}
