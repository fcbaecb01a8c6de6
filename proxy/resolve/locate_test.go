package resolve

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"ringfence/guard"
)

// only is a Usable of some transports and families.
func only(v6 bool, all ...guard.Transport) func(guard.Transport, netip.Addr) bool {
	return func(t guard.Transport, a netip.Addr) bool {
		for _, x := range all {
			if x == t && (!a.IsValid() || a.Is4() || v6) {
				return true
			}
		}
		return false
	}
}

// full is a domain that has everything.
var full = []string{
	`full.example. 60 IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.full.example.`,
	`full.example. 60 IN NAPTR 10 20 "s" "sip+d2t" "" _sip._tcp.elsewhere.example.`,
	`full.example. 60 IN NAPTR 10 10 "S" "SIPS+D2T" "" _sips._tcp.full.example.`,
	`full.example. 60 IN NAPTR 5 10 "u" "E2U+sip" "!^.*$!sip:a@b.example!" .`,
	`full.example. 60 IN NAPTR 5 10 "s" "SIP+D2U" "!x!y!" _sip._udp.wrong.example.`,
	`full.example. 60 IN NAPTR 5 10 "a" "SIP+D2U" "" one.full.example.`,
	`full.example. 60 IN NAPTR 5 10 "s" "SIP+D2S" "" _sip._sctp.full.example.`,
	`_sip._udp.full.example. 60 IN SRV 10 3 5060 one.full.example.`,
	`_sip._udp.full.example. 60 IN SRV 10 1 5070 two.full.example.`,
	`_sip._udp.full.example. 60 IN SRV 20 0 5060 three.full.example.`,
	`_sip._tcp.elsewhere.example. 60 IN SRV 1 0 5080 two.full.example.`,
	`_sips._tcp.full.example. 60 IN SRV 1 0 5061 one.full.example.`,
	`one.full.example. 60 IN A 192.0.2.1`,
	`two.full.example. 60 IN A 192.0.2.2`,
	`two.full.example. 60 IN A 192.0.2.22`,
	`two.full.example. 60 IN AAAA 2001:db8::2`,
	`three.full.example. 60 IN A 192.0.2.3`,
	`full.example. 60 IN A 192.0.2.99`,

	`srv.example. 60 IN A 192.0.2.98`,
	`_sip._tcp.srv.example. 60 IN SRV 1 0 5080 one.full.example.`,
	`_sips._tcp.srv.example. 60 IN SRV 1 0 5081 one.full.example.`,

	`plain.example. 60 IN A 192.0.2.4`,
	`plain.example. 60 IN AAAA 2001:db8::4`,

	`closed.example. 60 IN A 192.0.2.5`,
	`_sip._udp.closed.example. 60 IN SRV 0 0 0 .`,

	`gap.example. 60 IN A 192.0.2.6`,
	`_sip._udp.gap.example. 60 IN SRV 1 0 5060 nowhere.example.`,
	`_sip._udp.gap.example. 60 IN SRV 2 0 5060 one.full.example.`,
	`_sip._udp.gap.example. 60 IN SRV 3 0 5060 one.full.example.`,
	`_sip._udp.gap.example. 60 IN SRV 4 0 5060 three.full.example.`,

	`zeros.example. 60 IN NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.zeros.example.`,
	`_sip._udp.zeros.example. 60 IN SRV 1 0 5060 one.full.example.`,
	`_sip._udp.zeros.example. 60 IN SRV 1 0 5060 three.full.example.`,

	`six.example. 60 IN AAAA 2001:db8::6`,
	`short.lan. 60 IN A 192.0.2.7`,
	`alias.example. 60 IN CNAME plain.example.`,
}

