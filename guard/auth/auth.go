// Package auth says who a message comes from, by digest authentication.
//
// It follows RFC 3261 section 22, RFC 7616 and RFC 8760. A challenge stores
// nothing: its nonce carries its own proof (nonce.go). What is stored is bounded
// and belongs to accounts that did authenticate (replay.go).
package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// Options say how to challenge and what to accept. Only Keys has no default.
type Options struct {
	Config
	Keys     Keys
	Accounts guard.Accounts // nil: pass-through, the PBX authenticates
	// Started is when nonce counts began to be remembered. Nonces that are
	// older by more than a slot are stale: what became of them is not known.
	// Zero accepts them.
	Started time.Time
}

// An Auth challenges requests and checks the credentials that come back. It is
// the guard (Guard) and the proxy's challenger. It is safe for concurrent use.
type Auth struct {
	o         Options
	keys      []keyPair // the current one first
	realmText string    // as it stands between quotes
	dummies   map[string]string
	replays   *replayTable
	counter   atomic.Uint64
}

// ErrNoKey tells that New was given no key: nonces would be anybody's to make.
var ErrNoKey = errors.New("auth: the nonce key is empty")

// New makes an Auth. It is an error if the key is empty or a setting is not
// one of those in Config.
func New(o Options) (*Auth, error) {
	if o.Keys.Current == ([32]byte{}) {
		return nil, ErrNoKey
	}
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	a := &Auth{o: o, keys: []keyPair{pairOf(o.Keys.Current)}, realmText: string(appendQuoted(nil, o.Realm))}
	if o.Keys.Previous != ([32]byte{}) {
		a.keys = append(a.keys, pairOf(o.Keys.Previous))
	}
	var floor uint32
	if !o.Started.IsZero() {
		floor = slotOf(o.Started) - 1
	}
	a.replays = newReplayTable(o.ReplaySlots, floor)
	a.dummies = make(map[string]string, len(algorithmNames))
	for _, name := range algorithmNames {
		// Nobody's password: the work for an unknown user is that for a known one.
		a.dummies[name] = string(appendHash(nil, name, append([]byte("nobody:"), o.Keys.Current[:]...)))
	}
	return a, nil
}

func (a *Auth) configured(algorithm string) bool { return slices.Contains(a.o.Algorithms, algorithm) }

// Local tells whether ringfence authenticates: there are accounts or a realm.
func (a *Auth) Local() bool { return a.o.local || a.o.Accounts != nil && a.o.Accounts.Any() }

// Proves tells whether m carries a nonce that we gave to its source in the
// current or the previous slot: the source receives what is sent to it.
func (a *Auth) Proves(m *guard.Message) bool {
	if m.Index == nil || !m.Index.Request {
		return false
	}
	for value := range credentialHeaders(m.Index) {
		if c, ok := read(m.Index, value); ok {
			if f, _ := a.freshness(c.nonce, m.Src, m.At); f == proving {
				return true
			}
		}
	}
	return false
}

// Ours tells whether the value of an Authorization or Proxy-Authorization
// header of m is for us: it carries a nonce of ours, or, with accounts, our
// realm. Such a header is consumed and not forwarded (RFC 3261 section 22.3).
func (a *Auth) Ours(m *guard.Message, value index.Span) bool {
	c, ok := read(m.Index, value)
	if !ok {
		return false
	}
	if f, _ := a.freshness(c.nonce, m.Src, m.At); f != foreign || a.Local() && c.realm == a.realmText {
		return true
	}
	// A nonce that we gave to another port of a phone behind a NAT is ours to
	// take out as well: the tail is good whatever the source.
	algorithm, known := canonical(c.algorithm)
	if !known || len(c.nonce) != plainSize+tailSize {
		return false
	}
	for i := range a.keys {
		if a.offered(c.nonce, &a.keys[i], algorithm, c.realm, m.Index.Text(m.Index.CallID)) {
			return true
		}
	}
	return false
}

// A Result is what became of the credentials; see the fact auth.result.
type Result = string

// The results.
const (
	None         Result = "none"
	OK           Result = "ok"
	Bad          Result = "bad"
	Stale        Result = "stale"
	Replay       Result = "replay"
	UnknownNonce Result = "unknown-nonce"
	Downgrade    Result = "downgrade"
)

