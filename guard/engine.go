package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// EngineOptions says what an engine is made of.
type EngineOptions struct {
	Guards []*Guard
	Policy Policy
	Sinks  []Sink // bans, meters, record; called in order, must not block
	Now    func() time.Time
	Log    *slog.Logger
}

// An Engine takes messages through the stages. It is safe for concurrent use.
type Engine struct {
	book   *factBook
	guards []*Guard
	sinks  []Sink
	now    func() time.Time
	log    *slog.Logger
	policy atomic.Pointer[Policy]
	pool   sync.Pool // of *Facts
}

// NewEngine makes an engine. It starts nothing. A missing policy is an error: a
// guard that decides nothing is not a guard.
func NewEngine(o EngineOptions) (*Engine, error) {
	if o.Policy == nil {
		return nil, errors.New("an engine needs a policy")
	}
	if o.Now == nil {
		return nil, errors.New("an engine needs a clock")
	}
	book, err := newFactBook(o.Guards)
	if err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{book: book, guards: o.Guards, sinks: o.Sinks, now: o.Now, log: o.Log}
	e.policy.Store(&o.Policy)
	e.pool.New = func() any { return e.newFacts() }
	return e, nil
}

func (e *Engine) newFacts() *Facts {
	n := len(e.book.facts)
	return &Facts{
		book: e.book, values: make([]Value, n), fails: make([]failure, n), state: make([]factState, n),
		asked: make([]int, 0, n),
	}
}

// Facts lists every fact that can be asked, in order of their numbers.
func (e *Engine) Facts() []Fact { return e.book.facts }

// FactID is the number of a fact, for Facts.AskID.
func (e *Engine) FactID(name string) (int, bool) {
	id, ok := e.book.ids[name]
	return id, ok
}

// Judge takes a request through the stages message, identity and call, until a
// verdict other than Pass falls, and tells the sinks. d is reset first and holds
// the decision when Judge returns; what it holds is valid until its next use.
func (e *Engine) Judge(ctx context.Context, m *Message, d *Decision) {
	e.run(ctx, m, d, StageMessage, StageCall)
}

// JudgeKnowing is Judge with facts given by hand: tests, replays and explain.
// It tells no sink.
func (e *Engine) JudgeKnowing(ctx context.Context, m *Message, d *Decision, given map[string]Value, first, last Stage) error {
	f := e.newFacts()
	f.reset(m)
	for name, v := range given {
		if err := f.Set(name, v); err != nil {
			return err
		}
	}
	e.stages(ctx, m, d, f, first, last)
	d.facts = f
	return nil
}

// Reply runs stage reply for a final response to a request; m.Reply is set.
func (e *Engine) Reply(ctx context.Context, m *Message, d *Decision) {
	e.run(ctx, m, d, StageReply, StageReply)
}

// End runs stage end for a call that ended; m.Call is set.
func (e *Engine) End(ctx context.Context, m *Message, d *Decision) {
	e.run(ctx, m, d, StageEnd, StageEnd)
}

func (e *Engine) run(ctx context.Context, m *Message, d *Decision, first, last Stage) {
	f := e.pool.Get().(*Facts)
	f.reset(m)
	e.stages(ctx, m, d, f, first, last)
	d.facts = f
	for _, g := range e.guards {
		if g.Learn != nil {
			g.Learn(d)
		}
	}
	for _, s := range e.sinks {
		s.Decided(d)
	}
	d.facts = nil
	f.msg = nil
	e.pool.Put(f)
}

func (e *Engine) stages(ctx context.Context, m *Message, d *Decision, f *Facts, first, last Stage) {
	start := e.now()
	d.Reset()
	d.Message = m
	policy := *e.policy.Load()
	d.Policy = policy.Version()
	for s := first; s <= last; s++ {
		f.at, d.Stage = s, s
		d.Verdict = policy.Decide(ctx, s, f, d)
		if d.Verdict.Action != Pass {
			break
		}
	}
	d.Took = e.now().Sub(start)
}

// Swap puts another policy in force and returns the one that was. Judgements
// under way finish with the old one.
func (e *Engine) Swap(p Policy) (old Policy) { return *e.policy.Swap(&p) }

// Policy is the policy in force.
func (e *Engine) Policy() Policy { return *e.policy.Load() }

// Run runs the guards' upkeep until ctx ends and joins it.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(e.guards))
	for i, g := range e.guards {
		if g.Run == nil {
			continue
		}
		wg.Go(func() {
			if err := g.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				errs[i] = fmt.Errorf("guard %s: %w", g.Name, err)
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
