package watch

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
	"ringfence/record/tap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	start = time.Unix(1_800_000_000, 0).UTC()
	phone = netip.MustParseAddrPort("192.0.2.10:40000")
	here  = netip.MustParseAddrPort("198.51.100.1:5060")
	pbx   = netip.MustParseAddrPort("203.0.113.5:5060")
)

func message(first, from, to, call, cseq string) []byte {
	return []byte(first + "\r\nVia: SIP/2.0/UDP 192.0.2.10:40000;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n" +
		"From: <sip:" + from + ">;tag=a\r\nTo: <sip:" + to + ">\r\nCall-ID: " + call + "\r\nCSeq: " + cseq + "\r\nContent-Length: 0\r\n\r\n")
}

// play is two calls, one of which a rule refuses, and something broken.
func play(f *Follower) error {
	invite := func(from, to, call string) []byte {
		return message("INVITE sip:"+to+" SIP/2.0", from, to, call, "1 INVITE")
	}
	verdict := func(call string, j tap.Judgement) tap.Event {
		return tap.Event{Kind: tap.Judged, At: start, Src: phone, Dst: here, CallID: call, Judgement: &j}
	}
	for _, e := range []tap.Event{
		{Kind: tap.Received, Src: phone, Dst: here, Raw: invite("alice@a.example", "bob@a.example", "one"), CallID: "one"},
		verdict("one", tap.Judgement{Method: "INVITE", From: "alice@a.example", To: "bob@a.example", Matches: []tap.Match{{Rule: "trial", Where: "r.yaml:1", Mode: guard.Shadow, Action: guard.Reject}}}),
		{Kind: tap.Sent, Src: here, Dst: pbx, Raw: invite("alice@a.example", "bob@a.example", "one"), CallID: "one"},
		{Kind: tap.Received, Src: phone, Dst: here, Raw: invite("eve@a.example", "+881@a.example", "two"), CallID: "two"},
		verdict("two", tap.Judgement{Method: "INVITE", From: "eve@a.example", To: "+881@a.example", Action: guard.Reject, Status: 403, Reason: "No", Rule: "premium", Matches: []tap.Match{{Rule: "premium", Where: "r.yaml:9", Action: guard.Reject}}}),
		{Kind: tap.Sent, Src: here, Dst: phone, Raw: message("SIP/2.0 403 No", "eve@a.example", "+881@a.example", "two", "1 INVITE"), CallID: "two"},
		{Kind: tap.Received, Src: pbx, Dst: here, Raw: message("SIP/2.0 180 Ringing", "alice@a.example", "bob@a.example", "one", "1 INVITE"), CallID: "one"},
		{Kind: tap.Received, Src: phone, Dst: here, Raw: invite("alice@a.example", "bob@a.example", "one"), CallID: "one"},
		{Kind: tap.Received, Src: phone, Dst: here, Raw: []byte("HELLO\x1b[2J\r\n\r\n")},
		verdict("", tap.Judgement{Action: guard.Drop, Rule: "builtin:malformed", Reason: "start-line"}),
	} {
		if err := f.Event(&e); err != nil {
			return err
		}
	}
	return nil
}

func peer(a netip.AddrPort) string {
	if a == pbx {
		return "pbx"
	}
	return ""
}

// short is a line in a few words.
func short(l *Line) string {
	text := l.Kind + " " + l.CallID + " " + l.Method
	if l.Status > 0 {
		text += fmt.Sprint(" ", l.Status)
	}
	if l.Verdict != "" {
		text += " " + l.Verdict
	}
	if l.Peer != "" {
		text += " @" + l.Peer
	}
	if l.Again {
		text += " again"
	}
	return text + l.Problem
}

