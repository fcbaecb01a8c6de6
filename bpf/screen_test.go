package bpf

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// loaded skips where the filter cannot be, and keeps the test on one CPU, whose
// budgets are then the only ones.
func loaded(t testing.TB, c Config) *Screen {
	t.Helper()
	if _, err := Probe(); err != nil {
		t.Skip(err)
	}
	s, err := Load(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	for i := range 1024 {
		if before.IsSet(i) {
			one.Set(i)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	})
	return s
}

// run returns the verdict and the reason of one frame; the program must leave
// the frame as it was.
func (s *Screen) run(t testing.TB, frame []byte) (Action, Reason) {
	t.Helper()
	before, err := s.Counters()
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := s.objects.Screen.Run(&ebpf.RunOptions{Data: frame})
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Counters()
	if err != nil {
		t.Fatal(err)
	}
	why := Unguarded
	for r := range after {
		if after[r].Packets != before[r].Packets {
			if why != Unguarded || after[r].Packets != before[r].Packets+1 || after[r].Bytes != before[r].Bytes+uint64(len(frame)) {
				t.Fatalf("one packet of %d octets counted as %v: %+v, before %+v", len(frame), Reason(r), after[r], before[r])
			}
			why = Reason(r)
		}
	}
	return Action(verdict), why
}

// strict has rates that do not refill while a test runs.
func strict() Limits {
	once := func(n int) Rate { return Rate{Burst: n, Every: time.Hour} }
	return Limits{Source: once(3), Trusted: once(2), Syn: once(2), Trickle: once(1), Lane: once(1), Lanes: once(6), NewSources: once(40)}
}

// alike is strict without budgets: those are per CPU, and the fuzzer moves about.
func alike() Config {
	l := strict()
	l.Lanes, l.NewSources = Rate{Every: -1}, Rate{Every: -1}
	return Config{Limits: l}
}

var (
	src4 = netip.MustParseAddrPort("198.51.100.7:5060")
	src6 = netip.MustParseAddrPort("[2001:db8:1:2::7]:5060")
)

func host(a netip.AddrPort) netip.Prefix { return netip.PrefixFrom(a.Addr(), a.Addr().BitLen()) }

// a step sends one frame after doing something to the screen.
type step struct {
	name string
	do   func(lists) error
	send shape
	want []Reason // of the frame, sent as often as there are reasons
}

func from(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func steps() []step {
	register := request("REGISTER", "sip:example.com")
	sos := request("INVITE", "urn:service:sos")
	gone := time.Now().Add(-time.Second)
	later := time.Now().Add(time.Hour)
	all := []step{
		{name: "another port", send: shape{src: src4, port: 5999, payload: "x"}, want: []Reason{Unguarded}},
		{name: "tcp to a port guarded for udp", send: shape{src: src4, port: 5062, tcp: 2}, want: []Reason{Unguarded}},
		{name: "cut inside the ip header", send: shape{src: src4, port: 5060, truncate: 20}, want: []Reason{Unguarded}},
		{name: "udp length too long", send: shape{src: src4, port: 5060, payload: register, lie: 1}, want: []Reason{Malformed}},
		{name: "udp length too short", send: shape{src: src4, port: 5060, lie: -1}, want: []Reason{Malformed}},
		{name: "cut short", send: shape{src: src4, port: 5060, payload: register, truncate: 3}, want: []Reason{Malformed}},
		{name: "padded", send: shape{src: from("198.51.100.8:1"), port: 5060, payload: register, pad: 9}, want: []Reason{Passed}},
		{name: "keepalive", send: shape{src: src4, port: 5060, payload: "\r\n\r\n", pad: 14}, want: []Reason{Keepalive}},
		{name: "empty", send: shape{src: src4, port: 5060}, want: []Reason{Keepalive}},
		{name: "garbage", send: shape{src: src4, port: 5060, payload: "GET / HTTP/1.1\r\nHost: x\r\n"}, want: []Reason{NotSIP}},
		{name: "short garbage", send: shape{src: src4, port: 5060, payload: "hello"}, want: []Reason{NotSIP}},
		{name: "lower case method", send: shape{src: src4, port: 5060, payload: request("register", "sip:a")}, want: []Reason{NotSIP}},
		{name: "rate", send: shape{src: src4, port: 5060, payload: register}, want: []Reason{Passed, Passed, Passed, SourceRate, SourceRate}},
		{name: "one vlan", send: shape{src: src4, port: 5060, tags: 1, payload: register}, want: []Reason{SourceRate}},
		{name: "two vlans", send: shape{src: src4, port: 5060, tags: 2, payload: register}, want: []Reason{SourceRate}},
		{name: "three vlans", send: shape{src: src4, port: 5060, tags: 3, payload: register}, want: []Reason{Unguarded}},
		{name: "ipv6 rate", send: shape{src: src6, port: 5060, payload: register}, want: []Reason{Passed, Passed, Passed, SourceRate}},
		{name: "ipv6 rate of the /64", send: shape{src: from("[2001:db8:1:2:9::1]:9"), port: 5060, payload: register}, want: []Reason{SourceRate}},
		{name: "ipv6 another /64", send: shape{src: from("[2001:db8:1:3::1]:9"), port: 5060, payload: register}, want: []Reason{Passed}},
		{name: "ipv6 extensions", send: shape{src: src6, port: 5060, payload: register, extensions: []byte{0, 60, 43}}, want: []Reason{SourceRate}},
		{name: "ipv6 four extensions", send: shape{src: src6, port: 5060, payload: register, extensions: []byte{0, 60, 43, 60}}, want: []Reason{SourceRate}},
		{name: "ipv6 five extensions", send: shape{src: src6, port: 5060, payload: register, extensions: []byte{0, 60, 43, 60, 60}}, want: []Reason{Unguarded}},
		{name: "ipv4 in ipv6", send: shape{src: netip.AddrPortFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 5), port: 5060, payload: register}, want: []Reason{Malformed}},
		{name: "first fragment promises more", send: shape{src: src4, port: 5060, payload: register, fragment: 0x2000, lie: 900}, want: []Reason{SourceRate}},
		{name: "later fragment", send: shape{src: src4, port: 1, payload: "xxxx", fragment: 0x00ff}, want: []Reason{LaterFragment}},
		{name: "later fragment of tcp", send: shape{src: src4, port: 1, tcp: 2, fragment: 0x00ff}, want: []Reason{Unguarded}},
		{name: "ipv6 later fragment", send: shape{src: src6, port: 1, payload: "xxxx", fragment: 0x0100}, want: []Reason{LaterFragment}},
		{name: "ipv6 first fragment", send: shape{src: src6, port: 5060, payload: register, fragment: 1}, want: []Reason{SourceRate}},
		{name: "syn", send: shape{src: src4, port: 5060, tcp: 2}, want: []Reason{Passed, Passed, SynRate}},
		{name: "tcp data", send: shape{src: src4, port: 5060, tcp: 16, payload: "\x16\x03\x01"}, want: []Reason{Passed}},

		{name: "emergency over its rate", send: shape{src: src4, port: 5060, payload: sos}, want: []Reason{Emergency, SourceRate}},
		{name: "banned", do: func(l lists) error { return l.Ban(host(from("203.0.113.1:0")), 0, later, false) }, send: shape{src: from("203.0.113.1:7"), port: 5060, payload: register}, want: []Reason{Banned}},
		{name: "banned tcp", send: shape{src: from("203.0.113.1:7"), port: 5060, tcp: 16}, want: []Reason{Banned}},
		{name: "banned later fragment", send: shape{src: from("203.0.113.1:7"), port: 5060, payload: "x", fragment: 9}, want: []Reason{Banned}},
		{name: "banned on another port", send: shape{src: from("203.0.113.1:7"), port: 22, tcp: 2}, want: []Reason{Unguarded}},
		{name: "emergency from the banned", send: shape{src: from("203.0.113.1:7"), port: 5060, payload: request("INVITE", "URN:service:SOS.fire")}, want: []Reason{Emergency, Banned}},
		{name: "trusted from the banned", do: func(l lists) error { return l.Trust(from("203.0.113.1:8"), later) }, send: shape{src: from("203.0.113.1:8"), port: 5060, payload: register}, want: []Reason{Trusted, Trusted, TrustedRate}},
		{name: "graced from the banned", do: func(l lists) error { return l.Grace(from("203.0.113.1:9"), later) }, send: shape{src: from("203.0.113.1:9"), port: 5060, payload: "anything at all in it"}, want: []Reason{Graced, Graced}},
		{name: "grace over", do: func(l lists) error { return l.Grace(from("203.0.113.1:9"), gone) }, send: shape{src: from("203.0.113.1:9"), port: 5060, payload: register}, want: []Reason{Banned}},
		{name: "allowed from the banned", do: func(l lists) error { return l.Allow(netip.MustParsePrefix("203.0.113.0/28")) }, send: shape{src: from("203.0.113.1:7"), port: 5060, payload: register}, want: []Reason{Allowed}},
		{name: "not allowed any more", do: func(l lists) error { return l.Disallow(netip.MustParsePrefix("203.0.113.0/28")) }, send: shape{src: from("203.0.113.1:7"), port: 5060, payload: register}, want: []Reason{Banned}},
		{name: "allowed alone", do: func(l lists) error {
			return errors.Join(l.Allow(netip.MustParsePrefix("10.99.0.0/16")), l.AllowOnly([]netip.Prefix{netip.MustParsePrefix("203.0.113.1/32"), netip.MustParsePrefix("2001:db8::/64")}))
		}, send: shape{src: from("203.0.113.1:7"), port: 5060, payload: register}, want: []Reason{Allowed}},
		{name: "what was allowed before", do: func(l lists) error { return l.Ban(host(from("10.99.0.1:0")), 0, later, false) }, send: shape{src: from("10.99.0.1:7"), port: 5060, payload: register}, want: []Reason{Banned}},
		{name: "nothing is allowed", do: func(l lists) error { return l.AllowOnly(nil) }, send: shape{src: from("203.0.113.1:7"), port: 5060, payload: register}, want: []Reason{Banned}},
		{name: "lifted", do: func(l lists) error { return l.Lift(host(from("203.0.113.1:0")), 0) }, send: shape{src: from("203.0.113.1:7"), port: 5060, payload: register}, want: []Reason{Passed}},
		{name: "ban over", do: func(l lists) error { return l.Ban(host(from("203.0.113.1:0")), 0, gone, false) }, send: shape{src: from("203.0.113.1:7"), port: 5060, payload: register}, want: []Reason{Passed}},
		{name: "limited", do: func(l lists) error { return l.Ban(host(from("203.0.113.2:0")), 0, time.Time{}, true) }, send: shape{src: from("203.0.113.2:7"), port: 5060, payload: register}, want: []Reason{Trickle, Limited, Limited}},
		{name: "flow banned", do: func(l lists) error { return l.Ban(host(from("203.0.113.3:0")), 7, later, false) }, send: shape{src: from("203.0.113.3:7"), port: 5060, payload: register}, want: []Reason{Banned}},
		{name: "its neighbour", send: shape{src: from("203.0.113.3:8"), port: 5060, payload: register}, want: []Reason{Passed}},
		{name: "/64 banned", do: func(l lists) error { return l.Ban(netip.MustParsePrefix("2001:db8:5::/64"), 0, later, false) }, send: shape{src: from("[2001:db8:5::77]:7"), port: 5060, payload: register}, want: []Reason{Banned}},
		{name: "/128 banned", do: func(l lists) error { return l.Ban(host(from("[2001:db8:6::1]:0")), 0, later, false) }, send: shape{src: from("[2001:db8:6::1]:7"), port: 5060, payload: register}, want: []Reason{Banned}},
		{name: "wide ban", do: func(l lists) error { return l.Ban(netip.MustParsePrefix("203.0.114.0/24"), 0, later, true) }, send: shape{src: from("203.0.114.9:7"), port: 5060, payload: register}, want: []Reason{Trickle, Limited}},
		{name: "operator's deny over it", do: func(l lists) error { return l.Deny(netip.MustParsePrefix("203.0.114.0/24"), time.Time{}) }, send: shape{src: from("203.0.114.9:7"), port: 5060, payload: register}, want: []Reason{Denied}},
		{name: "a ban does not weaken it", do: func(l lists) error { return l.Ban(netip.MustParsePrefix("203.0.114.0/24"), 0, later, true) }, send: shape{src: from("203.0.114.9:7"), port: 5060, payload: register}, want: []Reason{Denied}},
		{name: "a lift does not end it", do: func(l lists) error { return l.Lift(netip.MustParsePrefix("203.0.114.0/24"), 0) }, send: shape{src: from("203.0.114.9:7"), port: 5060, payload: register}, want: []Reason{Denied}},
		{name: "nor does undeny of a narrower one", do: func(l lists) error { return l.Undeny(netip.MustParsePrefix("203.0.114.0/25")) }, send: shape{src: from("203.0.114.9:7"), port: 5060, payload: register}, want: []Reason{Denied}},
		{name: "undeny does", do: func(l lists) error { return l.Undeny(netip.MustParsePrefix("203.0.114.0/24")) }, send: shape{src: from("203.0.114.9:7"), port: 5060, payload: register}, want: []Reason{Passed}},
		{name: "deny ipv6", do: func(l lists) error { return l.Deny(netip.MustParsePrefix("2001:db8:7::/48"), later) }, send: shape{src: from("[2001:db8:7:9::1]:7"), port: 5060, payload: register}, want: []Reason{Denied}},
		{name: "numbers", do: func(l lists) error { return l.Emergency([]string{"112", "999"}) }, send: shape{src: from("[2001:db8:7:9::1]:7"), port: 5060, payload: request("INVITE", "sip:112@pbx.example")}, want: []Reason{Emergency, Denied}},
		{name: "tel", send: shape{src: from("[2001:db8:7:a::1]:7"), port: 5060, payload: request("INVITE", "TEL:999")}, want: []Reason{Emergency}},
		{name: "sips", send: shape{src: from("[2001:db8:7:b::1]:7"), port: 5060, payload: request("INVITE", "sips:112;x=y@a.example")}, want: []Reason{Emergency}},
		{name: "a longer number", send: shape{src: from("[2001:db8:7:c::1]:7"), port: 5060, payload: request("INVITE", "sip:1123@pbx.example")}, want: []Reason{Denied}},
		{name: "sosx is no service", send: shape{src: from("[2001:db8:7:c::1]:7"), port: 5060, payload: request("INVITE", "urn:service:sosx")}, want: []Reason{Denied}},
		{name: "an options to 112", send: shape{src: from("[2001:db8:7:c::1]:7"), port: 5060, payload: request("OPTIONS", "sip:112@pbx.example")}, want: []Reason{Denied}},
		{name: "numbers replaced", do: func(l lists) error { return l.Emergency([]string{"911"}) }, send: shape{src: from("[2001:db8:7:c::1]:7"), port: 5060, payload: request("INVITE", "sip:112@pbx.example")}, want: []Reason{Denied}},
		{name: "lanes used up", send: shape{src: from("[2001:db8:7:d::1]:7"), port: 5060, payload: sos}, want: []Reason{Emergency}},
		{name: "lanes are bounded in all", send: shape{src: from("[2001:db8:7:e::1]:7"), port: 5060, payload: sos}, want: []Reason{Denied}},
		{name: "swept", do: func(l lists) error { _, err := l.Sweep(later.Add(time.Minute)); return err }, send: shape{src: from("[2001:db8:5::77]:7"), port: 5060, payload: register}, want: []Reason{Passed}},
		{name: "swept but not for good", send: shape{src: from("203.0.113.2:7"), port: 5060, payload: register}, want: []Reason{Limited}},
	}
	for _, m := range methods {
		all = append(all, step{name: m, do: func(l lists) error { return l.Allow(netip.MustParsePrefix("10.0.0.0/8")) }, send: shape{src: src4, port: 5060, payload: m + "sip:a@example.com SIP/2.0\r\n"}, want: []Reason{SourceRate}})
	}
	for i := range 60 {
		all = append(all, step{name: fmt.Sprintf("new source %d", i), send: shape{src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16, 0, byte(i)}), 5060), port: 5060, payload: register}})
	}
	all[len(all)-1].want = []Reason{NewSource}
	return all
}

