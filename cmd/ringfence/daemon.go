package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"ringfence/bpf"
	"ringfence/console"
	"ringfence/guard"
	"ringfence/intel/accounts"
	"ringfence/intel/bans"
	"ringfence/proxy/dialog"
	"ringfence/record"
)

// The methods of this file make a guardian a console.Daemon.

// Status says what the daemon is doing.
func (g *guardian) Status(context.Context) console.Status {
	s := console.Status{Version: version(), Started: g.started, Policy: g.policy.version(), Filter: g.screen.text, Store: g.storeText(), Messages: g.tally.all(), Screen: map[string]uint64{}, Sockets: map[string]uint64{}}
	for i, a := range g.proxy.Addresses() {
		s.Listen = append(s.Listen, g.cfg.Listen[i].Transport+":"+a.String())
	}
	for _, x := range g.screen.both() {
		if counters, err := x.Counters(); err == nil {
			for reason, n := range counters.All() {
				if n.Packets > 0 && reason != bpf.Unguarded {
					s.Screen[reason.String()] += n.Packets
				}
			}
		}
	}
	for reason, n := range socketDrops(g.proxy.Sockets()) {
		if n > 0 {
			s.Sockets[reason] = n
		}
	}
	s.Bans, s.Limits, _ = g.bans.Counts()
	for range g.proxy.Calls() {
		s.Calls++
	}
	s.Hops = g.hops()
	return s
}

// hops are the next hops by name, with how fast they answer.
func (g *guardian) hops() []console.Hop {
	var out []console.Hop
	for _, c := range g.cfg.NextHops {
		l := g.proxy.Latency(c.Name)
		h := console.Hop{Name: c.Name, Responses: l.Responses, Median: l.Median, P99: l.P99}
		for _, s := range g.proxy.Hops() {
			if s.Hop.Name != c.Name {
				continue
			}
			if h.Servers++; s.Up {
				h.Up++
			}
		}
		out = append(out, h)
	}
	return out
}

func banOf(b bans.Ban) console.Ban {
	kind := "ban"
	if b.Limit {
		kind = "limit"
	}
	return console.Ban{Prefix: b.Prefix, Port: b.Port, Kind: kind, Rule: b.Rule, Reason: b.Reason, At: b.At, Until: b.Until, Repeat: b.Repeat}
}

// Bans are the bans and limits in force.
func (g *guardian) Bans(context.Context) []console.Ban {
	out := []console.Ban{}
	for b := range g.bans.All() {
		out = append(out, banOf(b))
	}
	return out
}

// Ban bans by hand.
func (g *guardian) Ban(ctx context.Context, in console.BanRequest) (console.Banned, error) {
	if !in.Prefix.IsValid() || in.For <= 0 {
		return console.Banned{}, errors.New("a ban needs a prefix and a duration")
	}
	if least := 8; in.Prefix.Bits() < least || in.Prefix.Addr().Is6() && in.Prefix.Bits() < 2*least {
		return console.Banned{}, fmt.Errorf("%s is too wide to ban by hand: at least /%d, or /%d for IPv6", in.Prefix, least, 2*least)
	}
	now := g.now()
	warning, err := unwritten(g.bans.Ban(ctx, bans.Ban{Prefix: in.Prefix, At: now, Until: now.Add(in.For), Rule: "by-hand", Reason: cmp.Or(in.Reason, "no reason given")}))
	return console.Banned{Warning: cmp.Or(warning, g.inMemory())}, err
}

// unwritten makes a warning of a refusal by the disk: what was asked for is in
// force all the same.
func unwritten(err error) (warning string, left error) {
	if errors.Is(err, bans.ErrUnwritten) {
		return err.Error() + "; it is tried again, make room", nil
	}
	return "", err
}

