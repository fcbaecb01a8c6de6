// Package record remembers what happened: log lines, history, alerts and
// metrics. It hears of every decision and holds up none: what it cannot take is
// dropped and counted, the least interesting first.
package record

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// Options says what is kept and where it goes.
type Options struct {
	Store   guard.Store   // of history; nil: none
	Keep    time.Duration // of history; default 30 days
	Queue   int           // decisions that wait to be written; default 16,384
	Sample  int           // one of so many passing messages that nobody asks for is kept; default 100
	Pace    int           // calls and registrations that pass, and as many refusals, kept in a second, then one of Sample; default 100
	Flood   int           // history entries of one rule and source in a minute, then one of a hundred; default 20
	Looks   int           // entries that one search looks at; default 1,000,000
	Passes  bool          // a log line for passing messages too
	Mask    bool          // hide the middle digits of numbers in log lines
	Lines   Line          // nil: no log lines
	Alerts  []Channel
	Metrics prometheus.Registerer
	Version string
	Now     func() time.Time
	Log     *slog.Logger
}

// A Match is a rule that matched, written out.
type Match struct {
	Rule   string            `json:"rule"`
	Title  string            `json:"title,omitempty"`
	Where  string            `json:"where,omitempty"`
	Mode   string            `json:"mode"`
	Action string            `json:"action,omitempty"`
	By     string            `json:"by,omitempty"`
	Facts  map[string]string `json:"facts,omitempty"`
}

// An Entry is one judged message, with all that explaining it needs.
type Entry struct {
	At        time.Time `json:"at"`
	Source    string    `json:"source"` // address:port
	Transport string    `json:"transport"`
	Method    string    `json:"method"`
	Status    int       `json:"status,omitempty"` // of the response, at stage reply
	From      string    `json:"from,omitempty"`   // user@host
	To        string    `json:"to,omitempty"`
	CallID    string    `json:"call_id,omitempty"`
	Agent     string    `json:"agent,omitempty"`
	Account   string    `json:"account,omitempty"`
	Stage     string    `json:"stage"`
	Verdict   string    `json:"verdict"`
	Code      int       `json:"code,omitempty"` // of a reject
	Rule      string    `json:"rule,omitempty"`
	Ban       string    `json:"ban,omitempty"` // "ban 1h0m0s" or "limit 1m0s"
	Matches   []Match   `json:"matches,omitempty"`
	Policy    string    `json:"policy,omitempty"`
	Took      int64     `json:"took_ns,omitempty"`
	Stands    int       `json:"stands_for,omitempty"` // how many alike it stands for
	country   string
}

// A Recorder takes decisions. It is a guard.Sink.
type Recorder struct {
	o       Options
	queue   chan *Entry
	alerts  chan guard.Alert
	dropped atomic.Uint64
	seen    atomic.Uint64 // messages that are sampled
	passing pace
	refused pace
	flood   flood
	groups  groups
	metrics metrics
	seq     atomic.Uint32
	said    time.Time // when last that history was not written; of Run alone
	unkept  int       // entries since
}