func guardedPorts(l lists) error {
	return l.Ports([]Port{{Number: 5060, UDP: true, TCP: true}, {Number: 5062, UDP: true}})
}

func TestTable(t *testing.T) {
	soft := NewSoft(Config{Limits: strict()})
	t.Run("soft", func(t *testing.T) {
		if err := guardedPorts(soft); err != nil {
			t.Fatal(err)
		}
		table(t, soft, func(frame []byte) (Action, Reason) {
			why := soft.inspect(frame, time.Now())
			return why.Action(), why
		})
	})
	t.Run("xdp", func(t *testing.T) {
		s := loaded(t, Config{Limits: strict()})
		if err := guardedPorts(s); err != nil {
			t.Fatal(err)
		}
		table(t, s, func(frame []byte) (Action, Reason) {
			soft.inspect(frame, time.Now())
			return s.run(t, frame)
		})
	})
}

func table(t *testing.T, l lists, judge func([]byte) (Action, Reason)) {
	t.Helper()
	seen := map[Reason]bool{}
	for _, st := range steps() {
		if st.do != nil {
			if err := st.do(l); err != nil {
				t.Fatalf("%s: %v", st.name, err)
			}
		}
		if st.want == nil {
			judge(st.send.frame())
		}
		for i, want := range st.want {
			action, why := judge(st.send.frame())
			if why != want || action != want.Action() {
				t.Errorf("%s, packet %d: %v %v, want %v", st.name, i+1, action, why, want)
			}
			seen[why] = true
		}
	}
	for r := range reasons {
		if !seen[r] && r != Fragment && r != Static {
			t.Errorf("no packet of the table is %v", r)
		}
	}
}