func TestFilters(t *testing.T) {
	one := []string{"received one INVITE", "verdict one INVITE pass", "sent one INVITE @pbx", "received one INVITE 180 @pbx", "received one INVITE again"}
	two := []string{"received two INVITE", "verdict two INVITE 403 reject", "sent two INVITE 403"}
	for _, c := range []struct {
		name string
		f    Filter
		want []string
	}{
		{"everything", Filter{}, []string{one[0], one[1], one[2], two[0], two[1], two[2], one[3], one[4], "received  control-byte", "verdict   drop"}},
		{"caller", Filter{From: "alice"}, one},
		{"caller with host", Filter{From: "eve@a.example"}, two},
		{"part of a caller", Filter{From: "ali"}, nil},
		{"callee", Filter{To: "+881"}, two},
		{"call", Filter{CallID: "one"}, one},
		{"rule", Filter{Rule: "premium"}, two},
		{"rule in shadow", Filter{Rule: "trial"}, one},
		{"source", Filter{Source: netip.MustParsePrefix("203.0.113.0/24")}, one},
		{"no such source", Filter{Source: netip.MustParsePrefix("10.0.0.0/8")}, nil},
		{"caller and rule", Filter{From: "alice", Rule: "premium"}, nil},
		{"broken ones", Filter{Rule: "builtin:malformed"}, []string{"received  control-byte", "verdict   drop"}},
	} {
		var got []string
		f := New(Options{Filter: c.f, Peer: peer}, func(l *Line) error {
			got = append(got, short(l))
			return nil
		})
		if err := play(f); err != nil {
			t.Fatal(err)
		}
		if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, a, b)
		}
	}
}

func TestLine(t *testing.T) {
	var got []Line
	f := New(Options{Peer: peer}, func(l *Line) error { got = append(got, *l); return nil })
	if err := play(f); err != nil {
		t.Fatal(err)
	}
	if l := got[4]; l.Where != "r.yaml:9" || l.Rule != "premium" || l.Reason != "No" || !l.Refused() || l.From != "eve@a.example" || l.Far != phone.String() || len(l.Matches) != 1 {
		t.Errorf("got %+v", l)
	}
	if l := got[8]; l.First != "HELLO\x1b[2J" || l.Problem == "" {
		t.Errorf("got %+v", l)
	}
	if got[1].Refused() {
		t.Error("a message that passed is refused")
	}
}

func TestEverythingIsBounded(t *testing.T) {
	given := 0
	f := New(Options{Filter: Filter{Rule: "never"}, Calls: 10, Early: 3}, func(*Line) error { given++; return nil })
	for i := range 1000 {
		for range 5 {
			id := strconv.Itoa(i)
			if err := f.Event(&tap.Event{Kind: tap.Received, Src: phone, CallID: id, Raw: message("OPTIONS sip:a SIP/2.0", "a@b", "c@d", id, "1 OPTIONS")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := 0
	for c := f.calls.oldest; c != nil; c = c.after {
		if n++; len(c.early) > 3 {
			t.Errorf("call %s holds %d", c.id, len(c.early))
		}
		if f.calls.by[c.id] != c {
			t.Errorf("call %s is not found", c.id)
		}
	}
	if n != 10 || len(f.calls.by) != 10 || f.calls.newest.id != "999" || given > 0 {
		t.Errorf("%d in the list, %d in the map, %d given", n, len(f.calls.by), given)
	}
}

func TestFollow(t *testing.T) {
	x := tap.New(tap.Options{})
	s := x.Subscribe(1)
	defer s.Close()
	for range 1000 {
		x.Received(phone, here, guard.UDP, message("OPTIONS sip:a SIP/2.0", "a@b", "c@d", "x", "1 OPTIONS"), start)
	}
	enough := errors.New("enough")
	seen := uint64(0)
	f := New(Options{}, func(*Line) error { seen++; return nil })
	err := f.Follow(t.Context(), s, func(n uint64) error {
		if seen+n != 1000 {
			t.Errorf("%d seen, %d lost", seen, n)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Follow(ctx, s, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzEvent(f *testing.F) {
	f.Add(message("INVITE sip:b SIP/2.0", "a@b", "c@d", "x", "1 INVITE"), true)
	f.Add(message("SIP/2.0 200 OK", "a", "c@d", "x", "1 INVITE"), false)
	f.Fuzz(func(t *testing.T, raw []byte, stream bool) {
		e := tap.Event{Kind: tap.Received, Src: phone, Dst: here, CallID: string(tap.CallID(raw)), Raw: raw}
		if stream {
			e.Transport = guard.TCP
		}
		w := New(Options{}, func(l *Line) error {
			for _, s := range []string{l.Method, l.Reason, l.First} {
				if len(s) > longest {
					t.Fatalf("%d bytes are shown", len(s))
				}
			}
			return nil
		})
		if err := w.Event(&e); err != nil {
			t.Fatal(err)
		}
	})
}
