package guard

import (
	"context"
	"fmt"
	"unsafe"
)

// Facts is one message and what has been found out about it so far. It belongs
// to one goroutine and is valid until the judgement of its message returns.
type Facts struct {
	msg    *Message
	book   *factBook
	values []Value
	fails  []failure // by number, like values
	state  []factState
	asked  []int  // in order, for history and explain
	room   []byte // of Compose
	at     Stage
}

// A failure is why a fact cannot be had. It lies in its Facts: a fact that can
// never be had, such as a country without a database, costs no allocation.
type failure struct {
	fact string
	err  error
}

func (e *failure) Error() string { return "fact " + e.fact + ": " + e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

type factState uint8

const (
	notAsked factState = iota
	asking
	known
	failed
)

// Message is the message that is judged.
func (f *Facts) Message() *Message { return f.msg }

// Stage is the stage that is being judged.
func (f *Facts) Stage() Stage { return f.at }

// Ask computes a fact by name, once for a message.
func (f *Facts) Ask(ctx context.Context, name string) (Value, error) {
	id, ok := f.book.ids[name]
	if !ok {
		return Value{}, fmt.Errorf("no fact is called %q", name)
	}
	return f.AskID(ctx, id)
}

// AskID is Ask without the look-up of the name; see Engine.FactID. An error is
// valid for as long as f is.
func (f *Facts) AskID(ctx context.Context, id int) (Value, error) {
	switch f.state[id] {
	case known:
		return f.values[id], nil
	case failed:
		return Value{}, &f.fails[id]
	case asking:
		return Value{}, fmt.Errorf("fact %s asks for itself", f.book.facts[id].Name)
	}
	fact := &f.book.facts[id]
	if fact.Stage > f.at {
		return Value{}, fmt.Errorf("fact %s is known from stage %s and was asked at %s", fact.Name, fact.Stage, f.at)
	}
	f.asked = append(f.asked, id)
	f.state[id] = asking
	v, err := fact.Get(ctx, f)
	if err != nil {
		f.state[id], f.fails[id] = failed, failure{fact.Name, err}
		return Value{}, &f.fails[id]
	}
	f.values[id], f.state[id] = v, known
	return v, nil
}

// Compose makes a String value of what add appends. It lies in memory that f
// has, so that a text that is written for every message costs no allocation.
func (f *Facts) Compose(add func(b []byte, m *Message) []byte) Value {
	at := len(f.room)
	f.room = add(f.room, f.msg) // what was composed before stays where it is
	return Text(unsafe.String(unsafe.SliceData(f.room[at:]), len(f.room)-at))
}

// Set gives a fact a value by hand: tests, replays, and facts that were
// recorded. It is an error if there is no such fact or the type differs.
func (f *Facts) Set(name string, v Value) error {
	id, ok := f.book.ids[name]
	if !ok {
		return fmt.Errorf("no fact is called %q", name)
	}
	if want := f.book.facts[id].Type; v.Type != want {
		return fmt.Errorf("fact %s is a %s, not a %s", name, want, v.Type)
	}
	f.values[id], f.state[id] = v, known
	f.asked = append(f.asked, id)
	return nil
}

// Known calls yield for every fact that was asked for and could be had, in the
// order of asking.
func (f *Facts) Known(yield func(Fact, Value) bool) {
	for _, id := range f.asked {
		if f.state[id] == known && !yield(f.book.facts[id], f.values[id]) {
			return
		}
	}
}

func (f *Facts) reset(m *Message) {
	f.msg, f.at = m, StageMessage
	for _, id := range f.asked {
		f.state[id], f.values[id] = notAsked, Value{}
	}
	f.asked, f.room = f.asked[:0], f.room[:0]
}

// A factBook numbers the facts of a set of guards.
type factBook struct {
	facts []Fact
	ids   map[string]int
}

// newFactBook checks the facts against each other: names are unique, needs
// exist, come no later than the fact itself and run in no circle.
func newFactBook(guards []*Guard) (*factBook, error) {
	b := &factBook{ids: map[string]int{}}
	for _, g := range guards {
		for _, fact := range g.Facts {
			if _, twice := b.ids[fact.Name]; twice {
				return nil, fmt.Errorf("guard %s: fact %s is already given by another guard", g.Name, fact.Name)
			}
			if fact.Get == nil {
				return nil, fmt.Errorf("guard %s: fact %s cannot be asked: it has no Get", g.Name, fact.Name)
			}
			b.ids[fact.Name] = len(b.facts)
			b.facts = append(b.facts, fact)
		}
	}
	for _, fact := range b.facts {
		for _, need := range fact.Needs {
			id, ok := b.ids[need]
			if !ok {
				return nil, fmt.Errorf("fact %s needs %s, which no guard gives", fact.Name, need)
			}
			if b.facts[id].Stage > fact.Stage {
				return nil, fmt.Errorf("fact %s of stage %s needs %s of stage %s", fact.Name, fact.Stage, need, b.facts[id].Stage)
			}
		}
	}
	return b, b.circles()
}

func (b *factBook) circles() error {
	state := make([]factState, len(b.facts))
	var visit func(id int) error
	visit = func(id int) error {
		switch state[id] {
		case asking:
			return fmt.Errorf("fact %s needs itself", b.facts[id].Name)
		case known:
			return nil
		}
		state[id] = asking
		for _, need := range b.facts[id].Needs {
			if err := visit(b.ids[need]); err != nil {
				return err
			}
		}
		state[id] = known
		return nil
	}
	for id := range b.facts {
		if err := visit(id); err != nil {
			return err
		}
	}
	return nil
}
