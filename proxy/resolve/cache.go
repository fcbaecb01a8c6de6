package resolve

import (
	"context"
	"errors"
	"time"
)

// An entry is what is known of a question. Its fields are guarded by
// Resolver.mu.
type entry struct {
	found  records
	err    error
	fresh  time.Time     // until when found and err hold
	good   time.Time     // until when found may stand in for a newer one; zero: there is none
	asking chan struct{} // closed when the answer has come; nil if nobody asks
}

// lookUp is the answer to a question: one that is remembered, or else what the
// servers say. Of those who ask the same at the same time one goes and the
// others wait for what it brings. If the servers are silent, an old answer is
// given, and they are left alone with this question for a while.
func (r *Resolver) lookUp(ctx context.Context, q question) (records, error) {
	for {
		r.mu.Lock()
		e := r.entries[q]
		if e != nil && r.o.Now().Before(e.fresh) {
			found, err := e.found, e.err
			r.mu.Unlock()
			return found, err
		}
		if e == nil || e.asking == nil {
			e = r.begin(q)
			r.mu.Unlock()
			found, err := r.ask(ctx, q)
			return r.end(ctx, q, e, found, err)
		}
		asking := e.asking
		r.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
			return records{}, errors.Join(ErrSilent, ctx.Err())
		}
	}
}

// begin notes that a question is asked; r.mu is held.
func (r *Resolver) begin(q question) *entry {
	e := r.entries[q]
	if e == nil {
		e = new(entry)
		r.makeRoom()
		r.entries[q] = e
	}
	e.asking = make(chan struct{})
	return e
}

// makeRoom takes an answer out if there are too many: of a few, the one that has
// run out first. r.mu is held.
func (r *Resolver) makeRoom() {
	if len(r.entries) < r.o.Entries {
		return
	}
	var victim question
	var oldest *entry
	looked := 0
	for q, e := range r.entries { // in random order
		if e.asking == nil && (oldest == nil || e.fresh.Before(oldest.fresh)) {
			victim, oldest = q, e
		}
		if looked++; looked >= 16 && oldest != nil {
			break
		}
	}
	if oldest != nil {
		delete(r.entries, victim)
	}
}

// end remembers what came of a question and lets those go on who wait for it.
func (r *Resolver) end(ctx context.Context, q question, e *entry, found records, err error) (records, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Now()
	close(e.asking)
	e.asking = nil
	switch {
	case err == nil:
		e.found, e.err, e.fresh, e.good = found, nil, found.until, found.until.Add(r.o.Stale)
	case errors.Is(err, ErrNotFound):
		e.found, e.err, e.fresh, e.good = found, err, found.until, time.Time{}
	case errors.Is(ctx.Err(), context.Canceled):
		// Who asked has lost interest; that says nothing of the servers.
		if e.fresh.IsZero() {
			delete(r.entries, q)
		}
		return records{}, err
	case now.Before(e.good):
		r.counts.Stale++
		e.found.stale, e.found.until = true, now.Add(r.o.Retry)
		e.fresh = e.found.until
	default:
		found.until = now.Add(r.o.Retry)
		e.found, e.err, e.fresh, e.good = found, err, found.until, time.Time{}
	}
	return e.found, e.err
}