// New makes a recorder. It starts nothing.
func New(o Options) *Recorder {
	if o.Keep <= 0 {
		o.Keep = 30 * 24 * time.Hour
	}
	if o.Queue <= 0 {
		o.Queue = 16384
	}
	if o.Sample <= 0 {
		o.Sample = 100
	}
	if o.Pace <= 0 {
		o.Pace = 100
	}
	if o.Flood <= 0 {
		o.Flood = 20
	}
	if o.Looks <= 0 {
		o.Looks = 1_000_000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{o: o, queue: make(chan *Entry, o.Queue), alerts: make(chan guard.Alert, 256)}
	r.groups.last = map[string]*group{}
	r.metrics = newMetrics(o.Metrics, r)
	return r
}

// Decided notes a decision; it never blocks.
func (r *Recorder) Decided(d *guard.Decision) {
	r.metrics.decided(d)
	for _, a := range d.Alerts {
		r.Alert(a)
	}
	stands := r.wanted(d)
	if stands == 0 {
		return
	}
	e := entryOf(d)
	e.Stands = stands
	if len(r.queue) > cap(r.queue)*3/4 && e.Verdict == "pass" && len(e.Matches) == 0 {
		r.dropped.Add(1)
		return
	}
	select {
	case r.queue <- e:
	default:
		r.dropped.Add(1)
	}
}

// Alert tells people, once a group in every Every.
func (r *Recorder) Alert(a guard.Alert) {
	select {
	case r.alerts <- a:
	default:
		r.dropped.Add(1)
	}
}

// wanted is how many messages an entry of this one stands for; 0: it is not
// kept. Bans, refusals, calls, registrations and what rules in shadow matched
// are kept, the rest is sampled; and so is what one rule does to one source in
// a flood, and everything but bans above Pace: forged sources would fill any
// disk with refusals.
func (r *Recorder) wanted(d *guard.Decision) int {
	m := d.Message
	if slices.ContainsFunc(d.Bans, func(b guard.Ban) bool { return !b.Limit }) {
		return 1
	}
	switch d.Verdict.Action {
	case guard.Pass, guard.Allow, guard.Challenge:
		if m.Reply != nil && len(d.Matches) == 0 {
			return 0
		}
		if r.interesting(d) && r.passing.take(m.At, r.o.Pace) {
			return 1
		}
		return r.sampled()
	}
	n := r.flood.take(d.Verdict.Rule, m.Src.Addr(), m.At, r.o.Flood)
	if n > 0 && !r.refused.take(m.At, r.o.Pace) {
		return r.sampled()
	}
	return n
}

// interesting tells whether somebody will ask for a message that was not
// refused.
func (r *Recorder) interesting(d *guard.Decision) bool {
	m := d.Message
	if len(d.Matches) > 0 || m.Call != nil || m.Account != "" {
		return true
	}
	return m.Index != nil && (m.Index.Method == index.Register || m.Index.Method == index.Invite && !m.Index.InDialog())
}

// sampled is Sample for one of so many messages.
func (r *Recorder) sampled() int {
	if r.seen.Add(1)%uint64(r.o.Sample) == 0 {
		return r.o.Sample
	}
	return 0
}

func entryOf(d *guard.Decision) *Entry {
	m := d.Message
	e := &Entry{
		At: m.At, Source: m.Src.String(), Transport: m.Transport.String(), Account: strings.Clone(m.Account), Stage: d.Stage.String(),
		Verdict: d.Verdict.Action.String(), Rule: d.Verdict.Rule, Policy: d.Policy, Took: int64(d.Took),
	}
	if d.Verdict.Action == guard.Reject {
		e.Code = d.Verdict.Status
	}
	if x := m.Index; x != nil {
		e.Method = x.Method.String()
		if x.Method == index.MethodOther {
			e.Method = strings.Clone(x.Text(x.MethodText))
		}
		e.Status = x.Status
		e.From = cut(x.Text(x.From.URI.User)+"@"+x.Text(x.From.URI.Host), longest)
		e.To = cut(x.Text(x.To.URI.User)+"@"+x.Text(x.To.URI.Host), longest)
		e.CallID = cut(x.Text(x.CallID), longest)
		e.Agent = cut(x.Text(x.Value(index.UserAgentName)), 64)
	} else if c := m.Call; c != nil {
		e.Method, e.From, e.To, e.CallID = "BYE", c.From, c.To, c.ID
	}
	for _, b := range d.Bans {
		word := "ban "
		if b.Limit {
			word = "limit "
		}
		e.Ban = word + b.Until.Sub(b.At).Round(time.Second).String()
		if e.Rule == "" {
			e.Rule = b.Rule
		}
	}
	for _, x := range d.Matches {
		match := Match{Rule: x.Rule, Title: x.Title, Where: x.Where, Mode: x.Mode.String(), Action: x.Action.String(), By: x.By}
		for _, a := range x.Facts {
			if match.Facts == nil {
				match.Facts = map[string]string{}
			}
			match.Facts[a.Fact] = cut(a.Value, longest)
		}
		e.Matches = append(e.Matches, match)
	}
	if f := d.Facts(); f != nil {
		for fact, v := range f.Known {
			if fact.Name == "src.country" {
				e.country = strings.Clone(v.Str())
			}
		}
	}
	return e
}

// longest is how much of one thing that a message said is kept.
const longest = 256

func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.Clone(s)
}

// Dropped is how many entries and alerts found no room.
func (r *Recorder) Dropped() uint64 { return r.dropped.Load() }

// Run writes until ctx ends, and then what is left.
func (r *Recorder) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { r.runAlerts(ctx) })
	defer wg.Wait()
	last := context.WithoutCancel(ctx)
	batch := make([]*Entry, 0, 256)
	for {
		select {
		case e := <-r.queue:
			batch = r.fill(append(batch, e))
			r.write(last, batch)
			batch = batch[:0]
		case <-ctx.Done():
			for {
				batch = r.fill(batch)
				if len(batch) == 0 {
					return nil
				}
				r.write(last, batch)
				batch = batch[:0]
			}
		}
	}
}

func (r *Recorder) fill(batch []*Entry) []*Entry {
	for len(batch) < cap(batch) {
		select {
		case e := <-r.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

func (r *Recorder) write(ctx context.Context, batch []*Entry) {
	if r.o.Lines != nil {
		for _, e := range batch {
			if r.o.Passes || e.Verdict == "challenge" && e.Ban != "" || e.Verdict == "reject" || e.Verdict == "drop" || e.Ban != "" {
				if err := r.o.Lines(e, r.o.Mask); err != nil {
					r.o.Log.Warn("a log line was not written", "error", err)
				}
			}
		}
	}
	if r.o.Store == nil {
		return
	}
	if err := r.keep(ctx, batch); err != nil {
		r.dropped.Add(uint64(len(batch)))
		r.unkept += len(batch)
		if at := batch[len(batch)-1].At; at.Sub(r.said).Abs() >= time.Minute { // a full disk is said once a minute
			r.o.Log.Warn("history was not written", "entries", r.unkept, "error", fmt.Errorf("record: %w", err))
			r.said, r.unkept = at, 0
		}
	}
}
