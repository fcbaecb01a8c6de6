package route

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"ringfence/guard"
	"ringfence/proxy/resolve"
)

// prefix is where the servers of names stand in the store: prefix and name of
// the hop. They are there for a start while DNS is silent, as when a whole site
// comes back from a power cut.
const prefix = "r/"

// storeTimeout bounds one look into the store, restore is how often what has not
// changed is stored again.
const (
	storeTimeout = 5 * time.Second
	restore      = time.Hour
)

// A stored is what DNS said of a name.
type stored struct {
	Target    resolve.Target   `json:"target"`
	Servers   []resolve.Server `json:"servers"`
	By        string           `json:"by"`
	Confirmed time.Time        `json:"confirmed"`
}

// store keeps what DNS has confirmed of a name; changed tells whether that is
// new.
func (r *Routes) store(ctx context.Context, i int, changed bool) {
	c := &r.o.Hops[i]
	if r.o.Store == nil || c.literal() {
		return
	}
	r.mu.Lock()
	n := &r.names[i]
	s := stored{c.target(), n.answer.Servers, n.answer.By, n.confirmed}
	if n.err != nil || !changed && n.confirmed.Sub(n.stored) < restore {
		r.mu.Unlock()
		return
	}
	n.stored = n.confirmed
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	b, err := json.Marshal(s)
	if err == nil {
		err = r.o.Store.Put(ctx, []byte(prefix+c.Name), b, r.o.Stale)
	}
	if err != nil {
		r.o.Log.Warn("the servers of a next hop are not stored", "hop", c.Name, "err", err)
	}
}

// load reads what DNS said of a name before, when it says nothing now.
func (r *Routes) load(ctx context.Context, i int) {
	c := &r.o.Hops[i]
	if r.o.Store == nil || c.literal() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	b, err := r.o.Store.Get(ctx, []byte(prefix+c.Name))
	if errors.Is(err, guard.ErrNotFound) {
		return
	}
	var s stored
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		r.o.Log.Warn("the servers of a next hop cannot be read back", "hop", c.Name, "err", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := &r.names[i]
	if s.Target != c.target() || n.err == nil || errors.Is(n.err, resolve.ErrNotFound) || r.o.Now().Sub(s.Confirmed) >= r.o.Stale {
		return
	}
	n.answer, n.confirmed, n.stored = resolve.Answer{Servers: s.Servers, By: s.By, Stale: true}, s.Confirmed, s.Confirmed
	r.o.Log.Info("a next hop has the servers that it had before", "hop", c.Name, "host", c.Host, "servers", len(s.Servers), "confirmed", s.Confirmed)
}
