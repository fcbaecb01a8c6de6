package main

import (
	"strings"
	"testing"
	"time"

	"ringfence/console"
)

var ladderTime = time.Date(2026, 11, 23, 9, 0, 0, 0, time.Local)

func draw(t *testing.T, color bool, lines ...console.Passed) string {
	t.Helper()
	var b strings.Builder
	l := newLadder(&b, color)
	for i, p := range lines {
		p.At = ladderTime.Add(time.Duration(i) * time.Millisecond)
		if err := l.show(p); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

const (
	alicePhone = "192.0.2.10:40000"
	bobPhone   = "192.0.2.11:40000"
	pbxAddress = "203.0.113.5:5060"
)

func TestLadder(t *testing.T) {
	got := draw(t, false,
		console.Passed{Kind: "received", CallID: "one", From: "alice@a", To: "bob@a", Far: alicePhone, Method: "INVITE"},
		console.Passed{Kind: "verdict", CallID: "one", Method: "INVITE", Verdict: "pass", Matches: []console.Match{{Rule: "trial", Where: "r.yaml:3", Mode: "shadow", Action: "reject"}}},
		console.Passed{Kind: "sent", CallID: "one", Far: pbxAddress, Peer: "pbx", Method: "INVITE"},
		console.Passed{Kind: "received", CallID: "one", Far: pbxAddress, Peer: "pbx", Method: "INVITE", Status: 180, Reason: "Ringing"},
		console.Passed{Kind: "received", CallID: "one", Far: alicePhone, Method: "INVITE", Again: true},
		console.Passed{Kind: "verdict", CallID: "one", Method: "ACK", Verdict: "pass"},
		console.Passed{Kind: "lost", Lost: 3},
		console.Passed{Kind: "received", CallID: "two", From: "eve@a", To: "+881@a", Far: alicePhone, Method: "INVITE"},
		console.Passed{Kind: "verdict", CallID: "two", Verdict: "reject", Status: 403, Reason: "No", Rule: "premium", Where: "r.yaml:9", Ban: "ban 1h0m0s", Matches: []console.Match{{Rule: "premium", Mode: "enforced"}}},
		console.Passed{Kind: "sent", CallID: "two", Far: alicePhone, Method: "INVITE", Status: 403, Reason: "No"},
		console.Passed{Kind: "sent", CallID: "two", Far: bobPhone, Method: "BYE", Status: 200, Reason: "Everything is as well as it can be"},
		console.Passed{Kind: "received", Far: "[2001:db8:1:2:3:4:5:6]:5060", Problem: "start-line", First: "x"},
	)
	want := `call one: alice@a to bob@a
              phone                                           ringfence                           PBX
09:00:00.000  192.0.2.10:40000      ---------- INVITE ----------->|
                                                                  | shadow reject, rule trial, r.yaml:3
09:00:00.002                                                      |---------- INVITE -----------> 203.0.113.5:5060 pbx
09:00:00.003                                                      |<-------- 180 Ringing -------- 203.0.113.5:5060 pbx
09:00:00.004  192.0.2.10:40000      ------- INVITE again -------->|
3 messages not shown

call two: eve@a to +881@a
              phone                                           ringfence                           PBX
09:00:00.007  192.0.2.10:40000      ---------- INVITE ----------->|
                                                                  | reject 403 No, rule premium, r.yaml:9, ban 1h0m0s
09:00:00.009  192.0.2.10:40000      <----------- 403 No ----------|
09:00:00.010                                                      |-- 200 Everything is as .. --> 192.0.2.11:40000

no Call-ID
              phone                                           ringfence                           PBX
09:00:00.011  [2001:db8:1:2:3:4:5:6]:5060 ---- broken: start-line ----->| x
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestLadderIsNoTerminalCode draws what an attacker wrote into every text.
func TestLadderIsNoTerminalCode(t *testing.T) {
	evil := "\x1b[2J\u009b31m\r\n\t\u202e\x00\x7f"
	p := console.Passed{
		CallID: evil, From: evil, To: evil, Far: evil, Peer: evil, Method: evil, Reason: evil, Problem: evil, First: evil, Verdict: evil,
		Stage: evil, Rule: evil, Where: evil, Ban: evil, Account: evil, Matches: []console.Match{{Rule: evil, Title: evil, Where: evil, Mode: evil, Action: evil}},
	}
	var lines []console.Passed
	for _, kind := range []string{"received", "sent", "verdict"} {
		for _, status := range []int{0, 200} {
			x := p
			x.Kind, x.Status = kind, status
			lines = append(lines, x)
			x.Problem, x.Peer = "", ""
			lines = append(lines, x)
		}
	}
	text := draw(t, false, lines...)
	if n := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }); n >= 0 {
		t.Errorf("%q is written", text[n:n+4])
	}
	var b strings.Builder
	if err := jsonLine(&b, lines[0]); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(strings.TrimSuffix(b.String(), "\n"), "\x1b\u009b\r\n\t\u202e\x00\x7f") {
		t.Errorf("got %q", b.String())
	}
}

func TestLadderColors(t *testing.T) {
	p := console.Passed{Kind: "received", CallID: "one", Far: alicePhone, Method: "INVITE", Status: 404}
	if plain, color := draw(t, false, p), draw(t, true, p); strings.Contains(plain, "\x1b") || !strings.Contains(color, "\x1b[31m") {
		t.Errorf("got\n%s%s", plain, color)
	}
	if colorful(new(strings.Builder)) {
		t.Error("what is no terminal has colors")
	}
}

func TestLadderForgets(t *testing.T) {
	l := newLadder(new(strings.Builder), false)
	for i := range 2 * mostLefts {
		if err := l.show(console.Passed{Kind: "received", CallID: time.Duration(i).String(), Far: alicePhone}); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.left) > mostLefts {
		t.Errorf("%d calls are remembered", len(l.left))
	}
}
