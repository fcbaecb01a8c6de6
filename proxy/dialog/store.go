package dialog

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"ringfence/guard"
)

// prefix is where answered calls stand in the store, followed by the key of the
// call.
const prefix = "d/"

// storeTimeout bounds one write.
const storeTimeout = 5 * time.Second

// version is that of stored.
const version = 1

// stored is an answered call as it stands in the store.
type stored struct {
	Version  int            `json:"version"`
	ID       string         `json:"id"`
	Account  string         `json:"account,omitempty"`
	Dialed   string         `json:"dialed,omitempty"`
	From     string         `json:"from"`
	To       string         `json:"to"`
	Status   int            `json:"status"`
	Caller   storedSide     `json:"caller"`
	Callees  []storedSide   `json:"callees"`
	Towards  netip.AddrPort `json:"towards"`
	Start    int64          `json:"start"`
	Answered int64          `json:"answered"`
	Expires  int64          `json:"expires"`
	Urgent   bool           `json:"urgent,omitempty"`
}

type storedSide struct {
	Tag      string      `json:"tag"`
	URI      string      `json:"uri"`
	Target   string      `json:"target,omitempty"`
	Route    string      `json:"route,omitempty"`
	CSeq     uint32      `json:"cseq,omitempty"`
	Answered bool        `json:"answered,omitempty"`
	Gone     bool        `json:"gone,omitempty"`
	Legs     []storedLeg `json:"legs"`
}

type storedLeg struct {
	Address   netip.AddrPort  `json:"address"`
	Transport guard.Transport `json:"transport"`
	Peer      string          `json:"peer,omitempty"`
	Flow      string          `json:"flow,omitempty"`
}

// changes are the keys of calls whose stored form is out of date, by age: those
// that changed since the last look, and those that changed before it and are
// written at the next.
type changes struct {
	mu         sync.Mutex // a shard's may be held
	young, old []string
}

// add takes a key, unless there are too many.
func (q *changes) add(key string, most int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.young)+len(q.old) >= most {
		return false
	}
	q.young = append(q.young, key)
	return true
}

// take gives the keys that are old enough, and lets the others age.
func (q *changes) take() (old []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	old, q.old, q.young = q.old, q.young, nil
	return old
}

// changed has a call stored or deleted soon; the shard is locked.
func (t *Table) changed(c *call) {
	if t.o.Store == nil || c.waits {
		return
	}
	c.waits = t.changes.add(c.key, t.o.Queue)
	if c.unstored = !c.waits; c.unstored { // the next sweep tries again
		t.unstored.Add(1)
	}
}

// Run stores changes and ends calls whose time is up until ctx ends, and then
// stores what still waits.
func (t *Table) Run(ctx context.Context) error {
	sweep, store := time.NewTicker(t.o.Sweep), time.NewTicker(t.o.Behind/2)
	defer sweep.Stop()
	defer store.Stop()
	for {
		select {
		case <-store.C:
			t.store(ctx)
		case <-sweep.C:
			t.sweep(t.o.Now())
		case <-ctx.Done():
			t.store(ctx)
			t.store(ctx)
			return nil
		}
	}
}

// store brings the store up to date with the calls that changed a while ago. It
// looks at each as it is now: one that is over already is not written at all.
func (t *Table) store(ctx context.Context) {
	var put []guard.Item
	var gone [][]byte
	keys := t.changes.take()
	for _, key := range keys {
		i, deleted := t.encode(key)
		switch {
		case i.Value != nil:
			put = append(put, i)
		case deleted:
			gone = append(gone, i.Key)
		}
	}
	if len(put)+len(gone) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := t.o.Store.Batch(ctx, put, gone); err != nil {
		t.complain.Do(func() { t.o.Log.Warn("calls were not stored", "calls", len(put)+len(gone), "err", err) })
		for _, key := range keys {
			t.again(key)
		}
	}
}

// again has a call stored that the store refused.
func (t *Table) again(key string) {
	id, _, _ := strings.Cut(key, "\x00")
	s := t.shard([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.calls[key]; c != nil {
		c.stored = true // or an older form of it: what is over is deleted
		t.changed(c)
	}
}

// encode is the stored form of a call; deleted tells that the store has one that
// is over. Neither: there is nothing to do.
func (t *Table) encode(key string) (i guard.Item, deleted bool) {
	id, _, _ := strings.Cut(key, "\x00")
	s := t.shard([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	i.Key = []byte(prefix + key)
	c := s.calls[key]
	if c == nil {
		return i, true // forgotten since; perhaps another came in its place
	}
	c.waits = false
	if c.state != Answered || c.expires <= t.o.Now().UnixNano() {
		deleted, c.stored = c.stored, false
		return i, deleted
	}
	out := stored{
		Version: version, ID: c.id, Account: c.account, Dialed: c.dialed, From: c.from, To: c.to, Status: c.status,
		Caller: c.caller.stored(), Towards: c.towards, Start: c.start, Answered: c.answered, Expires: c.expires, Urgent: c.urgent,
	}
	for n := range c.callees {
		out.Callees = append(out.Callees, c.callees[n].stored())
	}
	val, err := json.Marshal(out)
	if err != nil {
		return i, false
	}
	c.stored = true
	i.Value, i.Expires = val, instant(c.expires)
	return i, false
}

func (s *side) stored() storedSide {
	out := storedSide{Tag: s.tag, URI: s.uri, Target: s.target, Route: s.route, CSeq: s.cseq, Answered: s.answered, Gone: s.gone}
	for _, l := range s.legs {
		out.Legs = append(out.Legs, storedLeg(l))
	}
	return out
}

func (s storedSide) side() side {
	out := side{tag: s.Tag, uri: s.URI, target: s.Target, route: s.Route, cseq: s.CSeq, answered: s.Answered, gone: s.Gone}
	for _, l := range s.Legs {
		out.legs = append(out.legs, Leg(l))
	}
	return out
}

// load reads the answered calls back. One that cannot be read is skipped; one of
// a newer version is an error, for it would be lost.
func (t *Table) load(ctx context.Context) error {
	if t.o.Store == nil {
		return nil
	}
	now := t.o.Now().UnixNano()
	for item, err := range t.o.Store.Scan(ctx, []byte(prefix), false) {
		if err != nil {
			return fmt.Errorf("reading calls: %w", err)
		}
		var in stored
		if err := json.Unmarshal(item.Value, &in); err != nil || len(in.Caller.Legs) == 0 {
			t.o.Log.Warn("a stored call cannot be read", "err", err)
			continue
		}
		if in.Version > version {
			return fmt.Errorf("a stored call has version %d, newer than %d: it was written by a newer ringfence", in.Version, version)
		}
		if in.Expires <= now {
			continue
		}
		if t.tracked.Load() >= int64(t.o.Max) {
			t.untracked.Add(1)
			continue
		}
		c := &call{
			key: string(item.Key[len(prefix):]), id: in.ID, account: in.Account, dialed: in.Dialed, from: in.From, to: in.To,
			state: Answered, stored: true, status: in.Status, caller: in.Caller.side(), towards: in.Towards,
			start: in.Start, answered: in.Answered, expires: in.Expires, urgent: in.Urgent,
			doubtful: in.Expires-in.Answered >= int64(t.o.Length), // else its session tells
		}
		for _, f := range in.Callees {
			if len(f.Legs) > 0 && len(c.callees) < t.o.Forks {
				c.callees = append(c.callees, f.side())
			}
		}
		t.shard([]byte(c.id)).calls[c.key] = c
		t.tracked.Add(1)
		t.accounts.add(c.account, 1)
	}
	return nil
}
