package proxy

import (
	"maps"
	"sync"
	"sync/atomic"

	"ringfence/proxy/wire"
)

// streams are the connections that requests to next hops and other domains left
// over. When one closes, what waits for an answer on it has to go elsewhere at
// once; connections that others made never cause that work.
type streams struct {
	used atomic.Pointer[map[uint64]struct{}] // a map is never written to, only replaced

	mu    sync.Mutex
	lost  map[uint64]bool // guarded by mu; those of them that have closed, and whether they had been made
	blame map[uint64]bool // guarded by mu; those that gone told of last
}

// use notes that a request is about to leave over a connection.
func (s *streams) use(conn uint64) {
	if used := s.used.Load(); used != nil {
		if _, ok := (*used)[conn]; ok {
			return
		}
	}
	s.change(func(used map[uint64]struct{}) { used[conn] = struct{}{} })
}

// change replaces the map. The wire bounds how many connections of ours there
// are.
func (s *streams) change(change func(map[uint64]struct{})) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[uint64]struct{}{}
	if used := s.used.Load(); used != nil {
		next = maps.Clone(*used)
	}
	change(next)
	s.used.Store(&next)
}

// closed notes that a connection is gone; made is false if it could not be made.
func (s *streams) closed(conn uint64, made bool) {
	used := s.used.Load()
	if used == nil {
		return
	}
	if _, ok := (*used)[conn]; !ok {
		return
	}
	s.change(func(used map[uint64]struct{}) {
		delete(used, conn)
		if s.lost == nil {
			s.lost = map[uint64]bool{}
		}
		s.lost[conn] = made
	})
}

// gone tells which flows are gone since it was asked last, nil if none is.
func (s *streams) gone() func(wire.Flow) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost
	s.lost, s.blame = nil, lost
	if lost == nil {
		return nil
	}
	return func(f wire.Flow) bool {
		_, ok := lost[f.Conn]
		return ok
	}
}

// blamed tells whether a connection that is gone had been made, and is to be held
// against its next hop: once, however many requests it left without an answer.
func (s *streams) blamed(conn uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := s.blame[conn]
	if made {
		s.blame[conn] = false
	}
	return made
}
