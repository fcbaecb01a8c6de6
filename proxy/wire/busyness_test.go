package wire

import (
	"context"
	"net"
	"testing"
	"time"

	"ringfence/guard"
)

func TestBusyness(t *testing.T) {
	at := time.Unix(1e9, 0)
	var b busyness
	for range 20 {
		at = at.Add(50 * time.Millisecond)
		b.batch(at)
	}
	if b.busy() {
		t.Error("twenty batches a second are busy")
	}
	for range 40 {
		at = at.Add(100 * time.Microsecond)
		b.batch(at)
	}
	if !b.busy() {
		t.Errorf("ten thousand batches a second are not busy: %v apart", b.gap)
	}
	b.batch(at.Add(time.Hour))
	if b.gap > 2*busyGap+longGap/8 {
		t.Errorf("one pause counts for %v", b.gap)
	}
	b.batch(at.Add(-time.Hour)) // a clock that was set back
	if b.gap < 0 {
		t.Errorf("batches are %v apart", b.gap)
	}
}

// One place in the scheduler is always left, but to a single socket.
func TestWatchers(t *testing.T) {
	for _, c := range []struct{ sockets, places, most int }{{1, 1, 1}, {1, 8, 1}, {2, 1, 0}, {2, 2, 1}, {5, 4, 3}} {
		w := watchers{most: mostWatchers(c.sockets, c.places)}
		entered := 0
		for range 10 {
			if w.enter() {
				entered++
			}
		}
		if entered != c.most {
			t.Errorf("%d sockets, %d places: %d watch, want %d", c.sockets, c.places, entered, c.most)
		}
		for range entered {
			w.leave()
		}
		if w.now.Load() != 0 {
			t.Errorf("%d still watch", w.now.Load())
		}
	}
}

// TestABusyReaderEnds stops a wire while datagrams keep coming.
func TestABusyReaderEnds(t *testing.T) {
	h := new(echoer)
	w, err := New(Options{Listeners: []Listener{listen(guard.UDP)}})
	if err != nil {
		t.Fatal(err)
	}
	h.wire = w
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, h) }()
	c, err := net.Dial("udp", w.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for range 1_000_000 {
			select {
			case <-over:
				return
			default:
				_, _ = c.Write([]byte("OPTIONS sip:a@b SIP/2.0")) // refused once it is over
			}
		}
	}()
	for w.Counters().Received[0] < 1000 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := next(t, done); err != nil {
		t.Error(err)
	}
	close(over)
	<-ended
}
