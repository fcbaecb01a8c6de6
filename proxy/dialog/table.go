package dialog

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// shards is how many locks the calls are spread over, by Call-ID.
const shards = 64

// A Table is the calls that are known. It is safe for concurrent use and is a
// guard.Dialogs.
type Table struct {
	o         Options
	seed      maphash.Seed
	shards    [shards]shard
	accounts  accounts
	tracked   atomic.Int64
	untracked atomic.Uint64
	changes   changes
	unstored  atomic.Uint64
	complain  rate.Sometimes
}

var _ guard.Dialogs = (*Table)(nil)

type shard struct {
	mu    sync.Mutex
	calls map[string]*call // by key
}

// New makes a table and reads the answered calls back from the store. It starts
// nothing.
func New(ctx context.Context, o Options) (*Table, error) {
	if o.Now == nil {
		return nil, errors.New("a table of calls needs a clock")
	}
	o.Max = cmp.Or(o.Max, 65536)
	o.Forks = cmp.Or(o.Forks, 8)
	o.Setup = cmp.Or(o.Setup, 5*time.Minute)
	o.Length = cmp.Or(o.Length, 24*time.Hour)
	o.Linger = cmp.Or(o.Linger, 32*time.Second)
	o.Queue = cmp.Or(o.Queue, 65536)
	o.Behind = cmp.Or(o.Behind, time.Second)
	o.Sweep = cmp.Or(o.Sweep, 2*time.Second)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	t := &Table{
		o: o, seed: maphash.MakeSeed(),
		accounts: accounts{up: map[string]int{}}, complain: rate.Sometimes{Interval: time.Minute},
	}
	for i := range t.shards {
		t.shards[i].calls = map[string]*call{}
	}
	return t, t.load(ctx)
}

func (t *Table) shard(callID []byte) *shard {
	return &t.shards[maphash.Bytes(t.seed, callID)%shards]
}

// find is the call of a caller's tag; the shard is locked.
func (s *shard) find(callID, tag []byte) *call {
	var buf [256]byte
	return s.calls[string(appendKey(buf[:0], callID, tag))]
}

// Begin notes an INVITE without a To tag that is forwarded from one leg to
// another. The same INVITE may come by again, when a next hop sends it back
// through us; it stays one call. False: the call is not tracked, because the
// table is full or because another's call has its Call-ID and tag; then nothing
// else is to be told of this INVITE.
func (t *Table) Begin(m *guard.Message, from, to Leg) bool {
	x := m.Index
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.find(x.Bytes(x.CallID), x.Bytes(x.From.Tag)); c != nil {
		if c.state != Ended {
			// From outside only the caller itself may add to its call; a next hop
			// may lie on the way of any.
			if !m.Inside && !c.caller.at(m) {
				return false
			}
			c.open++
			c.caller.cseq = max(c.caller.cseq, x.CSeq)
			c.caller.addLeg(from)
			return true
		}
		t.forget(s, c)
	}
	if t.tracked.Add(1) > int64(t.o.Max) {
		t.tracked.Add(-1)
		t.untracked.Add(1)
		return false
	}
	c := newCall(m, from, to, t.o.Own)
	c.expires = m.At.Add(t.o.Setup).UnixNano()
	s.calls[c.key] = c
	t.accounts.add(c.account, 1)
	return true
}

// Ring notes a provisional response to an INVITE; one with a To tag makes an
// early dialog.
func (t *Table) Ring(x *index.Message, from Leg, at time.Time) {
	if x.To.Tag.Empty() {
		return
	}
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(x.Bytes(x.CallID), x.Bytes(x.From.Tag))
	if c == nil || c.state > Early {
		return
	}
	if f := t.fork(c, x, from); f != nil {
		c.state = Early
		retarget(f, x)
	}
}

// Answer notes a 2xx to an INVITE, the first or another fork's. One to an INVITE
// within the dialog changes its sender's Contact.
func (t *Table) Answer(x *index.Message, from Leg, at time.Time) {
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(x.Bytes(x.CallID), x.Bytes(x.From.Tag))
	if c == nil {
		// To a re-INVITE of the callee: From and To have changed places.
		if c = s.find(x.Bytes(x.CallID), x.Bytes(x.To.Tag)); c != nil && c.state == Answered && c.callee(x.Bytes(x.From.Tag)) != nil && retarget(&c.caller, x) {
			t.changed(c)
		}
		return
	}
	if c.state == Ended {
		return
	}
	f := t.fork(c, x, from)
	if f == nil {
		return
	}
	if f.answered {
		if retarget(f, x) {
			t.changed(c)
		}
		return
	}
	f.answered = true
	retarget(f, x)
	if c.state != Answered {
		c.state, c.status = Answered, x.Status
		c.answered = at.UnixNano()
		c.expires = t.lives(c, x, at)
	}
	t.changed(c)
}

