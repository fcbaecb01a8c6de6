package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"

	"ringfence/guard"
)

// ErrFull is returned for what was not written because the quota (history) or
// the disk (everything) is used up.
var ErrFull = errors.New("store: no room on the disk")

// Get returns a copy of the value; guard.ErrNotFound if there is none.
func (s *Badger) Get(_ context.Context, key []byte) (val []byte, err error) {
	p := s.here()
	defer p.user.RUnlock()
	err = p.db.View(func(tx *badger.Txn) error {
		item, err := tx.Get(key)
		if err != nil {
			return err
		}
		val, err = item.ValueCopy(nil)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, guard.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("store: get: %w", err)
	}
	return val, nil
}

// Put writes a value that is gone after ttl; 0 is for ever. Keys under a
// durable prefix are on disk when it returns.
func (s *Badger) Put(_ context.Context, key, val []byte, ttl time.Duration) error {
	if err := s.room(key); err != nil {
		return err
	}
	return s.wrote("put", key, s.change(func(db *badger.DB) error {
		return db.Update(func(tx *badger.Txn) error { return tx.SetEntry(entry(key, val, ttl)) })
	}, key))
}

// Batch puts many items and deletes keys at once; see guard.Store.
func (s *Badger) Batch(_ context.Context, put []guard.Item, gone [][]byte) error {
	if k := firstHistory(put); k != nil {
		if err := s.room(k); err != nil {
			s.dropped.Add(uint64(len(put) - 1))
			return err
		}
	} else if len(put) > 0 {
		if err := s.room(put[0].Key); err != nil {
			return err
		}
	}
	keys := slices.Clone(gone)
	for _, i := range put {
		keys = append(keys, i.Key)
	}
	return s.wrote("write", s.firstDurable(keys), s.change(func(db *badger.DB) error { return batch(db, put, gone) }, keys...))
}

func batch(db *badger.DB, put []guard.Item, gone [][]byte) error {
	w := db.NewWriteBatch()
	defer w.Cancel()
	for _, i := range put {
		e := badger.NewEntry(i.Key, i.Value)
		if !i.Expires.IsZero() {
			e.ExpiresAt = uint64(i.Expires.Unix()) // #nosec G115 -- after 1970
		}
		if err := w.SetEntry(e); err != nil {
			return err
		}
	}
	for _, k := range gone {
		if err := w.Delete(k); err != nil {
			return err
		}
	}
	return w.Flush()
}

// firstHistory is a key of a batch that is refused first, nil if there is none.
func firstHistory(put []guard.Item) []byte {
	for _, i := range put {
		if isHistory(i.Key) {
			return i.Key
		}
	}
	return nil
}

// firstDurable is a key of a batch that has to be on disk, nil if there is none.
func (s *Badger) firstDurable(keys [][]byte) []byte {
	for _, k := range keys {
		if isDurable(s.o.Durable, k) {
			return k
		}
	}
	return nil
}

// Delete removes a key; one that is not there is no error.
func (s *Badger) Delete(_ context.Context, key []byte) error {
	return s.wrote("delete", key, s.change(func(db *badger.DB) error {
		return db.Update(func(tx *badger.Txn) error { return tx.Delete(key) })
	}, key))
}

// Update reads, changes and writes one key in a transaction; see guard.Store.
func (s *Badger) Update(ctx context.Context, key []byte, f func([]byte) ([]byte, time.Duration, error)) error {
	if err := s.room(key); err != nil {
		return err
	}
	for {
		err := s.change(func(db *badger.DB) error {
			return db.Update(func(tx *badger.Txn) error { return update(tx, key, f) })
		}, key)
		if !errors.Is(err, badger.ErrConflict) || ctx.Err() != nil {
			return s.wrote("update", key, err)
		}
	}
}

func update(tx *badger.Txn, key []byte, f func([]byte) ([]byte, time.Duration, error)) error {
	var old []byte
	item, err := tx.Get(key)
	if err == nil {
		old, err = item.ValueCopy(nil)
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	val, ttl, err := f(old)
	if err != nil {
		return err
	}
	if val == nil {
		return tx.Delete(key)
	}
	return tx.SetEntry(entry(key, val, ttl))
}

// Scan goes over the keys with a prefix, see guard.Store. What it yields is
// valid until the next step.
func (s *Badger) Scan(ctx context.Context, prefix []byte, reverse bool) iter.Seq2[guard.Item, error] {
	return func(yield func(guard.Item, error) bool) {
		p := s.here()
		defer p.user.RUnlock()
		err := p.db.View(func(tx *badger.Txn) error {
			o := badger.DefaultIteratorOptions
			o.Prefix, o.Reverse, o.PrefetchSize = prefix, reverse, 64
			it := tx.NewIterator(o)
			defer it.Close()
			from := prefix
			if reverse {
				from = append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, 16)...)
			}
			var val []byte
			for it.Seek(from); it.ValidForPrefix(prefix); it.Next() {
				if err := ctx.Err(); err != nil {
					return err
				}
				item := it.Item()
				var err error
				if val, err = item.ValueCopy(val[:0]); err != nil {
					return err
				}
				out := guard.Item{Key: item.Key(), Value: val}
				if e := item.ExpiresAt(); e != 0 {
					out.Expires = time.Unix(int64(e), 0)
				}
				if !yield(out, nil) {
					return nil
				}
			}
			return nil
		})
		if err != nil {
			yield(guard.Item{}, fmt.Errorf("store: scan: %w", err))
		}
	}
}

func entry(key, val []byte, ttl time.Duration) *badger.Entry {
	e := badger.NewEntry(key, val)
	if ttl > 0 {
		e = e.WithTTL(max(ttl, time.Second)) // Badger counts in seconds
	}
	return e
}

// wrote looks at what came of a write: a full disk stops history, and what is
// durable is put on disk.
func (s *Badger) wrote(what string, key []byte, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		s.full.Store(true)
	}
	if err != nil {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	if isDurable(s.o.Durable, key) {
		p := s.here()
		defer p.user.RUnlock()
		if err := p.db.Sync(); err != nil {
			return fmt.Errorf("store: sync: %w", err)
		}
	}
	return nil
}

func isDurable(prefixes []string, key []byte) bool {
	for _, p := range prefixes {
		if len(key) >= len(p) && string(key[:len(p)]) == p {
			return true
		}
	}
	return false
}

func isHistory(key []byte) bool {
	return bytes.HasPrefix(key, history) || bytes.HasPrefix(key, pointers)
}
