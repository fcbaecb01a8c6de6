package trust

import (
	"context"
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"ringfence/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func flow(remote string) Flow { return Flow{Remote: netip.MustParseAddrPort(remote)} }

func table(t interface{ Fatal(...any) }, o Options) *Table {
	if o.Now == nil {
		o.Now = func() time.Time { return start }
	}
	tb, err := New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tb
}

func TestStates(t *testing.T) {
	tb := table(t, Options{})
	f, other := flow("192.0.2.1:5060"), flow("192.0.2.1:5062")
	at := start
	expect := func(what string, want guard.Trust) {
		t.Helper()
		if got := tb.State(f, at); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("at first", guard.Unknown)
	if tb.Limit(f, time.Time{}, at) {
		t.Error("an unknown flow was entered by a limit")
	}
	if tb.Promote(f, guard.Limited, at) {
		t.Error("Limited is nothing that can be proved")
	}
	tb.Promote(f, guard.Challenged, at)
	expect("with a proven address", guard.Challenged)
	tb.Promote(f, guard.Trusted, at)
	expect("with accepted credentials", guard.Trusted)
	tb.Promote(f, guard.Challenged, at)
	expect("after a lower proof", guard.Trusted)
	tb.Limit(f, at.Add(time.Minute), at)
	expect("limited", guard.Limited)
	tb.Promote(f, guard.Challenged, at)
	expect("limited, and proven again", guard.Limited)
	at = at.Add(time.Minute)
	expect("after the limit", guard.Trusted)
	tb.Limit(f, time.Time{}, at)
	tb.Promote(f, guard.Trusted, at)
	expect("success ends a limit", guard.Trusted)
	at = at.Add(2 * time.Hour)
	expect("after its life", guard.Unknown)
	if got := tb.State(other, start); got != guard.Unknown {
		t.Errorf("another port of the same address: %v", got)
	}
	if c := tb.Counts(); c != (Counts{}) {
		t.Errorf("counts: %+v", c)
	}
}

func TestALimitOutlivesTheProof(t *testing.T) {
	tb := table(t, Options{Challenged: time.Minute})
	f := flow("192.0.2.1:5060")
	tb.Promote(f, guard.Challenged, start)
	tb.Limit(f, start.Add(time.Hour), start)
	if got := tb.State(f, start.Add(30*time.Minute)); got != guard.Limited {
		t.Errorf("%v", got)
	}
	if got := tb.State(f, start.Add(time.Hour)); got != guard.Unknown {
		t.Errorf("after the limit: %v", got)
	}
}

func TestMappedAddressesAreOneFlow(t *testing.T) {
	tb := table(t, Options{})
	tb.Promote(flow("192.0.2.1:5060"), guard.Trusted, start)
	if got := tb.State(flow("[::ffff:192.0.2.1]:5060"), start); got != guard.Trusted {
		t.Errorf("%v", got)
	}
}

func TestSweepForgetsTheExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := table(t, Options{Now: time.Now})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tb.Run(ctx) }()
		tb.Promote(flow("192.0.2.1:1"), guard.Challenged, time.Now())
		tb.Promote(flow("192.0.2.1:2"), guard.Trusted, time.Now())
		tb.Promote(flow("192.0.2.1:3"), guard.Challenged, time.Now())
		tb.Limit(flow("192.0.2.1:3"), time.Now().Add(time.Minute), time.Now())
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if c := tb.Counts(); c.Challenged != 0 || c.Limited != 0 || c.Trusted != 1 {
			t.Errorf("%+v", c)
		}
		stop()
		<-done
	})
}

