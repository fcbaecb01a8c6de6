package store

import (
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// A place is where the store is: a directory, or memory. The store may move from
// memory to its directory while others use it.
type place struct {
	db   *badger.DB
	dir  string       // "" in memory
	user sync.RWMutex // shared by whoever uses db, held by who closes it after a move
}

// here is the place of now; the caller unlocks user when it is done. It may ask
// again meanwhile: only what the store has left is ever held.
func (s *Badger) here() *place {
	for {
		if p := s.at.Load(); p.user.TryRLock() {
			return p
		}
	}
}

// change writes with f, and notes the keys that it changes for a move that is
// under way.
func (s *Badger) change(f func(*badger.DB) error, keys ...[]byte) error {
	s.writing.RLock()
	defer s.writing.RUnlock()
	p := s.here()
	defer p.user.RUnlock()
	err := f(p.db)
	s.changed.note(keys)
	return err
}

// changed are the keys that were written while a move is under way.
type changed struct {
	mu   sync.Mutex
	keys map[string]struct{} // nil: nothing moves
	over bool                // there were more than mostChanged
}

// mostChanged is how many keys may change during a move; with more it is tried
// again later.
const mostChanged = 1 << 18

func (c *changed) note(keys [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		return
	}
	for _, k := range keys {
		if len(c.keys) >= mostChanged {
			c.over = true
			return
		}
		c.keys[string(k)] = struct{}{}
	}
}

func (c *changed) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys, c.over = map[string]struct{}{}, false
}

// end gives the keys, and whether those are all.
func (c *changed) end() (keys map[string]struct{}, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys, c.keys = c.keys, nil
	return keys, !c.over
}
