package bpf

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestSoftAllocatesNothing(t *testing.T) {
	s := NewSoft(Config{Limits: Limits{Source: Rate{Burst: 1, Every: time.Nanosecond}}})
	must(t, s.Emergency([]string{"112"}))
	must(t, guardedPorts(s))
	must(t, s.Ban(host(from("203.0.113.1:0")), 0, time.Time{}, true))
	must(t, s.Deny(netip.MustParsePrefix("203.0.114.0/24"), time.Time{}))
	register, call := []byte(request("REGISTER", "sip:a")), []byte(request("INVITE", "sip:112@a"))
	frame := shape{src: src6, port: 5060, payload: string(register)}.frame()
	var i uint32
	n := testing.AllocsPerRun(1000, func() {
		i++
		at := noon.Add(time.Duration(i) * time.Second)
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], i)
		s.Datagram(netip.AddrPortFrom(netip.AddrFrom4(a), 5060), src4, register, at)
		s.Datagram(src6, src4, call, at)
		s.Datagram(from4(203, 0, 113, 1), src4, register, at)
		s.Datagram(from4(203, 0, 114, 1), src4, register, at)
		s.Connection(src6, src4, at)
		s.Verdict(frame, at)
	})
	if n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}

func from4(a, b, c, d byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{a, b, c, d}), 5060)
}

func TestSoftStaysFlat(t *testing.T) {
	s := NewSoft(Config{Limits: Limits{NewSources: Rate{Every: -1}}})
	register, call := []byte(request("REGISTER", "sip:a")), []byte(request("INVITE", "urn:service:sos"))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range uint32(1_000_000) {
		var a [16]byte
		a[0] = 0x20
		binary.BigEndian.PutUint32(a[4:], i)
		src := netip.AddrPortFrom(netip.AddrFrom16(a), uint16(i))
		at := noon.Add(time.Duration(i) * time.Microsecond)
		s.Datagram(src, src4, register, at)
		s.Datagram(src, src4, call, at)
		s.Connection(src, src4, at)
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("the heap grew by %d octets", after-before)
	}
	runtime.KeepAlive(s)
}

func TestSoftIsBounded(t *testing.T) {
	s := NewSoft(Config{MaxBans: 2, MaxDeny: 2, MaxAllow: 2, MaxFlows: 2})
	for i := range 3 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i), 0})
		for name, err := range map[string]error{
			"ban":   s.Ban(netip.PrefixFrom(a, 32), 0, time.Time{}, false),
			"deny":  s.Deny(netip.PrefixFrom(a, 24), time.Time{}),
			"allow": s.Allow(netip.PrefixFrom(a, 24)),
			"flow":  s.Trust(netip.AddrPortFrom(a, 1), time.Time{}),
		} {
			if (err != nil) != (i == 2) {
				t.Errorf("%s %d: %v", name, i+1, err)
			}
		}
	}
}

// TestBansOnly: what XDP let pass at an even pace passes here, late or early.
func TestBansOnly(t *testing.T) {
	s := NewSoft(Config{BansOnly: true, Limits: strict()})
	register := []byte(request("REGISTER", "sip:a"))
	for i := range 100 {
		if !s.Datagram(src4, src6, register, noon) {
			t.Fatalf("packet %d held by a rate", i+1)
		}
	}
	must(t, s.Limits(Limits{}))
	must(t, s.Ban(host(src4), 0, time.Time{}, true))
	for i, late := range []time.Duration{400, 0, 300, 100, 450, 10} {
		if !s.Datagram(src4, src6, register, noon.Add(time.Duration(i)*time.Second+late*time.Millisecond)) {
			t.Errorf("trickled packet %d held", i+1)
		}
	}
	must(t, s.Ban(host(src4), 0, time.Time{}, false))
	if s.Datagram(src4, src6, register, noon) || s.Connection(src4, src6, noon) {
		t.Error("a banned source came in")
	}
}

// TestRateBound: in any window, no more pass than the burst and what the time
// pays for; and a packet that waits for its turn passes.
func TestRateBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{Burst: rapid.IntRange(1, 20).Draw(t, "burst"), Every: time.Duration(rapid.IntRange(1, 1000).Draw(t, "every"))}
		var next, now uint64 = 0, 1000000
		var passed []uint64
		for _, gap := range rapid.SliceOfN(rapid.Uint64Range(0, 3000), 1, 200).Draw(t, "gaps") {
			now += gap
			paid, ok := advance(next, now, r.gcra())
			if ok {
				next = paid
				passed = append(passed, now)
			} else if _, ok := advance(next, now+uint64(r.Every), r.gcra()); !ok {
				t.Fatal("one interval later it still does not pass")
			}
		}
		for i := range passed {
			for j := i; j < len(passed); j++ {
				if most := uint64(r.Burst) + (passed[j]-passed[i])/uint64(r.Every); uint64(j-i+1) > most {
					t.Fatalf("%d passed in %d ns, at most %d may", j-i+1, passed[j]-passed[i], most)
				}
			}
		}
	})
}

func benchmarks() map[string]shape {
	register := request("REGISTER", "sip:example.com")
	return map[string]shape{
		"unguarded": {src: src4, port: 53, payload: register},
		"banned":    {src: from("203.0.113.1:7"), port: 5060, payload: register},
		"denied":    {src: from("203.0.114.1:7"), port: 5060, payload: register},
		"not-sip":   {src: src4, port: 5060, payload: "GET / HTTP/1.1\r\nHost: x\r\n"},
		"keepalive": {src: src4, port: 5060, payload: "\r\n\r\n"},
		"over":      {src: from("198.51.100.9:1"), port: 5060, payload: register},
		"over6":     {src: src6, port: 5060, payload: register},
	}
}

func prepare(b *testing.B, l lists) {
	b.Helper()
	must(b, guardedPorts(l))
	must(b, l.Ban(host(from("203.0.113.1:0")), 0, time.Time{}, false))
	must(b, l.Deny(netip.MustParsePrefix("203.0.114.0/24"), time.Time{}))
}

func BenchmarkScreen(b *testing.B) {
	s := loaded(b, Config{Limits: strict()})
	prepare(b, s)
	for name, sh := range benchmarks() {
		b.Run(name, func(b *testing.B) {
			_, each, err := s.objects.Screen.Benchmark(sh.frame(), 1_000_000, nil)
			must(b, err)
			b.ReportMetric(float64(each.Nanoseconds()), "ns/packet")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func BenchmarkSoft(b *testing.B) {
	s := NewSoft(Config{Limits: strict()})
	prepare(b, s)
	for name, sh := range benchmarks() {
		b.Run(name, func(b *testing.B) {
			frame := sh.frame()
			for b.Loop() {
				s.Verdict(frame, noon)
			}
		})
	}
}