// TestLocate is RFC 3263 section 4, case by case.
func TestLocate(t *testing.T) {
	s := serveDNS(t, full...)
	three := []guard.Transport{guard.UDP, guard.TCP, guard.TLS}
	for _, c := range []struct {
		what   string
		target Target
		usable func(guard.Transport, netip.Addr) bool
		want   string
		asked  string // "" is not looked at
	}{
		{"an address", Target{Host: "192.0.2.9"}, only(true, three...), "address: udp 192.0.2.9:5060 0 100%", "nothing"},
		{"a name that is none", Target{Host: "x.Invalid."}, only(true, three...), "DNS names no server", "nothing"},
		{"an address in IPv6", Target{Host: "2001:db8::9", Port: 5070}, only(true, three...), "address: udp [2001:db8::9]:5070 0 100%", "nothing"},
		{"an address, sips", Target{Host: "192.0.2.9", Secure: true}, only(true, three...), "address: tls 192.0.2.9:5061 0 100%", "nothing"},
		{"an address over TCP", Target{Host: "192.0.2.9", Transport: guard.TCP, Named: true}, only(true, three...), "address: tcp 192.0.2.9:5060 0 100%", "nothing"},
		{
			"a port means no SRV",
			Target{Host: "full.example", Port: 5999},
			only(false, three...),
			"A, AAAA: udp 192.0.2.99:5999 0 100%", "A full.example",
		},
		{
			"a port and sips",
			Target{Host: "full.example", Port: 5999, Secure: true},
			only(false, three...),
			"A, AAAA: tls 192.0.2.99:5999 0 100%", "A full.example",
		},
		{
			"a transport means no NAPTR",
			Target{Host: "full.example", Transport: guard.UDP, Named: true},
			only(false, three...),
			"SRV: udp 192.0.2.1:5060 0 75%, udp 192.0.2.2:5070 0 12%, udp 192.0.2.22:5070 0 12%, udp 192.0.2.3:5060 1 100%", "",
		},
		{
			"NAPTR in its order, and nothing in the clear after TLS",
			Target{Host: "full.example"},
			only(true, three...),
			"NAPTR: tls 192.0.2.1:5061 0 100%", "NAPTR full.example, SRV _sips._tcp.full.example, A one.full.example, AAAA one.full.example",
		},
		{
			"NAPTR without TLS of ours",
			Target{Host: "full.example"},
			only(true, guard.UDP, guard.TCP),
			"NAPTR: tcp 192.0.2.2:5080 0 33%, tcp 192.0.2.22:5080 0 33%, tcp [2001:db8::2]:5080 0 33%, " +
				"udp 192.0.2.1:5060 1 75%, udp 192.0.2.2:5070 1 8%, udp 192.0.2.22:5070 1 8%, udp [2001:db8::2]:5070 1 8%, udp 192.0.2.3:5060 2 100%", "",
		},
		{
			"NAPTR and only UDP and IPv4 of ours",
			Target{Host: "Full.Example."},
			only(false, guard.UDP),
			"NAPTR: udp 192.0.2.1:5060 0 75%, udp 192.0.2.2:5070 0 12%, udp 192.0.2.22:5070 0 12%, udp 192.0.2.3:5060 1 100%", "",
		},
		{"NAPTR and sips", Target{Host: "full.example", Secure: true}, only(true, three...), "NAPTR: tls 192.0.2.1:5061 0 100%", ""},
		{
			"no NAPTR: SRV of the first transport that has some",
			Target{Host: "srv.example"},
			only(false, three...),
			"SRV: tcp 192.0.2.1:5080 0 100%", "NAPTR srv.example, SRV _sip._udp.srv.example, SRV _sip._tcp.srv.example, A one.full.example",
		},
		{"no NAPTR and sips", Target{Host: "srv.example", Secure: true}, only(false, three...), "SRV: tls 192.0.2.1:5081 0 100%", ""},
		{"neither", Target{Host: "plain.example"}, only(true, three...), "A, AAAA: udp 192.0.2.4:5060 0 50%, udp [2001:db8::4]:5060 0 50%", ""},
		{"neither, and no UDP of ours", Target{Host: "plain.example"}, only(false, guard.TCP), "A, AAAA: tcp 192.0.2.4:5060 0 100%", ""},
		{"neither, and sips", Target{Host: "plain.example", Secure: true}, only(false, three...), "A, AAAA: tls 192.0.2.4:5061 0 100%", ""},
		{
			"WebSocket has no SRV",
			Target{Host: "plain.example", Transport: guard.WSS, Named: true},
			only(false, guard.WSS),
			"A, AAAA: wss 192.0.2.4:443 0 100%", "A plain.example",
		},
		{"an SRV record that says no", Target{Host: "closed.example"}, only(false, guard.UDP), ErrNotFound.Error(), ""},
		{"targets without an address leave no gap", Target{Host: "gap.example"}, only(false, guard.UDP), "SRV: udp 192.0.2.1:5060 0 100%, udp 192.0.2.3:5060 1 100%", ""},
		{"weights of zero only", Target{Host: "zeros.example"}, only(false, guard.UDP), "NAPTR: udp 192.0.2.1:5060 0 50%, udp 192.0.2.3:5060 0 50%", ""},
		{"a family that we do not have", Target{Host: "six.example"}, only(false, three...), ErrUnusable.Error(), ""},
		{"an alias", Target{Host: "alias.example", Port: 5060}, only(false, three...), "A, AAAA: udp 192.0.2.4:5060 0 100%", "A alias.example"},
		{"no such name", Target{Host: "nowhere.example"}, only(true, three...), ErrNotFound.Error(), ""},
		{"no name at all", Target{Host: "a b.example"}, only(true, three...), ErrNotFound.Error(), "nothing"},
		{"no label", Target{Host: "a..example"}, only(true, three...), ErrNotFound.Error(), "nothing"},
		{"empty", Target{}, only(true, three...), ErrNotFound.Error(), "nothing"},
	} {
		t.Run(c.what, func(t *testing.T) {
			r, _ := resolver(t, Options{Usable: c.usable}, s)
			s.questions()
			expect(t, "located", located(t, r, c.target), c.want)
			asked := s.questions()
			if asked == "" {
				asked = "nothing"
			}
			if c.asked != "" {
				expect(t, "asked", sorted(asked), sorted(c.asked))
			}
		})
	}
}

