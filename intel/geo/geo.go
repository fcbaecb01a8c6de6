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
	Look  time.Duration // default 10 s
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
	path    string
	read    atomic.Pointer[reader] // nil: it could not be read yet
	change  time.Time              // of what was read last, be it broken
	size    int64
	problem error // with the file as it is; nil if that is what read has
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
	none    bool // there was no database of countries
	noASN   bool // there was none of networks
}

// What is asked of a database that is not there, or broken and never was good. Rules
// see it through on_error.
var (
	ErrNoCountries = errors.New("no database of countries is loaded")
	ErrNoNetworks  = errors.New("no database of networks is loaded")
)

// Open opens the databases. One that is missing or broken is said on the log once,
// and read when it changes.
func Open(o Options) *DB {
	if o.Look <= 0 {
		o.Look = 10 * time.Second
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
		if f.problem = f.load(); f.problem != nil {
			o.Log.Error("rules that ask where an address is follow their on_error", "error", f.problem)
		}
		d.files = append(d.files, f)
	}
	return d
}

// Check tells what is wrong with a database, and what to do.
func Check(path string) error { return (&file{path: path}).load() }

// Problems are what is wrong with the files as they are now.
func (d *DB) Problems() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []error
	for _, f := range d.files {
		if f.problem != nil {
			out = append(out, f.problem)
		}
	}
	return out
}

func (f *file) load() error {
	info, err := os.Stat(f.path)
	if err != nil {
		f.change, f.size = time.Time{}, 0
		return fmt.Errorf("geo database: %w; put a MaxMind .mmdb file there or leave it out of the configuration", err)
	}
	f.change, f.size = info.ModTime(), info.Size()
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
	return nil
}

// Country is the ISO 3166-1 code of where an address is; guard.ErrNotFound if
// nobody knows, ErrNoCountries if there is nothing to know it from.
func (d *DB) Country(a netip.Addr) (string, error) {
	switch x := d.look(a); {
	case x.country != "":
		return x.country, nil
	case x.none:
		return "", ErrNoCountries
	}
	return "", guard.ErrNotFound
}

// ASN is the number of the network that announces an address;
// guard.ErrNotFound if nobody knows, ErrNoNetworks if there is nothing to know it
// from.
func (d *DB) ASN(a netip.Addr) (uint32, error) {
	switch x := d.look(a); {
	case x.asn != 0:
		return x.asn, nil
	case x.noASN:
		return 0, ErrNoNetworks
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
	x := &answer{loads: loads, addr: a, none: true, noASN: true}
	for _, f := range d.files {
		r := f.read.Load()
		if r == nil {
			continue
		}
		x.none, x.noASN = x.none && r.asn, x.noASN && !r.asn
		if r.asn {
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

// Run loads a database when its file changes or appears, until ctx ends. A broken
// new one is said, and the old one kept.
func (d *DB) Run(ctx context.Context) error {
	t := time.NewTicker(d.o.Look)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := d.Reload(); err != nil {
				d.o.Log.Warn("what was loaded of it before stays in use", "error", err)
			}
		}
	}
}

// Reload loads the databases whose files changed. The error is what is wrong with
// those.
func (d *DB) Reload() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, f := range d.files {
		info, err := os.Stat(f.path)
		same := err != nil && f.change.IsZero() || err == nil && info.ModTime().Equal(f.change) && info.Size() == f.size
		if same {
			continue // be it as missing or as broken as before
		}
		if f.problem = f.load(); f.problem != nil {
			errs = append(errs, f.problem)
			continue
		}
		d.loads.Add(1)
		d.o.Log.Info("geo database loaded", "file", f.path)
	}
	return errors.Join(errs...)
}