// TestSettings covers what a Config decides.
func TestSettings(t *testing.T) {
	c := Config{DropFragments: true, FailClosed: true, PassKeepalives: true, Stale: time.Minute, Limits: strict()}
	for name, l := range map[string]lists{"soft": NewSoft(c), "xdp": nil} {
		t.Run(name, func(t *testing.T) {
			if l == nil {
				l = loaded(t, c)
			}
			judge := func(s shape) Reason {
				if soft, ok := l.(*Soft); ok {
					return soft.inspect(s.frame(), time.Now())
				}
				_, why := l.(*Screen).run(t, s.frame())
				return why
			}
			expect := func(s shape, want Reason) {
				t.Helper()
				if why := judge(s); why != want {
					t.Errorf("%v, want %v", why, want)
				}
			}
			if err := guardedPorts(l); err != nil {
				t.Fatal(err)
			}
			if err := l.Beat(time.Now()); err != nil {
				t.Fatal(err)
			}
			expect(shape{src: src4, port: 1, payload: "x", fragment: 9}, Fragment)
			expect(shape{src: src4, port: 5060, payload: "\r\n"}, Passed)
			if err := l.Beat(time.Now().Add(-2 * time.Minute)); err != nil {
				t.Fatal(err)
			}
			expect(shape{src: src4, port: 5060, payload: request("OPTIONS", "sip:a")}, Static)
			expect(shape{src: src4, port: 5060, payload: request("INVITE", "urn:service:sos")}, Emergency)
		})
	}
}

