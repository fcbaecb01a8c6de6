package tests

import (
	"strings"
	"testing"
	"time"
)

// The addresses of the lab over IPv6.
const (
	guardOut6 = "[fd77:1::1]:5060"
	phones6   = "fd77:1::2"
	pbxAddr6  = "[fd77:2::2]:5060"
)

// six gives the hosts of a lab IPv6 addresses as well.
func (l *lab) six() {
	l.t.Helper()
	for _, a := range []struct{ host, addr, dev string }{
		{l.outside, phones6, "eth0"}, {l.guard, "fd77:1::1", "out"}, {l.guard, "fd77:2::1", "in"}, {l.pbx, "fd77:2::2", "eth0"},
	} {
		l.ip("-n " + a.host + " addr add " + a.addr + "/64 dev " + a.dev + " nodad")
	}
}

// TestFamilies calls between phones of either family through a PBX of either.
func TestFamilies(t *testing.T) {
	four, six := phones, phones6
	for _, c := range []struct{ name, pbx, alice, bob string }{
		{"IPv6 to IPv6", pbxAddr6, six, six},
		{"IPv4 phones, IPv6 PBX", pbxAddr6, four, four},
		{"IPv6 phones, IPv4 PBX", pbxAddr, six, six},
		{"IPv4 calls IPv6", pbxAddr6, four, six},
		{"IPv6 calls IPv4", pbxAddr, six, four},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.six()
			startPBX(t, l, c.pbx, "10.77.2.1:5060", trunk)
			d := start(t, l.guard, t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
				"listen:\n"+
				"  - {transport: udp, address: \"10.77.1.1:5060\"}\n"+
				"  - {transport: udp, address: \"[fd77:1::1]:5060\"}\n"+
				"  - {transport: udp, address: \"10.77.2.1:5060\"}\n"+
				"  - {transport: udp, address: \"[fd77:2::1]:5060\"}\n"+
				"next_hops: [{name: pbx, address: \""+c.pbx+"\", probe: 1s}]\n"+
				"register: path\n"+
				"screen: {mode: native, interfaces: [out], pin: none}\n"+
				"metrics: \"off\"\n"))
			eventually(t, "the PBX answers the guard's probes", func() bool {
				said, _ := d.try("doctor") // its exit code is for people
				return strings.Contains(said, "up, "+c.pbx) && !strings.Contains(said, c.pbx+" over udp, 0s")
			})
			door := func(from string) string {
				if from == six {
					return guardOut6
				}
				return guardOut
			}
			alice, bob := addr(c.alice, 5071), addr(c.bob, 5072)
			must(t, "alice registers", sipp{host: l.outside, scenario: "register", local: alice, remote: door(c.alice), user: "alice", password: "secret-a"}.run(t, l))
			must(t, "bob registers", sipp{host: l.outside, scenario: "register", local: bob, remote: door(c.bob), user: "bob", password: "secret-b"}.run(t, l))
			answered := sipp{host: l.outside, scenario: "answer", local: bob, user: "bob"}.background(t, l)
			must(t, "alice calls bob", sipp{host: l.outside, scenario: "call", local: alice, remote: door(c.alice), user: "alice", password: "secret-a", to: "bob", talk: 200 * time.Millisecond}.run(t, l))
			must(t, "bob answers", answered())
		})
	}
}

// TestBan6 bans one address of a network that belongs to one customer: all of
// it is kept away, in the kernel, and its neighbour is not.
func TestBan6(t *testing.T) {
	l := newLab(t)
	l.six()
	for _, a := range []string{"fd77:1::66", "fd77:1::67"} {
		l.ip("-n " + l.outside + " addr add " + a + "/64 dev eth0 nodad")
	}
	l.ip("-n " + l.outside + " addr add fd77:6::1/64 dev eth0 nodad")
	l.ip("-n " + l.guard + " -6 route add fd77:6::/64 via fd77:1::2")
	rules := t.TempDir() + "/shout.yaml"
	if err := writeFile(rules, "version: 1\nname: shout\nrules:\n"+
		"  - {id: shout, title: Nobody shouts, stage: message, when: 'sip.user_agent == \"shout\"', do: drop, ban: {by: src.ip, for: 1h, unproven: ban}}\n"); err != nil {
		t.Fatal(err)
	}
	d := start(t, l.guard, t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
		"listen: [{transport: udp, address: \"[fd77:1::1]:5060\"}]\n"+
		"location: {enabled: true}\n"+
		"screen: {mode: native, interfaces: [out], pin: none}\nmetrics: \"off\"\n"), "--rules", rules)
	ask := func(from, agent string) string { return options(t, l, from, "fd77:1::1", agent) }
	for _, from := range []string{"fd77:1::66", "fd77:1::67", "fd77:6::1"} {
		if ask(from, "phone") == "" {
			t.Fatalf("%s gets no answer before anything is banned", from)
		}
	}
	if got := ask("fd77:1::66", "shout"); got != "" {
		t.Errorf("the shout was answered: %q", got)
	}
	var bans []struct{ Prefix, Kind string }
	d.table(&bans, "bans", "list")
	if len(bans) != 1 || bans[0].Prefix != "fd77:1::/64" || bans[0].Kind != "ban" {
		t.Errorf("bans: %+v", bans)
	}
	if got := ask("fd77:1::67", "phone"); got != "" {
		t.Errorf("another address of the banned /64 gets %q", got)
	}
	if got := ask("fd77:6::1", "phone"); got == "" {
		t.Error("the neighbour of the banned /64 gets no answer")
	}
	if out := d.ask("filter", "status"); !strings.Contains(out, "banned") {
		t.Errorf("the kernel does not count the ban:\n%s", out)
	}
}
