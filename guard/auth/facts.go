package auth

import (
	"context"
	"crypto/rand"

	"ringfence/guard"
)

func init() { guard.Register(Kind) }

// Kind makes the guard with a key of its own, for tests and explain. The running
// proxy makes an Auth with New, since it shares its key with the kernel filter
// and keeps it over restarts.
var Kind = guard.Kind{
	Name:   "auth",
	Doc:    "who a message comes from, by digest authentication",
	Config: func() any { return &Config{} },
	New: func(h guard.Host, c any) (*guard.Guard, error) {
		o := Options{Config: *c.(*Config), Accounts: h.Accounts}
		rand.Read(o.Keys.Current[:])
		a, err := New(o)
		if err != nil {
			return nil, err
		}
		return a.Guard(), nil
	},
}

// Guard gives the facts auth.*.
func (a *Auth) Guard() *guard.Guard { return &guard.Guard{Name: "auth", Facts: a.facts()} }

func (a *Auth) facts() []guard.Fact {
	return []guard.Fact{
		{
			Name: "auth.result", Type: guard.String, Stage: guard.StageIdentity, Cost: guard.Crypto,
			Doc: "What became of the credentials: none, ok, bad, stale (our nonce, too old), replay (this nonce count was used), " +
				"unknown-nonce, or downgrade (an algorithm that was not offered, or no qop); always none in mode pass.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				m := f.Message()
				result, user, realm := a.Check(m)
				if result == OK {
					m.Account = user + "@" + realm
				}
				return guard.Text(result), nil
			},
		},
		{
			Name: "auth.user", Type: guard.String, Stage: guard.StageIdentity, Cost: guard.Crypto, Needs: []string{"auth.result"},
			Doc: "The user who is proved by credentials or by the dialog, or empty; in mode pass the user whom the credentials name, " +
				"which only the PBX can confirm.",
			Get: func(ctx context.Context, f *guard.Facts) (guard.Value, error) {
				if _, err := f.Ask(ctx, "auth.result"); err != nil {
					return guard.Value{}, err
				}
				m := f.Message()
				if user, _, found := cutLast(m.Account, '@'); found {
					return guard.Text(user), nil
				}
				if a.Local() {
					return guard.Text(""), nil
				}
				return guard.Text(a.claimed(m).username), nil
			},
		},
		{
			Name: "auth.claimed", Type: guard.String, Stage: guard.StageIdentity, Cost: guard.Free,
			Doc: "The user whom the credentials name, proved or not; for counting guesses, not for allowing.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				return guard.Text(a.claimed(f.Message()).username), nil
			},
		},
		{
			Name: "auth.realm", Type: guard.String, Stage: guard.StageIdentity, Cost: guard.Free,
			Doc: "The realm of the credentials, or empty.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				return guard.Text(a.claimed(f.Message()).realm), nil
			},
		},
		{
			Name: "auth.algorithm", Type: guard.String, Stage: guard.StageIdentity, Cost: guard.Free,
			Doc: "The algorithm of the credentials as registered (MD5, SHA-256, SHA-512-256), as written if it is another one, or empty.",
			Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
				c := a.claimed(f.Message())
				if c.nonce == "" {
					return guard.Text(""), nil
				}
				if name, known := canonical(c.algorithm); known {
					return guard.Text(name), nil
				}
				return guard.Text(c.algorithm), nil
			},
		},
		{
			Name: "auth.mode", Type: guard.String, Stage: guard.StageMessage, Cost: guard.Free,
			Doc: "Who authenticates: local (ringfence, there are accounts or a realm) or pass (the PBX).",
			Get: func(context.Context, *guard.Facts) (guard.Value, error) {
				if a.Local() {
					return guard.Text("local"), nil
				}
				return guard.Text("pass"), nil
			},
		},
	}
}

// claimed gives the credentials for us or, if there are none, the first ones.
func (a *Auth) claimed(m *guard.Message) credentials {
	if c, _, _, found := a.find(m); found {
		return c
	}
	if m.Index != nil && m.Index.Request {
		for value := range credentialHeaders(m.Index) {
			if c, ok := read(m.Index, value); ok {
				return c
			}
		}
	}
	return credentials{}
}
