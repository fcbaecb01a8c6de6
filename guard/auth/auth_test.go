package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
)

var (
	start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	phone = netip.MustParseAddrPort("203.0.113.9:5060")
	here  = netip.MustParseAddrPort("192.0.2.1:5060")
)

// accounts are alice of the realm, with the password "secret".
type accounts map[string]*guard.Account

func (a accounts) Account(realm, user string) *guard.Account { return a[user+"@"+realm] }
func (a accounts) Any() bool                                 { return len(a) > 0 }

func alice() accounts {
	return accounts{"alice@example.com": {User: "alice", Realm: "example.com", HA1: HA1("alice", "example.com", "secret"), Created: start}}
}

func newAuth(t testing.TB, change func(*Options)) *Auth {
	t.Helper()
	o := Options{Config: Config{Realm: "example.com"}, Keys: Keys{Current: [32]byte{1, 2, 3}}, Accounts: alice()}
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// request is an INVITE or another method with header lines added, each with its CRLF.
func request(t testing.TB, method, uri, lines string, at time.Time) *guard.Message {
	t.Helper()
	raw := fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"+
		"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: a\r\nCSeq: 1 %s\r\n"+
		"Contact: <sip:alice@203.0.113.9>\r\n%sContent-Length: 0\r\n\r\n", method, uri, method, lines)
	m, err := guard.Parse([]byte(raw), at, phone, here, guard.UDP)
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	return m
}

const uri = "sip:bob@example.com"

// A client answers a challenge as a phone does.
type client struct {
	user, password      string
	algorithm, cnonce   string
	uri, qop, nc, extra string
	realm               string
}

func phoneOf() client {
	return client{user: "alice", password: "secret", algorithm: "MD5", cnonce: "c", uri: uri, qop: "auth", nc: "00000001", realm: "example.com"}
}

func (c client) header(nonce, method string) string {
	name, _ := canonical(c.algorithm)
	h := func(parts ...string) string {
		return string(appendHash(nil, name, []byte(strings.Join(parts, ":"))))
	}
	ha1, ha2 := h(c.user, c.realm, c.password), h(method, c.uri)
	text := fmt.Sprintf(`Authorization: Digest username="%s", realm="%s", nonce="%s", uri="%s"`, c.user, c.realm, nonce, c.uri)
	if c.algorithm != "" {
		text += ", algorithm=" + c.algorithm
	}
	if c.qop == "" {
		return text + fmt.Sprintf(`, response="%s"%s`, h(ha1, nonce, ha2), c.extra) + "\r\n"
	}
	return text + fmt.Sprintf(`, qop=%s, nc=%s, cnonce="%s", response="%s"%s`, c.qop, c.nc, c.cnonce, h(ha1, nonce, c.nc, c.cnonce, c.qop, ha2), c.extra) + "\r\n"
}

// nonceFor is the nonce of the challenge with that algorithm.
func nonceFor(t testing.TB, a *Auth, at time.Time, algorithm string, v *guard.Verdict) string {
	t.Helper()
	for line := range strings.SplitSeq(string(a.AppendChallenge(nil, request(t, "INVITE", uri, "", at), v)), "\r\n") {
		if strings.Contains(line, "algorithm="+algorithm+",") {
			_, rest, _ := strings.Cut(line, `nonce="`)
			nonce, _, _ := strings.Cut(rest, `"`)
			return nonce
		}
	}
	t.Fatalf("no challenge with %s", algorithm)
	return ""
}

