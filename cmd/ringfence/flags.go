package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ringfence/guard/auth"
)

// runFlags are the flags of `ringfence run`. They stand over the file.
type runFlags struct {
	config, realm, geo, filter, metrics, advertise, iface string
	listen, nextHops, accounts, rules                     []string
	cpuProfile                                            string
	checkOnly                                             bool
}

func (f *runFlags) register(s *pflag.FlagSet) {
	s.StringVar(&f.config, "config", "", "configuration file; the other flags stand over it")
	s.StringArrayVar(&f.listen, "listen", nil, "udp:, tcp:, tls:, ws: or wss: and ADDRESS; may be repeated")
	s.StringArrayVar(&f.nextHops, "next-hop", nil, "udp:ADDRESS, or sip:DOMAIN for NAPTR and SRV records, of the SIP server behind; may be repeated")
	s.StringArrayVar(&f.accounts, "account", nil, "user:file:PATH, or user:password for a trial; may be repeated")
	s.StringVar(&f.realm, "realm", "", "realm of the accounts; with it or --account ringfence authenticates, else the PBX does")
	s.StringVar(&f.geo, "geo", "", "MaxMind country database")
	s.StringArrayVar(&f.rules, "rules", nil, "rule FILE instead of the built-in pack, may be repeated; or none")
	s.StringVar(&f.filter, "filter", "", "kernel filter: off, auto, native or generic (default auto)")
	s.StringVar(&f.metrics, "metrics", "", "ADDRESS of the metrics page, or off (default 127.0.0.1:9464)")
	s.StringVar(&f.advertise, "advertise", "", "address that others see, behind 1:1 NAT")
	s.StringVar(&f.iface, "interface", "", "interface for the kernel filter (default: the ones that own the listen addresses)")
	s.StringVar(&f.cpuProfile, "cpu-profile", "", "FILE to write a CPU profile to when the daemon ends, for `go tool pprof`")
	s.BoolVar(&f.checkOnly, "check", false, "check the configuration and the rules, start nothing")
}

// trial is an account given on the command line.
type trial struct{ user, password string }

// apply puts the flags over c and returns the accounts that they name. Every
// wrong flag is in the error.
func (f *runFlags) apply(c *config) ([]trial, error) {
	var bad []error
	say := func(form string, args ...any) { bad = append(bad, fmt.Errorf(form, args...)) }
	over := func(p *string, v string) {
		if v != "" {
			*p = v
		}
	}
	if len(f.listen) > 0 {
		c.Listen = nil
	}
	for _, text := range f.listen {
		transport, address := splitTransport(text)
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			say("--listen %s: %q is no address and port such as 203.0.113.2:5060", text, address)
			continue
		}
		c.Listen = append(c.Listen, listenConfig{Transport: transport, Address: ap})
	}
	if len(f.nextHops) > 0 {
		c.NextHops = nil
	}
	for _, text := range f.nextHops {
		transport, address, err := hopFlag(text)
		if err != nil {
			say("--next-hop %s: %w", text, err)
			continue
		}
		c.NextHops = append(c.NextHops, hopConfig{Address: address, Transport: transport})
	}
	var accounts []trial
	for _, text := range f.accounts {
		user, secret, ok := strings.Cut(text, ":")
		if !ok || user == "" || secret == "" {
			say("--account: want user:file:PATH or user:password")
			continue
		}
		if path, isFile := strings.CutPrefix(secret, "file:"); isFile {
			b, err := os.ReadFile(path)
			if err != nil {
				say("--account %s: %w", user, err)
				continue
			}
			secret = strings.TrimRight(string(b), "\r\n")
		}
		accounts = append(accounts, trial{user, secret})
	}
	over(&c.Guards.Auth.Realm, f.realm)
	if len(accounts) > 0 && c.Guards.Auth.Realm == "" {
		c.Guards.Auth.Realm = auth.DefaultRealm
	}
	if f.geo != "" {
		c.Geo = []string{f.geo}
	}
	if len(f.rules) > 0 {
		off := false
		c.Rules = rulesConfig{Default: &off}
		for _, r := range f.rules {
			if r != "none" {
				c.Rules.Files = append(c.Rules.Files, r)
			} else if len(f.rules) > 1 {
				say("--rules none stands alone")
			}
		}
	}
	over(&c.Screen.Mode, f.filter)
	over(&c.Metrics, f.metrics)
	if f.iface != "" {
		c.Screen.Interfaces = []string{f.iface}
	}
	if f.advertise != "" {
		for i := range c.Listen {
			c.Listen[i].Advertise = f.advertise
		}
	}
	for _, fault := range c.check() {
		say("%s: %s", fault.path, fault.text)
	}
	return accounts, errors.Join(bad...)
}

