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
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
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
	Memory  int64         // bytes in memory while the disk cannot be written, history half of them; 0: Open fails then
	Again   time.Duration // between tries to write to that disk again; default 5 s
	Durable []string      // prefixes of keys that are on disk when Put returns; default accounts, bans, rule sets
	Now     func() time.Time
	Log     *slog.Logger
}

// A Badger is an open store. It is safe for concurrent use.
type Badger struct {
	dir     string // where it belongs; "" is memory for good
	o       Options
	at      atomic.Pointer[place]
	writing sync.RWMutex // shared by who writes, held by a move
	changed changed
	outage  atomic.Pointer[Outage] // nil: at is where the store belongs
	aside   atomic.Pointer[string] // where the store before is that could not be read; nil if there is none
	unread  atomic.Pointer[error]  // see Unread
	full    atomic.Bool            // over the quota or out of disk: history is not written
	dropped atomic.Uint64

	durableRead, allRead bool // of what was on disk when the store began in memory
}

// Open opens or makes the store in dir. A directory that another process holds
// is an error that says so. A store that is damaged is set aside, see SetAside; one
// that cannot be written goes on in memory if Options.Memory allows it, see Outage.
func Open(dir string, o Options) (*Badger, error) {
	o.fill()
	p, aside, err := o.onDisk(dir)
	switch {
	case err == nil:
		s := o.at(p)
		s.dir = dir
		if aside != "" {
			s.aside.Store(&aside)
		}
		return s, nil
	case remedy(err) == "":
		return nil, fmt.Errorf("store %s: %w", dir, err)
	case o.Memory <= 0:
		return nil, fmt.Errorf("store %s: %w; %s", dir, err, remedy(err))
	}
	return o.inMemory(dir, err)
}

// Memory makes a store that is gone when it is closed.
func Memory(o Options) (*Badger, error) {
	o.fill()
	p, err := o.open(badger.DefaultOptions("").WithInMemory(true))
	if err != nil {
		return nil, err
	}
	return o.at(p), nil
}

func (o *Options) fill() {
	if o.Quota <= 0 {
		o.Quota = 2 << 30
	}
	if o.Reserve <= 0 {
		o.Reserve = reserve
	}
	if o.Tidy <= 0 {
		o.Tidy = time.Minute
	}
	if o.Again <= 0 {
		o.Again = 5 * time.Second
	}
	if o.Durable == nil {
		o.Durable = []string{"a/", "b/", "r/"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// at makes the store that is at a place.
func (o Options) at(p *place) *Badger {
	s := &Badger{o: o}
	s.at.Store(p)
	return s
}

// onDisk opens or makes the store in dir for writing. If it is damaged it is set
// aside, and a new one begun.
func (o Options) onDisk(dir string) (p *place, aside string, err error) {
	if err := writable(dir, o.Reserve/2); err != nil {
		return nil, "", err
	}
	p, err = o.open(badger.DefaultOptions(dir))
	switch {
	case err == nil:
		return p, "", nil
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return nil, "", errLocked
	case errors.Is(err, errNewer), remedy(err) != "":
		return nil, "", err
	}
	return o.afresh(dir, err)
}

func (o Options) open(b badger.Options) (*place, error) {
	db, err := openBadger(o.badger(b))
	if err != nil {
		return nil, err
	}
	if err := migrate(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &place{db: db, dir: b.Dir}, nil
}

// memTable is how large a table grows in memory before it is written.
const memTable = 8 << 20

// memTables is how many of them there may be.
const memTables = 2

// badger sets the options of Badger. Small tables: a guard shares its host with a PBX.
func (o Options) badger(b badger.Options) badger.Options {
	return b.WithLogger(logger{o.Log}).WithMemTableSize(memTable).WithNumMemtables(memTables).WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(6).WithBlockCacheSize(8 << 20).WithIndexCacheSize(8 << 20).WithValueLogFileSize(32 << 20).
		WithCompression(options.Snappy).WithNumCompactors(2).WithDetectConflicts(true).WithMetricsEnabled(false).
		WithChecksumVerificationMode(options.OnBlockRead)
}

var errNewer = errors.New("it was written by a newer ringfence")

// migrate brings an older schema up, and refuses a newer one.
func migrate(db *badger.DB) error {
	return db.Update(func(tx *badger.Txn) error {
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
