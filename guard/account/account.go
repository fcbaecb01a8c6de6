// Package account says whose account pays for a message and what it may do.
package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"ringfence/guard"
)

func init() { guard.Register(Kind) }

// Kind makes the guard.
var Kind = guard.Kind{
	Name:   "account",
	Doc:    "whose account pays for a message and what it may do",
	Config: func() any { return &Config{} },
	New:    func(h guard.Host, c any) (*guard.Guard, error) { return New(h, *c.(*Config)) },
}

// Config is what holds for accounts that say nothing of their own.
type Config struct {
	Class     string `yaml:"class"`      // default "default"
	CallLimit int    `yaml:"call_limit"` // calls at once; default 2
}

var errNoDialogs = errors.New("no calls are kept")

// Fill writes out the defaults of what is not set.
func (c *Config) Fill() {
	c.CallLimit, c.Class = cmp.Or(c.CallLimit, 2), cmp.Or(c.Class, "default")
}

// New makes the guard. Without Host.Accounts every account is unknown; without
// Host.Dialogs acct.calls is an error.
func New(h guard.Host, c Config) (*guard.Guard, error) {
	if c.CallLimit < 0 {
		return nil, fmt.Errorf("account: call_limit is %d (want 0 for the default 2, or more)", c.CallLimit)
	}
	c.Fill()
	// fact makes a fact about the account of the message, nil if it has none.
	// auth.result comes first: it is what sets Message.Account.
	fact := func(name string, t guard.Type, doc string, get func(*guard.Message, *guard.Account) (guard.Value, error)) guard.Fact {
		return guard.Fact{
			Name: name, Type: t, Stage: guard.StageCall, Cost: guard.Memory, Doc: doc, Needs: []string{"auth.result"},
			Get: func(ctx context.Context, f *guard.Facts) (guard.Value, error) {
				if _, err := f.Ask(ctx, "auth.result"); err != nil {
					return guard.Value{}, err
				}
				return get(f.Message(), find(h.Accounts, f.Message().Account))
			},
		}
	}
	return &guard.Guard{Name: "account", Facts: []guard.Fact{
		fact("acct.known", guard.Bool, "Whether the account that was authenticated is one of ours and not disabled.",
			func(_ *guard.Message, a *guard.Account) (guard.Value, error) { return guard.Truth(a != nil), nil }),
		fact("acct.class", guard.String, "The class of the account, the configured one if it has none, empty if there is no account.",
			func(_ *guard.Message, a *guard.Account) (guard.Value, error) {
				switch {
				case a == nil:
					return guard.Text(""), nil
				case a.Class == "":
					return guard.Text(c.Class), nil
				}
				return guard.Text(a.Class), nil
			}),
		fact("acct.call_limit", guard.Int, "How many calls the account may have at once; the configured number if it has none of its own, or there is no account.",
			func(_ *guard.Message, a *guard.Account) (guard.Value, error) {
				if a == nil || a.CallLimit == 0 {
					return guard.Integer(int64(c.CallLimit)), nil
				}
				return guard.Integer(int64(a.CallLimit)), nil
			}),
		fact("acct.calls", guard.Int, "How many calls of the account are up, without the one that is asked for; also of accounts that only the PBX knows.",
			func(m *guard.Message, _ *guard.Account) (guard.Value, error) {
				if h.Dialogs == nil {
					return guard.Value{}, errNoDialogs
				}
				if m.Account == "" {
					return guard.Integer(0), nil
				}
				return guard.Integer(int64(h.Dialogs.Up(m.Account))), nil
			}),
		fact("acct.age", guard.Duration, "The time since the account was created, zero if there is none.",
			func(m *guard.Message, a *guard.Account) (guard.Value, error) {
				if a == nil || a.Created.IsZero() || m.At.Before(a.Created) {
					return guard.Span(0), nil
				}
				return guard.Span(m.At.Sub(a.Created)), nil
			}),
		fact("acct.identity_ok", guard.Bool, "Whether the From user is the account's own or one that it is allowed to use, so that nobody calls in another's name; false if there is no account.",
			func(m *guard.Message, a *guard.Account) (guard.Value, error) {
				return guard.Truth(a != nil && mayUse(a, from(m))), nil
			}),
	}}, nil
}

// find looks the account "user@realm" up.
func find(accounts guard.Accounts, name string) *guard.Account {
	i := strings.LastIndexByte(name, '@')
	if accounts == nil || i < 0 {
		return nil
	}
	a := accounts.Account(name[i+1:], name[:i])
	if a == nil || a.Disabled {
		return nil
	}
	return a
}

// from is the user part of From as written.
func from(m *guard.Message) string {
	switch {
	case m.Index != nil:
		return m.Index.Text(m.Index.From.URI.User)
	case m.Call != nil:
		user, _, _ := strings.Cut(m.Call.From, "@")
		return user
	}
	return ""
}

// mayUse compares bytes: a user written with escapes is not the same user
// (RFC 3261 section 19.1.4 leaves that to the server), and nobody's phone
// needs one.
func mayUse(a *guard.Account, user string) bool {
	if user == a.User {
		return true
	}
	for _, other := range a.Allowed {
		if user == other || strings.HasPrefix(other, "+") && user == other[1:] {
			return true
		}
	}
	return false
}