// Check checks the credentials of a request, notes its nonce count, and gives
// the user who is proved if the result is OK. The cheap questions come first:
// nothing is looked up and no digest computed for a nonce that is not ours.
func (a *Auth) Check(m *guard.Message) (r Result, user, realm string) {
	if !challengeable(m) || !a.Local() {
		return None, "", ""
	}
	c, f, key, found := a.find(m)
	if !found {
		return None, "", ""
	}
	algorithm, known := canonical(c.algorithm)
	switch {
	case f == foreign:
		return UnknownNonce, "", ""
	case !known, c.qop == "" && !a.o.RFC2069, c.qop != "" && c.qop != "auth":
		return Downgrade, "", ""
	case !a.offered(c.nonce, key, algorithm, c.realm, m.Index.Text(m.Index.CallID)):
		return a.notOffered(&c, key, m), "", ""
	case f == outdated:
		return Stale, "", ""
	}
	count, ok := nonceCount(&c)
	if !ok || !a.uriMatches(m.Index, c.uri) {
		return Bad, "", ""
	}
	account, ha1 := a.secret(&c, algorithm)
	if right := verify(&c, algorithm, ha1, m.Index.Text(m.Index.MethodText)); !right || account == nil {
		return Bad, "", ""
	}
	slot, _ := parseHex(c.nonce[2:10])
	oldest := slotOf(m.At) - min(slotOf(m.At), uint32(a.o.NonceLife/slotLength))
	switch a.replays.note(a.replayKey(&c), count, uint32(slot), oldest) {
	case seenCount:
		return Replay, "", ""
	case forgotten:
		return Stale, "", ""
	}
	return OK, account.User, account.Realm
}

// notOffered tells why a nonce of ours does not go with the credentials.
func (a *Auth) notOffered(c *credentials, key *keyPair, m *guard.Message) Result {
	for _, name := range algorithmNames {
		if a.offered(c.nonce, key, name, c.realm, m.Index.Text(m.Index.CallID)) {
			return Downgrade // this realm was offered, with another algorithm
		}
	}
	return UnknownNonce
}

// secret finds the account and the HA1 to compare with. There is always one to
// compare with, so that an unknown user costs the same work.
func (a *Auth) secret(c *credentials, algorithm string) (*guard.Account, string) {
	var account *guard.Account
	ha1 := ""
	if a.o.Accounts != nil {
		if account = a.o.Accounts.Account(c.realm, c.username); account != nil {
			ha1 = account.HA1[algorithm]
		} else if user, domain, split := cutLast(c.username, '@'); split && strings.EqualFold(domain, c.realm) {
			if account = a.o.Accounts.Account(c.realm, user); account != nil {
				ha1 = account.HA1[withRealm[algorithm]]
			}
		}
	}
	if account == nil || account.Disabled || ha1 == "" || strings.EqualFold(c.userhash, "true") {
		return nil, a.dummies[algorithm]
	}
	return account, ha1
}

// withRealm names the HA1 of user@realm, spelt out to spare a concatenation.
var withRealm = map[string]string{md5Name: md5Name + "@", sha256Name: sha256Name + "@", sha512Name: sha512Name + "@"}

// nonceCount reads nc, eight hexadecimal digits (RFC 7616 section 3.4). The form
// of RFC 2069 has none: it counts as 1, so its nonce is good for one request.
func nonceCount(c *credentials) (uint32, bool) {
	if c.qop == "" {
		return 1, true
	}
	if len(c.nc) != 8 || c.cnonce == "" {
		return 0, false
	}
	n := uint32(0)
	for i := range len(c.nc) {
		switch b := c.nc[i] | 0x20; {
		case '0' <= c.nc[i] && c.nc[i] <= '9':
			n = n<<4 | uint32(c.nc[i]-'0')
		case 'a' <= b && b <= 'f':
			n = n<<4 | uint32(b-'a'+10)
		default:
			return 0, false
		}
	}
	return n, n > 0
}

func (a *Auth) replayKey(c *credentials) uint64 {
	var room [256]byte
	b := append(room[:0], c.nonce...)
	b = append(append(b, 0), c.username...)
	b = append(append(b, 0), c.cnonce...)
	return hash(&a.keys[0].tail, b)
}

// cutLast cuts at the last sep.
func cutLast(s string, sep byte) (before, after string, found bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
