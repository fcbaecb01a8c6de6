package location

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// prefix is where the bindings stand in the store, followed by the address of
// record.
const prefix = "n/"

// storeTimeout bounds one write.
const storeTimeout = 5 * time.Second

// version is that of stored.
const version = 1

// stored is the bindings of an address of record as they stand in the store.
type stored struct {
	Version  int       `json:"version"`
	Bindings []Binding `json:"bindings"`
}

// Run writes changes to the store and removes expired bindings until ctx ends,
// and then writes what is left to write.
func (s *Service) Run(ctx context.Context) error {
	flush, sweep := time.NewTicker(s.o.Flush), time.NewTicker(s.o.Sweep)
	defer flush.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-flush.C:
			s.flush(ctx)
		case <-sweep.C:
			s.sweep(s.o.Now())
		case <-ctx.Done():
			s.flush(ctx)
			return nil
		}
	}
}

// flush brings the store up to date. What cannot be written stays dirty and is
// tried again the next time.
func (s *Service) flush(ctx context.Context) {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = map[string]struct{}{}
	s.mu.Unlock()
	if s.o.Store == nil {
		return
	}
	for aor := range dirty {
		if err := s.write(ctx, aor); err != nil {
			s.complain.Do(func() { s.o.Log.Warn("bindings were not stored", "err", err) })
			s.mu.Lock()
			for aor := range dirty {
				s.dirty[aor] = struct{}{}
			}
			s.mu.Unlock()
			return
		}
		delete(dirty, aor)
	}
}

func (s *Service) write(ctx context.Context, aor string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	s.mu.RLock()
	list := s.aors[aor]
	s.mu.RUnlock()
	var last time.Time
	for i := range list {
		if list[i].Expires.After(last) {
			last = list[i].Expires
		}
	}
	left := last.Sub(s.o.Now())
	if left <= 0 {
		return s.o.Store.Delete(ctx, []byte(prefix+aor))
	}
	val, err := json.Marshal(stored{Version: version, Bindings: list})
	if err != nil {
		return fmt.Errorf("writing bindings: %w", err)
	}
	return s.o.Store.Put(ctx, []byte(prefix+aor), val, left)
}

// load reads the bindings back. Those that cannot be read are skipped, for
// phones register again; a newer version is an error, for it would be
// overwritten.
func (s *Service) load(ctx context.Context) error {
	if s.o.Store == nil {
		return nil
	}
	now := s.o.Now()
	for item, err := range s.o.Store.Scan(ctx, []byte(prefix), false) {
		if err != nil {
			return fmt.Errorf("reading bindings: %w", err)
		}
		var in stored
		if err := json.Unmarshal(item.Value, &in); err != nil {
			s.o.Log.Warn("stored bindings cannot be read", "err", err)
			continue
		}
		if in.Version > version {
			return fmt.Errorf("stored bindings have version %d, newer than %d: they were written by a newer ringfence", in.Version, version)
		}
		var list []Binding
		for _, b := range in.Bindings {
			if b.Expires.After(now) && len(list) < s.o.PerAccount && s.count+len(list) < s.o.Max {
				list = append(list, b)
			}
		}
		if len(list) > 0 {
			s.set(string(item.Key[len(prefix):]), list)
		}
	}
	clear(s.dirty)
	return nil
}
