// Package store keeps small values on disk with a time to live. It is the only
// package that knows Badger.
//
// It knows keys, values and quotas, and nothing of what they mean but one
// thing: keys that begin with h/ are history, h/ and a stamp of twelve octets that
// sorts by time, and those that begin with i/ end in the stamp of the history
// that they point at. Both go first, oldest first, when room is short.
package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// schema is the version of what the keys mean. A newer one is refused.
const schema = 1

var schemaKey = []byte("!schema")

// The prefixes of the keys that go first when the quota is reached.
var (
	history  = []byte("h/")
	pointers = []byte("i/")
)

const stamp = 12 // octets of time at the end of both

// reserve is room for tables that are written while others are not yet gone.
const reserve = 64 << 20

// Options says how much disk the store may take.
type Options struct {
	Quota   int64         // bytes on disk; default 2 GiB
	Reserve int64         // bytes of the disk that history leaves free, and everything half of them; default 64 MiB
	Tidy    time.Duration // between looks at the quota and at old value logs; default 1 min
	Durable []string      // prefixes of keys that are on disk when Put returns; default accounts, bans, rule sets
	Now     func() time.Time
	Log     *slog.Logger
}

// A Badger is an open store. It is safe for concurrent use.
type Badger struct {
	db      *badger.DB
	dir     string // "" in memory
	o       Options
	durable [][]byte
	aside   string      // where the store before is that could not be read; "" if there is none
	full    atomic.Bool // over the quota or out of disk: history is not written
	dropped atomic.Uint64
}

// Open opens or makes the store in dir. A directory that another process holds
// is an error that says so. A store that is damaged is set aside, see SetAside.
func Open(dir string, o Options) (*Badger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	b := badger.DefaultOptions(dir)
	if o.Reserve <= 0 {
		o.Reserve = reserve
	}
	if free(dir) < o.Reserve/2 {
		return nil, fmt.Errorf("store %s: the disk is full (less than %d MiB are left); make room and start again", dir, o.Reserve>>21)
	}
	s, err := open(b, o)
	switch {
	case err == nil:
		return s, nil
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return nil, fmt.Errorf("store %s: another ringfence holds it; stop that one or give --state another directory", dir)
	case errors.Is(err, syscall.ENOSPC):
		return nil, fmt.Errorf("store %s: the disk is full; make room and start again", dir)
	case errors.Is(err, errNewer), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("store %s: %w", dir, err)
	}
	return o.afresh(dir, err)
}

// Memory makes a store that is gone when it is closed.
func Memory(o Options) (*Badger, error) {
	return open(badger.DefaultOptions("").WithInMemory(true), o)
}

func open(b badger.Options, o Options) (*Badger, error) {
	if o.Quota <= 0 {
		o.Quota = 2 << 30
	}
	if o.Reserve <= 0 {
		o.Reserve = reserve
	}
	if o.Tidy <= 0 {
		o.Tidy = time.Minute
	}
	if o.Durable == nil {
		o.Durable = []string{"a/", "b/", "r/"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	// Small tables: a guard shares its host with a PBX.
	b = b.WithLogger(logger{o.Log}).WithMemTableSize(8 << 20).WithNumMemtables(2).WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(6).WithBlockCacheSize(8 << 20).WithIndexCacheSize(8 << 20).WithValueLogFileSize(32 << 20).
		WithCompression(options.Snappy).WithNumCompactors(2).WithDetectConflicts(true).WithMetricsEnabled(false)
	db, err := openBadger(b.WithChecksumVerificationMode(options.OnBlockRead))
	if err != nil {
		return nil, err
	}
	s := &Badger{db: db, dir: b.Dir, o: o}
	for _, p := range o.Durable {
		s.durable = append(s.durable, []byte(p))
	}
	if err := s.migrate(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

var errNewer = errors.New("it was written by a newer ringfence")

// migrate brings an older schema up, and refuses a newer one.
func (s *Badger) migrate() error {
	return s.db.Update(func(tx *badger.Txn) error {
		item, err := tx.Get(schemaKey)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return tx.Set(schemaKey, binary.BigEndian.AppendUint32(nil, schema))
		}
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			if len(v) != 4 {
				return errors.New("the schema key is damaged")
			}
			if found := binary.BigEndian.Uint32(v); found > schema {
				return fmt.Errorf("%w (schema %d, this one reads %d): update the binary", errNewer, found, schema)
			}
			return nil
		})
	})
}
