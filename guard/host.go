package guard

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"time"
)

// ErrNotFound is returned by Store.Get and by look-ups that found nothing.
var ErrNotFound = errors.New("not found")

// An Item is one entry of a Store.
type Item struct {
	Key, Value []byte
	Expires    time.Time // zero: never
}

// A Store keeps small values with a time to live. intel/store implements it.
// A ttl of 0 means for ever and is for accounts, keys and rule sets only.
type Store interface {
	Get(ctx context.Context, key []byte) ([]byte, error) // ErrNotFound
	Put(ctx context.Context, key, val []byte, ttl time.Duration) error
	Delete(ctx context.Context, key []byte) error
	// Batch puts many items, each until it expires, and deletes keys, at the cost
	// of one write. What a crash keeps of it is a prefix.
	Batch(ctx context.Context, put []Item, gone [][]byte) error
	// Update reads, changes and writes one key in a transaction; old is nil if
	// there is none; a nil result deletes.
	Update(ctx context.Context, key []byte, f func(old []byte) (val []byte, ttl time.Duration, err error)) error
	// Scan goes over the keys with the prefix in order, backwards if reverse.
	Scan(ctx context.Context, prefix []byte, reverse bool) iter.Seq2[Item, error]
}

// Meters count things in windows. intel/meter implements it. Memory is bounded.
type Meters interface {
	// Respec says what is counted from now on and gives the counters of that. A
	// meter whose Spec is unchanged keeps its counts. The counters of before go on
	// counting what they counted, for messages that are being judged meanwhile.
	Respec([]MeterSpec) Counters
}

// Counters are the meters of one Respec, by their position in it.
type Counters interface {
	// Add adds n for key and returns the value of the window including it.
	Add(meter int, key uint64, n int64, at time.Time) int64
	// AddDistinct notes item for key and returns the number of different items.
	AddDistinct(meter int, key, item uint64, at time.Time) int64
	// Value is the value of the window at that time.
	Value(meter int, key uint64, at time.Time) int64
}

// A MeterSpec defines one meter.
type MeterSpec struct {
	Name     string
	Window   time.Duration
	Distinct bool
	Durable  bool   // survives a restart, at most a minute behind
	Hash     uint64 // of the definition; the same hash keeps the counts
}

// Lists are named lists of feeds and files, found by number for speed.
type Lists interface {
	HasIP(list int, a netip.Addr) bool
	HasPrefix(list int, e164 string) bool
	HasText(list int, s string) bool
}

// Geo says where an address is. intel/geo implements it.
type Geo interface {
	Country(netip.Addr) (string, error) // ISO 3166-1 alpha-2; ErrNotFound
	ASN(netip.Addr) (uint32, error)     // ErrNotFound
}

// A Number is what is known of a telephone number.
type Number struct {
	Country   string // ISO 3166-1 alpha-2, "" for international services
	Kind      string // fixed, mobile, premium, shared, toll-free, satellite, voip, international, short, unknown
	Prefix    string // the longest prefix that was known
	Emergency bool
}

// Numbers is the numbering plan. intel/numbers implements it.
type Numbers interface {
	Lookup(e164 string) (Number, bool)
}

// An Account is somebody who may register and call.
type Account struct {
	User      string            `json:"user"`
	Realm     string            `json:"realm"`
	HA1       map[string]string `json:"ha1"` // by algorithm: MD5, SHA-256, SHA-512-256; lower-case hex
	Class     string            `json:"class,omitempty"`
	CallLimit int               `json:"call_limit,omitempty"`
	Allowed   []string          `json:"allowed,omitempty"` // identities besides its own that it may use in From
	Created   time.Time         `json:"created"`
	Disabled  bool              `json:"disabled,omitempty"`
}

// Accounts finds accounts. intel/accounts implements it. The result is shared
// and read only.
type Accounts interface {
	// Account is nil if there is none.
	Account(realm, user string) *Account
	// Any tells whether there is any account at all: without one, authentication
	// passes through to the PBX.
	Any() bool
}

// Dialogs looks up calls. proxy/dialog implements it.
type Dialogs interface {
	// Up is the number of calls of an account ("user@realm") that are up.
	Up(account string) int
	// Has tells whether the message belongs to a dialog that is known: Call-ID,
	// both tags, and a source that is one of its two sides.
	Has(*Message) bool
}
