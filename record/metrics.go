package record

import (
	"github.com/prometheus/client_golang/prometheus"

	"ringfence/guard"
)

// metrics have no label that a caller chose.
type metrics struct {
	decisions *prometheus.CounterVec
	matches   *prometheus.CounterVec
	alerts    *prometheus.CounterVec
	byAction  [8][guard.Stages]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, r *Recorder) metrics {
	m := metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_decisions_total", Help: "Judged messages by verdict and the stage at which it fell."}, []string{"action", "stage"}),
		matches:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_rule_matches_total", Help: "Matches of each rule by mode."}, []string{"rule", "mode"}),
		alerts:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringfence_alerts_total", Help: "Alerts by channel and outcome."}, []string{"channel", "outcome"}),
	}
	for a := guard.Pass; a <= guard.Drop; a++ {
		for s := range guard.Stages {
			m.byAction[a][s] = m.decisions.WithLabelValues(a.String(), s.String())
		}
	}
	if reg != nil {
		reg.MustRegister(m.decisions, m.matches, m.alerts,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ringfence_recorder_queue", Help: "Entries that wait to be written."}, func() float64 { return float64(len(r.queue)) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "ringfence_recorder_dropped_total", Help: "Entries and alerts that found no room."}, func() float64 { return float64(r.Dropped()) }))
	}
	return m
}

func (m *metrics) decided(d *guard.Decision) {
	m.byAction[d.Verdict.Action][d.Stage].Inc()
	for i := range d.Matches {
		m.matches.WithLabelValues(d.Matches[i].Rule, d.Matches[i].Mode.String()).Inc()
	}
}

func (m *metrics) alerted(channel string, err error) {
	outcome := "sent"
	if err != nil {
		outcome = "failed"
	}
	m.alerts.WithLabelValues(channel, outcome).Inc()
}
