package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// A disk that cannot be written must not keep anybody from telephoning: what the
// store holds is read, it goes on in memory, and back to the disk once that can be
// written.

// An Outage says why a store that belongs on a disk is in memory.
type Outage struct {
	Since time.Time
	Why   error
	Do    string // what ends it
	Read  int    // how many entries were read from the disk at the start
	Left  error  // why some or all of what is on the disk was not read; nil if it was
}

// Outage is nil while the store is where it belongs.
func (s *Badger) Outage() *Outage { return s.outage.Load() }

// Unread says why some of what is on disk was not read at the start, although the
// store is there again: the next start reads it. Nil if all was read.
func (s *Badger) Unread() error {
	if err := s.unread.Load(); err != nil {
		return *err
	}
	return nil
}

var (
	errFullDisk = errors.New("the disk is full")
	errLocked   = errors.New("another ringfence holds it; stop that one or give --state another directory")
	errNoRoom   = errors.New("there is more of it than store.memory has room for")
)

// remedies are what makes a disk writable again, by what it says.
var remedies = []struct {
	err error
	do  string
}{
	{errFullDisk, "make room on the disk"},
	{syscall.ENOSPC, "make room on the disk"},
	{syscall.EDQUOT, "raise the disk quota of ringfence's user"},
	{syscall.EROFS, "see why the file system is read only (dmesg), and mount it writable"},
	{fs.ErrPermission, "give the state directory and all in it to ringfence's user (chown -R)"},
	{syscall.EIO, "see what the disk says (dmesg, smartctl)"},
}

// remedy is what ends a refusal to write; "" if it is of another kind.
func remedy(err error) string {
	for _, r := range remedies {
		if errors.Is(err, r.err) {
			return r.do
		}
	}
	return ""
}

// Refused tells whether an error is of a disk that cannot be written, or not now.
func Refused(err error) bool { return remedy(err) != "" }

// writable tells why the store in dir cannot be written. room is how many bytes have
// to be free.
func writable(dir string, room int64) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := access(dir, unix.W_OK|unix.X_OK); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files { // Badger takes what it may not open for damage, or ends the process
		if err := access(filepath.Join(dir, f.Name()), unix.R_OK|unix.W_OK); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if left := free(dir); left < room {
		return fmt.Errorf("%w: %d MiB are left, and it takes %d MiB", errFullDisk, left>>20, room>>20)
	}
	return nil
}

func access(path string, mode uint32) error {
	if err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// inMemory is a store in memory with what the one in dir holds, which cannot be
// written for a reason.
func (o Options) inMemory(dir string, why error) (*Badger, error) {
	read, left := o.read(dir)
	switch {
	case errors.Is(left, errLocked):
		return nil, fmt.Errorf("store %s: %w", dir, left)
	case left != nil:
		read = &reading{}
	case !read.whole:
		left = errNoRoom
	}
	db, err := openBadger(o.badger(badger.DefaultOptions("").WithInMemory(true)))
	if err != nil {
		return nil, fmt.Errorf("store in memory: %w", err)
	}
	s := o.at(&place{db: db})
	s.dir, s.allRead = dir, left == nil
	s.durableRead = left == nil || errors.Is(left, errNoRoom)
	w := db.NewWriteBatch()
	defer w.Cancel()
	for k, r := range read.newest {
		if err := w.SetEntry(&badger.Entry{Key: []byte(k), Value: r.val, ExpiresAt: r.expires}); err != nil {
			return nil, errors.Join(fmt.Errorf("store in memory: %w", err), db.Close())
		}
	}
	if err := w.Flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("store in memory: %w", err), db.Close())
	}
	if err := migrate(db); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", dir, err), db.Close())
	}
	out := &Outage{Why: why, Do: remedy(why), Read: len(read.newest), Left: left}
	if o.Now != nil {
		out.Since = o.Now()
	}
	s.outage.Store(out)
	if left != nil {
		s.o.Log.Error("the store cannot be written and not be read whole: it goes on in memory, and to disk again by itself", "store", dir, "why", why, "do", out.Do, "read", out.Read, "unread", left)
	} else {
		s.o.Log.Error("the store cannot be written: what it holds is read, it goes on in memory, and to disk again by itself", "store", dir, "why", why, "do", out.Do, "read", out.Read)
	}
	return s, nil
}

