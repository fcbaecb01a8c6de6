package rules_test

import (
	"net/netip"
	"testing"
	"time"

	"ringfence/guard"
	"ringfence/intel/meter"
	"ringfence/rules"
)

const passing = "INVITE sip:100@acme.example SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK1;rport\r\n" +
	"From: <sip:200@acme.example>;tag=a\r\nTo: <sip:100@acme.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n" +
	"Contact: <sip:200@203.0.113.9>\r\nUser-Agent: Phone\r\nContent-Length: 0\r\n\r\n"

func defaultEngine(tb testing.TB) (*guard.Engine, *guard.Message) {
	tb.Helper()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	m := meter.New(meter.Options{Keys: 4096, Distinct: 1024})
	guards, err := realGuards(m, clock)
	if err != nil {
		tb.Fatal(err)
	}
	set, problems := rules.Load(rules.Default(), []string{rules.DefaultFile}, rules.NewEnv(guards), rules.LoadOptions{Now: now})
	if set == nil {
		tb.Fatal(problems)
	}
	set.Count(m)
	e, err := guard.NewEngine(guard.EngineOptions{Guards: guards, Policy: set, Now: clock})
	if err != nil {
		tb.Fatal(err)
	}
	msg := parsed(tb, passing, now)
	msg.Inside = true // passes every rule, however often it is judged
	return e, msg
}

func parsed(tb testing.TB, text string, at time.Time) *guard.Message {
	tb.Helper()
	m, err := guard.Parse([]byte(text), at, netip.MustParseAddrPort("203.0.113.9:5060"), netip.MustParseAddrPort("198.51.100.1:5060"), guard.UDP)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func BenchmarkDefaultPack(b *testing.B) {
	e, m := defaultEngine(b)
	var d guard.Decision
	b.ReportAllocs()
	for b.Loop() {
		e.Judge(b.Context(), m, &d)
	}
	if d.Verdict.Action != guard.Pass {
		b.Fatalf("%+v", d.Verdict)
	}
}
