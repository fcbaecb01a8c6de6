package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// A store may be damaged by its disk or by hands. Telephones must ring all the same:
// it is set aside for whoever can make something of it, and a new one is begun.

// asides is how many damaged stores are kept; older ones go.
const asides = 2

const asideMark = ".damaged-"

// afresh sets the store in dir aside, which could not be opened for a reason, and
// begins a new one; aside is where the old one is.
func (o Options) afresh(dir string, why error) (p *place, aside string, err error) {
	damaged := func(err error) (*place, string, error) {
		return nil, "", fmt.Errorf("it is damaged (%w) and cannot be set aside (%w): move it away by hand and start again", why, err)
	}
	old, err := filepath.Glob(dir + asideMark + "*")
	if err != nil {
		return damaged(err)
	}
	slices.Sort(old)
	for len(old) >= asides {
		if err := os.RemoveAll(old[0]); err != nil {
			return damaged(err)
		}
		old = old[1:]
	}
	now := o.Now
	if now == nil {
		return damaged(errors.New("there is no clock to name it by"))
	}
	to := dir + asideMark + now().UTC().Format("20060102T150405.000")
	if err := os.Rename(dir, to); err != nil {
		return damaged(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return damaged(err)
	}
	if p, err = o.open(badger.DefaultOptions(dir)); err != nil {
		return nil, "", err
	}
	o.Log.Error("the store was damaged and is set aside: bans, trust, accounts made by hand, calls and history begin anew", "now", to, "err", why)
	return p, to, nil
}

// SetAside is where the store before is if it was damaged; "" if this is that store.
func (s *Badger) SetAside() string {
	if at := s.aside.Load(); at != nil {
		return *at
	}
	return ""
}

// openBadger is badger.Open, which panics on some damage, in goroutines of its own
// too; that is looked for before.
func openBadger(b badger.Options) (db *badger.DB, err error) {
	if !b.InMemory {
		if err := bounded(b.Dir); err != nil {
			return nil, err
		}
	}
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("badger: %v", broken)
		}
	}()
	if db, err = badger.Open(b); err != nil || b.InMemory {
		return db, err
	}
	// What the disk has spoilt is found now, and not missed in silence later: a
	// search ends at a block that cannot be read.
	if err := verified(db); err != nil {
		// Closing may wait for a lock of what has panicked, and for ever.
		closed := make(chan struct{})
		go func() {
			_ = db.Close() // it is damaged anyway
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(closing):
		}
		return nil, err
	}
	return db, nil
}

// closing is how long a damaged store may take to close.
const closing = 2 * time.Second

// verified reads every block of every table.
func verified(db *badger.DB) (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("a block cannot be read: %v", broken)
		}
	}()
	return db.VerifyChecksum()
}

// bounded checks that the tables in dir are as long as they say. The end of one is
// its index, the length of that, a checksum and the length of that.
func bounded(dir string) error {
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	for _, name := range tables {
		if err := boundedTable(name); err != nil {
			return fmt.Errorf("table %s: %w", filepath.Base(name), err)
		}
	}
	return listed(dir, len(tables))
}

// listed checks that a list of tables which breaks off has not lost any: Badger would
// remove those. It may break off where the machine lost its power.
func listed(dir string, tables int) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	switch {
	case errors.Is(err, fs.ErrNotExist) && tables == 0:
		return nil // it is new
	case err != nil:
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m, end, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		return fmt.Errorf("list of tables: %w", err)
	}
	if end < info.Size() && len(m.Tables) < tables {
		return fmt.Errorf("list of tables: %w", errCut)
	}
	return nil
}

var errCut = errors.New("it is cut short or overwritten")

func boundedTable(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	at := info.Size()
	for range 2 {
		var b [4]byte
		if at -= int64(len(b)); at < 0 {
			return errCut
		}
		if _, err := f.ReadAt(b[:], at); err != nil {
			return err
		}
		if at -= int64(binary.BigEndian.Uint32(b[:])); at < 0 {
			return errCut
		}
	}
	return nil
}