func TestChallenge(t *testing.T) {
	a := newAuth(t, func(o *Options) { o.Opaque = "x" })
	lines := strings.Split(string(a.AppendChallenge(nil, request(t, "REGISTER", "sip:example.com", "", start), nil)), "\r\n")
	if len(lines) != 3 || lines[2] != "" {
		t.Fatalf("want two lines, got %q", lines)
	}
	for i, algorithm := range []string{"SHA-256", "MD5"} {
		want := `WWW-Authenticate: Digest realm="example.com", nonce="r1`
		if !strings.HasPrefix(lines[i], want) || !strings.HasSuffix(lines[i], `", algorithm=`+algorithm+`, qop="auth", opaque="x"`) {
			t.Errorf("challenge %d is %s", i, lines[i])
		}
	}
	got := string(a.AppendChallenge(nil, request(t, "INVITE", uri, "", start), &guard.Verdict{Realm: `a"b`, Algorithms: []string{"SHA-512-256", "ROT13"}, Stale: true}))
	if !strings.HasPrefix(got, `Proxy-Authenticate: Digest realm="a\"b", nonce="`) || !strings.HasSuffix(got, "algorithm=SHA-512-256, qop=\"auth\", opaque=\"x\", stale=true\r\n") || strings.Count(got, "\r\n") != 1 {
		t.Errorf("challenge of a verdict is %s", got)
	}
}

func TestNeverChallenged(t *testing.T) {
	a := newAuth(t, nil)
	for _, c := range []struct {
		method string
		status int
	}{{"ACK", 0}, {"CANCEL", 0}, {"REGISTER", 401}, {"INVITE", 407}, {"OPTIONS", 407}, {"PING", 407}} {
		m := request(t, c.method, uri, "", start)
		if got := a.Status(m); got != c.status {
			t.Errorf("%s: status %d, want %d", c.method, got, c.status)
		}
		if got := a.AppendChallenge(nil, m, nil); (len(got) == 0) != (c.status == 0) {
			t.Errorf("%s: challenge %q", c.method, got)
		}
	}
}

