package account

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"ringfence/guard"
)

var at = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

type accounts map[string]*guard.Account

func (a accounts) Account(realm, user string) *guard.Account { return a[user+"@"+realm] }
func (a accounts) Any() bool                                 { return len(a) > 0 }

type dialogs int

func (d dialogs) Up(account string) int {
	if account == "alice@example.com" {
		return int(d)
	}
	return 0
}
func (dialogs) Has(*guard.Message) bool { return false }

// authOf stands for the guard auth: it proves an account.
func authOf(account string) *guard.Guard {
	return &guard.Guard{Name: "auth", Facts: []guard.Fact{{
		Name: "auth.result", Type: guard.String, Stage: guard.StageIdentity,
		Get: func(_ context.Context, f *guard.Facts) (guard.Value, error) {
			if account == "error" {
				return guard.Value{}, errors.New("cannot tell")
			}
			f.Message().Account = account
			return guard.Text("ok"), nil
		},
	}}}
}

type asker struct {
	values map[string]guard.Value
	errs   map[string]error
	names  []string
}

func (*asker) Version() string { return "test" }

func (p *asker) Decide(ctx context.Context, s guard.Stage, f *guard.Facts, _ *guard.Decision) guard.Verdict {
	if s == guard.StageCall {
		for _, name := range p.names {
			p.values[name], p.errs[name] = f.Ask(ctx, name)
		}
	}
	return guard.Verdict{}
}

func ask(t *testing.T, h guard.Host, account, from string) *asker {
	t.Helper()
	g, err := New(h, Config{})
	if err != nil {
		t.Fatal(err)
	}
	p := &asker{values: map[string]guard.Value{}, errs: map[string]error{}}
	for _, f := range g.Facts {
		p.names = append(p.names, f.Name)
	}
	e, err := guard.NewEngine(guard.EngineOptions{Guards: []*guard.Guard{authOf(account), g}, Policy: p, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	raw := "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: <sip:" + from +
		"@example.com>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\nContact: <sip:a@b>\r\nContent-Length: 0\r\n\r\n"
	m, err := guard.Parse([]byte(raw), at, netip.MustParseAddrPort("203.0.113.9:5060"), netip.MustParseAddrPort("192.0.2.1:5060"), guard.UDP)
	if err != nil {
		t.Fatal(err)
	}
	e.Judge(t.Context(), m, &guard.Decision{})
	return p
}

func TestFacts(t *testing.T) {
	known := accounts{
		"alice@example.com": {User: "alice", Realm: "example.com", Class: "24x7", CallLimit: 5, Allowed: []string{"+37167000000", "desk"}, Created: at.Add(-48 * time.Hour)},
		"bare@example.com":  {User: "bare", Realm: "example.com"},
		"gone@example.com":  {User: "gone", Realm: "example.com", Disabled: true},
		"a@b@example.com":   {User: "a@b", Realm: "example.com"},
	}
	h := guard.Host{Accounts: known, Dialogs: dialogs(3)}
	for _, c := range []struct {
		name, account, from string
		known               bool
		class               string
		limit, calls        int64
		age                 time.Duration
		identity            bool
	}{
		{"herself", "alice@example.com", "alice", true, "24x7", 5, 3, 48 * time.Hour, true},
		{"her number", "alice@example.com", "+37167000000", true, "24x7", 5, 3, 48 * time.Hour, true},
		{"her number without plus", "alice@example.com", "37167000000", true, "24x7", 5, 3, 48 * time.Hour, true},
		{"her desk", "alice@example.com", "desk", true, "24x7", 5, 3, 48 * time.Hour, true},
		{"somebody else", "alice@example.com", "boss", true, "24x7", 5, 3, 48 * time.Hour, false},
		{"another case", "alice@example.com", "ALICE", true, "24x7", 5, 3, 48 * time.Hour, false},
		{"defaults", "bare@example.com", "bare", true, "default", 2, 0, 0, true},
		{"an at in the user", "a@b@example.com", "x", true, "default", 2, 0, 0, false},
		{"disabled", "gone@example.com", "gone", false, "", 2, 0, 0, false},
		{"unknown", "mallory@example.com", "mallory", false, "", 2, 0, 0, false},
		{"nobody", "", "alice", false, "", 2, 0, 0, false},
	} {
		p := ask(t, h, c.account, c.from)
		for name, err := range p.errs {
			if err != nil {
				t.Errorf("%s: %s: %v", c.name, name, err)
			}
		}
		v := p.values
		if v["acct.known"].True() != c.known || v["acct.class"].Str() != c.class || v["acct.call_limit"].Int() != c.limit || v["acct.calls"].Int() != c.calls ||
			v["acct.age"].Duration() != c.age || v["acct.identity_ok"].True() != c.identity {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestWithoutHost(t *testing.T) {
	p := ask(t, guard.Host{}, "alice@example.com", "alice")
	if p.values["acct.known"].True() || p.errs["acct.known"] != nil {
		t.Error("without accounts nobody is known")
	}
	if !errors.Is(p.errs["acct.calls"], errNoDialogs) {
		t.Errorf("acct.calls without dialogs: %v", p.errs["acct.calls"])
	}
	p = ask(t, guard.Host{}, "error", "alice")
	for name, err := range p.errs {
		if err == nil {
			t.Errorf("%s is known although auth.result is not", name)
		}
	}
	if _, err := New(guard.Host{}, Config{CallLimit: -1}); err == nil {
		t.Error("a negative call_limit was accepted")
	}
}
