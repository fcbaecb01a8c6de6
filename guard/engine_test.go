package guard

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decide is a policy of one function; nil passes everything.
type decide func(context.Context, Stage, *Facts, *Decision) Verdict

func (decide) Version() string { return "test" }

func (p decide) Decide(ctx context.Context, s Stage, f *Facts, d *Decision) Verdict {
	if p == nil {
		return Verdict{}
	}
	return p(ctx, s, f, d)
}

// listen is a sink of one function.
type listen func(*Decision)

func (l listen) Decided(d *Decision) { l(d) }

func newEngine(t testing.TB, o EngineOptions) *Engine {
	t.Helper()
	o.Now = time.Now
	e, err := NewEngine(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestStageOrder(t *testing.T) {
	var seen []Stage
	var stop Stage
	e := newEngine(t, EngineOptions{Policy: decide(func(_ context.Context, s Stage, f *Facts, _ *Decision) Verdict {
		seen = append(seen, s)
		if f.Stage() != s {
			t.Errorf("facts are at stage %s, the policy at %s", f.Stage(), s)
		}
		if s == stop {
			return Verdict{Action: Reject, Status: 403}
		}
		return Verdict{}
	})})
	for _, c := range []struct {
		run  func(context.Context, *Message, *Decision)
		stop Stage
		want []Stage
	}{
		{e.Judge, StageReply, []Stage{StageMessage, StageIdentity, StageCall}},
		{e.Judge, StageMessage, []Stage{StageMessage}},
		{e.Judge, StageIdentity, []Stage{StageMessage, StageIdentity}},
		{e.Reply, StageEnd, []Stage{StageReply}},
		{e.End, StageReply, []Stage{StageEnd}},
	} {
		seen, stop = nil, c.stop
		d := &Decision{}
		c.run(t.Context(), &Message{}, d)
		if !slices.Equal(seen, c.want) {
			t.Errorf("ran %v, want %v", seen, c.want)
		}
		if last := c.want[len(c.want)-1]; d.Stage != last || (d.Verdict.Action == Reject) != (last == c.stop) || d.Policy != "test" {
			t.Errorf("decision is %+v", d)
		}
	}
}

func TestSinksInOrder(t *testing.T) {
	var told []string
	sink := func(name string) Sink {
		return listen(func(d *Decision) {
			told = append(told, name)
			if d.Facts() == nil || d.Facts().Message() != d.Message {
				t.Errorf("%s cannot ask for facts", name)
			}
		})
	}
	e := newEngine(t, EngineOptions{
		Guards: []*Guard{{Name: "a", Learn: func(*Decision) { told = append(told, "a") }}, {Name: "b"}, {Name: "c", Learn: func(*Decision) { told = append(told, "c") }}},
		Sinks:  []Sink{sink("bans"), sink("record")}, Policy: decide(nil),
	})
	d := &Decision{}
	e.Judge(t.Context(), &Message{}, d)
	if want := []string{"a", "c", "bans", "record"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if d.Facts() != nil {
		t.Error("facts outlive the judgement")
	}
}

func TestJudgeKnowing(t *testing.T) {
	n := 0
	e := newEngine(t, EngineOptions{
		Guards: []*Guard{{Name: "test", Facts: []Fact{count("a", StageCall, &n)}}},
		Sinks:  []Sink{listen(func(*Decision) { t.Error("a sink was told") })},
		Policy: decide(func(ctx context.Context, _ Stage, f *Facts, _ *Decision) Verdict {
			if v, err := f.Ask(ctx, "a"); err == nil && v.Int() == 7 {
				return Verdict{Action: Drop}
			}
			return Verdict{}
		}),
	})
	d := &Decision{}
	if err := e.JudgeKnowing(t.Context(), &Message{}, d, map[string]Value{"a": Integer(7)}, StageMessage, StageCall); err != nil {
		t.Fatal(err)
	}
	if d.Verdict.Action != Drop || n != 0 || d.Facts() == nil {
		t.Errorf("verdict %v, computed %d times", d.Verdict, n)
	}
	for given, want := range map[string]Value{"b": Integer(1), "a": Text("x")} {
		if err := e.JudgeKnowing(t.Context(), &Message{}, d, map[string]Value{given: want}, StageMessage, StageCall); err == nil {
			t.Errorf("%s = %v was accepted", given, want)
		}
	}
}

// named is a policy that says its name in every verdict.
type named string

func (p named) Version() string { return string(p) }

func (p named) Decide(context.Context, Stage, *Facts, *Decision) Verdict {
	return Verdict{Action: Allow, Rule: string(p)}
}

// A judgement is made by one policy from its beginning to its end.
func TestSwapDuringJudge(t *testing.T) {
	e := newEngine(t, EngineOptions{Policy: named("v0")})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			d := &Decision{}
			for {
				select {
				case <-stop:
					return
				default:
				}
				e.Judge(context.Background(), &Message{}, d)
				if d.Policy != d.Verdict.Rule {
					t.Errorf("policy %s, verdict of %s", d.Policy, d.Verdict.Rule)
					return
				}
			}
		})
	}
	before := "v0"
	for i := range 500 {
		next := named("v" + string(rune('a'+i%26)))
		if old := e.Swap(next).Version(); old != before {
			t.Errorf("swapped out %s, want %s", old, before)
		}
		before = string(next)
	}
	close(stop)
	wg.Wait()
	if got := e.Policy().Version(); got != before {
		t.Errorf("in force is %s, want %s", got, before)
	}
}

func TestNewEngineRefuses(t *testing.T) {
	if _, err := NewEngine(EngineOptions{Now: time.Now}); err == nil {
		t.Error("an engine without a policy")
	}
	if _, err := NewEngine(EngineOptions{Policy: decide(nil)}); err == nil {
		t.Error("an engine without a clock")
	}
}

func TestFactNumbers(t *testing.T) {
	n := 0
	e := newEngine(t, EngineOptions{Policy: decide(nil), Guards: []*Guard{{Name: "test", Facts: []Fact{count("a", 0, &n), count("b", 0, &n)}}}})
	for want, f := range e.Facts() {
		if id, ok := e.FactID(f.Name); !ok || id != want {
			t.Errorf("%s has number %d", f.Name, id)
		}
	}
	if _, ok := e.FactID("c"); ok || len(e.Facts()) != 2 {
		t.Error("facts that nobody gave")
	}
}

func TestRun(t *testing.T) {
	broken := errors.New("broken")
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	e := newEngine(t, EngineOptions{Policy: decide(nil), Guards: []*Guard{
		{Name: "idle"}, {Name: "waiting", Run: wait}, {Name: "failing", Run: func(context.Context) error { return broken }},
	}})
	if err := e.Run(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), "failing") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newEngine(t, EngineOptions{Policy: decide(nil), Guards: []*Guard{{Name: "waiting", Run: wait}}}).Run(ctx); err != nil {
		t.Errorf("ended by its context: %v", err)
	}
}

func TestRegisterTwice(t *testing.T) {
	k := Kind{Name: "test-registered-twice"}
	Register(k)
	t.Cleanup(func() { delete(registry, k.Name) })
	defer func() {
		if recover() == nil {
			t.Error("a name was registered twice")
		}
	}()
	Register(k)
}

func BenchmarkJudge(b *testing.B) {
	e := newEngine(b, EngineOptions{Policy: decide(nil)})
	m, d := &Message{}, &Decision{}
	b.ReportAllocs()
	for b.Loop() {
		e.Judge(context.Background(), m, d)
	}
}
