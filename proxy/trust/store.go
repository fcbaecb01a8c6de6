package trust

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"ringfence/guard"
)

// prefix is where the trusted flows stand in the store: prefix, address, port
// and transport; the value is the expiry in Unix nanoseconds.
const prefix = "t/"

// storeTimeout bounds one write.
const storeTimeout = 5 * time.Second

// A change is a flow that is to be stored, or deleted if it has no expiry.
type change struct {
	key     key
	expires int64
}

// keep stores a trusted flow, at most once in a quarter of its life: a phone
// that registers every minute is not worth a write a minute. Connections do not
// survive a restart, so only UDP flows are kept. The shard is locked.
func (t *Table) keep(e *entry, now int64) {
	if e.proved != guard.Trusted || e.key.transport != guard.UDP || t.o.Store == nil {
		return
	}
	if e.stored-now > int64(t.o.Trusted)/4*3 {
		return
	}
	if t.send(change{key: e.key, expires: e.expires}) {
		e.stored = e.expires
	}
}

func (t *Table) send(c change) bool {
	select {
	case t.changes <- c:
		return true
	default:
		t.unstored.Add(1)
		return false
	}
}

// Run stores changes and forgets expired flows until ctx ends, and then stores
// what still waits.
func (t *Table) Run(ctx context.Context) error {
	tick := time.NewTicker(t.o.Sweep)
	defer tick.Stop()
	for {
		select {
		case c := <-t.changes:
			t.store(ctx, c)
		case <-tick.C:
			t.sweep()
		case <-ctx.Done():
			for {
				select {
				case c := <-t.changes:
					t.store(ctx, c)
				default:
					return nil
				}
			}
		}
	}
}

func (t *Table) sweep() {
	now := t.o.Now().UnixNano()
	for _, s := range t.shards {
		s.mu.Lock()
		s.sweep(now)
		s.mu.Unlock()
	}
}

// store writes one change. A change that was seen is written even while ctx
// ends.
func (t *Table) store(ctx context.Context, c change) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	name := c.key.appendTo([]byte(prefix))
	var err error
	if left := time.Duration(c.expires - t.o.Now().UnixNano()); left > 0 {
		err = t.o.Store.Put(ctx, name, binary.BigEndian.AppendUint64(nil, uint64(c.expires)), left) // #nosec G115 -- Unix time
	} else {
		err = t.o.Store.Delete(ctx, name)
	}
	if err != nil {
		t.complain.Do(func() { t.o.Log.Warn("a trusted flow was not stored", "err", err) })
	}
}

// load reads the trusted flows back. What cannot be read is skipped: trust can
// be earned again.
func (t *Table) load(ctx context.Context) error {
	if t.o.Store == nil {
		return nil
	}
	now := t.o.Now().UnixNano()
	for item, err := range t.o.Store.Scan(ctx, []byte(prefix), false) {
		if err != nil {
			return fmt.Errorf("reading trusted flows: %w", err)
		}
		k, ok := parseKey(item.Key[len(prefix):])
		if !ok || len(item.Value) != 8 {
			t.o.Log.Warn("a stored flow cannot be read")
			continue
		}
		expires := int64(binary.BigEndian.Uint64(item.Value)) // #nosec G115 -- Unix time
		if expires <= now {
			continue
		}
		expires = min(expires, now+int64(t.o.Trusted)) // the setting may have been lowered
		s := t.shard(k.flow())
		if e, ok := s.add(k, guard.Trusted, now); ok {
			e.expires, e.stored = expires, expires
		}
	}
	return nil
}
