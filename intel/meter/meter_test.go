package meter

import (
	"context"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"ringfence/guard"
	"ringfence/intel/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Unix(1_800_000_000, 0)

// counting is meters with the counters that are in force.
type counting struct {
	*Meters
	guard.Counters
}

func meters(o Options, specs ...guard.MeterSpec) counting {
	m := New(o)
	return counting{m, m.Respec(specs)}
}

// TestCountModel: the value is never more than what was added in the window and
// the eighth before it, and never less than what was added in the window
// without its oldest eighth.
func TestCountModel(t *testing.T) {
	type add struct {
		at time.Time
		n  int64
	}
	rapid.Check(t, func(r *rapid.T) {
		window := 80 * time.Second
		m := meters(Options{}, guard.MeterSpec{Name: "x", Window: window})
		var adds []add
		for now, i := start, 0; i < rapid.IntRange(1, 200).Draw(r, "adds"); i++ {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(r, "step")) * time.Millisecond)
			n := int64(rapid.IntRange(1, 100).Draw(r, "n"))
			adds = append(adds, add{now, n})
			got := m.Add(0, 7, n, now)
			var low, high int64
			for _, a := range adds {
				if age := now.Sub(a.at); age < window*9/8 {
					high += a.n
					if age < window*7/8 {
						low += a.n
					}
				}
			}
			if got < low || got > high {
				r.Fatalf("value %d at %s, want %d to %d", got, now.Sub(start), low, high)
			}
			if v := m.Value(0, 7, now); v != got {
				r.Fatalf("Value %d, Add %d", v, got)
			}
		}
	})
}

// TestDistinctModel: exact up to 32, but for items at the edge of the window.
func TestDistinctModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		window := 64 * time.Second
		m := meters(Options{}, guard.MeterSpec{Name: "x", Window: window, Distinct: true})
		seen := map[uint64]time.Time{}
		for now, i := start, 0; i < rapid.IntRange(1, 200).Draw(r, "adds"); i++ {
			now = now.Add(time.Duration(rapid.IntRange(0, 8000).Draw(r, "step")) * time.Millisecond)
			item := uint64(rapid.IntRange(0, exact-1).Draw(r, "item"))
			seen[item] = now
			got := m.AddDistinct(0, 7, item, now)
			var low, high int64
			for _, at := range seen {
				if age := now.Sub(at); age < window+window/ticks {
					high++
					if age < window-window/ticks {
						low++
					}
				}
			}
			if got < low || got > high {
				r.Fatalf("%d different, want %d to %d", got, low, high)
			}
		}
	})
}

func TestThresholdsOfDistinct(t *testing.T) {
	m := meters(Options{}, guard.MeterSpec{Name: "x", Window: time.Minute, Distinct: true})
	for i := range uint64(exact) {
		for range 3 { // the same again is nothing new
			if got := m.AddDistinct(0, 1, i, start.Add(time.Duration(i)*time.Second)); got != int64(i)+1 {
				t.Fatalf("%d different, want %d", got, i+1)
			}
		}
	}
	for i := range uint64(10_000) {
		m.AddDistinct(0, 2, i, start)
	}
	if got := m.Value(0, 2, start); got < 7000 || got > 13000 {
		t.Fatalf("%d of 10,000", got)
	}
	if got := m.Value(0, 2, start.Add(2*time.Minute)); got != 0 {
		t.Fatalf("%d after the window", got)
	}
}

func TestClock(t *testing.T) {
	m := meters(Options{}, guard.MeterSpec{Name: "x", Window: time.Minute})
	m.Add(0, 1, 5, start)
	if got := m.Add(0, 1, 1, start.Add(-time.Second)); got != 6 {
		t.Fatalf("a second back: %d", got)
	}
	if got := m.Add(0, 1, 1, start.Add(-time.Hour)); got != 1 {
		t.Fatalf("an hour back: %d", got)
	}
	if got := m.Add(0, 1, -9, start.Add(-time.Hour)); got != 0 {
		t.Fatalf("less than nothing: %d", got)
	}
	if got := m.Add(9, 1, 1, start); got != 0 {
		t.Fatalf("no such meter: %d", got)
	}
}

func TestRespecKeepsWhatIsUnchanged(t *testing.T) {
	a, b := guard.MeterSpec{Name: "a", Window: time.Minute, Hash: 1}, guard.MeterSpec{Name: "b", Window: time.Minute, Hash: 2}
	m := meters(Options{}, a, b)
	m.Add(0, 1, 3, start)
	m.Add(1, 1, 4, start)
	b.Hash = 3
	before := m.Counters
	m.Counters = m.Respec([]guard.MeterSpec{b, a})
	if got := m.Value(0, 1, start); got != 0 {
		t.Fatalf("a changed meter keeps %d", got)
	}
	if got := m.Value(1, 1, start); got != 3 {
		t.Fatalf("an unchanged meter has %d", got)
	}
	// Whoever still counts by the old numbers counts what they meant.
	before.Add(0, 1, 1, start)
	before.Add(1, 1, 100, start)
	if a, b := m.Value(1, 1, start), m.Value(0, 1, start); a != 4 || b != 0 {
		t.Errorf("the old counters count into the new: %d, %d", a, b)
	}
}

func TestDurable(t *testing.T) {
	s, err := store.Memory(store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	spec := guard.MeterSpec{Name: "x", Window: time.Hour, Durable: true, Hash: 1}
	o := Options{Store: s, Keys: 1 << 16}
	m := meters(o, spec)
	for k := range uint64(3 * chunk) {
		m.Add(0, k, int64(k%100)+1, start)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Run(ctx); err != nil { // writes once at its end
		t.Fatal(err)
	}
	again := meters(o, spec)
	for k := range uint64(3 * chunk) {
		if got := again.Value(0, k, start.Add(time.Minute)); got != m.Value(0, k, start.Add(time.Minute)) {
			t.Fatalf("key %d has %d after the restart", k, got)
		}
	}
	if got := again.Value(0, 5, start.Add(2*time.Hour)); got != 0 {
		t.Fatalf("%d after the window", got)
	}
}

func TestFlatHeap(t *testing.T) {
	m := meters(Options{}, guard.MeterSpec{Name: "x", Window: time.Minute}, guard.MeterSpec{Name: "y", Window: time.Minute, Distinct: true})
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	for k := range uint64(1_000_000) {
		m.Add(0, k, 1, start)
		m.AddDistinct(1, k, k, start)
	}
	if after := heap(); after > before+1<<20 {
		t.Fatalf("the heap grew from %d to %d", before, after)
	}
	if got := m.Value(0, 999_999, start); got != 1 {
		t.Fatalf("the newest key has %d", got)
	}
}

func TestAllocs(t *testing.T) {
	m := meters(Options{}, guard.MeterSpec{Name: "x", Window: time.Minute}, guard.MeterSpec{Name: "y", Window: time.Minute, Distinct: true})
	k := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		k++
		m.Add(0, k, 1, start)
		m.Value(0, k, start)
		m.AddDistinct(1, k%3, k, start)
		m.Value(1, k%3, start)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	m := meters(Options{}, guard.MeterSpec{Name: "x", Window: time.Minute})
	for i := range b.N {
		m.Add(0, uint64(i)&0xffff, 1, start)
	}
}

func BenchmarkAddDistinct(b *testing.B) {
	m := meters(Options{}, guard.MeterSpec{Name: "x", Window: time.Minute, Distinct: true})
	for i := range b.N {
		m.AddDistinct(0, uint64(i)&0xff, uint64(i), start)
	}
}
