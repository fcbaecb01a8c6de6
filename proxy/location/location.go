// Package location is the registrar's memory: which addresses of record are
// bound to which contacts, over which flows (RFC 3261 section 10).
//
// It judges nobody: who sent a REGISTER was found out before. A request towards
// a binding goes over the binding's flow token, never to a host that its
// Contact names.
package location

import (
	"log/slog"
	"net/netip"
	"time"

	"ringfence/guard"
)

// A Binding is one contact of an address of record.
type Binding struct {
	AoR        string          `json:"aor"`
	Contact    string          `json:"contact"` // the URI as it was registered
	Token      string          `json:"token"`   // of the flow it is reached by
	Q          int             `json:"q"`       // in thousandths; 1000 is the most wanted
	Expires    time.Time       `json:"expires"`
	Registered time.Time       `json:"registered"` // last time
	CallID     string          `json:"call_id"`
	CSeq       uint32          `json:"cseq"`
	Path       string          `json:"path,omitempty"`     // Path values in order, RFC 3327
	Instance   string          `json:"instance,omitempty"` // +sip.instance, RFC 5626
	RegID      int             `json:"reg_id,omitempty"`   // reg-id, RFC 5626
	Agent      string          `json:"agent,omitempty"`    // User-Agent, cut at 64 bytes
	Source     netip.AddrPort  `json:"source"`
	Transport  guard.Transport `json:"transport"`
}

// An Answer is what to answer to a REGISTER.
type Answer struct {
	Status int
	Reason string
	Lines  []byte // whole header lines, each with CRLF
}

// Options says whose registrations are kept and how many. Now is required;
// every other zero field means its default.
type Options struct {
	// Realm names the realm that serves a domain in lower case, false if none
	// does. Nil: every domain is served and all share one realm, and so do those
	// whose realm is "".
	Realm func(domain string) (realm string, ok bool)

	Max            int           // bindings in all; default 100000
	PerAccount     int           // bindings of one address of record; default 5
	Replace        bool          // over PerAccount the oldest binding makes room; otherwise 403
	MinExpires     time.Duration // default 60 s
	MaxExpires     time.Duration // default 1 h; longer wishes are shortened
	DefaultExpires time.Duration // when the request names none; default 1 h
	Longest        int           // bytes of one Contact URI, and of all Path values; default 1024

	Store guard.Store   // nil: nothing survives a restart
	Flush time.Duration // between writes to the store; default 1 s
	Sweep time.Duration // between looks for expired bindings; default 10 s

	Now func() time.Time
	Log *slog.Logger
}

// Counts says how full the service is.
type Counts struct {
	AoRs, Bindings int
	Refused        uint64 // bindings that found no room
}
