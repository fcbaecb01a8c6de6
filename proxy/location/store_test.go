package location

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"reflect"
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
	full  bool // every write fails
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
	if m.full {
		return errors.New("no space left")
	}
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

func running(t testing.TB, o Options) (*Service, func()) {
	t.Helper()
	s := service(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestBindingsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		first, stop := running(t, Options{Store: store, Now: time.Now})
		do(t, first, "alice", 1, "Contact: <sip:a@192.0.2.1>;q=0.5, <sip:b@192.0.2.1>;expires=60", "Expires: 600")
		do(t, first, "bob", 1, "Contact: <sip:c@192.0.2.1>", "Expires: 600")
		time.Sleep(2 * time.Second)
		do(t, first, "bob", 2, "Contact: *", "Expires: 0")
		stop()
		want := first.Lookup(nil, "alice", "example.com")

		time.Sleep(time.Minute)
		second, stop := running(t, Options{Store: store, Now: time.Now})
		got := second.Lookup(nil, "alice", "example.com")
		if len(got) != 1 || !got[0].Expires.Equal(want[1].Expires) {
			t.Fatalf("got %+v, want the second of %+v", got, want)
		}
		got[0].Expires, got[0].Registered = want[1].Expires, want[1].Registered // the clock's zone and reading are not stored
		if !reflect.DeepEqual(got[0], want[1]) {
			t.Errorf("got\n%+v\nwant\n%+v", got[0], want[1])
		}
		if got := second.Lookup(nil, "bob", "example.com"); len(got) != 0 {
			t.Errorf("a binding that was taken away is back: %+v", got)
		}
		if n := second.Gone("flow"); n != 1 {
			t.Errorf("%d bindings went with the flow", n)
		}
		stop()
		if len(store.items) != 0 {
			t.Errorf("%d items are left in the store", len(store.items))
		}
	})
}

func TestWhatCannotBeStoredIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.full = true
		s, stop := running(t, Options{Store: store, Now: time.Now})
		do(t, s, "alice", 1, "Contact: <sip:a@192.0.2.1>")
		do(t, s, "bob", 1, "Contact: <sip:a@192.0.2.1>")
		time.Sleep(5 * time.Second)
		store.mu.Lock()
		store.full = false
		store.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		store.mu.Lock()
		n := len(store.items)
		store.mu.Unlock()
		if n != 2 {
			t.Errorf("%d addresses of record are stored, want 2", n)
		}
		stop()
	})
}

func TestSweepRemovesTheExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := running(t, Options{Now: time.Now})
		defer stop()
		do(t, s, "alice", 1, "Contact: <sip:a@192.0.2.1>;expires=60, <sip:b@192.0.2.1>;expires=600")
		do(t, s, "bob", 1, "Contact: <sip:a@192.0.2.1>;expires=60")
		time.Sleep(71 * time.Second)
		synctest.Wait()
		if c := s.Counts(); c != (Counts{AoRs: 1, Bindings: 1}) {
			t.Errorf("%+v", c)
		}
	})
}

func TestStoredBindingsThatCannotBeUsed(t *testing.T) {
	store := newMemory()
	for i, val := range []string{"", "{", `{"version":1}`, `{"version":1,"bindings":[{"aor":"x","expires":"2001-01-01T00:00:00Z"}]}`} {
		store.Put(t.Context(), []byte{'n', '/', byte(i)}, []byte(val), time.Hour)
	}
	if s := service(t, Options{Store: store}); s.Counts() != (Counts{}) {
		t.Errorf("%+v", s.Counts())
	}
	store.Put(t.Context(), []byte("n/new"), []byte(`{"version":2}`), time.Hour)
	if _, err := New(t.Context(), Options{Store: store, Now: time.Now}); err == nil {
		t.Error("a newer version was read")
	}
}
