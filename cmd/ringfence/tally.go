package main

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence/guard"
)

// tally counts verdicts for `ringfence status`. It is a guard.Sink.
type tally struct {
	passed, challenged, refused, dropped, malformed atomic.Uint64

	problems *prometheus.CounterVec
}

// Decided counts requests only: replies and ended calls have no verdict.
func (t *tally) Decided(d *guard.Decision) {
	if d.Message.Reply != nil || d.Message.Call != nil {
		return
	}
	switch d.Verdict.Action {
	case guard.Pass, guard.Allow:
		t.passed.Add(1)
	case guard.Challenge:
		t.challenged.Add(1)
	case guard.Reject:
		t.refused.Add(1)
	case guard.Drop:
		t.dropped.Add(1)
	}
}

func newTally() *tally {
	return &tally{problems: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ringfence_parse_errors_total", Help: "Messages that two readers could read differently, by problem.",
	}, []string{"problem"})}
}

func (t *tally) problem(name string) { t.problems.WithLabelValues(name).Inc() }

func (t *tally) all() map[string]uint64 {
	return map[string]uint64{
		"passed": t.passed.Load(), "challenged": t.challenged.Load(), "refused": t.refused.Load(), "dropped": t.dropped.Load(),
		"malformed": t.malformed.Load(),
	}
}
