package proxy

import (
	"bytes"
	"context"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"ringfence/guard"
	"ringfence/proxy/route"
	"ringfence/proxy/wire"
)

// A quick wire keeps the last message and nothing else.
type quickWire struct {
	memoryWire
	last []byte
}

func (w *quickWire) Send(_ int, _ wire.Flow, msg []byte) error {
	w.last = append(w.last[:0], msg...)
	return nil
}

// plainEngine lets everything pass and keeps nothing.
type plainEngine struct{}

func (plainEngine) Judge(_ context.Context, m *guard.Message, d *guard.Decision) {
	d.Reset()
	d.Message = m
}
func (plainEngine) Reply(context.Context, *guard.Message, *guard.Decision) {}
func (plainEngine) End(context.Context, *guard.Message, *guard.Decision)   {}

// newQuick is a proxy whose clock stands still and whose timers do not turn.
func newQuick(t testing.TB) (*Proxy, *quickWire, *time.Time) {
	t.Helper()
	now := time.Unix(1e9, 0)
	at := netip.MustParseAddrPort("198.51.100.1:5060")
	c := Config{
		Listeners: []Listener{{Listener: wire.Listener{Name: "udp", Address: at}}},
		Hops:      []route.Config{{Name: "pbx", Host: "203.0.113.5", Port: 5060}},
	}
	w := &quickWire{memoryWire: memoryWire{listeners: c.Listeners}}
	o := Options{Engine: plainEngine{}, Wire: w, Now: func() time.Time { return now }, PerSource: 1 << 20, Transactions: 1 << 20}
	o.Trust.UnknownRate.PerSecond, o.Trust.UnknownRate.Burst = 1e9, 1e6
	o.Trust.Pipe = o.Trust.UnknownRate
	p, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return p, w, &now
}

// option is an OPTIONS with a number in its branch and Call-ID.
func option(b []byte, n int) []byte {
	b = append(b, "OPTIONS sip:100@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.7:5060;rport;branch=z9hG4bK-"...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, "\r\nMax-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=a\r\nTo: <sip:100@example.com>\r\nCall-ID: c-"...)
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, "\r\nCSeq: 1 OPTIONS\r\nUser-Agent: Yealink SIP-T46U 108.86.0.20\r\nContent-Length: 0\r\n\r\n"...)
}

// respond is the 200 to a request that left with two Vias.
func respond(b, request []byte) []byte {
	b = append(b, "SIP/2.0 200 OK\r\n"...)
	for line := range bytes.SplitAfterSeq(request, []byte("\r\n")) {
		for _, key := range []string{"Via:", "From:", "Call-ID:", "CSeq:"} {
			if bytes.HasPrefix(line, []byte(key)) {
				b = append(b, line...)
			}
		}
	}
	return append(b, "To: <sip:100@example.com>;tag=b\r\nContent-Length: 0\r\n\r\n"...)
}

// TestForwardingAllocatesNothing is the steady state: a request goes out and its
// answer comes back.
func TestForwardingAllocatesNothing(t *testing.T) {
	p, w, now := newQuick(t)
	alice := wire.Flow{Remote: netip.MustParseAddrPort("192.0.2.10:40000"), Local: p.listeners[0].bound}
	pbx := wire.Flow{Remote: netip.MustParseAddrPort("203.0.113.5:5060"), Local: p.listeners[0].bound}
	n := 0
	var request, response []byte
	one := func() {
		n++
		request = option(request[:0], n)
		p.Receive(0, alice, request, *now)
		response = respond(response[:0], w.last)
		p.Receive(0, pbx, response, *now)
		if !bytes.HasPrefix(w.last, []byte("SIP/2.0 200")) {
			t.Fatalf("no answer came back:\n%s", w.last)
		}
		*now = now.Add(20 * time.Millisecond)
		p.table.Turn()
	}
	const warm, runs = 20000, 2000
	for range warm {
		one()
	}
	if got := testing.AllocsPerRun(runs, one); got != 0 {
		t.Errorf("%v allocations for a request and its answer", got)
	}
}

// BenchmarkForward is a request and its answer, with what it takes to write both.
func BenchmarkForward(b *testing.B) {
	p, w, now := newQuick(b)
	alice := wire.Flow{Remote: netip.MustParseAddrPort("192.0.2.10:40000"), Local: p.listeners[0].bound}
	pbx := wire.Flow{Remote: netip.MustParseAddrPort("203.0.113.5:5060"), Local: p.listeners[0].bound}
	var request, response []byte
	b.ReportAllocs()
	for n := range b.N {
		request = option(request[:0], n)
		p.Receive(0, alice, request, *now)
		response = respond(response[:0], w.last)
		p.Receive(0, pbx, response, *now)
		if n%1000 == 0 {
			*now = now.Add(time.Second)
			p.table.Turn()
		}
	}
}