func TestCheck(t *testing.T) {
	other := netip.MustParseAddrPort("198.51.100.1:5060")
	for _, c := range []struct {
		name   string
		want   Result
		stale  bool // what the next challenge says
		client func(*client)
		option func(*Options)
		method string
		target string
		after  time.Duration
		from   netip.AddrPort
		nonce  string
	}{
		{name: "right", want: OK},
		{name: "right with SHA-256", want: OK, client: func(c *client) { c.algorithm = "SHA-256" }},
		{name: "right with SHA-512-256", want: OK, client: func(c *client) { c.algorithm = "SHA-512-256" }, option: func(o *Options) { o.Algorithms = []string{"SHA-512-256"} }},
		{name: "no algorithm means MD5", want: OK, client: func(c *client) { c.algorithm = "" }},
		{name: "algorithm in lower case", want: OK, client: func(c *client) { c.algorithm = "sha-256" }},
		{name: "user with realm", want: OK, client: func(c *client) { c.user = "alice@example.com" }},
		{name: "wrong password", want: Bad, client: func(c *client) { c.password = "guess" }},
		{name: "unknown user", want: Bad, client: func(c *client) { c.user = "mallory" }},
		{name: "disabled account", want: Bad, option: func(o *Options) { o.Accounts.(accounts)["alice@example.com"].Disabled = true }},
		{name: "userhash was not offered", want: Bad, client: func(c *client) { c.extra = ", userhash=true" }},
		{name: "four minutes later", want: OK, after: 4 * time.Minute},
		{name: "six minutes later", want: Stale, stale: true, after: 6 * time.Minute},
		{name: "from another source", want: UnknownNonce, stale: true, from: other},
		{name: "another port of the source", want: UnknownNonce, stale: true, from: netip.AddrPortFrom(phone.Addr(), 5061)},
		{name: "nonce of the future", want: UnknownNonce, stale: true, after: -time.Minute},
		{name: "nonce made up", want: UnknownNonce, stale: true, nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093"},
		{name: "nonce of the right form made up", want: UnknownNonce, stale: true, nonce: "r1" + strings.Repeat("0", 40)},
		{name: "algorithm that was not offered", want: Downgrade, stale: true, client: func(c *client) { c.algorithm = "MD5" }, option: func(o *Options) { o.Algorithms = []string{"SHA-256"} }},
		{name: "algorithm that nobody offers", want: Downgrade, stale: true, client: func(c *client) { c.algorithm = "MD5-sess" }},
		{name: "no qop", want: Downgrade, client: func(c *client) { c.qop = "" }},
		{name: "no qop, allowed", want: OK, client: func(c *client) { c.qop = "" }, option: func(o *Options) { o.RFC2069 = true }},
		{name: "qop that was not offered", want: Downgrade, client: func(c *client) { c.qop = "auth-int" }},
		{name: "another realm with our nonce", want: UnknownNonce, stale: true, client: func(c *client) { c.realm = "example.org" }},
		{name: "nonce count zero", want: Bad, client: func(c *client) { c.nc = "00000000" }},
		{name: "nonce count of seven digits", want: Bad, client: func(c *client) { c.nc = "0000001" }},
		{name: "no client nonce", want: Bad, client: func(c *client) { c.cnonce = "" }},
		{name: "uri with port and parameters", want: OK, client: func(c *client) { c.uri = "sips:bob@EXAMPLE.com:5061;transport=tls" }},
		{name: "uri of the server only", want: OK, client: func(c *client) { c.uri = "sip:example.com:5060" }},
		{name: "uri of another server only", want: Bad, client: func(c *client) { c.uri = "sip:example.org" }},
		{name: "uri of another user", want: Bad, client: func(c *client) { c.uri = "sip:premium@example.com" }},
		{name: "uri of another host", want: Bad, client: func(c *client) { c.uri = "sip:bob@example.org" }},
		{name: "uri exact", want: Bad, client: func(c *client) { c.uri = "sip:bob@example.com:5060" }, option: func(o *Options) { o.URI = "exact" }},
		{name: "uri not looked at", want: OK, client: func(c *client) { c.uri = "sip:nobody" }, option: func(o *Options) { o.URI = "off" }},
		{name: "tel uri", want: OK, target: "tel:+371;x=1", client: func(c *client) { c.uri = "tel:+371" }},
		{name: "ACK is not looked at", want: None, method: "ACK"},
		{name: "pass-through", want: None, option: func(o *Options) { o.Accounts, o.Realm = nil, "" }, client: func(c *client) { c.realm = DefaultRealm }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, p := newAuth(t, c.option), phoneOf()
			if c.client != nil {
				c.client(&p)
			}
			if c.method == "" {
				c.method = "INVITE"
			}
			if c.target == "" {
				c.target = uri
			}
			offered, known := canonical(p.algorithm)
			if !known || !a.configured(offered) {
				offered = a.o.Algorithms[0]
			}
			nonce := nonceFor(t, a, start, offered, nil)
			if c.nonce != "" {
				nonce = c.nonce
			}
			m := request(t, c.method, c.target, p.header(nonce, c.method), start.Add(c.after))
			if c.from.IsValid() {
				m.Src = c.from
			}
			// A challenge before the check tells what the credentials deserve.
			if stale := strings.Contains(string(a.AppendChallenge(nil, m, nil)), "stale=true"); stale != c.stale {
				t.Errorf("challenge says stale %t, want %t", stale, c.stale)
			}
			got, user, realm := a.Check(m)
			if got != c.want {
				t.Fatalf("got %s, want %s", got, c.want)
			}
			if got == OK && (user != "alice" || realm != "example.com") {
				t.Errorf("got user %q of realm %q", user, realm)
			}
			if got != OK && user != "" {
				t.Errorf("%s names user %q", got, user)
			}
		})
	}
}