// fork is the callee that sent a response; a new one if it is not known and
// there is room.
func (t *Table) fork(c *call, x *index.Message, from Leg) *side {
	f := c.callee(x.Bytes(x.To.Tag))
	if f == nil {
		if len(c.callees) >= t.o.Forks || x.To.Tag.Empty() {
			return nil
		}
		var s [4]string
		var b [128]byte
		pack(s[:], x.Bytes(x.To.Tag), x.Bytes(x.To.URI.Text), x.Bytes(x.Contact.URI.Text), recordRoutes(x, b[:0], t.o.Own))
		c.callees = append(c.callees, side{tag: s[0], uri: s[1], target: s[2], route: s[3]})
		f = &c.callees[len(c.callees)-1]
	}
	f.addLeg(from)
	return f
}

// retarget takes over the Contact of a target refresh (RFC 3261 section 12.2)
// and tells whether it was another.
func retarget(s *side, x *index.Message) bool {
	target := x.Bytes(x.Contact.URI.Text)
	if len(target) == 0 || s.target == string(target) {
		return false
	}
	s.target = string(target)
	return true
}

// belongs finds the call of a request within a dialog, and its sender's side;
// the shard is locked.
func (s *shard) belongs(x *index.Message) (c *call, sender *side, callee *side) {
	id, from, to := x.Bytes(x.CallID), x.Bytes(x.From.Tag), x.Bytes(x.To.Tag)
	if c = s.find(id, from); c != nil {
		if callee = c.callee(to); callee != nil {
			return c, &c.caller, callee
		}
	}
	if c = s.find(id, to); c != nil {
		if callee = c.callee(from); callee != nil {
			return c, callee, callee
		}
	}
	return nil, nil, nil
}

// Has tells whether a request belongs to a dialog that is known: Call-ID, both
// tags, a source that is one of the two sides, and a CSeq that does not go
// back. A side that was authenticated as the caller's account may have moved to
// another address.
func (t *Table) Has(m *guard.Message) bool {
	x := m.Index
	if !x.Request || !x.InDialog() {
		return false
	}
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	c, sender, _ := s.belongs(x)
	if c == nil {
		return false
	}
	if x.Method == index.Register || x.Method == index.Publish || c.urgent && sender == &c.caller && c.account == "" && !keeps(x.Method) {
		return false // there are no such requests within a call, or it proves nothing
	}
	if !sender.at(m) && (sender != &c.caller || m.Account == "" || m.Account != c.account) {
		return false
	}
	// The ACK of a 2xx has the number of its INVITE, which a PRACK or UPDATE may
	// have passed meanwhile.
	if x.Method == index.Ack {
		return x.CSeq <= sender.cseq
	}
	return x.CSeq >= sender.cseq
}

// Across is how the other side is reached of the dialog that a request belongs
// to.
func (t *Table) Across(x *index.Message) (Leg, bool) {
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	c, sender, callee := s.belongs(x)
	if c == nil {
		return Leg{}, false
	}
	other := &c.caller
	if sender == other {
		other = callee
	}
	if len(other.legs) == 0 {
		return Leg{}, false
	}
	return other.legs[0], true
}

// Note notes a request within a dialog that is forwarded: its CSeq, and the new
// Contact of an INVITE or UPDATE.
func (t *Table) Note(m *guard.Message) {
	x := m.Index
	if !x.Request || !x.InDialog() {
		return
	}
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	c, sender, _ := s.belongs(x)
	if c == nil {
		return
	}
	sender.cseq = max(sender.cseq, x.CSeq)
	c.doubtful = false
	if x.Method != index.Invite && x.Method != index.Update {
		return
	}
	// Only the party itself names its Contact; a next hop between may have
	// rewritten it.
	if l := sender.legs[0]; l.Address.Addr().Unmap() == m.Src.Addr().Unmap() {
		retarget(sender, x)
	}
	if c.state == Answered {
		t.changed(c)
	}
}

