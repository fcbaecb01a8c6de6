package proxy

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"ringfence/proxy/route"
	"ringfence/proxy/wire"
)

// TestHopLatency lets a PBX ring after 3 ms and answer after 4 s, and answer the
// BYE after 40 ms.
func TestHopLatency(t *testing.T) {
	reg := prometheus.NewRegistry()
	p, w, now := newQuick(t)
	p.metrics.hops = newLatencies(p.c.Hops, reg)
	c := newTalk(p)
	p.Receive(0, c.phone, c.say("INVITE", "1", 1, nil, sdp), *now)
	invite := bytes.Clone(w.last)
	for line := range bytes.SplitAfterSeq(invite, []byte("\r\n")) {
		if bytes.HasPrefix(line, []byte("Record-Route:")) {
			c.routes = append(c.routes, line...)
		}
	}
	began := *now
	for _, answer := range []struct {
		after  time.Duration
		status string
	}{{3 * time.Millisecond, "180 Ringing"}, {time.Second, "180 Ringing"}, {4 * time.Second, "200 OK"}, {5 * time.Second, "200 OK"}} {
		*now = began.Add(answer.after)
		p.Receive(0, c.pbx, c.answer(answer.status, invite, nil), *now)
	}
	p.Receive(0, c.phone, c.say("ACK", "1", 1, c.routes, nil), *now)
	p.Receive(0, c.phone, c.say("BYE", "2", 1, c.routes, nil), *now)
	bye := bytes.Clone(w.last)
	p.Receive(0, c.pbx, c.answer("200 OK", bye, nil), now.Add(40*time.Millisecond))

	got := map[string]*dto.Histogram{}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if len(f.GetMetric()) != 1 || f.GetMetric()[0].GetLabel()[0].GetValue() != "pbx" {
			t.Errorf("got %v", f)
		}
		got[f.GetName()] = f.GetMetric()[0].GetHistogram()
	}
	if h := got["ringfence_hop_response_seconds"]; h.GetSampleCount() != 2 || h.GetSampleSum() < 0.0429 || h.GetSampleSum() > 0.0431 {
		t.Errorf("first responses: %v", h)
	}
	if h := got["ringfence_hop_invite_seconds"]; h.GetSampleCount() != 1 || h.GetSampleSum() < 3.99 || h.GetSampleSum() > 4.01 {
		t.Errorf("final responses: %v", h)
	}
	if l := p.Latency("pbx"); l.Responses != 2 || l.Median < 2*time.Millisecond || l.Median > 5*time.Millisecond || l.P99 < 20*time.Millisecond || l.P99 > 50*time.Millisecond {
		t.Errorf("got %+v", l)
	}
	if l := p.Latency("nobody"); l != (Latency{}) {
		t.Errorf("got %+v", l)
	}
}

// TestLatencyHasNoLabelsOfOthers lets a phone answer, which is no next hop, and
// asks a next hop whether it lives.
func TestLatencyHasNoLabelsOfOthers(t *testing.T) {
	reg := prometheus.NewRegistry()
	p, w, now := newQuick(t)
	p.metrics.hops = newLatencies([]route.Config{{Name: "pbx"}}, reg)
	p.elsewhere(func(x *worker) {
		f := wire.Flow{Remote: netip.MustParseAddrPort("203.0.113.5:5060"), Local: p.listeners[0].bound}
		p.originate(x, f, &outgoing{method: "OPTIONS", uri: "sip:203.0.113.5", from: "<sip:a@b>", fromTag: "x", to: "<sip:c@d>", callID: "probe", cseq: 1}, nil)
	})
	if !strings.HasPrefix(string(w.last), "OPTIONS") {
		t.Fatalf("sent %q", w.last)
	}
	p.Receive(0, newTalk(p).pbx, respond(nil, w.last), *now)
	if l := p.Latency("pbx"); l.Responses != 0 {
		t.Errorf("a probe counts: %+v", l)
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		seen     []float64
		q        float64
		from, to time.Duration
	}{
		{nil, 0.5, 0, 0},
		{[]float64{0.003}, 0.5, 2 * time.Millisecond, 5 * time.Millisecond},
		{[]float64{0.003, 0.003, 0.003, 0.15}, 0.5, 2 * time.Millisecond, 5 * time.Millisecond},
		{[]float64{0.003, 0.003, 0.003, 0.15}, 0.99, 100 * time.Millisecond, 200 * time.Millisecond},
		{[]float64{100}, 0.5, 32 * time.Second, 32 * time.Second},
		{[]float64{0.003, 100}, 0.99, 32 * time.Second, 32 * time.Second},
	} {
		l := newLatencies([]route.Config{{Name: "x"}}, nil)["x"]
		for _, s := range c.seen {
			l.first.Observe(s)
		}
		var m dto.Metric
		if err := l.first.Write(&m); err != nil {
			t.Fatal(err)
		}
		if got := quantile(m.GetHistogram(), c.q); got < c.from || got > c.to {
			t.Errorf("%v at %v: %v", c.seen, c.q, got)
		}
	}
}
