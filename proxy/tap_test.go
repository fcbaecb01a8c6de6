package proxy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence/guard"
)

// lookers is a Tap that notes first lines, or only counts when it is quick.
type lookers struct {
	wanted, quick bool
	seen          []string
	count         int
}

func (l *lookers) Wanted() bool { return l.wanted }

func (l *lookers) Received(far, _ netip.AddrPort, _ guard.Transport, raw []byte, _ time.Time) {
	l.note("<", far, raw)
}

func (l *lookers) Sent(far, _ netip.AddrPort, _ guard.Transport, raw []byte, _ time.Time) {
	l.note(">", far, raw)
}

func (l *lookers) note(way string, far netip.AddrPort, raw []byte) {
	l.count++
	if !l.quick {
		line, _, _ := strings.Cut(string(raw), "\r\n")
		l.seen = append(l.seen, fmt.Sprintf("%s %s %s", way, far, strings.TrimSuffix(line, " SIP/2.0")))
	}
}

// TestTapSeesAllLegs is a call, a message that is refused and one that is broken.
func TestTapSeesAllLegs(t *testing.T) {
	p, w, now := newQuick(t)
	x := &lookers{}
	p.o.Tap = x
	c := newTalk(p)
	c.call(p, w, 1, *now)
	if len(x.seen) > 0 {
		t.Fatalf("nobody wanted %q", x.seen)
	}
	x.wanted = true
	c.call(p, w, 2, *now)
	p.o.Engine = &fakeEngine{verdict: func(*guard.Message) guard.Verdict {
		return guard.Verdict{Action: guard.Reject, Status: 403, Reason: "Forbidden"}
	}}
	p.Receive(0, c.phone, option(nil, 1), *now)
	p.Receive(0, c.phone, []byte("OPTIONS what\r\n\r\n"), *now)
	want := []string{
		"< 192.0.2.10:40000 INVITE sip:1001@203.0.113.5:5060", "> 203.0.113.5:5060 INVITE sip:1001@203.0.113.5:5060",
		"< 203.0.113.5:5060 SIP/2.0 180 Ringing", "> 192.0.2.10:40000 SIP/2.0 180 Ringing",
		"< 203.0.113.5:5060 SIP/2.0 200 OK", "> 192.0.2.10:40000 SIP/2.0 200 OK",
		"< 192.0.2.10:40000 ACK sip:1001@203.0.113.5:5060", "> 203.0.113.5:5060 ACK sip:203.0.113.5:5060",
		"< 192.0.2.10:40000 BYE sip:1001@203.0.113.5:5060", "> 203.0.113.5:5060 BYE sip:203.0.113.5:5060",
		"< 203.0.113.5:5060 SIP/2.0 200 OK", "> 192.0.2.10:40000 SIP/2.0 200 OK",
		"< 192.0.2.10:40000 OPTIONS sip:100@example.com", "> 192.0.2.10:40000 SIP/2.0 403 Forbidden",
		"< 192.0.2.10:40000 OPTIONS what",
	}
	if !slices.Equal(x.seen, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(x.seen, "\n"), strings.Join(want, "\n"))
	}
}

// TestTransmitIsTheOneWayOut reads the code: whoever sends past transmit sends
// unseen.
func TestTransmitIsTheOneWayOut(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if f != "tap.go" && !strings.HasSuffix(f, "_test.go") && strings.Contains(string(text), ".wire.Send") {
			t.Errorf("%s sends past transmit", f)
		}
	}
}

func TestTapAllocatesNothing(t *testing.T) {
	p, w, now := newQuick(t)
	x := &lookers{quick: true}
	p.o.Tap = x
	c := newTalk(p)
	var request, response []byte
	n := 0
	one := func() {
		n++
		request = option(request[:0], n)
		p.Receive(0, c.phone, request, *now)
		response = respond(response[:0], w.last)
		p.Receive(0, c.pbx, response, *now)
		*now = now.Add(20 * time.Millisecond)
		p.table.Turn()
	}
	for range 20000 {
		one()
	}
	for _, wanted := range []bool{false, true} {
		x.wanted = wanted
		if got := testing.AllocsPerRun(1000, one); got != 0 {
			t.Errorf("%v allocations, wanted: %t", got, wanted)
		}
	}
	if x.count != 4*1001 {
		t.Errorf("%d messages were seen", x.count)
	}
}
