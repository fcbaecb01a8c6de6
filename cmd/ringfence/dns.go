package main

import (
	"fmt"
	"net/netip"
	"time"

	"ringfence/proxy/resolve"
)

// dnsServer reads an address with or without a port.
func dnsServer(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Port() == 0 {
		return a, fmt.Errorf("%q is no address of a DNS server such as 10.0.0.53 or [2001:db8::53]:53", text)
	}
	return a, nil
}

func (c *dnsConfig) fill() {
	duration := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	number := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	duration(&c.Timeout, 2*time.Second)
	number(&c.Attempts, 2)
	duration(&c.MinTTL, 5*time.Second)
	duration(&c.MaxTTL, max(time.Hour, c.MinTTL))
	duration(&c.Negative, 5*time.Minute)
	duration(&c.Retry, 10*time.Second)
	duration(&c.Stale, 3*day)
	duration(&c.Drain, 4*time.Hour)
	number(&c.Addresses, 16)
	number(&c.Cache, 4096)
	number(&c.Domains, 1024)
	number(&c.Questions, 64)
}

// options are those of a checked configuration.
func (c *dnsConfig) options() resolve.Options {
	o := resolve.Options{
		ResolvConf: c.ResolvConf, Timeout: c.Timeout, Attempts: c.Attempts, Flights: c.Questions, MinTTL: c.MinTTL, MaxTTL: c.MaxTTL,
		Negative: c.Negative, Retry: c.Retry, Stale: c.Stale, Entries: c.Cache, Addresses: c.Addresses,
	}
	for _, text := range c.Servers {
		if a, err := dnsServer(text); err == nil { // check has said what is none
			o.Servers = append(o.Servers, a)
		}
	}
	return o
}

// examineDNS looks at the names of next hops and at the servers that are asked.
func (g *guardian) examineDNS(say func(what string, ok bool, do, form string, args ...any)) {
	names := g.proxy.Names()
	for _, n := range names {
		do := fmt.Sprintf("look with `dig NAPTR %[1]s`, `dig SRV _sip._udp.%[1]s` and `dig %[1]s`, and at the servers in `dns`", n.Host)
		switch {
		case n.Err == nil:
			say("name "+n.Host, true, "", "%s by %s, asked again in %s", count(n.Servers, "server"), n.By, short(n.Next.Sub(g.now())))
		case n.Servers > 0:
			say("name "+n.Host, false, do, "%v; %s still in use, confirmed %s ago", n.Err, count(n.Servers, "server"), short(g.now().Sub(n.Confirmed)))
		default:
			say("name "+n.Host, false, do, "%v; the next hop has no server", n.Err)
		}
	}
	if len(names) == 0 && g.cfg.Egress != "dns" {
		return
	}
	servers, c := g.proxy.DNS()
	from := g.cfg.DNS.ResolvConf
	if len(g.cfg.DNS.Servers) > 0 {
		from = "dns.servers"
	}
	say("dns", c.Asked == 0 || c.Failed < c.Asked, "no DNS server answers: name others in `dns: {servers: [...]}`",
		"%v of %s, %d asked, %d failed, %s remembered", servers, from, c.Asked, c.Failed, count(c.Entries, "answer"))
}