// Lift ends bans.
func (g *guardian) Lift(ctx context.Context, in console.LiftRequest) (console.Lifted, error) {
	if !in.Prefix.IsValid() {
		return console.Lifted{}, errors.New("a lift needs an address or a prefix")
	}
	ended, err := g.bans.Lift(ctx, in.Prefix, in.Reason)
	warning, err := unwritten(err)
	out := console.Lifted{Bans: []console.Ban{}, Warning: cmp.Or(warning, g.inMemory())}
	for _, b := range ended {
		out.Bans = append(out.Bans, banOf(b))
	}
	return out, err
}

func accountOf(a *guard.Account) console.Account {
	out := console.Account{User: a.User, Realm: a.Realm, Class: a.Class, CallLimit: a.CallLimit, Allowed: a.Allowed, Created: a.Created, Disabled: a.Disabled}
	for name := range a.HA1 {
		if !strings.Contains(name, "@") {
			out.Algorithms = append(out.Algorithms, name)
		}
	}
	slices.Sort(out.Algorithms)
	return out
}

// Accounts are the accounts without their secrets.
func (g *guardian) Accounts(context.Context) []console.Account {
	out := []console.Account{}
	for _, a := range g.accounts.List() {
		out = append(out, g.registered(a))
	}
	return out
}

// registered is an account with where it is registered.
func (g *guardian) registered(a *guard.Account) console.Account {
	out := accountOf(a)
	for _, b := range g.proxy.Bindings(a.User, a.Realm) {
		out.Bindings = append(out.Bindings, b.Contact+" over "+b.Transport.String()+" from "+b.Source.String())
	}
	return out
}

// AddAccount adds an account, or gives one a new password.
func (g *guardian) AddAccount(ctx context.Context, in console.AccountRequest) error {
	return addAccount(ctx, g.accounts, in)
}

func addAccount(ctx context.Context, book *accounts.Book, in console.AccountRequest) error {
	if in.Replace {
		return book.Passwd(ctx, in.Realm, in.User, in.HA1)
	}
	return book.Add(ctx, guard.Account{User: in.User, Realm: in.Realm, HA1: in.HA1, Class: in.Class, CallLimit: in.CallLimit, Allowed: in.Allowed})
}

// RemoveAccount removes an account.
func (g *guardian) RemoveAccount(ctx context.Context, realm, user string) error {
	return g.accounts.Remove(ctx, realm, user)
}

// Calls are the calls that are up, oldest first.
func (g *guardian) Calls(context.Context) []console.Call {
	out := []console.Call{}
	for c := range g.proxy.Calls() {
		call := console.Call{
			ID: c.ID, From: c.Caller.URI, Account: c.Account, Dialed: c.Dialed, Source: c.Caller.Leg.Address.String(),
			State: "early", Start: c.Start, Answered: c.Answered,
		}
		if c.State == dialog.Answered {
			call.State = "answered"
		}
		if len(c.Callees) > 0 {
			call.To, call.Towards = c.Callees[0].URI, c.Callees[0].Leg.Address.String()
		}
		out = append(out, call)
	}
	slices.SortFunc(out, func(a, b console.Call) int { return a.Start.Compare(b.Start) })
	return out
}

// EndCall hangs a call up.
func (g *guardian) EndCall(_ context.Context, id, reason string) error {
	if !g.proxy.EndCall(id, reason) {
		return fmt.Errorf("no call with Call-ID %q is up; `ringfence calls` lists them", id)
	}
	return nil
}

// History is what was decided, newest first.
func (g *guardian) History(ctx context.Context, q console.Query) ([]console.Entry, error) {
	return g.search(ctx, record.Query{
		Since: q.Since, Until: q.Until, Source: q.Source, Account: q.Account, CallID: q.CallID, Rule: q.Rule, Mode: q.Mode,
		Limit: min(max(q.Limit, 0), 10000),
	})
}