func TestNoMoreThanSoMany(t *testing.T) {
	s := serveDNS(t, full...)
	r, _ := resolver(t, Options{Addresses: 2, Usable: only(false, guard.UDP)}, s)
	expect(t, "two servers", located(t, r, Target{Host: "full.example"}), "NAPTR: udp 192.0.2.1:5060 0 86%, udp 192.0.2.2:5070 0 14%")
}

// A record that cannot be looked up leaves those that can.
func TestAPartIsMissing(t *testing.T) {
	s := serveDNS(t, full...)
	s.does(refuseName("two.full.example."))
	r, c := resolver(t, Options{Attempts: 1, Usable: only(false, guard.UDP)}, s)
	expect(t, "without two", located(t, r, Target{Host: "full.example"}), "NAPTR: udp 192.0.2.1:5060 0 100%, udp 192.0.2.3:5060 1 100%")
	a, _ := r.Locate(t.Context(), Target{Host: "full.example"})
	if want := c.now().Add(10 * time.Second); !a.Until.Equal(want) {
		t.Errorf("the missing part is asked for again at %v, want %v", a.Until, want)
	}
	s.does(nil)
	c.wait(10 * time.Second)
	expect(t, "with two", located(t, r, Target{Host: "full.example"}),
		"NAPTR: udp 192.0.2.1:5060 0 75%, udp 192.0.2.2:5070 0 12%, udp 192.0.2.22:5070 0 12%, udp 192.0.2.3:5060 1 100%")
}

func TestHostsFile(t *testing.T) {
	s := serveDNS(t, full...)
	hosts := filepath.Join(t.TempDir(), "hosts")
	start := newClock().at
	write(t, hosts, "# ours\n192.0.2.77 plain.example  one.full.example # and why\n2001:db8::77 Plain.Example\nnonsense x\n127.0.0.1\n", start)
	r, c := resolver(t, Options{Hosts: hosts, Usable: only(true, guard.UDP)}, s)
	expect(t, "the hosts file comes first", located(t, r, Target{Host: "plain.example"}), "hosts file: udp 192.0.2.77:5060 0 50%, udp [2001:db8::77]:5060 0 50%")
	expect(t, "also for the target of an SRV record", located(t, r, Target{Host: "gap.example"}), "SRV: udp 192.0.2.77:5060 0 100%, udp 192.0.2.3:5060 1 100%")
	write(t, hosts, "192.0.2.78 plain.example\n", start.Add(time.Minute))
	c.wait(time.Minute)
	expect(t, "it is read again", located(t, r, Target{Host: "plain.example"}), "hosts file: udp 192.0.2.78:5060 0 100%")
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	start := newClock().at
	write(t, path, "nameserver 192.0.2.53\nnameserver not-an-address\nnameserver 2001:db8::53\nnameserver 192.0.2.54\nnameserver 192.0.2.55\nsearch lan example\noptions ndots:1\n", start)
	r, c := resolver(t, Options{ResolvConf: path})
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53"), netip.MustParseAddrPort("192.0.2.54:53")}
	if got := r.Servers(); len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("servers %v, want %v", got, want)
	}
	v := r.system.read(c.now())
	for name, want := range map[string]string{"short": "[short.lan short.example short]", "long.name": "[long.name long.name.lan long.name.example]"} {
		expect(t, "search", sprint(v.names(name)), want)
	}
	write(t, path, "nameserver 192.0.2.99\n", start.Add(time.Minute))
	c.wait(time.Minute)
	if got := r.Servers(); len(got) != 1 || got[0] != netip.MustParseAddrPort("192.0.2.99:53") {
		t.Errorf("it is not read again: %v", got)
	}
	none, _ := resolver(t, Options{ResolvConf: filepath.Join(t.TempDir(), "none")})
	if got := none.Servers(); len(got) != 1 || got[0] != netip.MustParseAddrPort("127.0.0.1:53") {
		t.Errorf("without a file: %v", got)
	}
}

// Only configured names are looked for in the networks of this machine.
func TestShortNames(t *testing.T) {
	s := serveDNS(t, full...)
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write(t, path, "search lan\n", newClock().at)
	r, c := resolver(t, Options{ResolvConf: path, Usable: only(false, guard.UDP)})
	r.system.read(c.now()).servers = []netip.AddrPort{s.address}
	expect(t, "a configured name", located(t, r, Target{Host: "short", Search: true}), "A, AAAA: udp 192.0.2.7:5060 0 100%")
	s.questions()
	expect(t, "one from a message", located(t, r, Target{Host: "short"}), ErrNotFound.Error())
	expect(t, "asked", s.questions(), "NAPTR short, SRV _sip._udp.short, A short")
}
