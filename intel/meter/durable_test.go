package meter

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"ringfence/guard"
	"ringfence/intel/store"
)

// A store on disk: one in memory takes entries that a real one refuses.
func onDisk(t *testing.T) guard.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func saveAll(t *testing.T, m *Meters) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// Whoever fills the tables must not get counts forgotten by a restart.
func TestFullTablesSurviveARestart(t *testing.T) {
	o := Options{Store: onDisk(t), Keys: 1 << 14, Distinct: 1 << 12}
	count := guard.MeterSpec{Name: "count", Window: time.Hour, Durable: true, Hash: 1}
	distinct := guard.MeterSpec{Name: "distinct", Window: time.Hour, Durable: true, Distinct: true, Hash: 2}
	m := meters(o, count, distinct)
	const keys = 1 << 16
	for k := range uint64(keys) {
		m.Add(0, k, int64(k%100)+1, start)
		for i := range k%50 + 1 {
			m.AddDistinct(1, k, i, start)
		}
	}
	saveAll(t, m.Meters)
	again := meters(o, count, distinct)
	at, held := start.Add(time.Minute), [2]int{}
	for i := range held {
		for k := range uint64(keys) {
			want := m.Value(i, k, at)
			if want > 0 {
				held[i]++
			}
			if got := again.Value(i, k, at); got != want {
				t.Fatalf("meter %d: key %d has %d after the restart, want %d", i, k, got, want)
			}
		}
	}
	if held[0] < o.Keys*9/10 || held[1] < o.Distinct*9/10 {
		t.Fatalf("%v keys were held: the tables were not full", held)
	}
	for i := range uint64(20) { // and it goes on counting: these items are known
		again.AddDistinct(1, keys-1, i, at)
	}
	if got, want := again.Value(1, keys-1, at), m.Value(1, keys-1, at); got != want {
		t.Fatalf("%d different items after hearing old ones again, want %d", got, want)
	}
}

func TestSnapshotOfAnotherForm(t *testing.T) {
	s := onDisk(t)
	spec := guard.MeterSpec{Name: "x", Window: time.Hour, Durable: true, Hash: 1}
	m := meters(Options{Store: s}, spec)
	m.Add(0, 1, 5, start)
	saveAll(t, m.Meters)
	name := (*m.list.Load())[0].name(0)
	text, err := s.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 7, seedSize + 1, len(text) - 1} {
		if err := s.Put(t.Context(), name, text[:n], time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := meters(Options{Store: s}, spec).Value(0, 1, start); got != 0 {
			t.Fatalf("%d octets gave a count of %d", n, got)
		}
	}
}

// Messages are judged side by side: one that is heard of a little late at the
// turn of a half window must not clear what was seen.
func TestLateAtTheTurn(t *testing.T) {
	m := meters(Options{}, guard.MeterSpec{Name: "x", Window: time.Minute, Distinct: true})
	turn := start.Truncate(30 * time.Second).Add(time.Minute)
	for i := range uint64(500) {
		m.AddDistinct(0, 1, i, turn.Add(-time.Second))
	}
	want := m.AddDistinct(0, 1, 7, turn)
	if want < 300 {
		t.Fatalf("%d of 500", want)
	}
	for _, late := range []time.Duration{time.Millisecond, time.Second, 45 * time.Second} {
		m.AddDistinct(0, 1, 8, turn.Add(-late))
		if got := m.Value(0, 1, turn); got != want {
			t.Fatalf("%d after a message that was %v late, want %d", got, late, want)
		}
	}
}