// One address lies in one shard, so its flows compete with one another here.
func TestWhoMakesRoomForWhom(t *testing.T) {
	tb := table(t, Options{Max: 3 * shards})
	f := func(port uint16) Flow {
		return Flow{Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)}
	}
	tb.Promote(f(1), guard.Trusted, start)
	tb.Promote(f(2), guard.Challenged, start)
	tb.Promote(f(3), guard.Challenged, start)
	tb.Limit(f(2), time.Time{}, start)

	tb.Promote(f(4), guard.Challenged, start)
	if tb.State(f(3), start) != guard.Unknown || tb.State(f(2), start) != guard.Limited {
		t.Error("the oldest challenged flow goes first")
	}
	tb.Promote(f(5), guard.Trusted, start)
	tb.Promote(f(6), guard.Trusted, start)
	if tb.State(f(4), start) != guard.Unknown || tb.State(f(2), start) != guard.Unknown {
		t.Error("then the limited one")
	}
	if tb.Promote(f(7), guard.Challenged, start) {
		t.Error("a challenged flow pushed out a trusted one")
	}
	if !tb.Promote(f(8), guard.Trusted, start) || tb.State(f(1), start) != guard.Unknown || tb.State(f(5), start) != guard.Trusted {
		t.Error("a trusted flow takes the place of the oldest trusted one")
	}
	if c := tb.Counts(); c.Trusted != 3 || c.Evicted != 4 || c.Refused != 1 {
		t.Errorf("%+v", c)
	}
}

func TestBudgets(t *testing.T) {
	tb := table(t, Options{
		UnknownRate: Rate{1, 2}, Pipe: Rate{1, 3}, ChallengedRate: Rate{1, 4}, TrustedRate: Rate{1, 5}, LimitedRate: Rate{1, 1},
	})
	admitted := func(f Flow, tries int, want Admission) (n int) {
		t.Helper()
		last := Admitted
		for range tries {
			var a Admission
			if _, a = tb.Admit(f, start); a == Admitted {
				n++
			}
			last = a
		}
		if last != want {
			t.Errorf("%v: the last answer is %v, want %v", f.Remote, last, want)
		}
		return n
	}
	challenged, trusted := flow("198.51.100.1:5060"), flow("198.51.100.2:5060")
	tb.Promote(challenged, guard.Challenged, start)
	tb.Promote(trusted, guard.Trusted, start)
	for _, c := range []struct {
		what string
		f    Flow
		want int
		last Admission
	}{
		{"one unknown source", flow("192.0.2.1:1"), 2, OverSource},
		{"its other ports", flow("192.0.2.1:2"), 0, OverSource},
		{"the rest of the pipe", flow("192.0.2.2:1"), 1, OverSource},
		{"nothing is left", flow("192.0.2.3:1"), 0, OverSource},
		{"a challenged flow", challenged, 4, OverSource},
		{"a trusted flow", trusted, 5, OverSource},
	} {
		if got := admitted(c.f, 10, c.last); got != c.want {
			t.Errorf("%s: %d admitted, want %d", c.what, got, c.want)
		}
	}
	if _, a := tb.Admit(flow("192.0.2.4:1"), start); a != OverPipe {
		t.Errorf("a new source at a full pipe: %v", a)
	}
	tb.Limit(trusted, time.Time{}, start)
	if got := admitted(trusted, 10, OverSource); got != 1 {
		t.Errorf("a limited flow: %d", got)
	}
	if _, a := tb.Admit(challenged, start.Add(time.Second)); a != Admitted {
		t.Error("a second later there is one more")
	}
}

func TestIPv6SourcesCountByTheirNetwork(t *testing.T) {
	tb := table(t, Options{UnknownRate: Rate{1, 1}})
	if _, a := tb.Admit(flow("[2001:db8::1]:5060"), start); a != Admitted {
		t.Fatal(a)
	}
	if _, a := tb.Admit(flow("[2001:db8::2]:5060"), start); a != OverSource {
		t.Errorf("the same /64: %v", a)
	}
	if _, a := tb.Admit(flow("[2001:db8:0:1::1]:5060"), start); a != Admitted {
		t.Errorf("another /64: %v", a)
	}
}

