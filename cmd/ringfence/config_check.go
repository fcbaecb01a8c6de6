package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"ringfence/rules"
)

// leastMemory is what a store in memory needs to be of any use.
const leastMemory = 64 << 20

// fault is a problem of meaning at a path of the configuration.
type fault struct{ path, text string }

// check looks for what the decoder cannot see. It returns every fault.
func (c *config) check() []fault {
	var bad []fault
	say := func(path, form string, args ...any) { bad = append(bad, fault{path, fmt.Sprintf(form, args...)}) }
	choice := func(path, got string, want ...string) {
		if got != "" && !slices.Contains(want, got) {
			text := fmt.Sprintf("%q is not one of %s", got, strings.Join(want, ", "))
			if near := rules.Nearest(got, want); near != "" {
				text += fmt.Sprintf(" (did you mean %q?)", near)
			}
			say(path, "%s", text)
		}
	}
	if c.Version > 1 {
		say("version", "version %d is newer than this ringfence reads (1): update the binary", c.Version)
	}
	names := map[string]int{}
	for i, l := range c.Listen {
		at := fmt.Sprintf("listen.%d", i)
		choice(at+".transport", l.Transport, listenTransports...)
		if l.Transport == "" {
			say(at, "a listener needs a transport: %s", strings.Join(listenTransports, ", "))
		}
		if !l.Address.IsValid() {
			say(at, "a listener needs an address such as 203.0.113.2:5060 or [::]:5060")
		}
		secure := transports[l.Transport].Secure()
		if secure && (l.Certificate == "") != (l.Key == "") {
			say(at, "certificate and key go together")
		}
		if !secure && l.Transport != "" && (l.Certificate != "" || l.Key != "") {
			say(at, "a %s listener has no certificate", l.Transport)
		}
		web := l.Transport == "ws" || l.Transport == "wss"
		if !web && (len(l.Origins) > 0 || l.Path != "") {
			say(at, "only a ws or wss listener has origins and a path")
		}
		for n, o := range l.Origins {
			if u, err := url.Parse(o); o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "") {
				say(fmt.Sprintf("%s.origins.%d", at, n), "%q is no origin: write scheme and host as in https://phone.example, or *", o)
			}
		}
		if l.Path != "" && !strings.HasPrefix(l.Path, "/") {
			say(at+".path", "a path begins with /")
		}
		if l.Advertise != "" && !isAdvertised(l.Advertise) {
			say(at+".advertise", "%q is no host and port that others could reach, such as 203.0.113.2 or pbx.example:5060", l.Advertise)
		}
		choice(at+".mode", l.Mode, "stateful", "stateless")
		if l.Mode == "stateless" {
			switch on := c.Location.Enabled; {
			case c.Egress == "dns":
				say(at+".mode", "a stateless listener cannot wait for DNS: leave egress at none, or the mode at stateful")
			case on != nil && *on, on == nil && len(c.NextHops) == 0:
				say(at+".mode", "a stateless listener needs next_hops and no location service: only a stateful one can ring several phones")
			}
		}
		if l.Name != "" {
			if before, twice := names[l.Name]; twice {
				say(at+".name", "listener %d is already called %q", before+1, l.Name)
			}
			names[l.Name] = i
		}
	}
	pools, hops := map[string]bool{}, map[string]int{}
	for i, h := range c.NextHops {
		at := fmt.Sprintf("next_hops.%d", i)
		if before, twice := hops[h.Name]; twice && h.Name != "" {
			say(at+".name", "next hop %d is already called %q", before+1, h.Name)
		} else {
			hops[h.Name] = i
		}
		if l, ok := c.listens(h.Address); ok {
			say(at+".address", "%s is the address of listener %d: what goes there comes back here", h.Address, l+1)
		}
		choice(at+".transport", h.Transport, "udp", "tcp", "tls", "dns")
		choice(at+".match", h.Match, "port", "address")
		switch host, _, err := splitHop(h.Address); {
		case h.Address == "":
			say(at, "a next hop needs an address such as 10.0.0.10:5060, or a domain such as pbx.example")
		case err != nil:
			say(at+".address", "%v", err)
		case !isHost(host):
			say(at+".address", "%q is no address and no domain name", host)
		case h.Transport == "dns" && !h.domain():
			say(at+".transport", "only a domain without a port has records that say the transport: name udp, tcp or tls")
		}
		if h.Weight < 0 {
			say(at+".weight", "a weight cannot be negative")
		}
		if h.Priority < 0 {
			say(at+".priority", "a priority cannot be negative (0 is tried first)")
		}
		pools[h.pool()] = true
	}
	if c.Emergency != "" && !pools[c.Emergency] {
		say("emergency", "no next hop is in a pool called %q", c.Emergency)
	}
	choice("register", c.Register, "auto", "path", "contact")
	choice("challenge", c.Challenge, "never", "under-flood", "always")
	choice("egress", c.Egress, "none", "dns")
	for i, text := range c.DNS.Servers {
		if _, err := dnsServer(text); err != nil {
			say(fmt.Sprintf("dns.servers.%d", i), "%v", err)
		}
	}
	if c.DNS.MaxTTL > 0 && c.DNS.MaxTTL < c.DNS.MinTTL {
		say("dns.max_ttl", "max_ttl cannot be shorter than min_ttl")
	}
	choice("screen.mode", c.Screen.Mode, "off", "auto", "native", "generic")
	if c.Metrics != "" && c.Metrics != "off" {
		if _, err := netip.ParseAddrPort(c.Metrics); err != nil {
			say("metrics", "%q is no address and port such as 127.0.0.1:9464", c.Metrics)
		}
	}
	for name, err := range c.Guards.check() {
		if err != nil {
			say("guards."+name, "%s", strings.TrimPrefix(err.Error(), name+": "))
		}
	}
	for i, w := range c.Record.Webhooks {
		at := fmt.Sprintf("record.webhooks.%d", i)
		if !strings.HasPrefix(w.URL, "https://") && !strings.HasPrefix(w.URL, "http://") {
			say(at, "a webhook needs a url that begins with https://")
		}
		if w.Secret != "" && !strings.HasPrefix(w.Secret, "file:") {
			say(at+".secret", "a secret is a reference: write file:PATH")
		}
	}
	c.Record.HEP.check(func(field, form string, args ...any) { say("record.hep."+field, form, args...) })
	if c.Store.Memory > 0 && c.Store.Memory < leastMemory {
		say("store.memory", "%s is too little for accounts, bans and calls: at least %s", c.Store.Memory, size(leastMemory))
	}
	for _, n := range []struct {
		path string
		n    int
	}{
		{"limits.transactions", c.Limits.Transactions},
		{"limits.unproven_transactions", c.Limits.Unproven},
		{"limits.transactions_per_source", c.Limits.PerSource},
		{"limits.calls", c.Limits.Calls},
		{"limits.call_questions_per_second", c.Limits.Questions},
		{"limits.connections", c.Limits.Connections},
		{"limits.connections_per_source", c.Limits.PerAddress},
		{"limits.datagram", c.Limits.Datagram},
		{"limits.message", c.Limits.Message},
		{"limits.unknown_per_second", c.Limits.Unknown},
		{"limits.meter_keys", c.Limits.Meters},
		{"limits.sockets", c.Limits.Workers},
		{"limits.watchers", c.Limits.Watchers},
		{"screen.bans", c.Screen.Bans},
		{"screen.rate", c.Screen.Rate},
		{"screen.burst", c.Screen.Burst},
		{"screen.new_sources", c.Screen.NewSources},
		{"location.bindings", c.Location.Bindings},
		{"dns.attempts", c.DNS.Attempts},
		{"dns.addresses", c.DNS.Addresses},
		{"dns.cache", c.DNS.Cache},
		{"dns.domains", c.DNS.Domains},
		{"dns.questions", c.DNS.Questions},
	} {
		if n.n < 0 {
			say(n.path, "a limit cannot be negative (0 is the default)")
		}
	}
	for _, d := range []struct {
		path string
		d    time.Duration
	}{
		{"record.keep", c.Record.Keep},
		{"location.min_expires", c.Location.MinExpires},
		{"location.max_expires", c.Location.MaxExpires},
		{"dns.timeout", c.DNS.Timeout},
		{"dns.min_ttl", c.DNS.MinTTL},
		{"dns.max_ttl", c.DNS.MaxTTL},
		{"dns.negative_ttl", c.DNS.Negative},
		{"dns.retry", c.DNS.Retry},
		{"dns.stale", c.DNS.Stale},
		{"dns.drain", c.DNS.Drain},
	} {
		if d.d < 0 {
			say(d.path, "a duration cannot be negative (0 is the default)")
		}
	}
	return bad
}

func (h hopConfig) pool() string {
	if h.Pool == "" {
		return "default"
	}
	return h.Pool
}

// listens finds the listener at the address of a next hop, whatever its transport:
// no PBX can be there as well.
func (c *config) listens(hop string) (int, bool) {
	at, err := netip.ParseAddrPort(hop)
	if err != nil {
		return 0, false
	}
	for i, l := range c.Listen {
		if l.Address == at {
			return i, true
		}
	}
	return 0, false
}

// isAdvertised tells whether a text is a host, or a host and a port, that others
// may be told to reach us at.
func isAdvertised(text string) bool {
	host, _, err := splitHop(text)
	return err == nil && isHost(host)
}
