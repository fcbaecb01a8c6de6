package bans

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// dirty is what has to be written, the book's mu guards it. Bans wait apart
// from limits: whoever forges a flood of sources is limited thousands of times,
// and must not keep a ban on proven evidence from the disk.
type dirty struct {
	bans   map[key]struct{} // and lifts; as many as the book holds
	limits map[key]struct{} // at most Queue
	wake   chan struct{}    // holds one: there is something to write
}

func newDirty() dirty {
	return dirty{bans: map[key]struct{}{}, limits: map[key]struct{}{}, wake: make(chan struct{}, 1)}
}

// later has Run write an entry as it is then; the caller holds mu.
func (b *Book) later(k key, limit bool) {
	if !b.wait(k, limit) {
		b.lost++
		return
	}
	b.nudge()
}

// again has an entry that the disk refused written at the next change or sweep.
func (b *Book) again(k key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.all[k]
	if !b.wait(k, x == nil || x.Limit && x.Lifted.IsZero()) {
		b.lost++
	}
}

func (b *Book) wait(k key, limit bool) bool {
	to, most := b.bans, b.o.Max
	if limit {
		to, most = b.limits, b.o.Queue
	}
	if _, waits := to[k]; !waits && len(to) >= most {
		return false
	}
	to[k] = struct{}{}
	return true
}

func (b *Book) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// next takes an entry to write, a ban if there is one.
func (b *Book) next() (key, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, from := range []map[key]struct{}{b.bans, b.limits} {
		for k := range from {
			delete(from, k)
			return k, true
		}
	}
	return key{}, false
}

// write puts one ban on disk as it is now.
func (b *Book) write(ctx context.Context, k key) error {
	b.disk.Lock()
	defer b.disk.Unlock()
	b.mu.Lock()
	x := b.all[k]
	b.mu.Unlock()
	name := fmt.Appendf(nil, "b/%s/%d", k.prefix, k.port)
	if x == nil {
		return b.store.Delete(ctx, name)
	}
	text, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("ban %s: %w", k.prefix, err)
	}
	if err := b.store.Put(ctx, name, text, max(time.Second, x.Until.Sub(b.o.Now()))+b.o.Remember); err != nil {
		return fmt.Errorf("ban %s: %w", k.prefix, err)
	}
	return nil
}

// Run writes bans to disk and forgets what is over until ctx ends; then it
// writes what is left. What the disk refuses is tried again.
func (b *Book) Run(ctx context.Context) error {
	t := time.NewTicker(b.o.Sweep)
	defer t.Stop()
	last := context.WithoutCancel(ctx)
	refused := false
	flush := func() bool {
		more, err := b.flush(last)
		if err != nil && !refused {
			b.o.Log.Error("bans are in force but not on disk", "error", err)
		}
		if err == nil && refused {
			b.o.Log.Info("bans are written to disk again")
		}
		refused = err != nil
		return more
	}
	for {
		select {
		case <-b.wake:
			if flush() {
				b.nudge()
			}
		case <-t.C:
			b.sweep()
			b.nudge()
		case <-ctx.Done():
			for flush() {
			}
			return nil
		}
	}
}

// some is how many entries are written before Run looks up.
const some = 64

// flush writes some of what waits and tells whether there may be more that the
// disk would take.
func (b *Book) flush(ctx context.Context) (more bool, err error) {
	for range some {
		k, ok := b.next()
		if !ok {
			return false, nil
		}
		if err := b.write(ctx, k); err != nil {
			b.again(k)
			return false, err
		}
	}
	return true, nil
}

func (b *Book) sweep() {
	now := b.o.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, x := range b.all {
		if now.After(x.Until.Add(b.o.Remember)) {
			delete(b.all, k)
		}
	}
}
