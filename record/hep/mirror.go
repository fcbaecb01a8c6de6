package hep

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence/record/tap"
)

// Options says where packets go. Tap, Network, Address and Now are required;
// every other zero field means its default.
type Options struct {
	Tap         *tap.Tap
	Network     string // udp, tcp or tls
	Address     string // host:port
	TLS         *tls.Config
	Agent       uint32 // capture agent ID; default 1
	Key         []byte // authenticate key; nil: none
	Queue       int    // bytes of messages that wait; default 8 MiB
	Credentials bool   // mirror the answers to challenges as they are

	Wait    time.Duration // before connecting again, doubled after each failure; default 500 ms
	Longest time.Duration // longest such wait; default 30 s
	Timeout time.Duration // for connecting and for a write; default 5 s
	Last    time.Duration // for what is left at the end; default 1 s

	Metrics prometheus.Registerer
	Now     func() time.Time
	Log     *slog.Logger
}

// A Mirror sends what passes to a capture server.
type Mirror struct {
	o      Options
	sub    *tap.Subscription
	link   link
	out    []byte // packets that are not written yet
	made   batch  // what they are
	counts counts
}

// A batch counts packets.
type batch struct{ messages, verdicts uint64 }

type counts struct{ messages, verdicts, full, unsent, tooLong atomic.Uint64 }

// Counts says what became of messages and verdicts.
type Counts struct {
	Messages, Verdicts uint64 // sent
	Full               uint64 // found no room
	Unsent             uint64 // the server could not be reached
	TooLong            uint64 // did not fit a packet
}

// New makes a mirror. It starts nothing, but messages wait for Run from now on.
func New(o Options) (*Mirror, error) {
	if o.Tap == nil || o.Now == nil || o.Network == "" || o.Address == "" {
		return nil, errors.New("hep: a mirror needs a tap, a server and a clock")
	}
	if o.Agent == 0 {
		o.Agent = 1
	}
	if o.Queue <= 0 {
		o.Queue = 8 << 20
	}
	if o.Wait <= 0 {
		o.Wait = 500 * time.Millisecond
	}
	if o.Longest <= 0 {
		o.Longest = 30 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Last <= 0 {
		o.Last = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mirror{o: o, sub: o.Tap.Subscribe(o.Queue), link: link{o: &o, wait: o.Wait}}
	m.register(o.Metrics)
	return m, nil
}

// Close ends a mirror that is not going to run. Run does it by itself.
func (m *Mirror) Close() { m.sub.Close() }

// Counts says what became of messages and verdicts.
func (m *Mirror) Counts() Counts {
	c := &m.counts
	return Counts{c.messages.Load(), c.verdicts.Load(), c.full.Load(), c.unsent.Load(), c.tooLong.Load()}
}

// Run sends until ctx ends. A server that cannot be reached is tried again,
// later each time; meanwhile messages wait, as many as there is room for. What
// is left at the end has Last to go out.
func (m *Mirror) Run(ctx context.Context) error {
	defer m.link.hangUp()
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(m.o.Last, cancel) })
	defer stop()
	take := func(e *tap.Event) error { return m.take(last, e) }
	for ctx.Err() == nil {
		lost, _ := m.sub.Next(ctx, take) // an error is the end of ctx
		m.counts.full.Add(lost)
		m.flush(last)
	}
	m.sub.Close()
	lost, err := m.sub.Rest(take)
	m.counts.full.Add(lost)
	m.flush(last)
	return err
}

// take makes a packet of an event.
func (m *Mirror) take(ctx context.Context, e *tap.Event) error {
	p := Packet{At: e.At, Src: e.Src, Dst: e.Dst, Transport: e.Transport, Type: SIP, Agent: m.o.Agent, Key: m.o.Key, Correlation: e.CallID, Payload: e.Raw}
	kind := batch{messages: 1}
	switch {
	case e.Kind == tap.Judged:
		text, err := verdictJSON(e)
		if err != nil {
			return err
		}
		p.Type, p.Payload, kind = Log, text, batch{verdicts: 1}
	case !m.o.Credentials:
		Mask(e.Raw)
	}
	at := len(m.out)
	var err error
	if m.out, err = p.Append(m.out); err != nil || m.datagrams() && len(m.out) > maxDatagram {
		m.out = m.out[:at]
		m.counts.tooLong.Add(1)
		return nil
	}
	m.made.messages += kind.messages
	m.made.verdicts += kind.verdicts
	if m.datagrams() || len(m.out) >= batched {
		m.flush(ctx)
	}
	return nil
}

func (m *Mirror) datagrams() bool { return m.o.Network == "udp" }

// How much one datagram can hold (RFC 768, RFC 791), and how many bytes go into
// one write to a stream.
const (
	maxDatagram = 65507
	batched     = 1 << 16
)

// flush writes what was made. What a connection did not take goes over the next
// one, from its beginning: a packet may arrive twice, and never torn.
func (m *Mirror) flush(ctx context.Context) {
	if len(m.out) == 0 {
		return
	}
	if m.link.write(ctx, m.out) {
		m.counts.messages.Add(m.made.messages)
		m.counts.verdicts.Add(m.made.verdicts)
	} else {
		m.counts.unsent.Add(m.made.messages + m.made.verdicts)
	}
	m.out, m.made = m.out[:0], batch{}
}

// register adds the metrics.
func (m *Mirror) register(r prometheus.Registerer) {
	if r == nil {
		return
	}
	count := func(name, help, label, value string, n *atomic.Uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: value}},
			func() float64 { return float64(n.Load()) }))
	}
	const sent, sentHelp = "ringfence_hep_packets_total", "HEP packets that were sent to the capture server."
	count(sent, sentHelp, "kind", "message", &m.counts.messages)
	count(sent, sentHelp, "kind", "verdict", &m.counts.verdicts)
	const lost, lostHelp = "ringfence_hep_dropped_total", "Messages and verdicts that were not mirrored."
	count(lost, lostHelp, "reason", "queue_full", &m.counts.full)
	count(lost, lostHelp, "reason", "unreachable", &m.counts.unsent)
	count(lost, lostHelp, "reason", "too_long", &m.counts.tooLong)
}
