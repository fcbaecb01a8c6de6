// Package geo says in which country and in which network an address is, from
// MaxMind databases that are swapped whole when their file changes.
package geo

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oschwald/geoip2-golang/v2"

	"ringfence/guard"
)

// Options says which databases and how often their files are looked at.
type Options struct {
	Paths []string      // Country, City and ASN databases
	Look  time.Duration // default 30 s
	Cache int           // addresses remembered, rounded up to a power of two; default 65,536
	Log   *slog.Logger
}

// A DB answers from all databases. It is safe for concurrent use.
type DB struct {
	o     Options
	files []*file
	seed  maphash.Seed
	cache []atomic.Pointer[answer] // by a hash of the address
	loads atomic.Uint64            // answers from before the last one are not used
	mu    sync.Mutex               // one Reload at a time
}

type file struct {
	path   string
	read   atomic.Pointer[reader] // nil until it could be read once
	change time.Time
	size   int64
	wrong  error // why it could not be read at the last look; nil if it could
}

type reader struct {
	*geoip2.Reader
	asn bool
}

type answer struct {
	loads   uint64
	addr    netip.Addr
	country string
	asn     uint32
	blind   bool // a database was not there to ask
}

// ErrMissing is the answer while a database that might know could not be read yet.
var ErrMissing = errors.New("a geo database is missing")

// Open opens the databases. One that is missing or broken is said in the log, with
// what to do, and read once it is there: until then its answers are ErrMissing.
func Open(o Options) *DB {
	if o.Look <= 0 {
		o.Look = 30 * time.Second
	}
	n := 1
	for n < max(o.Cache, 1) || o.Cache <= 0 && n < 65536 {
		n *= 2
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &DB{o: o, seed: maphash.MakeSeed(), cache: make([]atomic.Pointer[answer], n)}
	for _, p := range o.Paths {
		f := &file{path: p}
		if f.wrong = f.load(); f.wrong != nil {
			o.Log.Error("countries and networks are not known until it is there", "error", f.wrong)
		}
		d.files = append(d.files, f)
	}
	return d
}

// Wrong is what is wrong with the databases, nil if nothing is.
func (d *DB) Wrong() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.wrong)
	}
	return errors.Join(errs...)
}

func (f *file) load() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("geo database: %w; put a MaxMind .mmdb file there or leave it out of the configuration", err)
	}
	text, err := os.ReadFile(f.path) // whole: a file that is replaced in place must not change under us
	if err != nil {
		return fmt.Errorf("geo database: %w", err)
	}
	r, err := geoip2.OpenBytes(text)
	if err != nil {
		return fmt.Errorf("geo database %s is not a MaxMind database: %w; download it again", f.path, err)
	}
	kind := r.Metadata().DatabaseType
	asn := strings.Contains(kind, "ASN")
	if !asn && !strings.Contains(kind, "Country") && !strings.Contains(kind, "City") && !strings.Contains(kind, "Enterprise") {
		return fmt.Errorf("geo database %s is a %s database; want Country, City or ASN", f.path, kind)
	}
	f.read.Store(&reader{r, asn})
	f.change, f.size = info.ModTime(), info.Size()
	return nil
}

// Country is the ISO 3166-1 code of where an address is; guard.ErrNotFound if
// nobody knows, ErrMissing if a database that might is not there.
func (d *DB) Country(a netip.Addr) (string, error) {
	x := d.look(a)
	switch {
	case x.country != "":
		return x.country, nil
	case x.blind:
		return "", ErrMissing
	}
	return "", guard.ErrNotFound
}

// ASN is the number of the network that announces an address;
// guard.ErrNotFound if nobody knows, ErrMissing if a database that might is not
// there.
func (d *DB) ASN(a netip.Addr) (uint32, error) {
	x := d.look(a)
	switch {
	case x.asn != 0:
		return x.asn, nil
	case x.blind:
		return 0, ErrMissing
	}
	return 0, guard.ErrNotFound
}

func (d *DB) look(a netip.Addr) *answer {
	a = a.Unmap().WithZone("")
	loads := d.loads.Load()
	slot := &d.cache[maphash.Comparable(d.seed, a)&uint64(len(d.cache)-1)]
	if x := slot.Load(); x != nil && x.addr == a && x.loads == loads {
		return x
	}
	x := &answer{loads: loads, addr: a}
	for _, f := range d.files {
		r := f.read.Load()
		if r == nil {
			x.blind = true
		} else if r.asn {
			if n, err := r.ASN(a); err == nil {
				x.asn = uint32(n.AutonomousSystemNumber)
			}
		} else if c, err := r.Country(a); err == nil && x.country == "" {
			x.country = c.Country.ISOCode
			if x.country == "" {
				x.country = c.RegisteredCountry.ISOCode
			}
		}
	}
	slot.Store(x)
	return x
}

// Run loads a database again when its file changes, until ctx ends. A broken
// new one is said once and the old one kept.
func (d *DB) Run(ctx context.Context) error {
	t := time.NewTicker(d.o.Look)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := d.Reload(); err != nil {
				d.o.Log.Warn("the old geo database stays in use", "error", err)
			}
		}
	}
}

// Reload loads the databases whose files changed. An error is what was not wrong
// before.
func (d *DB) Reload() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, f := range d.files {
		info, err := os.Stat(f.path)
		if err == nil && info.ModTime().Equal(f.change) && info.Size() == f.size {
			f.wrong = nil // it is the one that is in use
			continue
		}
		before := f.wrong
		if f.wrong = f.load(); f.wrong != nil {
			if before == nil || before.Error() != f.wrong.Error() {
				errs = append(errs, f.wrong)
			}
			continue
		}
		d.loads.Add(1)
		d.o.Log.Info("geo database loaded", "file", f.path)
	}
	return errors.Join(errs...)
}