func TestReplay(t *testing.T) {
	a, p := newAuth(t, nil), phoneOf()
	nonce := nonceFor(t, a, start, "MD5", nil)
	check := func(nc, cnonce string) Result {
		p.nc, p.cnonce = nc, cnonce
		r, _, _ := a.Check(request(t, "INVITE", uri, p.header(nonce, "INVITE"), start))
		return r
	}
	for i, c := range []struct {
		nc, cnonce string
		want       Result
	}{
		{"00000001", "c", OK},
		{"00000001", "c", Replay},
		{"00000003", "c", OK},
		{"00000002", "c", OK}, // overtaken
		{"00000002", "c", Replay},
		{"00000001", "d", OK}, // another phone behind the same address
		{"00000050", "c", OK},
		{"00000011", "c", OK},     // 63 before the highest
		{"00000010", "c", Replay}, // too far back to be sure
	} {
		if got := check(c.nc, c.cnonce); got != c.want {
			t.Errorf("step %d: nc %s of %s: %s, want %s", i, c.nc, c.cnonce, got, c.want)
		}
	}
	p.nc, p.cnonce = "00000001", "c"
	if got := string(a.AppendChallenge(nil, request(t, "INVITE", uri, p.header(nonce, "INVITE"), start), nil)); !strings.Contains(got, "stale=true") {
		t.Errorf("a replay is challenged with %s", got)
	}
}

func TestReplayNeverPassesUnderLoad(t *testing.T) {
	a := newAuth(t, func(o *Options) { o.ReplaySlots = 8 })
	accepted := map[string]bool{}
	for round := range 2 {
		for i := range 300 {
			at := start.Add(time.Duration(i) * time.Second)
			p := phoneOf()
			p.cnonce = strconv.Itoa(i)
			key := p.cnonce
			// The nonce of each moment is the same in both rounds.
			nonce := string(appendPlain(nil, &a.keys[0], phone, slotOf(at)))
			r, _, _ := a.Check(request(t, "INVITE", uri, p.header(nonce, "INVITE"), at))
			if r == OK && accepted[key] {
				t.Fatalf("round %d: request %d was accepted twice", round, i)
			}
			accepted[key] = accepted[key] || r == OK
			if r != OK && r != Stale && r != Replay {
				t.Fatalf("round %d: request %d: %s", round, i, r)
			}
		}
	}
	if len(accepted) == 0 || !accepted["0"] {
		t.Error("nothing was accepted at all")
	}
}

func TestReplayAcrossRestart(t *testing.T) {
	p := phoneOf()
	before := newAuth(t, nil)
	h := p.header(nonceFor(t, before, start, "MD5", nil), "INVITE")
	if r, _, _ := before.Check(request(t, "INVITE", uri, h, start)); r != OK {
		t.Fatal(r)
	}
	after := newAuth(t, func(o *Options) { o.Started = start.Add(2 * time.Minute) })
	if r, _, _ := after.Check(request(t, "INVITE", uri, h, start.Add(2*time.Minute))); r != Stale {
		t.Errorf("a request recorded before the restart: %s, want stale", r)
	}
}

func TestSameCountAtOnce(t *testing.T) {
	a, p := newAuth(t, nil), phoneOf()
	h := p.header(nonceFor(t, a, start, "MD5", nil), "INVITE")
	var wg sync.WaitGroup
	results := make([]Result, 16)
	for i := range results {
		m := request(t, "INVITE", uri, h, start)
		wg.Go(func() { results[i], _, _ = a.Check(m) })
	}
	wg.Wait()
	oks := 0
	for _, r := range results {
		if r == OK {
			oks++
		}
	}
	if oks != 1 {
		t.Errorf("%d of %d equal requests at once were accepted, want 1", oks, len(results))
	}
}

func TestRotation(t *testing.T) {
	p, old := phoneOf(), newAuth(t, nil)
	h := p.header(nonceFor(t, old, start, "MD5", nil), "INVITE")
	next := newAuth(t, func(o *Options) { o.Keys = Keys{Current: [32]byte{9}, Previous: o.Keys.Current} })
	if r, _, _ := next.Check(request(t, "INVITE", uri, h, start)); r != OK {
		t.Errorf("nonce of the previous key: %s, want ok", r)
	}
	last := newAuth(t, func(o *Options) { o.Keys = Keys{Current: [32]byte{8}, Previous: [32]byte{9}} })
	if r, _, _ := last.Check(request(t, "INVITE", uri, h, start)); r != UnknownNonce {
		t.Errorf("nonce of a key two generations back: %s, want unknown-nonce", r)
	}
}

