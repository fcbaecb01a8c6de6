package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ringfence/bpf"
	"ringfence/proxy/route"
)

func TestNextHopFlags(t *testing.T) {
	for text, want := range map[string]string{
		"udp:10.0.0.1:5060":              "10.0.0.1 5060 udp any=false",
		"10.0.0.1":                       "10.0.0.1 0 udp any=false",
		"tls:[2001:db8::1]:5061":         "2001:db8::1 5061 tls any=false",
		"tcp:pbx.example":                "pbx.example 0 tcp any=false",
		"pbx.example":                    "pbx.example 0 udp any=true",
		"pbx.example:5070":               "pbx.example 5070 udp any=false",
		"pbx":                            "pbx 0 udp any=true",
		"sip:pbx.example":                "pbx.example 0 udp any=true",
		"sip:pbx.example;lr":             "pbx.example 0 udp any=true",
		"sip:pbx.example:5070":           "pbx.example 5070 udp any=false",
		"sip:pbx.example;transport=TCP":  "pbx.example 0 tcp any=false",
		"sip:10.0.0.1;transport=tls":     "10.0.0.1 0 tls any=false",
		"sips:pbx.example":               "pbx.example 0 tls any=false",
		"sips:pbx.example;transport=tcp": "pbx.example 0 tls any=false",
	} {
		c := new(config)
		if _, err := (&runFlags{nextHops: []string{text}}).apply(c); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		c.fill(t.TempDir())
		if bad := c.check(); len(bad) > 0 {
			t.Errorf("%s: the effective configuration is wrong: %v", text, bad)
		}
		hops, _, err := c.hops()
		if err != nil || len(hops) != 1 {
			t.Fatalf("%s: %v, %v", text, hops, err)
		}
		h := hops[0]
		if got := fmt.Sprintf("%s %d %s any=%v", h.Host, h.Port, h.Transport, h.Any); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"sip:alice@pbx.example":           "write sip:pbx.example",
		"sip:pbx.example;transport=sctp":  `"sctp" is not one of udp, tcp, tls`,
		"sips:pbx.example;transport=udp":  "sips goes over TLS",
		"sip:pbx.example;maddr=192.0.2.1": `"maddr" is no parameter`,
		"udp:pbx!.example":                "no address and no domain name",
		"udp:pbx..example":                "no address and no domain name",
		"udp:pbx.example:x":               `"x" is no port`,
		"udp:":                            "a next hop needs an address",
	} {
		_, err := (&runFlags{nextHops: []string{text}}).apply(new(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestDNSSettings(t *testing.T) {
	c, err := parseConfig("ringfence.yaml", []byte("next_hops: [{address: pbx.example}]\ndns: {servers: [192.0.2.53, '[2001:db8::53]:5353'], min_ttl: 2s, stale: 1h}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.fill(t.TempDir())
	o := c.DNS.options()
	if len(o.Servers) != 2 || o.Servers[0] != netip.MustParseAddrPort("192.0.2.53:53") || o.Servers[1] != netip.MustParseAddrPort("[2001:db8::53]:5353") {
		t.Errorf("servers %v", o.Servers)
	}
	if o.MinTTL != 2*time.Second || o.Stale != time.Hour || o.Timeout != 2*time.Second || c.NextHops[0].Transport != "dns" {
		t.Errorf("%+v", o)
	}
	_, err = parseConfig("ringfence.yaml", []byte(`next_hops:
  - {address: "10.0.0.1", transport: dns}
  - {address: "pbx.example:5060", transport: dns}
dns: {servers: [ns.example, "192.0.2.53:0"], timeout: -1s, cache: -1, min_ttl: 1h, max_ttl: 1m}
`))
	for _, want := range []string{
		"ringfence.yaml:2:38: error: only a domain without a port has records", "ringfence.yaml:3:46: error: only a domain without a port has records",
		`ringfence.yaml:4:17: error: "ns.example" is no address of a DNS server`, `"192.0.2.53:0" is no address of a DNS server`,
		"a duration cannot be negative", "a limit cannot be negative", "max_ttl cannot be shorter than min_ttl",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in\n%v", want, err)
		}
	}
}

// Next hops are let in and cannot be banned, for as long as DNS names them.
func TestPeers(t *testing.T) {
	c := &config{NextHops: []hopConfig{{Name: "fixed", Address: "10.0.0.1"}, {Name: "port", Address: "10.0.0.2:5060"}, {Name: "pbx", Address: "pbx.example"}}}
	c.Screen.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.9/32")}
	c.Screen.Mode, c.Screen.Bans = "off", 100
	s := &screen{now: time.Now, soft: bpf.NewSoft(screenConfigOf(c, true))}
	if err := s.fill(s.soft, c, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.soft.Deny(netip.MustParsePrefix("10.0.0.0/8"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	p := newPeers(c, s, slog.New(slog.DiscardHandler))
	expect := func(what string, addresses ...string) {
		t.Helper()
		for i := range 10 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			want := false
			for _, x := range addresses {
				want = want || x == a.String()
			}
			in := s.soft.Connection(netip.AddrPortFrom(a, 5060), netip.AddrPort{}, time.Now())
			if in != (want || i == 9) { // 9 is allowed in any case
				t.Errorf("%s: %s is let in: %v", what, a, in)
			}
			if protected := p.within(netip.PrefixFrom(a, 32)) != ""; protected != want {
				t.Errorf("%s: %s is protected: %v", what, a, protected)
			}
		}
	}
	hop := func(name, address string) *route.Hop {
		return &route.Hop{Name: name, Address: netip.MustParseAddrPort(address)}
	}
	fixed, port := hop("fixed", "10.0.0.1:5060"), hop("port", "10.0.0.2:5060")
	expect("before DNS said anything", "10.0.0.1", "10.0.0.2")
	p.changed([]*route.Hop{fixed, port, hop("pbx", "10.0.0.3:5060"), hop("pbx", "10.0.0.9:5060")})
	expect("two servers", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9")
	p.changed([]*route.Hop{fixed, port, hop("pbx", "10.0.0.4:5060")})
	expect("others", "10.0.0.1", "10.0.0.2", "10.0.0.4")
	if p.within(netip.MustParsePrefix("10.0.0.4/30")) != "pbx" || p.within(netip.MustParsePrefix("10.0.0.8/29")) != "" {
		t.Error("a prefix that holds a next hop is not protected, or another is")
	}
}
