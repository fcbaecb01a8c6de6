package tap

import (
	"net/netip"
	"time"

	"ringfence/guard"
)

// A Kind is what an Event tells of.
type Kind uint8

// The kinds.
const (
	Received Kind = iota // a message that came
	Sent                 // a message that leaves
	Judged               // what was decided about one that came
)

// An Event is one message, or one judgement. It is valid until the function
// that it was given to returns; strings may be kept.
type Event struct {
	Kind      Kind
	At        time.Time
	Src, Dst  netip.AddrPort
	Transport guard.Transport
	CallID    string     // of a broken message whatever looks like one, "" if nothing does
	Raw       []byte     // of a message, as it was on the wire
	Judgement *Judgement // of Judged
}

// A Judgement is what was decided, by which rule of which file.
type Judgement struct {
	Action   guard.Action
	Stage    guard.Stage
	Status   int // of a reject
	Reason   string
	Rule     string
	Policy   string
	Method   string
	From, To string // user@host
	Account  string
	Ban      string // "ban 1h0m0s" or "limit 1m0s"
	Matches  []Match
	Took     time.Duration
}

// A Match is a rule that matched.
type Match struct {
	Rule, Title, Where string // Where is "file:line"
	Mode               guard.Mode
	Action             guard.Action
}

// Where is the place of the rule that decided, "" if none did.
func (j *Judgement) Where() string {
	for i := range j.Matches {
		if j.Matches[i].Rule == j.Rule {
			return j.Matches[i].Where
		}
	}
	return ""
}

// Refused tells whether the message went no further.
func (j *Judgement) Refused() bool { return j.Action >= guard.Challenge }

// mostMatches is how many matches of one judgement are shown.
const mostMatches = 8

// longest is how much of one thing that a message said a judgement shows.
const longest = 256