// Fail notes that an INVITE got a final response other than 2xx, and returns
// the call if that ended it; by is who brought that about, as in
// guard.Call.EndedBy. A 401 or 407 is not an end: the call is forgotten and
// false returned.
func (t *Table) Fail(callID, fromTag []byte, status int, by string, at time.Time) (guard.Call, bool) {
	s := t.shard(callID)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(callID, fromTag)
	if c == nil || c.state == Ended {
		return guard.Call{}, false
	}
	c.open = max(c.open-1, 0)
	if c.open > 0 || c.state == Answered {
		return guard.Call{}, false
	}
	if status == 401 || status == 407 {
		t.forget(s, c)
		return guard.Call{}, false
	}
	c.status = status
	return t.end(c, by, at), true
}

// Hangup notes a BYE that is forwarded and returns the call if that ended it:
// the BYE of its last fork.
func (t *Table) Hangup(m *guard.Message) (guard.Call, bool) {
	x := m.Index
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	c, sender, callee := s.belongs(x)
	if c == nil || c.state == Ended {
		return guard.Call{}, false
	}
	callee.gone = true
	for i := range c.callees {
		// Early forks of an answered call are gone by themselves.
		if f := &c.callees[i]; !f.gone && (f.answered || c.state != Answered) {
			return guard.Call{}, false
		}
	}
	by := "callee"
	if sender == &c.caller {
		by = "caller"
	}
	return t.end(c, by, m.At), true
}

// End ends a call by hand; by is who did, as in guard.Call.EndedBy.
func (t *Table) End(callID, by string, at time.Time) (guard.Call, bool) {
	s := t.shard([]byte(callID))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.id == callID && c.state != Ended {
			return t.end(c, by, at), true
		}
	}
	return guard.Call{}, false
}

// end ends a call and keeps it for a while; the shard is locked.
func (t *Table) end(c *call, by string, at time.Time) guard.Call {
	out := c.record(by, at)
	t.accounts.add(c.account, -1)
	stored := c.state == Answered
	c.state = Ended
	c.expires = at.Add(t.o.Linger).UnixNano()
	if stored {
		t.changed(c)
	}
	return out
}

// forget takes a call out of the table; the shard is locked.
func (t *Table) forget(s *shard, c *call) {
	delete(s.calls, c.key)
	t.tracked.Add(-1)
	if c.state != Ended {
		t.accounts.add(c.account, -1)
	}
}

// Up is the number of calls of an account that have not ended.
func (t *Table) Up(account string) int { return t.accounts.count(account) }

// Find is the call with a Call-ID: one that has not ended, else one that did a
// while ago. It looks through a part of the table: for people, not for messages.
func (t *Table) Find(callID string) (Call, bool) {
	s := t.shard([]byte(callID))
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *call
	for _, c := range s.calls {
		if c.id == callID && (found == nil || found.state == Ended) {
			found = c
		}
	}
	if found == nil {
		return Call{}, false
	}
	return found.copy(), true
}

// All are the calls that have not ended, in no order. A shard's calls are
// copied before they are yielded, so that yield may use the table.
func (t *Table) All() iter.Seq[Call] {
	return t.those(func(c *call) bool { return c.state != Ended })
}

func (t *Table) those(want func(*call) bool) iter.Seq[Call] {
	return func(yield func(Call) bool) {
		var found []Call
		for i := range t.shards {
			s := &t.shards[i]
			found = found[:0]
			s.mu.Lock()
			for _, c := range s.calls {
				if want(c) {
					found = append(found, c.copy())
				}
			}
			s.mu.Unlock()
			for _, c := range found {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// Counts says how full the table is.
func (t *Table) Counts() Counts {
	return Counts{
		Up: t.accounts.total(), Tracked: int(t.tracked.Load()),
		Untracked: t.untracked.Load(), Unstored: t.unstored.Load(),
	}
}

// sweep ends calls that ran out of time, and forgets those that ended a while
// ago.
func (t *Table) sweep(at time.Time) {
	now := at.UnixNano()
	var out []guard.Call
	for i := range t.shards {
		s := &t.shards[i]
		out = out[:0]
		s.mu.Lock()
		for _, c := range s.calls {
			if c.unstored {
				t.changed(c)
			}
			switch {
			case c.expires > now:
			case c.state != Ended:
				if c.status == 0 {
					c.status = 408
				}
				out = append(out, t.end(c, "timeout", at))
			case !c.unstored:
				t.forget(s, c)
			}
		}
		s.mu.Unlock()
		if t.o.Ended != nil {
			for i := range out {
				t.o.Ended(&out[i])
			}
		}
	}
}
