// Package tap shows messages as they pass, and what was decided about them, to
// those who look on: the HEP mirror and `ringfence watch`.
//
// It knows no network and no terminal. While nobody looks, a message costs one
// atomic load; while somebody does, it is copied into memory of fixed size, and
// what finds no room there is counted and never held up.
package tap

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ringfence/guard"
)

// Options says how many may look on, and how far they may fall behind.
type Options struct {
	Watchers int // at once; default 8
	Buffer   int // bytes that wait for one watcher; default 4 MiB
}

// A Tap takes every message that passes and shows it to its subscriptions. It
// is the proxy's Tap and a guard.Sink.
type Tap struct {
	o    Options
	subs atomic.Pointer[[]*Subscription] // a list is never written to, only replaced; nil: nobody looks

	mu       sync.Mutex // held while the list is replaced
	watchers int        // guarded by mu
}

// New makes a tap that nobody looks at.
func New(o Options) *Tap {
	if o.Watchers <= 0 {
		o.Watchers = 8
	}
	if o.Buffer <= 0 {
		o.Buffer = 4 << 20
	}
	return &Tap{o: o}
}

// Wanted tells whether anybody looks.
func (t *Tap) Wanted() bool { return t.subs.Load() != nil }

// Received shows a message that came from far to our address here. raw is copied.
func (t *Tap) Received(far, here netip.AddrPort, over guard.Transport, raw []byte, at time.Time) {
	t.message(&Event{Kind: Received, At: at, Src: far, Dst: here, Transport: over, Raw: raw})
}

// Sent shows a message that leaves our address here for far. raw is copied.
func (t *Tap) Sent(far, here netip.AddrPort, over guard.Transport, raw []byte, at time.Time) {
	t.message(&Event{Kind: Sent, At: at, Src: here, Dst: far, Transport: over, Raw: raw})
}

func (t *Tap) message(e *Event) {
	if subs := t.subs.Load(); subs != nil {
		for _, s := range *subs {
			s.message(e)
		}
	}
}

// Decided shows a decision. Replies and ended calls are judged too, but only
// what a rule matched there says anything.
func (t *Tap) Decided(d *guard.Decision) {
	subs := t.subs.Load()
	if subs == nil || (d.Message.Reply != nil || d.Message.Call != nil) && len(d.Matches) == 0 {
		return
	}
	for _, s := range *subs {
		s.judgement(d)
	}
}

// Subscribe lets somebody look on, with so many bytes that may wait for them.
func (t *Tap) Subscribe(buffer int) *Subscription {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.add(buffer)
}

// Watch is Subscribe for people: only so many at once.
func (t *Tap) Watch() (*Subscription, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watchers >= t.o.Watchers {
		return nil, fmt.Errorf("%d watch already, and no more may", t.watchers)
	}
	t.watchers++
	s := t.add(t.o.Buffer)
	s.watcher = true
	return s, nil
}

// add puts a new subscription on the list; t.mu is held.
func (t *Tap) add(buffer int) *Subscription {
	s := newSubscription(t, buffer)
	next := []*Subscription{s}
	if old := t.subs.Load(); old != nil {
		next = append(slices.Clone(*old), s)
	}
	t.subs.Store(&next)
	return s
}

// remove takes a subscription off the list.
func (t *Tap) remove(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.subs.Load()
	if old == nil || !slices.Contains(*old, s) {
		return
	}
	if s.watcher {
		t.watchers--
	}
	next := slices.DeleteFunc(slices.Clone(*old), func(x *Subscription) bool { return x == s })
	if len(next) == 0 {
		t.subs.Store(nil)
		return
	}
	t.subs.Store(&next)
}
