package dialog

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
)

// memory is a guard.Store for tests.
type memory struct {
	mu     sync.Mutex
	items  map[string]guard.Item
	puts   int
	reason error // why nothing is written
}

func newMemory() *memory { return &memory{items: map[string]guard.Item{}} }

func (m *memory) refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reason = err
}

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
	if m.reason != nil {
		return m.reason
	}
	m.puts++
	m.items[string(key)] = guard.Item{Key: bytes.Clone(key), Value: bytes.Clone(val), Expires: time.Now().Add(ttl)}
	return nil
}

func (m *memory) Delete(_ context.Context, key []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reason != nil {
		return m.reason
	}
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

func TestAnsweredCallsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		first, stop := running(t, Options{Store: store, Now: time.Now, Own: ours})
		for _, id := range []string{"up", "ringing", "over", "again"} {
			first.Begin(invite(t, id, phone), legOf(phone), legOf(pbx))
			if id != "ringing" {
				first.Answer(response(t, id, 200, "b"), legOf(pbx), time.Now())
			}
		}
		synctest.Wait()
		first.Note(request(t, "again", "UPDATE", "a", "b", 7, phone))
		first.Hangup(request(t, "over", "BYE", "a", "b", 2, phone))
		stop()
		want, _ := first.Find("up")

		second, stop := running(t, Options{Store: store, Now: time.Now})
		defer stop()
		if got, ok := second.Find("up"); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("after the restart\n%+v\nwant\n%+v", got, want)
		}
		for _, id := range []string{"ringing", "over"} {
			if got, ok := second.Find(id); ok {
				t.Errorf("%+v is back", got)
			}
		}
		if !second.Has(request(t, "up", "BYE", "b", "a", 1, pbx)) {
			t.Error("a BYE of a call from before is not recognised")
		}
		if second.Has(request(t, "again", "BYE", "a", "b", 6, phone)) {
			t.Error("the CSeq of a call from before was forgotten")
		}
		if second.Up("alice@example") != 2 || second.Counts().Up != 2 {
			t.Errorf("%d of alice, %+v", second.Up("alice@example"), second.Counts())
		}
		if _, ok := second.Hangup(request(t, "up", "BYE", "b", "a", 1, pbx)); !ok {
			t.Error("a call from before does not end")
		}
	})
}

// What finds the queue full is stored by a later sweep: an ended call must not
// come back with the next restart.
func TestAFullQueueIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		table, err := New(t.Context(), Options{Store: store, Queue: 1, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"1", "2", "3"} {
			table.Begin(invite(t, id, phone), legOf(phone), legOf(pbx))
			table.Answer(response(t, id, 200, "b"), legOf(pbx), time.Now())
		}
		if n := table.Counts().Unstored; n != 2 {
			t.Errorf("%d found the queue full", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- table.Run(ctx) }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		store.mu.Lock()
		n := len(store.items)
		store.mu.Unlock()
		if n != 3 {
			t.Errorf("%d calls are stored, want 3", n)
		}
		cancel()
		<-done
	})
}

func TestStoredCallsThatCannotBeUsed(t *testing.T) {
	store := newMemory()
	for i, val := range []string{"", "{", `{"version":1}`, `{"version":1,"expires":1,"caller":{"legs":[{"address":"192.0.2.1:5060"}]}}`} {
		store.Put(t.Context(), []byte{'d', '/', byte(i)}, []byte(val), time.Hour)
	}
	table, err := New(t.Context(), Options{Store: store, Now: time.Now})
	if err != nil || table.Counts().Tracked != 0 {
		t.Errorf("%v %+v", err, table.Counts())
	}
	store.Put(t.Context(), []byte("d/new"), []byte(`{"version":2,"caller":{"legs":[{"address":"192.0.2.1:5060"}]}}`), time.Hour)
	if _, err := New(t.Context(), Options{Store: store, Now: time.Now}); err == nil {
		t.Error("a newer version was read")
	}
}

// What is over before it is old is not worth a write.
func TestShortCallsAreNeverWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		table, stop := running(t, Options{Store: store, Now: time.Now})
		for i := range 100 {
			id := strconv.Itoa(i)
			table.Begin(invite(t, id, phone), legOf(phone), legOf(pbx))
			table.Answer(response(t, id, 200, "b"), legOf(pbx), time.Now())
			time.Sleep(400 * time.Millisecond)
			table.Hangup(request(t, id, "BYE", "a", "b", 2, phone))
		}
		table.Begin(invite(t, "long", phone), legOf(phone), legOf(pbx))
		table.Answer(response(t, "long", 200, "b"), legOf(pbx), time.Now())
		time.Sleep(time.Second)
		synctest.Wait()
		if store.puts != 1 || len(store.items) != 1 {
			t.Errorf("%d calls were written, %d are stored, want the one that is still up", store.puts, len(store.items))
		}
		stop()
	})
}

// What the store refuses comes again.
func TestARefusedWriteIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		table, stop := running(t, Options{Store: store, Now: time.Now})
		table.Begin(invite(t, "1", phone), legOf(phone), legOf(pbx))
		table.Answer(response(t, "1", 200, "b"), legOf(pbx), time.Now())
		store.refuse(errors.New("no room on the disk"))
		time.Sleep(3 * time.Second)
		store.refuse(nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(store.items) != 1 {
			t.Errorf("%d calls are stored once there is room", len(store.items))
		}
		store.refuse(errors.New("no room on the disk"))
		table.Hangup(request(t, "1", "BYE", "a", "b", 2, phone))
		time.Sleep(3 * time.Second)
		store.refuse(nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(store.items) != 0 {
			t.Error("a call that ended while there was no room is still stored")
		}
		stop()
	})
}
