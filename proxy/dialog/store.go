package dialog

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
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

// changed queues a call to be stored or deleted; the shard is locked.
func (t *Table) changed(c *call) {
	if t.o.Store == nil {
		return
	}
	select {
	case t.changes <- c.key:
		c.unstored = false
	default:
		c.unstored = true // the next sweep tries again
		t.unstored.Add(1)
	}
}

// Run stores changes and ends calls whose time is up until ctx ends, and then
// stores what still waits.
func (t *Table) Run(ctx context.Context) error {
	tick := time.NewTicker(t.o.Sweep)
	defer tick.Stop()
	for {
		select {
		case key := <-t.changes:
			t.store(ctx, key)
		case <-tick.C:
			t.sweep(t.o.Now())
		case <-ctx.Done():
			for {
				select {
				case key := <-t.changes:
					t.store(ctx, key)
				default:
					return nil
				}
			}
		}
	}
}

// store brings the store up to date with one call. It looks at the call as it
// is now, so the order of the queue does not matter.
func (t *Table) store(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	val, expires := t.encode(key)
	var err error
	if left := time.Duration(expires - t.o.Now().UnixNano()); val != nil && left > 0 {
		err = t.o.Store.Put(ctx, []byte(prefix+key), val, left)
	} else {
		err = t.o.Store.Delete(ctx, []byte(prefix+key))
	}
	if err != nil {
		t.complain.Do(func() { t.o.Log.Warn("a call was not stored", "err", err) })
	}
}

// encode is the stored form of a call, nil if it is not to be stored.
func (t *Table) encode(key string) (val []byte, expires int64) {
	id, _, _ := strings.Cut(key, "\x00")
	s := t.shard([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[key]
	if c == nil || c.state != Answered {
		return nil, 0
	}
	out := stored{
		Version: version, ID: c.id, Account: c.account, Dialed: c.dialed, From: c.from, To: c.to, Status: c.status,
		Caller: c.caller.stored(), Towards: c.towards, Start: c.start, Answered: c.answered, Expires: c.expires,
	}
	for i := range c.callees {
		out.Callees = append(out.Callees, c.callees[i].stored())
	}
	val, err := json.Marshal(out)
	if err != nil {
		return nil, 0
	}
	return val, c.expires
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
			state: Answered, status: in.Status, caller: in.Caller.side(), towards: in.Towards,
			start: in.Start, answered: in.Answered, expires: in.Expires,
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