func TestNonces(t *testing.T) {
	tb := table(t, Options{})
	src := netip.MustParseAddrPort("192.0.2.1:5060")
	nonce := []byte("1448d1a0/8c5b2b2f")
	tb.Offered(nonce, src, start)
	for _, c := range []struct {
		what  string
		nonce string
		src   string
		after time.Duration
		want  bool
	}{
		{"brought back", string(nonce), "192.0.2.1:5060", time.Second, true},
		{"used twice", string(nonce), "192.0.2.1:5060", time.Minute, true},
		{"too late", string(nonce), "192.0.2.1:5060", 5 * time.Minute, false},
		{"by another port", string(nonce), "192.0.2.1:5061", 0, false},
		{"by another address", string(nonce), "192.0.2.2:5060", 0, false},
		{"a made up one", "1448d1a0/8c5b2b2e", "192.0.2.1:5060", 0, false},
		{"none", "", "192.0.2.1:5060", 0, false},
	} {
		if got := tb.Returned([]byte(c.nonce), netip.MustParseAddrPort(c.src), start.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	long := make([]byte, longestNonce+1)
	tb.Offered(long, src, start)
	tb.Offered(nonce, netip.AddrPort{}, start)
	if tb.Returned(long, src, start) || tb.Returned(nonce, netip.AddrPort{}, start) {
		t.Error("what cannot be remembered was")
	}
}

func TestAFullSetForgetsItsOldest(t *testing.T) {
	c := newCells(ways)
	for i := uint64(1); i <= ways+1; i++ {
		set, mu := c.lock(i)
		claim(set, i).when = int64(i)
		mu.Unlock()
	}
	set, mu := c.lock(1)
	defer mu.Unlock()
	if find(set, 1) != nil || find(set, 2) == nil || find(set, ways+1) == nil {
		t.Errorf("%v", *set)
	}
}

// A flood from a million made-up sources leaves the heap and everybody's trust
// as they were.
func TestAMillionSourcesCostNothing(t *testing.T) {
	tb := table(t, Options{})
	phone := flow("192.0.2.1:5060")
	tb.Promote(phone, guard.Trusted, start)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	nonce := []byte("aaaaaaaaaaaaaaaaaaaaaaaa")
	before := heap()
	admitted := 0
	for i := range uint32(1_000_000) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x0a000000+i)
		f := Flow{Remote: netip.AddrPortFrom(netip.AddrFrom4(a), uint16(i))}
		if _, adm := tb.Admit(f, start); adm == Admitted {
			admitted++
		}
		tb.Offered(nonce, f.Remote, start)
		tb.Limit(f, time.Time{}, start)
	}
	after := heap()
	if after > before+64<<10 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if admitted != 1000 {
		t.Errorf("%d messages came through the pipe, want its burst of 1000", admitted)
	}
	if c := tb.Counts(); c != (Counts{Trusted: 1}) {
		t.Errorf("%+v", c)
	}
	if state, a := tb.Admit(phone, start); state != guard.Trusted || a != Admitted {
		t.Errorf("the phone: %v %v", state, a)
	}
	runtime.KeepAlive(tb)
}

func TestNoAllocations(t *testing.T) {
	tb := table(t, Options{})
	f, src, nonce := flow("192.0.2.1:5060"), netip.MustParseAddrPort("192.0.2.9:5060"), []byte("0123456789abcdef")
	tb.Promote(f, guard.Trusted, start)
	for what, do := range map[string]func(){
		"admit a trusted flow":    func() { tb.Admit(f, start) },
		"admit an unknown source": func() { tb.Admit(Flow{Remote: src}, start) },
		"state":                   func() { tb.State(f, start) },
		"promote again":           func() { tb.Promote(f, guard.Trusted, start) },
		"offered":                 func() { tb.Offered(nonce, src, start) },
		"returned":                func() { tb.Returned(nonce, src, start) },
	} {
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// In any window a budget lets at most its burst and what its rate gives in the
// window come through, and a source that keeps to the rate is never refused.
func TestBudgetBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{PerSecond: float64(rapid.IntRange(1, 1000).Draw(t, "rate")), Burst: rapid.IntRange(1, 50).Draw(t, "burst")}
		b := r.orElse(Rate{})
		gaps := rapid.SliceOfN(rapid.Int64Range(0, int64(200*time.Millisecond)), 1, 200).Draw(t, "gaps")
		var arrival, now int64 = 0, start.UnixNano()
		var passed []int64
		for _, g := range gaps {
			now += g
			var ok bool
			if arrival, ok = b.take(arrival, now); ok {
				passed = append(passed, now)
			}
		}
		for i := range passed {
			for j := i; j < len(passed); j++ {
				if most := int64(r.Burst) + (passed[j]-passed[i])/b.interval; int64(j-i+1) > most {
					t.Fatalf("%d in %v, at most %d", j-i+1, time.Duration(passed[j]-passed[i]), most)
				}
			}
		}
		for range 100 {
			now += b.interval
			var ok bool
			if arrival, ok = b.take(arrival, now+b.slack); !ok {
				t.Fatal("refused at its own rate")
			}
		}
	})
}