func (g *guardian) search(ctx context.Context, q record.Query) ([]console.Entry, error) {
	out := []console.Entry{}
	for e, err := range g.recorder.Search(ctx, q) {
		if err != nil {
			return nil, err
		}
		c := console.Entry{
			At: e.At, Source: e.Source, Via: e.Transport, Method: e.Method, From: e.From, To: e.To, CallID: e.CallID, Account: e.Account,
			Stage: e.Stage, Verdict: e.Verdict, Status: cmp.Or(e.Code, e.Status), Rule: e.Rule, Ban: e.Ban, Policy: e.Policy, Stands: e.Stands,
		}
		for _, m := range e.Matches {
			c.Matches = append(c.Matches, console.Match(m))
		}
		out = append(out, c)
	}
	return out, nil
}

// explained is how many entries an explanation shows.
const explained = 8

// Explain gathers what is known of an address, an account or a call.
func (g *guardian) Explain(ctx context.Context, about string) (console.Explanation, error) {
	x := console.Explanation{About: about, At: g.now()}
	q := record.Query{Limit: explained}
	addr, isAddr := netip.Addr{}, false
	if a, err := netip.ParseAddr(about); err == nil {
		addr, isAddr = a.Unmap(), true
	} else if ap, err := netip.ParseAddrPort(about); err == nil {
		addr, isAddr = ap.Addr().Unmap(), true
	}
	user, realm, isAccount := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(about, "sips:"), "sip:"), "@")
	switch {
	case about == "":
		return x, errors.New("explain what? an address, an address of record (user@realm) or a Call-ID")
	case isAddr:
		x.Kind, q.Source = "address", addr.String()
		for _, b := range g.bans.Find(addr) {
			x.Bans = append(x.Bans, banOf(b))
		}
		if g.geo != nil {
			x.Country, _ = g.geo.Country(addr) // unknown is left out
		}
		if len(x.Bans) > 0 {
			x.Undo = append(x.Undo, "ringfence lift "+addr.String())
		}
	default:
		x.Kind, q.CallID = "call", about
		for _, c := range g.Calls(ctx) {
			if c.ID == about {
				x.Calls = append(x.Calls, c)
			}
		}
	}
	var err error
	if x.Entries, err = g.search(ctx, q); err != nil {
		return x, err
	}
	if len(x.Entries) == 0 && len(x.Calls) == 0 && !isAddr && isAccount {
		x.Kind = "account"
		if a := g.accounts.Account(realm, user); a != nil {
			found := g.registered(a)
			x.Account = &found
		}
		if x.Entries, err = g.search(ctx, record.Query{Account: user + "@" + realm, Limit: explained}); err != nil {
			return x, err
		}
		for _, c := range g.Calls(ctx) {
			if c.Account == user+"@"+realm || strings.Contains(c.From, user+"@"+realm) || strings.Contains(c.To, user+"@"+realm) {
				x.Calls = append(x.Calls, c)
			}
		}
	}
	x.Undo = append(x.Undo, g.undo(x.Entries)...)
	return x, nil
}

// undo names what would have kept the rules from deciding so.
func (g *guardian) undo(entries []console.Entry) []string {
	var out []string
	for _, e := range entries {
		if e.Rule == "" || strings.HasPrefix(e.Rule, "builtin:") || e.Verdict == "pass" && e.Ban == "" {
			continue
		}
		where := ""
		for _, m := range e.Matches {
			if m.Rule == e.Rule {
				where = m.Where
			}
		}
		say := fmt.Sprintf("an exception for rule %s (%s), then `ringfence rules apply`", e.Rule, where)
		if !slices.Contains(out, say) {
			out = append(out, say)
		}
	}
	return out
}