// splitTransport reads udp:203.0.113.2:5060; without a transport it is udp.
func splitTransport(text string) (transport, address string) {
	for _, t := range listenTransports {
		if rest, ok := strings.CutPrefix(text, t+":"); ok {
			return t, rest
		}
	}
	return "udp", text
}

// fill puts the defaults in, so that the effective configuration can be shown.
func (c *config) fill(state string) {
	c.Version = 1
	set := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	number := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if len(c.Listen) == 0 {
		local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		c.Listen = []listenConfig{
			{Transport: "udp", Address: netip.AddrPortFrom(local, 5060)},
			{Transport: "tcp", Address: netip.AddrPortFrom(local, 5060)},
			{Transport: "tls", Address: netip.AddrPortFrom(local, 5061)},
		}
	}
	for i := range c.Listen {
		set(&c.Listen[i].Name, c.Listen[i].Transport+":"+c.Listen[i].Address.String())
		set(&c.Listen[i].Mode, "stateful")
	}
	for i := range c.NextHops {
		h := &c.NextHops[i]
		set(&h.Pool, "default")
		if h.domain() {
			set(&h.Transport, "dns")
		}
		set(&h.Transport, "udp")
		set(&h.Name, h.Address)
		set(&h.Match, "port")
		number(&h.Weight, 1)
	}
	if c.Location.Enabled == nil {
		on := len(c.NextHops) == 0
		c.Location.Enabled = &on
	}
	if *c.Location.Enabled {
		set(&c.Guards.Auth.Realm, auth.DefaultRealm)
	}
	if c.Rules.Default == nil {
		on := true
		c.Rules.Default = &on
	}
	set(&c.Register, "auto")
	set(&c.Challenge, "under-flood")
	set(&c.Egress, "none")
	c.DNS.fill()
	set(&c.Source, "X-Ringfence-Source")
	set(&c.Store.Dir, state)
	if c.Store.Quota == 0 {
		c.Store.Quota = 2 << 30
	}
	if c.Store.Memory == 0 {
		c.Store.Memory = 256 << 20
	}
	set(&c.Screen.Mode, "auto")
	set(&c.Screen.Pin, "/sys/fs/bpf/ringfence")
	number(&c.Screen.Bans, 262144)
	number(&c.Screen.Rate, 100)
	number(&c.Screen.Burst, 400)
	number(&c.Screen.NewSources, 20000)
	set(&c.Metrics, "127.0.0.1:9464")
	set(&c.Record.Log, "-")
	if c.Record.Keep == 0 {
		c.Record.Keep = 30 * day
	}
	span := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	number(&c.Location.Bindings, 5)
	span(&c.Location.MinExpires, time.Minute)
	span(&c.Location.MaxExpires, time.Hour)
	for i := range c.NextHops {
		span(&c.NextHops[i].Probe, 10*time.Second)
	}
	c.Guards.fill()
	number(&c.Limits.Transactions, 524288)
	number(&c.Limits.Unproven, max(c.Limits.Transactions/4, 1))
	number(&c.Limits.PerSource, 20000)
	number(&c.Limits.Calls, 100000)
	number(&c.Limits.Questions, 50)
	number(&c.Limits.Connections, 20000)
	number(&c.Limits.PerAddress, 256)
	number(&c.Limits.Datagram, 8192)
	number(&c.Limits.Message, 65535)
	number(&c.Limits.Unknown, 20000)
	number(&c.Limits.Meters, 65536)
	number(&c.Limits.Workers, 1)
	number(&c.Limits.Watchers, 8)
	if c.Limits.Memory == 0 {
		c.Limits.Memory = 1 << 30
	}
	if c.Limits.WatchBuffer == 0 {
		c.Limits.WatchBuffer = 4 << 20
	}
	c.Record.HEP.fill()
}
