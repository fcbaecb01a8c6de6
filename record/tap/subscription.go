package tap

import (
	"context"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// A Subscription holds what its owner has not looked at yet: a batch that is
// being filled, and one that is being read. They change places, so that nothing
// is allocated once both have grown, and neither grows beyond half of the bound.
type Subscription struct {
	tap     *Tap
	half    int
	watcher bool
	wake    chan struct{}

	mu      sync.Mutex // guards filling and lost
	filling *batch
	lost    uint64

	reading *batch // of the owner alone
	last    Event  // the last message that came, for judgements that have no Call-ID
}

// A batch is events one after the other; what they say lies in bytes.
type batch struct {
	held    []held
	matches []Match
	bytes   []byte
}

// held is an event as it waits.
type held struct {
	kind      Kind
	transport guard.Transport
	action    guard.Action
	stage     guard.Stage
	status    int
	at        time.Time
	src, dst  netip.AddrPort
	took      time.Duration
	matches   span // of batch.matches
	texts     [texts]span
}

// span is a half-open range.
type span struct{ from, to int }

// The texts of an event.
const (
	raw = iota
	callID
	reason
	rule
	policy
	method
	from
	to
	account
	ban
	texts
)

func newSubscription(t *Tap, buffer int) *Subscription {
	return &Subscription{tap: t, half: max(buffer/2, 1<<16), wake: make(chan struct{}, 1), filling: new(batch), reading: new(batch)}
}

// size is the bytes that a batch holds.
func (b *batch) size() int {
	return len(b.bytes) + len(b.held)*int(unsafe.Sizeof(held{})) + len(b.matches)*int(unsafe.Sizeof(Match{}))
}

func (b *batch) put(s string) span {
	at := len(b.bytes)
	b.bytes = append(b.bytes, s...)
	return span{at, len(b.bytes)}
}

// room tells whether there is some for so many bytes more; s.mu is held.
func (s *Subscription) room(n int) bool {
	if s.filling.size()+n+int(unsafe.Sizeof(held{})) > s.half {
		s.lost++
		return false
	}
	return true
}

func (s *Subscription) message(e *Event) {
	s.mu.Lock()
	if s.room(len(e.Raw)) {
		b := s.filling
		h := held{kind: e.Kind, transport: e.Transport, at: e.At, src: e.Src, dst: e.Dst}
		h.texts[raw] = b.put(unsafe.String(unsafe.SliceData(e.Raw), len(e.Raw)))
		b.held = append(b.held, h)
	}
	s.mu.Unlock()
	s.tell()
}

func (s *Subscription) judgement(d *guard.Decision) {
	s.mu.Lock()
	if s.room(16 * longest) {
		s.filling.judgement(d)
	}
	s.mu.Unlock()
	s.tell()
}

func (b *batch) judgement(d *guard.Decision) {
	m, v := d.Message, &d.Verdict
	h := held{kind: Judged, transport: m.Transport, at: m.At, src: m.Src, dst: m.Dst, action: v.Action, stage: d.Stage, took: d.Took}
	if v.Action == guard.Reject {
		h.status = v.Status
	}
	h.texts[reason], h.texts[rule], h.texts[policy] = b.put(cut(v.Reason)), b.put(cut(v.Rule)), b.put(cut(d.Policy))
	h.texts[account] = b.put(cut(m.Account))
	if x := m.Index; x != nil {
		h.texts[callID] = b.put(cut(x.Text(x.CallID)))
		name := x.Method.String()
		if x.Method == index.MethodOther {
			name = cut(x.Text(x.MethodText))
		}
		h.texts[method] = b.put(name)
		h.texts[from], h.texts[to] = b.address(x, &x.From), b.address(x, &x.To)
	}
	if c := m.Call; c != nil {
		h.texts[callID], h.texts[from], h.texts[to] = b.put(cut(c.ID)), b.put(cut(c.From)), b.put(cut(c.To))
	}
	for i := range d.Bans {
		word := "ban "
		if d.Bans[i].Limit {
			word = "limit "
		}
		h.texts[ban] = b.put(word + d.Bans[i].Until.Sub(d.Bans[i].At).Round(time.Second).String())
	}
	at := len(b.matches)
	for i := range min(len(d.Matches), mostMatches) {
		x := &d.Matches[i]
		b.matches = append(b.matches, Match{Rule: x.Rule, Title: x.Title, Where: x.Where, Mode: x.Mode, Action: x.Action})
	}
	h.matches = span{at, len(b.matches)}
	b.held = append(b.held, h)
}

// address is user@host.
func (b *batch) address(x *index.Message, a *index.Address) span {
	s := b.put(cut(x.Text(a.URI.User)))
	b.put("@")
	s.to = b.put(cut(x.Text(a.URI.Host))).to
	return s
}

func cut(s string) string { return s[:min(len(s), longest)] }

// tell wakes the owner.
func (s *Subscription) tell() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next waits for events and gives each of them to f; lost is how many found no
// room since the last call. An error is that of f or of ctx.
func (s *Subscription) Next(ctx context.Context, f func(*Event) error) (lost uint64, err error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.wake:
	}
	return s.Rest(f)
}

// Rest is Next for what is there already.
func (s *Subscription) Rest(f func(*Event) error) (lost uint64, err error) {
	s.mu.Lock()
	s.filling, s.reading = s.reading, s.filling
	lost, s.lost = s.lost, 0
	s.mu.Unlock()
	b := s.reading
	defer func() { b.held, b.matches, b.bytes = b.held[:0], b.matches[:0], b.bytes[:0] }()
	for i := range b.held {
		if err := f(s.event(b, &b.held[i])); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// event makes an Event of what was held.
func (s *Subscription) event(b *batch, h *held) *Event {
	e := &Event{Kind: h.kind, At: h.at, Src: h.src, Dst: h.dst, Transport: h.transport}
	text := func(i int) string { return string(b.bytes[h.texts[i].from:h.texts[i].to]) }
	if h.kind != Judged {
		x := h.texts[raw]
		e.Raw = b.bytes[x.from:x.to:x.to]
		e.CallID = string(CallID(e.Raw))
		if h.kind == Received {
			s.last = Event{Src: e.Src, CallID: e.CallID}
		}
		return e
	}
	e.Judgement = &Judgement{
		Action: h.action, Stage: h.stage, Status: h.status, Reason: text(reason), Rule: text(rule), Policy: text(policy),
		Method: text(method), From: text(from), To: text(to), Account: text(account), Ban: text(ban), Took: h.took,
		Matches: append([]Match(nil), b.matches[h.matches.from:h.matches.to]...),
	}
	// A message that cannot be judged is refused right after it came, and what its
	// Call-ID is nobody can say for sure.
	if e.CallID = text(callID); e.CallID == "" && s.last.Src == e.Src {
		e.CallID = s.last.CallID
	}
	return e
}

// Close ends a subscription. Nothing comes after that.
func (s *Subscription) Close() { s.tap.remove(s) }
