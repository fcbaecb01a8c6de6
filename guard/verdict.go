package guard

import (
	"net/netip"
	"time"
)

// An Action is what a verdict asks for.
type Action uint8

// The actions, from saying nothing to saying no.
const (
	Pass      Action = iota // no opinion: go on. The zero value, so forgetting is harmless.
	Allow                   // forward now, ask nobody else
	Challenge               // 401 or 407 with a nonce, RFC 3261 section 22
	Reject                  // a final response
	Drop                    // no response
)

var actionTexts = [...]string{"pass", "allow", "challenge", "reject", "drop"}

// String is the action as rules write it.
func (a Action) String() string { return actionTexts[a] }

// A Verdict is what is to be done with a message.
type Verdict struct {
	Action      Action
	Status      int // for Reject
	Reason      string
	RetryAfter  time.Duration
	Realm       string   // for Challenge; "" means the configured one
	Algorithms  []string // for Challenge, most preferred first; nil means the configured ones
	Stale       bool     // for Challenge: the nonce was ours and is too old
	Emergency   bool     // the built-in emergency rule allowed it
	MaxDuration time.Duration
	Rule        string // the rule that decided; "" for Pass
}

// A Mode is in what way a rule matched.
type Mode uint8

// The modes of a match.
const (
	Enforced Mode = iota
	Shadow        // matched and counted, nothing changed
	Excepted      // an exception kept it from acting
	Failed        // a fact could not be had
)

var modeTexts = [...]string{"enforced", "shadow", "excepted", "failed"}

// String is the mode as history shows it.
func (m Mode) String() string { return modeTexts[m] }

// A Match is one rule that matched.
type Match struct {
	Rule   string
	Title  string
	Where  string // "file:line"
	Mode   Mode
	Action Action
	By     string   // the exception's id, or the error
	Facts  []Answer // what the condition read
}

// An Answer is a fact and its value, written out for people.
type Answer struct{ Fact, Value string }

// A Ban keeps a source away until a time.
type Ban struct {
	Prefix    netip.Prefix // a host (/32, /128), an IPv6 /64, or wider
	Port      uint16       // 0: every port of the prefix
	At, Until time.Time
	Rule      string
	Reason    string
	Limit     bool // a trickle and not a ban: the source was not proven
	Repeat    int  // how often it was banned before
	For       time.Duration
	Escalate  float64       // factor for each repeat; 0 or 1: none
	AtMost    time.Duration // 0: no cap
}

// An Alert tells people.
type Alert struct {
	Rule, Title string
	Severity    string // info, low, medium, high, critical
	Group       string // values of group_by, joined
	Every       time.Duration
	At          time.Time
	Text        string
}

// A Decision is everything there is to say about one judged message. It is used
// again for the next message: sinks copy what they keep.
type Decision struct {
	Message *Message
	Verdict Verdict
	Stage   Stage // at which the verdict fell; the last one asked for Pass
	Matches []Match
	Bans    []Ban
	Alerts  []Alert
	Policy  string // version of the rule set
	Took    time.Duration
	facts   *Facts
}

// Reset empties the decision and keeps its memory.
func (d *Decision) Reset() {
	clear(d.Matches)
	*d = Decision{Matches: d.Matches[:0], Bans: d.Bans[:0], Alerts: d.Alerts[:0]}
}

// Facts are the facts as far as they were asked for; valid while the sinks run.
func (d *Decision) Facts() *Facts { return d.facts }