func TestProves(t *testing.T) {
	a, p := newAuth(t, func(o *Options) { o.Accounts, o.Realm = nil, "" }), phoneOf()
	plain := string(appendPlain(nil, &a.keys[0], phone, slotOf(start)))
	tailed := nonceFor(t, a, start, "MD5", &guard.Verdict{Realm: "asterisk"})
	for _, nonce := range []string{plain, tailed} {
		for _, c := range []struct {
			after time.Duration
			src   netip.AddrPort
			want  bool
		}{
			{0, phone, true},
			{slotLength, phone, true},
			{2 * slotLength, phone, false},
			{-slotLength, phone, false},
			{0, netip.MustParseAddrPort("203.0.113.9:5061"), false},
			{0, netip.MustParseAddrPort("[2001:db8::1]:5060"), false},
		} {
			m := request(t, "REGISTER", "sip:example.com", p.header(nonce, "REGISTER"), start.Add(c.after))
			m.Src = c.src
			if got := a.Proves(m); got != c.want {
				t.Errorf("nonce of %d bytes from %v after %v: %t, want %t", len(nonce), c.src, c.after, got, c.want)
			}
		}
	}
	if a.Proves(request(t, "REGISTER", "sip:example.com", "", start)) {
		t.Error("no credentials prove an address")
	}
}

func TestOurs(t *testing.T) {
	local, pass := newAuth(t, nil), newAuth(t, func(o *Options) { o.Accounts, o.Realm = nil, "" })
	p := phoneOf()
	foreign := request(t, "INVITE", uri, p.header("abcdef", "INVITE"), start)
	value := foreign.Index.Value(index.AuthorizationName)
	if !local.Ours(foreign, value) || pass.Ours(foreign, value) {
		t.Error("credentials for our realm are ours only if we authenticate")
	}
	given := request(t, "INVITE", uri, p.header(nonceFor(t, pass, start, "MD5", nil), "INVITE"), start)
	if !pass.Ours(given, given.Index.Value(index.AuthorizationName)) {
		t.Error("credentials with our nonce are ours")
	}
	p.realm = DefaultRealm
	moved := request(t, "INVITE", uri, p.header(nonceFor(t, pass, start, "MD5", nil), "INVITE"), start)
	moved.Src = netip.AddrPortFrom(phone.Addr(), 40000)
	if value := moved.Index.Value(index.AuthorizationName); !pass.Ours(moved, value) || pass.Proves(moved) {
		t.Error("our nonce from another port is ours, and proves nothing")
	}
}

func TestOfSeveralOursCounts(t *testing.T) {
	a, p := newAuth(t, nil), phoneOf()
	other := p
	other.realm, other.user = "pbx.example.org", "200"
	lines := other.header("feedface", "INVITE") + p.header(nonceFor(t, a, start, "MD5", nil), "INVITE")
	if r, user, _ := a.Check(request(t, "INVITE", uri, lines, start)); r != OK || user != "alice" {
		t.Errorf("got %s for %q", r, user)
	}
}

func TestBindCallID(t *testing.T) {
	a, p := newAuth(t, func(o *Options) { o.BindCallID = true }), phoneOf()
	h := p.header(nonceFor(t, a, start, "MD5", nil), "INVITE")
	m := request(t, "INVITE", uri, h, start)
	raw := strings.Replace(string(m.Index.Raw()), "Call-ID: a", "Call-ID: b", 1)
	moved, err := guard.Parse([]byte(raw), start, phone, here, guard.UDP)
	if err != nil {
		t.Fatal(err)
	}
	if r, _, _ := a.Check(moved); r != UnknownNonce {
		t.Errorf("in another call: %s", r)
	}
	if r, _, _ := a.Check(m); r != OK {
		t.Errorf("in its call: %s", r)
	}
}

