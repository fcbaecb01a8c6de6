package main

import (
	"context"
	"path/filepath"
	"time"

	"ringfence/console"
	"ringfence/intel/accounts"
	"ringfence/intel/store"
)

// localAccounts are the accounts of a store that no daemon holds.
type localAccounts struct{ book *accounts.Book }

func openAccounts(ctx context.Context, dir string) (accountBook, func() error, error) {
	s, err := store.Open(filepath.Join(dir, "store"), store.Options{Now: time.Now})
	if err != nil {
		return nil, nil, err
	}
	book, err := accounts.Open(ctx, s, accounts.Options{Now: time.Now})
	if err != nil {
		_ = s.Close() // the first error says more
		return nil, nil, err
	}
	return localAccounts{book}, s.Close, nil
}

func (l localAccounts) list(context.Context) ([]console.Account, error) {
	out := []console.Account{}
	for _, a := range l.book.List() {
		out = append(out, accountOf(a))
	}
	return out, nil
}

func (l localAccounts) add(ctx context.Context, in console.AccountRequest) error {
	return addAccount(ctx, l.book, in)
}

func (l localAccounts) remove(ctx context.Context, realm, user string) error {
	return l.book.Remove(ctx, realm, user)
}