// Doctor looks at what can be wrong.
func (g *guardian) Doctor(ctx context.Context) []console.Finding {
	out := examineHost()
	say := func(what string, ok bool, do, form string, args ...any) {
		f := console.Finding{What: what, OK: ok, Say: fmt.Sprintf(form, args...)}
		if !ok {
			f.Do = do
		}
		out = append(out, f)
	}
	filterOK := g.screen.kernel != nil || g.cfg.Screen.Mode == "off" || onlyLoopback(g.cfg)
	say("filter", filterOK, "run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON", "%s", g.screen.text)
	for _, h := range g.proxy.Hops() {
		state := "up"
		if !h.Up {
			state = "down: " + h.Last
		}
		say("next hop "+h.Hop.Name, h.Up, "is the server running, and does it answer OPTIONS?", "%s, %s over %s, %s", state, h.Hop.Address, h.Hop.Transport, h.Took.Round(time.Microsecond))
	}
	g.examineDNS(say)
	examineSockets(g.proxy.Sockets(), say)
	if g.geo != nil {
		wrong, text := errors.Join(g.geo.Problems()...), "every database is in use"
		if wrong != nil {
			text = wrong.Error()
		}
		say("geo", wrong == nil, "put it in place; it is read within seconds, and until then rules that ask for it follow their on_error, or what was loaded before", "%s", text)
	}
	g.examineState(say)
	say("history", g.store.Dropped() == 0 && g.recorder.Dropped() == 0, "make room on the disk", "%d entries dropped", g.store.Dropped()+g.recorder.Dropped())
	if g.mirror != nil {
		c := g.mirror.Counts()
		lost := c.Full + c.Unsent
		say("capture server", lost == 0, "does it run at "+g.cfg.Record.HEP.To+", and does it keep up?",
			"%d messages and %d verdicts mirrored, %d not", c.Messages, c.Verdicts, lost)
	}
	say("rules", true, "", "%s", g.policy.version())
	mode := "the next hop authenticates; ringfence learns from its answers"
	if g.auth.Local() {
		mode = fmt.Sprintf("ringfence authenticates, %d accounts in realm %s", len(g.accounts.List()), g.cfg.Guards.Auth.Realm)
	}
	if g.asksNobody() {
		say("authentication", false, unasked, "%s, but no rule in force asks for credentials: whoever sends none passes", mode)
	} else {
		say("authentication", !g.auth.Local() || g.accounts.Any(), "add one with `ringfence account add`", "%s", mode)
	}
	knows, answered := g.proxy.KnowsPath()
	say("registrations", true, "", "%s", registrations(*g.cfg.Location.Enabled, g.cfg.Register, knows, answered))
	return out
}

// asksNobody tells whether ringfence is to authenticate, but its rules let everybody
// through unasked.
func (g *guardian) asksNobody() bool { return g.auth.Local() && !g.policy.set.Challenges() }

const unasked = "use the default rules, or write one with `do: challenge` that is enforced, as auth-required of `ringfence rules default`"

// registrations says who keeps registrations, and how phones are called back:
// register is the setting, knows what an answer of the next hop has shown.
func registrations(location bool, register string, knows, answered bool) string {
	const path, contact = "phones are called back through Path (RFC 3327)", "phones are called back through a rewritten Contact"
	switch {
	case location:
		return "kept here, by the built-in location service"
	case register == "path":
		return "kept by the next hop; " + path
	case register == "contact":
		return "kept by the next hop; " + contact
	case !answered:
		return "kept by the next hop; Path is tried first (register: auto), no registration was answered yet"
	case knows:
		return "kept by the next hop; " + path + ", which it has shown to know (register: auto)"
	}
	return "kept by the next hop; " + contact + ", since it does not know Path (register: auto)"
}

// examineHost looks at the machine, with or without a daemon.
func examineHost() []console.Finding {
	var out []console.Finding
	support, err := bpf.Probe()
	f := console.Finding{What: "kernel", OK: err == nil, Say: support.Kernel + ", XDP can be loaded"}
	if err != nil {
		f.Say, f.Do = err.Error(), "or run with --filter off"
	}
	out = append(out, f)
	now := time.Now()
	clock := console.Finding{What: "clock", OK: now.Year() >= 2025, Say: now.Format(time.RFC3339)}
	if !clock.OK {
		clock.Do = "set the clock: nonces, bans and certificates go by it"
	}
	out = append(out, clock)
	if os.Geteuid() != 0 {
		out = append(out, console.Finding{What: "user", OK: true, Say: "not root: low ports and the kernel filter need capabilities"})
	}
	return out
}
