package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Run keeps the store within its quota and collects value logs until ctx ends.
func (s *Badger) Run(ctx context.Context) error {
	t := time.NewTicker(s.o.Tidy)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
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
	for ctx.Err() == nil && s.db.RunValueLogGC(0.5) == nil {
	}
	if s.Size() <= s.o.Quota {
		s.full.Store(false)
		return nil
	}
	gone, err := s.forget(ctx, 10000)
	s.full.Store(gone == 0)
	s.o.Log.Warn("store is over its quota: the oldest history was removed", "size", s.Size(), "quota", s.o.Quota, "removed", gone)
	return err
}

// forget removes the oldest n history keys: they begin with their time.
func (s *Badger) forget(ctx context.Context, n int) (int, error) {
	var keys [][]byte
	for item, err := range s.Scan(ctx, history, false) {
		if err != nil {
			return 0, err
		}
		if keys = append(keys, append([]byte(nil), item.Key...)); len(keys) == n {
			break
		}
	}
	w := s.db.NewWriteBatch()
	defer w.Cancel()
	for _, k := range keys {
		if err := w.Delete(k); err != nil {
			return 0, fmt.Errorf("store: forget: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return 0, fmt.Errorf("store: forget: %w", err)
	}
	return len(keys), nil
}

// Size is the bytes on disk.
func (s *Badger) Size() int64 {
	lsm, logs := s.db.Size()
	return lsm + logs
}

// Dropped is how much history found no room since Open.
func (s *Badger) Dropped() uint64 { return s.dropped.Load() }

// Close writes what is open and lets the directory go.
func (s *Badger) Close() error {
	if err := s.db.Close(); err != nil && !errors.Is(err, badger.ErrDBClosed) {
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
