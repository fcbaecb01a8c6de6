package proxy

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/resolve"
)

// A dropReason is why a message went no further, other than by a rule.
type dropReason uint8

const (
	malformed dropReason = iota
	overBudget
	sourceFull
	tableFull
	shed
	amplification
	strayResponse
	foreignResponse
	strayAck
	strayRequest
	banned
	digestLeak
	orphaned
	endLost
	dropReasons
)

var dropTexts = [...]string{
	"malformed", "over_budget", "source_full", "table_full", "shed", "amplification", "stray_response",
	"foreign_response", "stray_ack", "stray_request", "banned", "digest_leak", "orphaned_answer", "end_lost",
}

// transports is how many guard.Transports there are, methods how many methods.
const (
	transports = int(guard.WSS) + 1
	methods    = int(index.Update) + 1
	actions    = int(guard.Drop) + 1
)

// metrics are counters that were looked up before: no label comes from a
// message.
type metrics struct {
	messages        [transports][methods][actions]prometheus.Counter
	responses       [7]prometheus.Counter
	forwards        [transports]prometheus.Counter
	drops           [dropReasons]prometheus.Counter
	retransmissions prometheus.Counter
	judgement       prometheus.Histogram
	hops            latencies
}

func newMetrics(p *Proxy, r prometheus.Registerer) *metrics {
	m := new(metrics)
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ringfence_messages_total", Help: "Requests that were judged.",
	}, []string{"transport", "method", "action"})
	for t := range transports {
		for n := range methods {
			for a := range actions {
				m.messages[t][n][a] = messages.WithLabelValues(
					guard.Transport(t).String(), index.Method(n).String(), guard.Action(a).String())
			}
		}
	}
	responses := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ringfence_responses_total", Help: "Responses by class, from next hops and our own.",
	}, []string{"class"})
	for i := range m.responses {
		m.responses[i] = responses.WithLabelValues(strconv.Itoa(i) + "xx")
	}
	forwards := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ringfence_forwarded_total", Help: "Requests that were sent on.",
	}, []string{"transport"})
	for t := range transports {
		m.forwards[t] = forwards.WithLabelValues(guard.Transport(t).String())
	}
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ringfence_dropped_total", Help: "Messages that went no further, other than by a rule.",
	}, []string{"reason"})
	for i := range m.drops {
		m.drops[i] = drops.WithLabelValues(dropTexts[i])
	}
	m.retransmissions = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "ringfence_retransmissions_total", Help: "Requests that came again and were not judged again.",
	})
	m.judgement = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "ringfence_judge_seconds", Help: "Time to judge one request.",
		Buckets: []float64{1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1},
	})
	m.hops = newLatencies(p.c.Hops, r)
	if r == nil {
		return m
	}
	r.MustRegister(messages, responses, forwards, drops, m.retransmissions, m.judgement,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ringfence_transactions", Help: "Requests that are under way.",
		}, func() float64 { return float64(p.table.Counts().Up) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ringfence_transaction_memory_bytes", Help: "Octets of messages that transactions keep.",
		}, func() float64 { return float64(p.table.Held()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ringfence_calls_active", Help: "Calls that are up.",
		}, func() float64 { return float64(p.calls.Counts().Up) }),
	)
	if p.resolver != nil {
		registerDNS(r, p.resolver)
	}
	return m
}

// registerDNS adds the counters of DNS.
func registerDNS(r prometheus.Registerer, d *resolve.Resolver) {
	for _, c := range []struct {
		name, help string
		value      func(resolve.Counts) uint64
	}{
		{"ringfence_dns_questions_total", "Messages that were sent to DNS servers.", func(c resolve.Counts) uint64 { return c.Asked }},
		{"ringfence_dns_failures_total", "Questions that a DNS server did not answer.", func(c resolve.Counts) uint64 { return c.Failed }},
		{"ringfence_dns_stale_total", "Questions that an old answer had to do for.", func(c resolve.Counts) uint64 { return c.Stale }},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: c.name, Help: c.help}, func() float64 { return float64(c.value(d.Counts())) }))
	}
}

func (m *metrics) judged(msg *guard.Message, d *guard.Decision) {
	m.messages[msg.Transport][msg.Index.Method][d.Verdict.Action].Inc()
	m.judgement.Observe(d.Took.Seconds())
}

func (m *metrics) drop(r dropReason)           { m.drops[r].Inc() }
func (m *metrics) retransmission()             { m.retransmissions.Inc() }
func (m *metrics) forwarded(t guard.Transport) { m.forwards[t].Inc() }
func (m *metrics) response(status int)         { m.responses[min(status/100, 6)].Inc() }