// The bytes of a challenge must not tell whether a user exists.
func TestChallengeTellsNothing(t *testing.T) {
	shape := func(user string) string {
		a, p := newAuth(t, nil), phoneOf()
		p.user, p.password = user, "guess"
		m := request(t, "INVITE", uri, p.header(nonceFor(t, a, start, "MD5", nil), "INVITE"), start)
		r, _, _ := a.Check(m)
		return r + string(a.AppendChallenge(nil, m, nil))
	}
	if known, unknown := shape("alice"), shape("nobody"); known != unknown {
		t.Errorf("known user:\n%s\nunknown user:\n%s", known, unknown)
	}
}

func TestFacts(t *testing.T) {
	for _, c := range []struct {
		name  string
		auth  func(*Options)
		lines func(*Auth) string
		want  map[string]string
	}{
		{
			"nothing", nil, func(*Auth) string { return "" },
			map[string]string{"auth.result": "none", "auth.user": "", "auth.claimed": "", "auth.realm": "", "auth.algorithm": "", "auth.mode": "local"},
		},
		{
			"right", nil, func(a *Auth) string { return phoneOf().header(nonceFor(t, a, start, "MD5", nil), "INVITE") },
			map[string]string{"auth.result": "ok", "auth.user": "alice", "auth.claimed": "alice", "auth.realm": "example.com", "auth.algorithm": "MD5"},
		},
		{"wrong", nil, func(a *Auth) string {
			p := phoneOf()
			p.password = "guess"
			return p.header(nonceFor(t, a, start, "MD5", nil), "INVITE")
		}, map[string]string{"auth.result": "bad", "auth.user": "", "auth.claimed": "alice"}},
		{
			"pass-through", func(o *Options) { o.Accounts, o.Realm = nil, "" }, func(*Auth) string { return phoneOf().header("feedface", "INVITE") },
			map[string]string{"auth.result": "none", "auth.user": "alice", "auth.realm": "example.com", "auth.mode": "pass"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuth(t, c.auth)
			m := request(t, "INVITE", uri, c.lines(a), start)
			for name, want := range ask(t, a.Guard(), m, c.want) {
				if c.want[name] != want {
					t.Errorf("%s is %q, want %q", name, want, c.want[name])
				}
			}
			if want := c.want["auth.result"] == "ok"; (m.Account == "alice@example.com") != want {
				t.Errorf("account is %q", m.Account)
			}
		})
	}
}

// asker is a policy that asks for facts at stage call.
type asker struct {
	names []string
	got   map[string]string
	err   error
}

func (*asker) Version() string { return "test" }

func (p *asker) Decide(ctx context.Context, s guard.Stage, f *guard.Facts, _ *guard.Decision) guard.Verdict {
	if s == guard.StageCall {
		for _, name := range p.names {
			v, err := f.Ask(ctx, name)
			p.err = errors.Join(p.err, err)
			p.got[name] = v.Str()
		}
	}
	return guard.Verdict{}
}

