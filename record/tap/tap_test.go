package tap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringfence/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	start = time.Unix(1_800_000_000, 0).UTC()
	phone = netip.MustParseAddrPort("192.0.2.10:40000")
	here  = netip.MustParseAddrPort("198.51.100.1:5060")
)

func invite(call string) []byte {
	return []byte("INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:40000;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n" +
		"From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: " + call + "\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n")
}

// decision is a refusal of an INVITE.
func decision(t testing.TB, call string) *guard.Decision {
	t.Helper()
	m, err := guard.Parse(invite(call), start, phone, here, guard.UDP)
	if err != nil {
		t.Fatal(err)
	}
	return &guard.Decision{
		Message: m, Stage: guard.StageCall, Policy: "v1", Took: time.Microsecond,
		Verdict: guard.Verdict{Action: guard.Reject, Status: 403, Reason: "Destination not allowed", Rule: "premium"},
		Matches: []guard.Match{{Rule: "trial", Where: "a.yaml:3", Mode: guard.Shadow}, {Rule: "premium", Title: "No premium numbers", Where: "a.yaml:7", Action: guard.Reject}},
		Bans:    []guard.Ban{{At: start, Until: start.Add(time.Hour)}},
	}
}

// take reads what waits.
func take(t testing.TB, s *Subscription) (events []Event, lost uint64) {
	t.Helper()
	lost, err := s.Next(t.Context(), func(e *Event) error {
		x := *e
		x.Raw = append([]byte(nil), e.Raw...)
		events = append(events, x)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events, lost
}

func TestShowsMessagesAndJudgements(t *testing.T) {
	x := New(Options{})
	x.Received(phone, here, guard.UDP, invite("before"), start) // nobody looks
	s := x.Subscribe(1 << 20)
	defer s.Close()
	x.Received(phone, here, guard.UDP, invite("one"), start)
	x.Decided(decision(t, "one"))
	x.Sent(phone, here, guard.UDP, []byte("SIP/2.0 403 Forbidden\r\nCall-ID: one\r\n\r\n"), start.Add(time.Millisecond))
	events, lost := take(t, s)
	if len(events) != 3 || lost != 0 {
		t.Fatalf("%d events, %d lost", len(events), lost)
	}
	for _, e := range events {
		if e.CallID != "one" {
			t.Errorf("the call is %q", e.CallID)
		}
	}
	in, judged, out := events[0], events[1].Judgement, events[2]
	if in.Kind != Received || in.Src != phone || in.Dst != here || string(in.Raw) != string(invite("one")) {
		t.Errorf("got %+v", in)
	}
	if out.Kind != Sent || out.Src != here || out.Dst != phone || !out.At.Equal(start.Add(time.Millisecond)) {
		t.Errorf("got %+v", out)
	}
	if got, want := fmt.Sprintln(judged.Action, judged.Stage, judged.Status, judged.Reason, judged.Rule, judged.Where(), judged.Policy, judged.Method,
		judged.From, judged.To, judged.Ban, len(judged.Matches)), fmt.Sprintln("reject", "call", 403, "Destination not allowed", "premium", "a.yaml:7",
		"v1", "INVITE", "alice@example.com", "bob@example.com", "ban 1h0m0s", 2); got != want || !judged.Refused() {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestJudgementOfABrokenMessage(t *testing.T) {
	x := New(Options{})
	s := x.Subscribe(1 << 20)
	defer s.Close()
	x.Received(phone, here, guard.UDP, []byte("INVITE x\n i : odd \nCSeq: 1"), start)
	x.Decided(&guard.Decision{Message: &guard.Message{At: start, Src: phone}, Verdict: guard.Verdict{Action: guard.Drop, Rule: "builtin:malformed"}})
	x.Decided(&guard.Decision{Message: &guard.Message{At: start, Src: here}, Verdict: guard.Verdict{Action: guard.Drop}})
	events, _ := take(t, s)
	if len(events) != 3 || events[1].CallID != events[0].CallID || events[2].CallID != "" {
		t.Errorf("got %+v", events)
	}
}

func TestRepliesCountWhenARuleMatched(t *testing.T) {
	x := New(Options{})
	s := x.Subscribe(1 << 20)
	defer s.Close()
	d := decision(t, "one")
	d.Message.Reply = &guard.Reply{Status: 404}
	x.Decided(d)
	d.Matches = nil
	x.Decided(d)
	if events, _ := take(t, s); len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
}

func TestFullIsCountedAndBlocksNobody(t *testing.T) {
	x := New(Options{})
	s := x.Subscribe(1) // 64 KiB, the least
	defer s.Close()
	const all = 10_000
	for i := range all {
		x.Received(phone, here, guard.UDP, invite(strconv.Itoa(i)), start)
	}
	if n := s.filling.size(); n > s.half {
		t.Errorf("%d bytes wait, more than %d", n, s.half)
	}
	events, lost := take(t, s)
	if len(events) == 0 || uint64(len(events))+lost != all {
		t.Errorf("%d seen and %d lost of %d", len(events), lost, all)
	}
	x.Received(phone, here, guard.UDP, invite("after"), start)
	if events, lost := take(t, s); len(events) != 1 || lost != 0 {
		t.Errorf("then %d seen and %d lost", len(events), lost)
	}
}

func TestWatchersAreBounded(t *testing.T) {
	x := New(Options{Watchers: 2})
	mirror := x.Subscribe(1)
	first, err := x.Watch()
	if err != nil {
		t.Fatal(err)
	}
	second, err := x.Watch()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Watch(); err == nil {
		t.Fatal("a third may watch")
	}
	first.Close()
	first.Close() // does no harm
	third, err := x.Watch()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Subscription{mirror, second, third} {
		if !x.Wanted() {
			t.Error("nobody looks")
		}
		s.Close()
	}
	if x.Wanted() {
		t.Error("somebody looks")
	}
}

func TestNextEnds(t *testing.T) {
	x := New(Options{})
	s := x.Subscribe(1)
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	enough := errors.New("enough")
	x.Received(phone, here, guard.UDP, invite("one"), start)
	if _, err := s.Next(t.Context(), func(*Event) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

func TestAllocatesNothing(t *testing.T) {
	x := New(Options{})
	raw, d := invite("one"), decision(t, "one")
	d.Bans = nil
	both := func() {
		x.Received(phone, here, guard.UDP, raw, start)
		x.Decided(d)
		x.Sent(phone, here, guard.UDP, raw, start)
	}
	if n := testing.AllocsPerRun(100, both); n != 0 {
		t.Errorf("%v allocations while nobody looks", n)
	}
	s := x.Subscribe(1 << 16)
	defer s.Close()
	for range 2 { // both batches grow
		for range 1000 {
			both()
		}
		take(t, s)
	}
	if n := testing.AllocsPerRun(10, both); n != 0 {
		t.Errorf("%v allocations while somebody looks", n)
	}
}

func TestFields(t *testing.T) {
	raw := "INVITE sip:a@b SIP/2.0\r\nFrom : a\r\n b\nTo:c\rX\r\n\r\nAuthorization:\r\n\tDigest x\r\n"
	var got []string
	for name, value := range Fields([]byte(raw)) {
		got = append(got, fmt.Sprintf("%s=%q", name, value))
	}
	want := `INVITE sip="a@b SIP/2.0" From="a\r\n b" To="c" Authorization="Digest x"`
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
}

func FuzzCallID(f *testing.F) {
	f.Add(invite("one"))
	f.Add([]byte("i: x\r\n y"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := string(raw)
		for name, value := range Fields(raw) {
			if strings.ContainsAny(string(name), ":") || len(name)+len(value) >= len(raw) {
				t.Fatalf("%q and %q of %q", name, value, raw)
			}
		}
		if id := CallID(raw); len(id) > longest || string(raw) != before {
			t.Fatalf("%q of %q", id, raw)
		}
		// What our own parser reads, this one reads too.
		if m, err := guard.Parse(raw, start, phone, here, guard.UDP); err == nil && m.Index.Repairs.Folded == 0 {
			want := m.Index.Text(m.Index.CallID)
			if got := string(CallID(raw)); got != cut(want) {
				t.Fatalf("%q, the parser reads %q", got, want)
			}
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	x := New(Options{})
	raw := invite("one")
	b.Run("nobody looks", func(b *testing.B) {
		for b.Loop() {
			x.Received(phone, here, guard.UDP, raw, start)
		}
	})
	b.Run("somebody looks", func(b *testing.B) {
		s := x.Subscribe(1 << 20)
		defer s.Close()
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			x.Received(phone, here, guard.UDP, raw, start)
			if n%500 == 499 { // the bound is not met
				b.StopTimer()
				take(b, s)
				b.StartTimer()
			}
		}
	})
}
