package rules_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"ringfence/guard"
	"ringfence/intel/meter"
	"ringfence/rules"
)

// While rules are applied under load, every message is counted once and by what
// its own set means by a rate, wherever that rate stands in the next set.
func TestReloadUnderLoad(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	meters := meter.New(meter.Options{Keys: 64, Distinct: 64})
	guards, err := realGuards(meters, clock)
	if err != nil {
		t.Fatal(err)
	}
	// No message is a BYE: hangups stays at 0, unless calls are counted into it.
	const calls, hangups = "  calls: {count: sip.new_call, per: [src.ip], window: 1h}\n", "  hangups: {count: 'sip.method == \"BYE\"', per: [src.ip], window: 1h}\n"
	apply := func(rates, when string) *rules.Set {
		t.Helper()
		text := "version: 1\nrates:\n" + rates + "rules:\n  - {id: found, title: t, do: drop, when: '" + when + "'}\n"
		set, problems := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(text)}}, []string{"a.yaml"}, rules.NewEnv(guards), rules.LoadOptions{Now: now})
		if set == nil {
			t.Fatal(problems)
		}
		set.Count(meters)
		return set
	}
	const wrong = "rate.hangups > 0 || rate.calls > 1000000"
	engine, err := guard.NewEngine(guard.EngineOptions{Guards: guards, Policy: apply(calls+hangups, wrong), Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	const workers, each = 4, 3000
	var load sync.WaitGroup
	for range workers {
		m := parsed(t, passing, now)
		load.Go(func() {
			var d guard.Decision
			for range each {
				if engine.Judge(t.Context(), m, &d); d.Verdict.Rule != "" {
					t.Errorf("a call was counted as something else: %+v", d.Matches)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { load.Wait(); close(done) }()
	reloads := 0
	for loaded := false; !loaded || reloads < 20; reloads++ {
		rates := hangups + calls
		if reloads%2 == 1 {
			rates = calls + fmt.Sprintf("  new_%d: {per: [src.ip], window: 1h}\n", reloads) + hangups
		}
		engine.Swap(apply(rates, wrong))
		select {
		case <-done:
			loaded = true
		default:
		}
	}
	// One more call, and a set that knows how many there were.
	engine.Swap(apply(calls, fmt.Sprintf("rate.calls == %d", workers*each+1)))
	var d guard.Decision
	if engine.Judge(t.Context(), parsed(t, passing, now), &d); d.Verdict.Rule != "found" {
		t.Errorf("after %d reloads the calls are not %d", reloads, workers*each+1)
	}
}

// What the rules did is told across an apply, for those that go on being there.
func TestHitsGoOn(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	meters := meter.New(meter.Options{Keys: 64, Distinct: 64})
	guards, err := realGuards(meters, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	load := func(ids ...string) *rules.Set {
		t.Helper()
		text := "version: 1\nrules:\n"
		for _, id := range ids {
			text += "  - {id: " + id + ", title: t, alert: {severity: low}, when: sip.new_call}\n"
		}
		set, problems := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(text)}}, []string{"a.yaml"}, rules.NewEnv(guards), rules.LoadOptions{Now: now})
		if set == nil {
			t.Fatal(problems)
		}
		return set
	}
	first := load("stays", "goes")
	engine, err := guard.NewEngine(guard.EngineOptions{Guards: guards, Policy: first, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	var d guard.Decision
	engine.Judge(t.Context(), parsed(t, passing, now), &d)
	second := load("comes", "stays")
	second.Continue(first)
	engine.Swap(second)
	engine.Judge(t.Context(), parsed(t, passing, now), &d)
	got := map[string]uint64{}
	for _, h := range second.Hits() {
		got[h.Rule] = h.Matched
	}
	if len(got) != 3 || got["stays"] != 2 || got["comes"] != 1 || got[rules.EmergencyRule] != 0 {
		t.Errorf("hits %v", got)
	}
}