func ask(t *testing.T, g *guard.Guard, m *guard.Message, names map[string]string) map[string]string {
	t.Helper()
	p := &asker{got: map[string]string{}}
	for name := range names {
		p.names = append(p.names, name)
	}
	e, err := guard.NewEngine(guard.EngineOptions{Guards: []*guard.Guard{g}, Policy: p, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	e.Judge(t.Context(), m, &guard.Decision{})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.got
}

func TestNewRefuses(t *testing.T) {
	key := Keys{Current: [32]byte{1}}
	for _, o := range []Options{
		{},
		{Keys: key, Config: Config{Algorithms: []string{"SHA-1"}}},
		{Keys: key, Config: Config{Algorithms: []string{""}}},
		{Keys: key, Config: Config{NonceLife: time.Second}},
		{Keys: key, Config: Config{URI: "sloppy"}},
		{Keys: key, Config: Config{ReplaySlots: -1}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o.Config)
		}
	}
}

func TestVectors(t *testing.T) {
	dir := os.Getenv("RINGFENCE_CORPUS")
	if dir == "" {
		dir = "../../../shared/corpus"
	}
	text, err := os.ReadFile(filepath.Join(dir, "vectors/digest/digest-vectors.json"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no corpus: set RINGFENCE_CORPUS")
	}
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Source, Expect, Username, Password, Realm, Nonce, URI, Method, QOP, NC, CNonce, Algorithm, Response string
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatal("no vectors in the file")
	}
	for _, v := range vectors {
		c := credentials{nonce: v.Nonce, uri: v.URI, response: v.Response, cnonce: v.CNonce, qop: v.QOP, nc: v.NC}
		got := verify(&c, v.Algorithm, HA1(v.Username, v.Realm, v.Password)[v.Algorithm], v.Method)
		if want := v.Expect != "MISMATCH"; got != want {
			t.Errorf("%s: %t, want %t", v.Source, got, want)
		}
	}
}

// The examples of RFC 7616 section 3.9.1 and RFC 2617 section 3.5.
func TestPublishedExamples(t *testing.T) {
	for _, v := range []struct{ algorithm, realm, password, nonce, cnonce, response string }{
		{"MD5", "testrealm@host.com", "Circle Of Life", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "0a4f113b", "6629fae49393a05397450978507c4ef1"},
		{"SHA-256", "http-auth@example.org", "Circle of Life", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
	} {
		c := credentials{nonce: v.nonce, uri: "/dir/index.html", response: v.response, cnonce: v.cnonce, qop: "auth", nc: "00000001"}
		ha1 := HA1("Mufasa", v.realm, v.password)[v.algorithm]
		if !verify(&c, v.algorithm, ha1, "GET") {
			t.Errorf("%s is not verified", v.algorithm)
		}
		if verify(&c, v.algorithm, ha1, "POST") {
			t.Errorf("%s is verified for another method", v.algorithm)
		}
	}
}

func TestAllocations(t *testing.T) {
	a, p := newAuth(t, nil), phoneOf()
	none := request(t, "INVITE", uri, "", start)
	h := p.header(nonceFor(t, a, start, "MD5", nil), "INVITE")
	signed := request(t, "INVITE", uri, h, start)
	made := request(t, "INVITE", uri, p.header("feedface", "INVITE"), start)
	room := make([]byte, 0, 1024)
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"no credentials", func() { a.Check(none) }},
		{"nonce made up", func() { a.Check(made) }},
		{"verification", func() { a.Check(signed) }},
		{"Proves", func() { a.Proves(signed) }},
		{"challenge", func() { a.AppendChallenge(room, signed, nil) }},
	} {
		if n := testing.AllocsPerRun(100, c.run); n != 0 {
			t.Errorf("%s: %v allocations, want 0", c.name, n)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(`Digest username="alice", realm="example.com", nonce="r1", uri="sip:x", response="00"`)
	f.Add(`Digest nonce="r1000000000000000000000000", response=a, nc=00000001, qop=auth, cnonce=""`)
	f.Add(`Basic abc`)
	a := newAuth(f, func(o *Options) { o.RFC2069 = true })
	f.Add(strings.TrimSuffix(strings.TrimPrefix(phoneOf().header(string(appendPlain(nil, &a.keys[0], phone, slotOf(start))), "INVITE"), "Authorization: "), "\r\n"))
	right := phoneOf()
	f.Fuzz(func(t *testing.T, value string) {
		raw := "INVITE " + uri + " SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n" +
			"Call-ID: a\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:a@b>\r\nAuthorization: " + value + "\r\nContent-Length: 0\r\n\r\n"
		m, err := guard.Parse([]byte(raw), start, phone, here, guard.UDP)
		if err != nil {
			return
		}
		r, user, _ := a.Check(m)
		if r == OK && (user != "alice" || !strings.Contains(value, "r1")) {
			t.Fatalf("accepted as %q: %s", user, value)
		}
		if challenge := string(a.AppendChallenge(nil, m, nil)); strings.Count(challenge, "\r\n") != 2 || strings.Contains(challenge, right.password) {
			t.Fatalf("challenge is %q", challenge)
		}
		a.Proves(m)
		a.Ours(m, m.Index.Value(index.AuthorizationName))
	})
}