func TestAClockSetBackLocksNobodyOut(t *testing.T) {
	b := Rate{1, 5}.orElse(Rate{})
	arrival, _ := b.take(0, start.UnixNano())
	if _, ok := b.take(arrival, start.Add(-time.Hour).UnixNano()); !ok {
		t.Error("refused")
	}
}

// Whatever happens in whatever order: the lists and the map agree, the table is
// bounded, and only a trusted flow takes the place of a trusted one.
func TestTableInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := table(t, Options{Max: 4 * shards, Challenged: 10 * time.Second, Trusted: time.Minute})
		at := start
		ports := rapid.Uint16Range(1, 12)
		draw := func() Flow {
			return Flow{Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), ports.Draw(t, "port"))}
		}
		t.Repeat(map[string]func(*rapid.T){
			"challenged": func(*rapid.T) {
				f := draw()
				trusted := map[Flow]bool{}
				for p := range uint16(13) {
					g := Flow{Remote: netip.AddrPortFrom(f.Remote.Addr(), p)}
					trusted[g] = tb.State(g, at) == guard.Trusted
				}
				tb.Promote(f, guard.Challenged, at)
				for g, was := range trusted {
					if was && tb.State(g, at) != guard.Trusted {
						t.Fatalf("%v lost its trust to a challenged flow", g)
					}
				}
			},
			"trusted": func(*rapid.T) {
				f := draw()
				if !tb.Promote(f, guard.Trusted, at) || tb.State(f, at) != guard.Trusted {
					t.Fatal("a trusted flow found no room")
				}
			},
			"limit": func(*rapid.T) {
				f := draw()
				known := tb.State(f, at) != guard.Unknown
				if tb.Limit(f, at.Add(5*time.Second), at) != known {
					t.Fatal("a limit is for flows that are known")
				}
			},
			"forget": func(*rapid.T) { tb.Forget(draw()) },
			"wait":   func(t *rapid.T) { at = at.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "s")) * time.Second) },
			"sweep": func(*rapid.T) {
				for _, s := range tb.shards {
					s.sweep(at.UnixNano())
				}
			},
			"": func(t *rapid.T) {
				for _, s := range tb.shards {
					if len(s.flows) > s.max || len(s.entries) > s.max {
						t.Fatalf("%d flows in %d entries, at most %d", len(s.flows), len(s.entries), s.max)
					}
					n := 0
					for st, l := range s.lists {
						count, prev := 0, none
						for i := l.first; i != none; i = s.entries[i].next {
							e := s.entries[i]
							if s.flows[e.key] != i || e.list != guard.Trust(st) || e.prev != prev {
								t.Fatalf("entry %d is out of order: %+v", i, e)
							}
							count, prev = count+1, i
						}
						if count != l.n || prev != l.last {
							t.Fatalf("list %v counts %d and has %d", guard.Trust(st), l.n, count)
						}
						n += count
					}
					if n != len(s.flows) {
						t.Fatalf("%d flows in lists, %d in the map", n, len(s.flows))
					}
				}
			},
		})
	})
}

func BenchmarkAdmitUnknown(b *testing.B) {
	tb := table(b, Options{})
	f := flow("192.0.2.1:5060")
	for b.Loop() {
		tb.Admit(f, start)
	}
}

func BenchmarkAdmitTrusted(b *testing.B) {
	tb := table(b, Options{})
	f := flow("192.0.2.1:5060")
	tb.Promote(f, guard.Trusted, start)
	for b.Loop() {
		tb.Admit(f, start)
	}
}

func BenchmarkReturned(b *testing.B) {
	tb := table(b, Options{})
	src, nonce := netip.MustParseAddrPort("192.0.2.9:5060"), []byte("0123456789abcdef0123456789abcdef")
	tb.Offered(nonce, src, start)
	for b.Loop() {
		tb.Returned(nonce, src, start)
	}
}
