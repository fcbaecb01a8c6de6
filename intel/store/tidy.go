package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// Run keeps the store within its quota and collects value logs until ctx ends.
func (s *Badger) Run(ctx context.Context) error {
	t := time.NewTicker(s.o.Tidy)
	defer t.Stop()
	again := time.NewTicker(s.o.Again)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			if s.Outage() == nil {
				again.Stop()
				continue
			}
			s.back(ctx)
		case <-t.C:
			if err := s.tidy(ctx); err != nil {
				s.o.Log.Warn("store", "error", err)
			}
		}
	}
}

// tidy collects value logs while that helps. Over the quota the oldest history
// goes, a tenth at a time.
func (s *Badger) tidy(ctx context.Context) error {
	p := s.here()
	defer p.user.RUnlock()
	for ctx.Err() == nil && p.db.RunValueLogGC(0.5) == nil {
	}
	quota := s.o.Quota
	if p.dir == "" && s.o.Memory > 0 {
		quota = s.o.Memory / 2
	}
	if p.size() <= quota {
		s.full.Store(false)
		return nil
	}
	gone, err := p.forget(ctx, 10000)
	s.full.Store(gone == 0)
	s.o.Log.Warn("store is over its quota: the oldest history was removed", "size", p.size(), "quota", quota, "removed", gone)
	return err
}

// forget removes the oldest tenth of history, at least n entries, with what
// points at it, and returns how many entries that were.
func (p *place) forget(ctx context.Context, n int) (int, error) {
	all := 0
	if err := p.keys(ctx, history, func([]byte) bool { all++; return true }); err != nil {
		return 0, err
	}
	n = max(n, all/10)
	var last []byte // the stamp of the newest that goes
	gone := 0
	w := p.db.NewWriteBatch()
	defer w.Cancel()
	var failed error
	err := p.keys(ctx, history, func(k []byte) bool {
		if gone == n {
			return false
		}
		gone++
		last = append(last[:0], k[max(len(k)-stamp, 0):]...)
		failed = w.Delete(bytes.Clone(k))
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, err
	}
	err = p.keys(ctx, pointers, func(k []byte) bool {
		if len(k) < stamp || bytes.Compare(k[len(k)-stamp:], last) <= 0 {
			failed = w.Delete(bytes.Clone(k))
		}
		return failed == nil
	})
	if err = errors.Join(err, failed, w.Flush()); err != nil {
		return 0, fmt.Errorf("store: forget: %w", err)
	}
	if gone > 0 { // what is deleted takes room until the tables are merged
		if err := p.db.Flatten(1); err != nil {
			return gone, fmt.Errorf("store: forget: %w", err)
		}
	}
	return gone, nil
}

// keys goes over keys in order, without their values, until f says no.
func (p *place) keys(ctx context.Context, prefix []byte, f func([]byte) bool) error {
	err := p.db.View(func(tx *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = prefix, false
		it := tx.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid() && f(it.Item().Key()); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: keys: %w", err)
	}
	return nil
}

// Size is the bytes that the store takes, on disk or in memory.
func (s *Badger) Size() int64 {
	p := s.here()
	defer p.user.RUnlock()
	return p.size()
}

// size is the bytes of a place. Badger makes its files larger than what is in
// them: only the blocks in use count.
func (p *place) size() int64 {
	total := int64(0)
	if p.dir == "" {
		for _, l := range p.db.Levels() {
			total += l.Size
		}
		return total + memTables*memTable
	}
	files, err := os.ReadDir(p.dir)
	if err != nil {
		return 0
	}
	for _, f := range files {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(p.dir, f.Name()), &st) == nil { // gone meanwhile: no bytes
			total += int64(st.Blocks) * 512
		}
	}
	return total
}

// room is ErrFull if a key may not be written now. Badger writes into mapped
// files, and on a full disk that is a fault no error can tell of: so it must
// never come to it.
func (s *Badger) room(key []byte) error {
	p := s.here()
	left, reserve := s.left(p)
	p.user.RUnlock()
	if isHistory(key) && (s.full.Load() || left < reserve) {
		s.dropped.Add(1)
		return ErrFull
	}
	if left < reserve/2 {
		return ErrFull
	}
	return nil
}

// free is what the disk of dir has left for us; as much as there can be if
// nobody knows.
func free(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return math.MaxInt64
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// Dropped is how much history found no room since Open.
func (s *Badger) Dropped() uint64 { return s.dropped.Load() }

// Close writes what is open and lets the directory go.
func (s *Badger) Close() error {
	if err := s.at.Load().db.Close(); err != nil && !errors.Is(err, badger.ErrDBClosed) {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// A logger lets Badger speak through slog, one step quieter than it means.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(f string, a ...any)   { l.log.Warn(say(f, a), "from", "badger") }
func (l logger) Warningf(f string, a ...any) { l.log.Debug(say(f, a), "from", "badger") }
func (l logger) Infof(f string, a ...any)    { l.log.Debug(say(f, a), "from", "badger") }
func (l logger) Debugf(string, ...any)       {}

func say(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
