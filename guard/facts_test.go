package guard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// count makes a fact that counts how often it is computed.
func count(name string, s Stage, n *int, needs ...string) Fact {
	return Fact{Name: name, Type: Int, Stage: s, Needs: needs, Get: func(ctx context.Context, f *Facts) (Value, error) {
		*n++
		for _, need := range needs {
			if _, err := f.Ask(ctx, need); err != nil {
				return Value{}, err
			}
		}
		return Integer(int64(*n)), nil
	}}
}

func factsOf(t testing.TB, facts ...Fact) *Facts {
	t.Helper()
	e, err := NewEngine(EngineOptions{Guards: []*Guard{{Name: "test", Facts: facts}}, Policy: decide(nil), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	f := e.newFacts()
	f.reset(&Message{})
	return f
}

func TestAskedOnce(t *testing.T) {
	a, b := 0, 0
	f := factsOf(t, count("a", StageMessage, &a, "b"), count("b", StageMessage, &b))
	for range 3 {
		if v, err := f.Ask(t.Context(), "a"); err != nil || v.Int() != 1 {
			t.Fatalf("a is %v, %v", v, err)
		}
	}
	if _, err := f.AskID(t.Context(), 1); err != nil || a != 1 || b != 1 {
		t.Errorf("a was computed %d times, b %d times (%v), want once each", a, b, err)
	}
	f.reset(&Message{})
	if _, err := f.Ask(t.Context(), "b"); err != nil || b != 2 {
		t.Errorf("for the next message b was computed %d times in all (%v), want 2", b, err)
	}
}

func TestErrorIsRemembered(t *testing.T) {
	broken, asked := errors.New("broken"), 0
	f := factsOf(t, Fact{Name: "a", Get: func(context.Context, *Facts) (Value, error) { asked++; return Text("x"), broken }})
	for range 2 {
		if v, err := f.Ask(t.Context(), "a"); !errors.Is(err, broken) || !strings.Contains(err.Error(), "fact a") || v.Str() != "" {
			t.Errorf("got %v, %v", v, err)
		}
	}
	if asked != 1 {
		t.Errorf("computed %d times, want once", asked)
	}
	for range f.Known {
		t.Error("a fact that failed is not known")
	}
}

func TestTooEarly(t *testing.T) {
	n := 0
	f := factsOf(t, count("late", StageCall, &n))
	for range 2 {
		if _, err := f.Ask(t.Context(), "late"); err == nil || !strings.Contains(err.Error(), "stage call") {
			t.Errorf("asked at stage message: %v", err)
		}
	}
	if n != 0 {
		t.Error("it was computed")
	}
	f.at = StageCall
	if _, err := f.Ask(t.Context(), "late"); err != nil {
		t.Errorf("asked at its stage: %v", err)
	}
	known := 0
	for fact := range f.Known {
		known++
		if fact.Name != "late" {
			t.Errorf("known: %s", fact.Name)
		}
	}
	if known != 1 {
		t.Errorf("known %d times, want once", known)
	}
}

func TestUnknownFact(t *testing.T) {
	if _, err := factsOf(t).Ask(t.Context(), "src.contry"); err == nil || !strings.Contains(err.Error(), "src.contry") {
		t.Errorf("got %v", err)
	}
}

// A circle that Needs does not tell of ends in an error and not in a crash.
func TestHiddenCircle(t *testing.T) {
	get := func(other string) func(context.Context, *Facts) (Value, error) {
		return func(ctx context.Context, f *Facts) (Value, error) { return f.Ask(ctx, other) }
	}
	f := factsOf(t, Fact{Name: "a", Get: get("b")}, Fact{Name: "b", Get: get("a")})
	if _, err := f.Ask(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "asks for itself") {
		t.Errorf("got %v", err)
	}
}

func TestBookRefuses(t *testing.T) {
	get := func(context.Context, *Facts) (Value, error) { return Value{}, nil }
	for _, c := range []struct {
		want  string
		facts []Fact
	}{
		{"already given", []Fact{{Name: "a", Get: get}, {Name: "a", Get: get}}},
		{"no Get", []Fact{{Name: "a"}}},
		{"no guard gives", []Fact{{Name: "a", Get: get, Needs: []string{"b"}}}},
		{"of stage call", []Fact{{Name: "a", Get: get, Needs: []string{"b"}}, {Name: "b", Get: get, Stage: StageCall}}},
		{"needs itself", []Fact{{Name: "a", Get: get, Needs: []string{"a"}}}},
		{"needs itself", []Fact{{Name: "a", Get: get, Needs: []string{"b"}}, {Name: "b", Get: get, Needs: []string{"c"}}, {Name: "c", Get: get, Needs: []string{"a"}}}},
	} {
		_, err := NewEngine(EngineOptions{Guards: []*Guard{{Name: "test", Facts: c.facts}}, Policy: decide(nil), Now: time.Now})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestSet(t *testing.T) {
	n := 0
	f := factsOf(t, count("a", StageCall, &n))
	if err := f.Set("a", Text("x")); err == nil || !strings.Contains(err.Error(), "int") {
		t.Errorf("another type: %v", err)
	}
	if err := f.Set("b", Integer(1)); err == nil {
		t.Error("a fact that does not exist was set")
	}
	if err := f.Set("a", Integer(7)); err != nil {
		t.Fatal(err)
	}
	if v, err := f.Ask(t.Context(), "a"); err != nil || v.Int() != 7 || n != 0 {
		t.Errorf("got %v, %v, computed %d times", v.Int(), err, n)
	}
}

// Texts that are composed for a message do not disturb one another, however
// many there are.
func TestCompose(t *testing.T) {
	var facts []Fact
	for i := range 50 {
		facts = append(facts, Fact{Name: fmt.Sprint("f", i), Type: String, Get: func(_ context.Context, f *Facts) (Value, error) {
			return f.Compose(func(b []byte, m *Message) []byte {
				return fmt.Appendf(b, "%s %d of %s", m.Peer, i, strings.Repeat("x", i))
			}), nil
		}})
	}
	facts = append(facts, Fact{Name: "nothing", Type: String, Get: func(_ context.Context, f *Facts) (Value, error) {
		return f.Compose(func(b []byte, _ *Message) []byte { return b }), nil
	}})
	f := factsOf(t, facts...)
	for _, peer := range []string{"pbx", "trunk"} {
		f.reset(&Message{Peer: peer})
		var got []string
		for id := range facts {
			v, err := f.AskID(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, v.Str())
		}
		for i, text := range got[:50] {
			if want := fmt.Sprintf("%s %d of %s", peer, i, strings.Repeat("x", i)); text != want {
				t.Errorf("text %d is %q, want %q", i, text, want)
			}
		}
		if got[50] != "" {
			t.Errorf("nothing is %q", got[50])
		}
	}
}
