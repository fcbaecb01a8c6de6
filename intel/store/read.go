package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

// Badger opens only what it can write, or what was closed in good order. A disk that
// is full or read only often follows a crash; so its files are read here, one after
// the other, and nothing is changed.

// A reading is what was read of a store, without its history.
type reading struct {
	newest map[string]record
	bytes  int64
	whole  bool // false: there was no room for some of what is not durable
}

var internal = []byte("!badger!")

// read reads the store in dir. A store that is damaged is an error: a part of it
// might bring back an account that was removed. None at all is an empty reading.
func (o Options) read(dir string) (out *reading, err error) {
	out = &reading{newest: map[string]record{}, whole: true}
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errLocked
	} else if err != nil {
		return nil, err
	}
	defer func() {
		if broken := recover(); broken != nil {
			out, err = nil, fmt.Errorf("it is damaged: %v", broken)
		}
	}()
	if err := bounded(dir); err != nil {
		return nil, err
	}
	take := func(r record) {
		if isHistory(r.key) || bytes.HasPrefix(r.key, internal) {
			return
		}
		old, have := out.newest[string(r.key)]
		switch {
		case have && old.version >= r.version:
			return
		case !have && out.bytes > o.Memory/2 && !isDurable(o.Durable, r.key):
			out.whole = false
			return
		}
		out.bytes += int64(len(r.key) + len(r.val) - len(old.val))
		r.key, r.val = bytes.Clone(r.key), bytes.Clone(r.val)
		out.newest[string(r.key)] = r
	}
	if err := readTables(dir, take); err != nil {
		return nil, err
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return nil, err
	}
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		replay(text, take)
	}
	now := uint64(time.Now().Unix()) // #nosec G115 -- after 1970; Badger goes by this clock too
	for k, r := range out.newest {
		switch {
		case r.deleted, r.expires != 0 && r.expires <= now:
			delete(out.newest, k)
		case r.pointer:
			return nil, fmt.Errorf("%q is in a value log", k)
		}
	}
	return out, nil
}

// readTables gives every record of every table to f.
func readTables(dir string, f func(record)) error {
	list, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // bounded has seen that there are no tables
	}
	if err != nil {
		return err
	}
	defer list.Close()
	m, _, err := badger.ReplayManifestFile(list, 0, badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		return fmt.Errorf("list of tables: %w", err)
	}
	for id, t := range m.Tables {
		if err := readTable(table.NewFilename(id, dir), id, t.Compression, f); err != nil {
			return err
		}
	}
	return nil
}

func readTable(name string, id uint64, c options.CompressionType, f func(record)) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	t, err := table.OpenInMemoryTable(text, id, &table.Options{ChkMode: options.OnTableAndBlockRead, Compression: c})
	if err != nil {
		return fmt.Errorf("table %s: %w", filepath.Base(name), err)
	}
	if err := t.VerifyChecksum(); err != nil {
		return fmt.Errorf("table %s: %w", filepath.Base(name), err)
	}
	it := t.NewIterator(0)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		k, v := it.Key(), it.Value()
		if len(k) < versionSize {
			return fmt.Errorf("table %s: %w", filepath.Base(name), errCut)
		}
		f(record{
			key: k[:len(k)-versionSize], val: v.Value, version: versionOf(k), expires: v.ExpiresAt,
			deleted: v.Meta&markDeleted != 0, pointer: v.Meta&markPointer != 0,
		})
	}
	return nil
}
