// Package console is the way in for people and programs: JSON over HTTP on a
// unix socket that only the daemon's user and root may open.
//
// It knows what can be asked of a running daemon and what may be changed:
// bans, accounts, calls and the rule set. It decides nothing.
package console

import (
	"net/netip"
	"time"
)

// A Ban is one ban or limit that is in force.
type Ban struct {
	Prefix netip.Prefix `json:"prefix"`
	Port   uint16       `json:"port,omitempty"`
	Kind   string       `json:"kind"` // ban or limit
	Rule   string       `json:"rule"`
	Reason string       `json:"reason"`
	At     time.Time    `json:"at"`
	Until  time.Time    `json:"until"`
	Repeat int          `json:"repeat"`
}

// A BanRequest asks for a ban by hand.
type BanRequest struct {
	Prefix netip.Prefix  `json:"prefix"`
	For    time.Duration `json:"for"`
	Reason string        `json:"reason"`
}

// Banned answers a BanRequest.
type Banned struct {
	Warning string `json:"warning,omitempty"` // what is not as it should be
}

// A LiftRequest asks that bans end.
type LiftRequest struct {
	Prefix netip.Prefix `json:"prefix"`
	Reason string       `json:"reason"`
}

// Lifted says what a lift ended.
type Lifted struct {
	Bans    []Ban  `json:"bans"`
	Warning string `json:"warning,omitempty"` // what is not as it should be
}

// An Account is one account without its secrets.
type Account struct {
	User       string    `json:"user"`
	Realm      string    `json:"realm"`
	Algorithms []string  `json:"algorithms"`
	Class      string    `json:"class,omitempty"`
	CallLimit  int       `json:"call_limit,omitempty"`
	Allowed    []string  `json:"allowed,omitempty"`
	Created    time.Time `json:"created"`
	Disabled   bool      `json:"disabled,omitempty"`
	Bindings   []string  `json:"bindings,omitempty"` // where it is registered, with the built-in location service
}

// An AccountRequest adds an account or gives it a new secret.
type AccountRequest struct {
	User      string            `json:"user"`
	Realm     string            `json:"realm"`
	HA1       map[string]string `json:"ha1"` // by algorithm
	Class     string            `json:"class,omitempty"`
	CallLimit int               `json:"call_limit,omitempty"`
	Allowed   []string          `json:"allowed,omitempty"`
	Replace   bool              `json:"replace,omitempty"` // passwd: the account must exist
}

// A Call is one call that is up.
type Call struct {
	ID       string    `json:"call_id"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Account  string    `json:"account,omitempty"`
	Dialed   string    `json:"dialed"`
	Source   string    `json:"source"`
	Towards  string    `json:"towards"`
	State    string    `json:"state"` // early or answered
	Start    time.Time `json:"start"`
	Answered time.Time `json:"answered,omitzero"`
}

// A Match is one rule that matched, as history keeps it.
type Match struct {
	Rule   string            `json:"rule"`
	Title  string            `json:"title,omitempty"`
	Where  string            `json:"where,omitempty"`
	Mode   string            `json:"mode"`
	Action string            `json:"action"`
	By     string            `json:"by,omitempty"`
	Facts  map[string]string `json:"facts,omitempty"`
}

// An Entry is one judged message, as history keeps it.
type Entry struct {
	At      time.Time `json:"at"`
	Source  string    `json:"source"`
	Via     string    `json:"transport"`
	Method  string    `json:"method"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	CallID  string    `json:"call_id"`
	Account string    `json:"account,omitempty"`
	Stage   string    `json:"stage"`
	Verdict string    `json:"verdict"` // pass, allow, challenge, reject, drop
	Status  int       `json:"status,omitempty"`
	Rule    string    `json:"rule,omitempty"`
	Ban     string    `json:"ban,omitempty"`
	Matches []Match   `json:"matches,omitempty"`
	Policy  string    `json:"policy"`
	Stands  int       `json:"stands_for,omitempty"` // how many alike it stands for
}

// A Query asks history; empty fields do not matter.
type Query struct {
	Since, Until time.Time
	Source       string
	Account      string
	CallID       string
	Rule         string
	Mode         string // enforced, shadow, excepted
	Limit        int
}

// An Explanation says what was decided about an address, an account or a call,
// by which rule, on which facts, until when, and what would undo it.
type Explanation struct {
	About   string    `json:"about"`
	Kind    string    `json:"kind"` // address, account, call
	Trust   string    `json:"trust,omitempty"`
	Country string    `json:"country,omitempty"`
	Bans    []Ban     `json:"bans,omitempty"`
	Account *Account  `json:"account,omitempty"`
	Calls   []Call    `json:"calls,omitempty"`
	Entries []Entry   `json:"entries,omitempty"`
	Undo    []string  `json:"undo,omitempty"`
	At      time.Time `json:"at"`
}

// RuleHits is how often a rule matched since the daemon started, or since the
// first set that had the rule was applied.
type RuleHits struct {
	Rule     string    `json:"rule"`
	Mode     string    `json:"mode"`
	Matched  uint64    `json:"matched"`
	Enforced uint64    `json:"enforced"`
	Shadow   uint64    `json:"shadow"`
	Excepted uint64    `json:"excepted"`
	Errors   uint64    `json:"errors"`
	Last     time.Time `json:"last,omitzero"`
}

// An ApplyRequest asks that rule files be loaded; no files means the ones that
// the daemon was started with.
type ApplyRequest struct {
	Files  []string `json:"files,omitempty"`
	Reason string   `json:"reason"`
}

// Applied says what became of it. Problems non-empty means that the running
// set is unchanged.
type Applied struct {
	Version  string   `json:"version"`
	Was      string   `json:"was"`
	Rules    int      `json:"rules"`
	Problems []string `json:"problems,omitempty"`
}

// A Finding is one thing that doctor looked at.
type Finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Say  string `json:"say"`
	Do   string `json:"do,omitempty"`
}

// Status is what the daemon is doing.
type Status struct {
	Version  string            `json:"version"`
	Started  time.Time         `json:"started"`
	Policy   string            `json:"policy"`
	Listen   []string          `json:"listen"`
	Filter   string            `json:"filter"`
	Store    string            `json:"store"`    // where it is
	Messages map[string]uint64 `json:"messages"` // passed, challenged, refused, dropped
	Screen   map[string]uint64 `json:"screen"`   // by reason
	Sockets  map[string]uint64 `json:"sockets"`  // what was lost or refused there, by reason
	Bans     int               `json:"bans"`
	Limits   int               `json:"limits"`
	Calls    int               `json:"calls"`
	Hops     []Hop             `json:"hops,omitempty"`
}

// A Hop is one next hop of the configuration, with all the servers of its name.
type Hop struct {
	Name      string        `json:"name"`
	Servers   int           `json:"servers"`
	Up        int           `json:"up"`        // of them
	Responses uint64        `json:"responses"` // to requests that were forwarded to it
	Median    time.Duration `json:"median_ns"` // until the first response
	P99       time.Duration `json:"p99_ns"`
}
