package proxy

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"ringfence/proxy/index"
	"ringfence/proxy/route"
)

// latencies are how long next hops take to answer. They are looked up by the
// names of the configuration, so that no label comes from elsewhere: servers of
// other domains have none. The map is read only after newLatencies.
type latencies map[string]*latency

// A latency is that of one next hop, or of all the servers of its name.
type latency struct{ first, final prometheus.Histogram }

// Bounds in seconds. A local PBX answers in a few hundred microseconds; until the
// final response to an INVITE somebody has to walk to the phone, three minutes at
// most (RFC 3261 section 16.6, Timer C).
var (
	firstBounds = []float64{0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 32}
	finalBounds = []float64{0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 180}
)

func newLatencies(hops []route.Config, r prometheus.Registerer) latencies {
	first := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "ringfence_hop_response_seconds", Help: "Time from forwarding a request to the first response of a next hop.", Buckets: firstBounds,
	}, []string{"hop"})
	final := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "ringfence_hop_invite_seconds", Help: "Time from forwarding an INVITE to the final response of a next hop.", Buckets: finalBounds,
	}, []string{"hop"})
	l := latencies{}
	for _, h := range hops {
		l[h.Name] = &latency{first.WithLabelValues(h.Name).(prometheus.Histogram), final.WithLabelValues(h.Name).(prometheus.Histogram)}
	}
	if r != nil {
		r.MustRegister(first, final)
	}
	return l
}

// answered notes a response of client transaction i, whose last one before had
// status before. Requests of our own, such as probes, do not count.
func (p *Proxy) answered(c *reqContext, i, status, before int, at time.Time) {
	final := c.Data.method == index.Invite && status >= 200 && before < 200
	if c.Data.origin != nil || before > 0 && !final {
		return
	}
	cl := &c.Clients[i]
	hop, ok := p.hopOf(cl.Flow)
	if !ok || hop.Pool == "" { // a server of another domain may have any name
		return
	}
	l := p.metrics.hops[hop.Name]
	if l == nil {
		return
	}
	took := at.Sub(cl.Sent).Seconds()
	if before == 0 {
		l.first.Observe(took)
	}
	if final {
		l.final.Observe(took)
	}
}

// A Latency is how long a next hop took to give its first responses since the
// start.
type Latency struct {
	Responses   uint64
	Median, P99 time.Duration
}

// Latency is that of the next hop of a name.
func (p *Proxy) Latency(hop string) Latency {
	l := p.metrics.hops[hop]
	var m dto.Metric
	if l == nil || l.first.Write(&m) != nil {
		return Latency{}
	}
	h := m.GetHistogram()
	return Latency{h.GetSampleCount(), quantile(h, 0.5), quantile(h, 0.99)}
}

// quantile is a quantile of what a histogram holds, as if the observations lay
// evenly in its buckets; what is beyond the last bound counts as that.
func quantile(h *dto.Histogram, q float64) time.Duration {
	rank := q * float64(h.GetSampleCount())
	lower, below := 0.0, 0.0
	for _, b := range h.GetBucket() {
		upper, n := b.GetUpperBound(), float64(b.GetCumulativeCount())
		if n >= rank && n > below && !math.IsInf(upper, 1) {
			return time.Duration((lower + (upper-lower)*(rank-below)/(n-below)) * float64(time.Second))
		}
		lower, below = upper, n
		if math.IsInf(upper, 1) {
			break
		}
	}
	if h.GetSampleCount() == 0 {
		return 0
	}
	return time.Duration(firstBounds[len(firstBounds)-1] * float64(time.Second))
}