// TestAgree throws damaged frames at both and wants one answer.
func TestAgree(t *testing.T) {
	c := alike()
	s, soft := loaded(t, c), NewSoft(c)
	for _, l := range []lists{s, soft} {
		if err := guardedPorts(l); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(5, 7))
	all := steps()
	for range 20000 {
		agree(t, s, soft, damaged(r, all[r.IntN(len(all))].send.frame()))
	}
}

func damaged(r *rand.Rand, frame []byte) []byte {
	for range r.IntN(4) {
		frame[r.IntN(min(len(frame), 110))] ^= byte(1 << r.IntN(8))
	}
	if r.IntN(4) == 0 {
		frame = frame[:max(14, r.IntN(len(frame)))]
	}
	return frame
}

func agree(t testing.TB, s *Screen, soft *Soft, frame []byte) {
	t.Helper()
	want := soft.inspect(frame, time.Now())
	if action, why := s.run(t, frame); why != want || action != want.Action() {
		t.Fatalf("xdp says %v %v, soft says %v of % x", action, why, want, frame)
	}
}

func FuzzAgree(f *testing.F) {
	c := alike()
	s, soft := loaded(f, c), NewSoft(c)
	for _, l := range []lists{s, soft} {
		if err := guardedPorts(l); err != nil {
			f.Fatal(err)
		}
	}
	for _, st := range steps() {
		f.Add(st.send.frame())
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 || len(frame) > 3000 {
			t.Skip("not a frame that the test run takes")
		}
		agree(t, s, soft, frame)
	})
}

// TestObject makes the committed objects again.
func TestObject(t *testing.T) {
	if _, err := exec.LookPath("clang-14"); err != nil {
		t.Skip("clang-14 is not installed")
	}
	if _, err := exec.LookPath("llvm-strip-14"); err != nil {
		t.Skip("llvm-strip-14 is not installed")
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `eval "$(sed -n 's/^\/\/go:generate //p' gen.go | sed "s|bpf2go |bpf2go -output-dir $0 |")"`, dir)
	cmd.Env = append(os.Environ(), "GOPACKAGE=bpf", "GOFILE=gen.go")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"screen_bpfel.o", "screen_bpfeb.o", "screen_bpfel.go", "screen_bpfeb.go"} {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s is not what screen.c gives: run go generate", name)
		}
	}
}
