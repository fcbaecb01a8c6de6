// Package accounts is the book of who may register and call, with the digests
// of their passwords and never the passwords.
package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"ringfence/guard"
)

// Errors that callers tell apart.
var (
	ErrExists = errors.New("there is such an account already")
	ErrNone   = errors.New("there is no such account")
	ErrFull   = errors.New("there is no room for another account")
)

const prefix = "a/"

// Options says how the book is kept.
type Options struct {
	Max int // accounts; default 1,000,000
	Now func() time.Time
}

// A Book is all accounts. Look-ups take no lock and allocate nothing.
type Book struct {
	store guard.Store
	o     Options

	mu  sync.Mutex // one writer at a time
	all atomic.Pointer[map[name]*guard.Account]
}

type name struct{ realm, user string }

// Open reads the accounts from the store.
func Open(ctx context.Context, s guard.Store, o Options) (*Book, error) {
	if o.Max <= 0 {
		o.Max = 1_000_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	b := &Book{store: s, o: o}
	all := map[name]*guard.Account{}
	for item, err := range s.Scan(ctx, []byte(prefix), false) {
		if err != nil {
			return nil, fmt.Errorf("accounts: %w", err)
		}
		a := new(guard.Account)
		if err := json.Unmarshal(item.Value, a); err != nil {
			return nil, fmt.Errorf("accounts: %q is damaged: %w", item.Key, err)
		}
		all[name{a.Realm, a.User}] = a
	}
	b.all.Store(&all)
	return b, nil
}

// Account finds an account; nil if there is none.
func (b *Book) Account(realm, user string) *guard.Account { return (*b.all.Load())[name{realm, user}] }

// Any tells whether there is any account.
func (b *Book) Any() bool { return len(*b.all.Load()) > 0 }

// List is every account by realm and user.
func (b *Book) List() []*guard.Account {
	return slices.SortedFunc(maps.Values(*b.all.Load()), func(x, y *guard.Account) int {
		return strings.Compare(x.Realm+"\x00"+x.User, y.Realm+"\x00"+y.User)
	})
}

// Add adds an account; ErrExists if it is there.
func (b *Book) Add(ctx context.Context, a guard.Account) error {
	return b.change(ctx, a.Realm, a.User, func(old *guard.Account) (*guard.Account, error) {
		if old != nil {
			return nil, ErrExists
		}
		a.Created = b.o.Now()
		a.HA1, a.Allowed = maps.Clone(a.HA1), slices.Clone(a.Allowed)
		return &a, nil
	})
}

// Passwd gives an account new digests; ErrNone if it is not there.
func (b *Book) Passwd(ctx context.Context, realm, user string, ha1 map[string]string) error {
	return b.change(ctx, realm, user, func(old *guard.Account) (*guard.Account, error) {
		if old == nil {
			return nil, ErrNone
		}
		a := *old
		a.HA1 = maps.Clone(ha1)
		return &a, nil
	})
}

// Remove takes an account out; ErrNone if it is not there.
func (b *Book) Remove(ctx context.Context, realm, user string) error {
	return b.change(ctx, realm, user, func(old *guard.Account) (*guard.Account, error) {
		if old == nil {
			return nil, ErrNone
		}
		return nil, nil
	})
}

// change writes one account to disk and then into a new snapshot.
func (b *Book) change(ctx context.Context, realm, user string, f func(*guard.Account) (*guard.Account, error)) error {
	if user == "" || realm == "" || strings.ContainsAny(user+realm, "/\" ") || strings.ContainsFunc(user+realm, unicode.IsControl) {
		return fmt.Errorf("account %q@%q: a name needs a user and a realm without blanks, quotes and slashes", user, realm)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := maps.Clone(*b.all.Load())
	n := name{realm, user}
	a, err := f(all[n])
	if err != nil {
		return fmt.Errorf("account %s@%s: %w", user, realm, err)
	}
	key := []byte(prefix + realm + "/" + user)
	if a == nil {
		if err := b.store.Delete(ctx, key); err != nil {
			return fmt.Errorf("account %s@%s: %w", user, realm, err)
		}
		delete(all, n)
	} else {
		if all[n] == nil && len(all) >= b.o.Max {
			return fmt.Errorf("account %s@%s: %w", user, realm, ErrFull)
		}
		text, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("account %s@%s: %w", user, realm, err)
		}
		if err := b.store.Put(ctx, key, text, 0); err != nil {
			return fmt.Errorf("account %s@%s: %w", user, realm, err)
		}
		all[n] = a
	}
	b.all.Store(&all)
	return nil
}
