package main

import (
	"fmt"
	"time"

	"ringfence/guard"
	"ringfence/guard/account"
	"ringfence/guard/auth"
	"ringfence/guard/numbers"
	"ringfence/guard/sanity"
	"ringfence/guard/scanner"
	"ringfence/guard/source"
)

// guardsConfig is what the guards may be told. A new guard joins here.
type guardsConfig struct {
	Account account.Config `yaml:"account"`
	Auth    auth.Config    `yaml:"auth"`
	Numbers numbers.Config `yaml:"numbers"`
	Sanity  sanity.Config  `yaml:"sanity"`
	Scanner scanner.Config `yaml:"scanner"`
	Source  source.Config  `yaml:"source"`
}

// fill writes out every default.
func (c *guardsConfig) fill() {
	c.Account.Fill()
	c.Auth.Fill()
	c.Numbers.Fill()
	c.Sanity.Fill()
	c.Source.Fill()
}

// check tells what of a guard's configuration makes no sense, by the guard's name.
func (c guardsConfig) check() map[string]error {
	made := func(_ *guard.Guard, err error) error { return err }
	return map[string]error{
		"account": made(account.New(guard.Host{}, c.Account)),
		"auth":    c.Auth.Check(),
		"numbers": made(numbers.New(guard.Host{}, c.Numbers)),
		"sanity":  made(sanity.New(guard.Host{}, c.Sanity)),
		"source":  made(source.New(guard.Host{}, c.Source)),
	}
}

// makeGuards makes the guards of this build. The authenticator comes back by
// itself as well, since it is also the proxy's challenger.
func makeGuards(c guardsConfig, h guard.Host, keys keyring, started time.Time) ([]*guard.Guard, *auth.Auth, error) {
	// Without a realm the next hop authenticates, whatever accounts a store
	// still holds from before.
	if c.Auth.Realm == "" {
		h.Accounts = nil
	}
	a, err := auth.New(auth.Options{
		Config: c.Auth, Accounts: h.Accounts, Started: started,
		Keys: auth.Keys{Current: keys.Current, Previous: keys.Previous},
	})
	if err != nil {
		return nil, nil, err
	}
	guards := []*guard.Guard{a.Guard(), scanner.New(c.Scanner)}
	for _, made := range []func() (*guard.Guard, error){
		func() (*guard.Guard, error) { return sanity.New(h, c.Sanity) },
		func() (*guard.Guard, error) { return source.New(h, c.Source) },
		func() (*guard.Guard, error) { return account.New(h, c.Account) },
		func() (*guard.Guard, error) { return numbers.New(h, c.Numbers) },
	} {
		g, err := made()
		if err != nil {
			return nil, nil, fmt.Errorf("guards: %w", err)
		}
		guards = append(guards, g)
	}
	return guards, a, nil
}