// back moves the store from memory to its directory if that can be written now.
func (s *Badger) back(ctx context.Context) {
	failed := func(err error) {
		old := s.outage.Load()
		if err.Error() != old.Why.Error() {
			now := *old
			now.Why, now.Do = err, remedy(err)
			s.outage.Store(&now)
		}
	}
	// Room for all that is in memory as well: the disk must not be full again at once.
	if err := writable(s.dir, s.o.Reserve+s.Size()); err != nil {
		failed(err)
		return
	}
	p, aside, err := s.o.onDisk(s.dir)
	if err != nil {
		failed(err)
		return
	}
	if err := s.move(ctx, p); err != nil {
		failed(errors.Join(err, p.db.Close()))
		return
	}
	if aside != "" {
		s.aside.Store(&aside)
	}
	s.full.Store(false)
	if left := s.Outage().Left; left != nil && aside == "" {
		s.unread.Store(&left)
	}
	s.outage.Store(nil)
	s.o.Log.Info("the store is on disk again, with all that was decided meanwhile", "store", s.dir)
	if err := s.Unread(); err != nil {
		s.o.Log.Warn("what was on disk before could not all be read: restart to read it", "store", s.dir, "why", err)
	}
}

// move brings everything to another place, and the store with it. What is written
// meanwhile goes along.
func (s *Badger) move(ctx context.Context, to *place) error {
	s.writing.Lock() // whoever began to write has written: the next look sees it
	s.changed.begin()
	s.writing.Unlock()
	from := s.at.Load()
	if err := s.copyAll(ctx, from.db, to.db); err != nil {
		s.changed.end()
		return err
	}
	s.writing.Lock()
	keys, all := s.changed.end()
	err := error(nil)
	if !all {
		err = errors.New("too much is written meanwhile")
	} else if err = copyKeys(from.db, to.db, keys); err == nil {
		err = to.db.Sync()
	}
	if err == nil {
		s.at.Store(to)
	}
	s.writing.Unlock()
	if err != nil {
		return fmt.Errorf("store: move: %w", err)
	}
	from.user.Lock() // until the last who reads there has done so; never unlocked
	if err := from.db.Close(); err != nil {
		s.o.Log.Warn("store in memory", "error", err)
	}
	return nil
}

// copyAll makes to hold what from does. What is on disk and was never read stays.
func (s *Badger) copyAll(ctx context.Context, from, to *badger.DB) error {
	w := to.NewWriteBatch()
	defer w.Cancel()
	err := each(ctx, from, true, func(i *badger.Item) error {
		e, err := entryOf(i)
		if err != nil {
			return err
		}
		return w.SetEntry(e)
	})
	if err != nil {
		return fmt.Errorf("store: move: %w", err)
	}
	err = from.View(func(tx *badger.Txn) error {
		return each(ctx, to, false, func(i *badger.Item) error {
			k := i.Key()
			if isHistory(k) || !s.allRead && (!s.durableRead || !isDurable(s.o.Durable, k)) {
				return nil
			}
			if _, err := tx.Get(k); !errors.Is(err, badger.ErrKeyNotFound) {
				return err
			}
			return w.Delete(i.KeyCopy(nil))
		})
	})
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("store: move: %w", err)
	}
	return nil
}

// copyKeys makes keys in to what they are in from.
func copyKeys(from, to *badger.DB, keys map[string]struct{}) error {
	w := to.NewWriteBatch()
	defer w.Cancel()
	err := from.View(func(tx *badger.Txn) error {
		for k := range keys {
			item, err := tx.Get([]byte(k))
			if errors.Is(err, badger.ErrKeyNotFound) {
				if err := w.Delete([]byte(k)); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			e, err := entryOf(item)
			if err != nil {
				return err
			}
			if err := w.SetEntry(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// each gives every key of a database to f.
func each(ctx context.Context, db *badger.DB, values bool, f func(*badger.Item) error) error {
	return db.View(func(tx *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues = values
		it := tx.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(it.Item()); err != nil {
				return err
			}
		}
		return nil
	})
}

func entryOf(i *badger.Item) (*badger.Entry, error) {
	val, err := i.ValueCopy(nil)
	return &badger.Entry{Key: i.KeyCopy(nil), Value: val, ExpiresAt: i.ExpiresAt()}, err
}

// left is what a place has room for, and how much of that history leaves free.
func (s *Badger) left(p *place) (left, reserve int64) {
	switch {
	case p.dir != "":
		return free(p.dir), s.o.Reserve
	case s.o.Memory > 0:
		return s.o.Memory - p.size(), s.o.Memory / 2
	}
	return math.MaxInt64, 0
}
