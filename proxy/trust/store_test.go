package trust

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
)

// memory is a guard.Store for tests.
type memory struct {
	mu    sync.Mutex
	items map[string]guard.Item
}

func newMemory() *memory { return &memory{items: map[string]guard.Item{}} }

func (m *memory) Get(_ context.Context, key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if it, ok := m.items[string(key)]; ok {
		return it.Value, nil
	}
	return nil, guard.ErrNotFound
}

func (m *memory) Put(_ context.Context, key, val []byte, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items[string(key)] = guard.Item{Key: bytes.Clone(key), Value: bytes.Clone(val), Expires: time.Now().Add(ttl)}
	return nil
}

func (m *memory) Delete(_ context.Context, key []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.items, string(key))
	return nil
}

func (m *memory) Batch(ctx context.Context, put []guard.Item, gone [][]byte) error {
	for _, i := range put {
		if err := m.Put(ctx, i.Key, i.Value, time.Until(i.Expires)); err != nil {
			return err
		}
	}
	for _, k := range gone {
		if err := m.Delete(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Update(context.Context, []byte, func([]byte) ([]byte, time.Duration, error)) error {
	panic("not used")
}

func (m *memory) Scan(_ context.Context, prefix []byte, _ bool) iter.Seq2[guard.Item, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []guard.Item
	for _, it := range m.items {
		if bytes.HasPrefix(it.Key, prefix) {
			found = append(found, it)
		}
	}
	slices.SortFunc(found, func(a, b guard.Item) int { return bytes.Compare(a.Key, b.Key) })
	return func(yield func(guard.Item, error) bool) {
		for _, it := range found {
			if !yield(it, nil) {
				return
			}
		}
	}
}

func TestTrustedFlowsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		ctx, stop := context.WithCancel(t.Context())
		first, err := New(ctx, Options{Store: store, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- first.Run(ctx) }()

		phone, proven, stream, gone := flow("192.0.2.1:5060"), flow("192.0.2.2:5060"), flow("[2001:db8::1]:5061"), flow("192.0.2.3:5060")
		stream.Transport = guard.TLS
		first.Promote(phone, guard.Trusted, time.Now())
		first.Promote(proven, guard.Challenged, time.Now())
		first.Promote(stream, guard.Trusted, time.Now())
		first.Promote(gone, guard.Trusted, time.Now())
		synctest.Wait()
		first.Forget(gone)
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}

		second, err := New(t.Context(), Options{Store: store, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		for f, want := range map[Flow]guard.Trust{phone: guard.Trusted, proven: guard.Unknown, stream: guard.Unknown, gone: guard.Unknown} {
			if got := second.State(f, time.Now()); got != want {
				t.Errorf("%v after the restart: %v, want %v", f, got, want)
			}
		}
		if got := second.State(phone, time.Now().Add(2*time.Hour)); got != guard.Unknown {
			t.Errorf("after its life: %v", got)
		}
	})
}

func TestUnreadableFlowsAreSkipped(t *testing.T) {
	store := newMemory()
	store.Put(t.Context(), []byte("t/short"), []byte("x"), time.Hour)
	store.Put(t.Context(), key{transport: 200}.appendTo([]byte("t/")), make([]byte, 8), time.Hour)
	table, err := New(t.Context(), Options{Store: store, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if c := table.Counts(); c.Trusted != 0 {
		t.Errorf("%+v", c)
	}
}

func TestAFullQueueIsCounted(t *testing.T) {
	table, err := New(t.Context(), Options{Store: newMemory(), Queue: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	table.Promote(flow("192.0.2.1:5060"), guard.Trusted, time.Now())
	table.Promote(flow("192.0.2.2:5060"), guard.Trusted, time.Now())
	if c := table.Counts(); c.Unstored != 1 || c.Trusted != 2 {
		t.Errorf("%+v", c)
	}
}
