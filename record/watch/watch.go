// Package watch picks from what passes the messages that somebody wants to see,
// and tells what they belong to.
//
// It knows which messages make a call, who calls whom and what was decided. How
// that looks on a terminal is not for it to say.
package watch

import (
	"context"
	"hash/maphash"
	"net/netip"
	"strings"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/record/tap"
)

// A Filter says what is wanted; empty fields do not matter. A call is wanted as
// a whole, from the message on that shows that it is.
type Filter struct {
	From, To string // user, or user@host
	Source   netip.Prefix
	Rule     string // decided or matched
	CallID   string
}

// Options says what is followed. Peer names the next hop at an address, "" if
// there is none.
type Options struct {
	Filter
	Peer  func(netip.AddrPort) string
	Calls int // that are remembered; default 1024
	Early int // messages of one that are held until a filter knows; default 16
}

// A Match is a rule that matched.
type Match struct {
	Rule, Title, Where, Mode, Action string
}

// A Line is one message, or what was decided about the one before it.
type Line struct {
	At       time.Time
	Kind     string // received, sent, verdict
	CallID   string
	From, To string // user@host
	Far      string // address:port of the other end
	Via      string // transport
	Peer     string // name of the next hop that the other end is, "" for phones and strangers
	Method   string // of a response that of its request
	Status   int    // of a response
	Reason   string // of a response or a refusal
	Problem  string // why a message cannot be read
	First    string // first line of a message that cannot be read
	Again    bool   // the same message came or went before

	Verdict string // pass, allow, challenge, reject, drop
	Stage   string
	Rule    string
	Where   string // file:line of the rule
	Ban     string
	Account string
	Matches []Match
}

// A Follower turns events into lines. It belongs to one goroutine.
type Follower struct {
	o     Options
	calls calls
	seed  maphash.Seed
	m     index.Message
	yield func(*Line) error
}

// New makes a follower that gives what is wanted to yield.
func New(o Options, yield func(*Line) error) *Follower {
	if o.Calls <= 0 {
		o.Calls = 1024
	}
	if o.Early <= 0 {
		o.Early = 16
	}
	if o.Peer == nil {
		o.Peer = func(netip.AddrPort) string { return "" }
	}
	return &Follower{o: o, yield: yield, seed: maphash.MakeSeed(), calls: calls{most: o.Calls, by: map[string]*call{}}}
}

// Follow gives what a subscription shows until ctx ends; lost is told how many
// messages were not seen.
func (f *Follower) Follow(ctx context.Context, s *tap.Subscription, lost func(uint64) error) error {
	for {
		n, err := s.Next(ctx, f.Event)
		if n > 0 && err == nil {
			err = lost(n)
		}
		if err != nil {
			return err
		}
	}
}

// Event takes the next event.
func (f *Follower) Event(e *tap.Event) error {
	far := e.Src
	if e.Kind == tap.Sent {
		far = e.Dst
	}
	l := &Line{At: e.At, CallID: e.CallID, Far: far.String(), Via: e.Transport.String(), Peer: f.o.Peer(far)}
	switch e.Kind {
	case tap.Judged:
		l.judged(e.Judgement)
	case tap.Received:
		l.Kind = "received"
		f.message(l, e.Raw, e.Transport.Stream())
	case tap.Sent:
		l.Kind = "sent"
		f.message(l, e.Raw, e.Transport.Stream())
	}
	if f.o.CallID != "" && l.CallID != f.o.CallID {
		return nil
	}
	c := f.calls.of(l.CallID)
	if l.Kind != "verdict" {
		l.Again = c.again(f.hash(e))
	}
	if c.From == "" && c.To == "" {
		c.From, c.To = l.From, l.To
	}
	if l.From == "" && l.To == "" {
		l.From, l.To = c.From, c.To
	}
	return f.pass(c, l, far)
}

// hash is the same for a message that goes the same way again.
func (f *Follower) hash(e *tap.Event) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	maphash.WriteComparable(&h, e.Src)
	maphash.WriteComparable(&h, e.Dst)
	_, _ = h.Write(e.Raw)
	return h.Sum64()
}

// limits are those of messages that a listener let in.
var limits = index.Limits{Size: 1<<16 - 1, Line: 1<<16 - 1, Separators: 1 << 12}

// message fills in what a message says.
func (f *Follower) message(l *Line, raw []byte, stream bool) {
	m := &f.m
	if p := m.Parse(raw, stream, limits); p != "" {
		first, _, _ := strings.Cut(string(raw[:min(len(raw), longest)]), "\n")
		l.Problem, l.First = string(p), strings.TrimSpace(first)
		return
	}
	if m.Request {
		l.Method = cut(m.Text(m.MethodText))
	} else {
		l.Method, l.Status, l.Reason = cut(m.Text(m.CSeqMethod)), m.Status, cut(m.Text(m.Reason))
	}
	l.From, l.To = address(m, &m.From), address(m, &m.To)
}

// longest is how much of one thing that a message said is shown.
const longest = 128

func cut(s string) string { return strings.Clone(s[:min(len(s), longest)]) }

func address(m *index.Message, a *index.Address) string {
	if a.URI.Host.Empty() {
		return cut(m.Text(a.URI.User))
	}
	return cut(m.Text(a.URI.User)) + "@" + cut(m.Text(a.URI.Host))
}

// judged fills in what was decided.
func (l *Line) judged(j *tap.Judgement) {
	l.Kind, l.Method, l.From, l.To = "verdict", j.Method, j.From, j.To
	l.Verdict, l.Stage, l.Status, l.Reason = j.Action.String(), j.Stage.String(), j.Status, j.Reason
	l.Rule, l.Where, l.Ban, l.Account = j.Rule, j.Where(), j.Ban, j.Account
	for _, m := range j.Matches {
		l.Matches = append(l.Matches, Match{m.Rule, m.Title, m.Where, m.Mode.String(), m.Action.String()})
	}
}

// pass gives a line on, or holds it until it is known whether its call is wanted.
func (f *Follower) pass(c *call, l *Line, far netip.AddrPort) error {
	c.known.from = c.known.from || is(f.o.From, l.From)
	c.known.to = c.known.to || is(f.o.To, l.To)
	c.known.source = c.known.source || !f.o.Source.IsValid() || f.o.Source.Contains(far.Addr().Unmap())
	c.known.rule = c.known.rule || l.has(f.o.Rule)
	if c.known != (known{true, true, true, true}) {
		if len(c.early) < f.o.Early {
			c.early = append(c.early, l)
		}
		return nil
	}
	early := c.early
	c.early = nil
	for _, x := range early {
		if err := f.yield(x); err != nil {
			return err
		}
	}
	return f.yield(l)
}

// is tells whether user@host is wanted.
func is(want, got string) bool {
	user, _, _ := strings.Cut(got, "@")
	return want == "" || got == want || user == want
}

// has tells whether a rule decided or matched.
func (l *Line) has(rule string) bool {
	if rule == "" || l.Kind == "verdict" && l.Rule == rule {
		return true
	}
	for _, m := range l.Matches {
		if m.Rule == rule {
			return true
		}
	}
	return false
}

// Refused tells whether a verdict kept a message from going on.
func (l *Line) Refused() bool {
	return l.Verdict == guard.Challenge.String() || l.Verdict == guard.Reject.String() || l.Verdict == guard.Drop.String()
}
