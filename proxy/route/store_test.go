package route

import (
	"bytes"
	"context"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
	"ringfence/proxy/resolve"
)

// memory is a guard.Store for tests.
type memory struct {
	guard.Store
	mu    sync.Mutex
	items map[string][]byte // guarded by mu
	puts  int               // guarded by mu
}

func (m *memory) Get(_ context.Context, key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.items[string(key)]; ok {
		return b, nil
	}
	return nil, guard.ErrNotFound
}

func (m *memory) Put(_ context.Context, key, val []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items[string(key)] = bytes.Clone(val)
	m.puts++
	return nil
}

func (m *memory) Scan(context.Context, []byte, bool) iter.Seq2[guard.Item, error] { panic("not used") }

// A site comes back from a power cut, and its DNS server later than the guard.
func TestServersSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{items: map[string][]byte{}}
		all := []Config{{Name: "a", Host: "pbx.example", Any: true}, {Name: "b", Host: "10.0.0.9"}}
		b := newBook("pbx.example", "udp 10.0.0.1:5060 0 3", "tcp 10.0.0.2:5060 1 1")
		o := Options{Hops: all, Resolver: b, Store: m, Now: time.Now, Stale: 24 * time.Hour}
		first := routes(t, o)
		was := hops(first)
		stop := running(t, first)
		time.Sleep(10 * time.Minute)
		stop()
		if len(m.items) != 1 || m.puts != 1 {
			t.Errorf("%d names were stored with %d writes", len(m.items), m.puts)
		}
		b.fail(resolve.ErrSilent, false)
		second := routes(t, o)
		if got := hops(second); got != was {
			t.Errorf("after a restart: %s, want %s", got, was)
		}
		if n := second.Names()[0]; n.Err == nil || n.Servers != 2 {
			t.Errorf("its name: %+v", n)
		}
		stop = running(t, second)
		b.fail(nil, false)
		b.set("pbx.example", "udp 10.0.0.3:5060 0 1")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		const moved = "a udp 10.0.0.3:5060 0 1.00, b udp 10.0.0.9:5060 0 1.00"
		if got := hops(second); got != moved {
			t.Errorf("DNS is back: %s, want %s", got, moved)
		}
		time.Sleep(2 * time.Hour)
		stop()
		if m.puts < 3 || m.puts > 5 {
			t.Errorf("%d writes", m.puts)
		}

		const nothing = "b udp 10.0.0.9:5060 0 1.00"
		for what, c := range map[string]struct {
			hop   Config
			err   error
			after time.Duration
		}{
			"another domain":     {Config{Name: "a", Host: "other.example", Any: true}, resolve.ErrSilent, 0},
			"another transport":  {Config{Name: "a", Host: "pbx.example", Transport: guard.TLS}, resolve.ErrSilent, 0},
			"DNS says no":        {all[0], resolve.ErrNotFound, 0},
			"it is too long ago": {all[0], resolve.ErrSilent, 25 * time.Hour},
		} {
			b.fail(c.err, false)
			o := o
			o.Hops, o.Now = []Config{c.hop, all[1]}, func() time.Time { return time.Now().Add(c.after) }
			if got := hops(routes(t, o)); got != nothing {
				t.Errorf("%s: %s", what, got)
			}
		}
		m.items[prefix+"a"] = []byte("{")
		b.fail(resolve.ErrSilent, false)
		if got := hops(routes(t, o)); got != nothing {
			t.Errorf("a damaged entry: %s", got)
		}
	})
}
