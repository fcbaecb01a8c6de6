package tests

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A weather stands in front of a UDP address and decides for each datagram that
// goes there or comes back how many copies of it arrive.
type weather struct {
	socket net.PacketConn
	copies func(msg string) int

	mu   sync.Mutex
	ways map[string]net.Conn // guarded by mu; by who began
}

// newWeather begins to relay to an address until the test ends.
func newWeather(t *testing.T, to string, copies func(msg string) int) *weather {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &weather{socket: c, copies: copies, ways: map[string]net.Conn{}}
	var readers sync.WaitGroup
	readers.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			w.mu.Lock()
			way := w.ways[from.String()]
			if way == nil {
				if way, err = net.Dial("udp", to); err != nil {
					w.mu.Unlock()
					t.Error(err)
					return
				}
				w.ways[from.String()] = way
				readers.Go(func() { w.back(way, from) })
			}
			w.mu.Unlock()
			for range copies(string(buf[:n])) {
				_, _ = way.Write(buf[:n]) // an ICMP error of an earlier one may show here
			}
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		w.mu.Lock()
		for _, way := range w.ways {
			_ = way.Close()
		}
		w.mu.Unlock()
		readers.Wait()
	})
	return w
}

// back relays what comes back to who began.
func (w *weather) back(way net.Conn, to net.Addr) {
	buf := make([]byte, 65536)
	for {
		n, err := way.Read(buf)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue // nobody listens yet
		}
		if err != nil {
			return
		}
		for range w.copies(string(buf[:n])) {
			_, _ = w.socket.WriteTo(buf[:n], to)
		}
	}
}

// kind is what tells one message of a call from another: its start line up to
// the host, its CSeq and its Call-ID.
func kind(msg string) string {
	line, rest, _ := strings.Cut(msg, "\r\n")
	method, _, _ := strings.Cut(line, " ")
	if method == "SIP/2.0" {
		method = line
	}
	for h := range strings.SplitSeq(rest, "\r\n") {
		if strings.HasPrefix(h, "CSeq:") || strings.HasPrefix(h, "Call-ID:") {
			method += "|" + h
		}
	}
	return method
}

// TestBadWeather has calls through networks that lose and double datagrams. All
// must complete by the retransmissions of RFC 3261 section 17, of every kind: of
// the caller, of the callee, and of ringfence towards both.
func TestBadWeather(t *testing.T) {
	needs(t, "sipp")
	// A network of its own for each side, so that the first copy is lost twice.
	loses := func() func(string) int {
		var mu sync.Mutex
		seen := map[string]bool{}
		return func(msg string) int {
			mu.Lock()
			defer mu.Unlock()
			k := kind(msg)
			first := !seen[k]
			seen[k] = true
			if first {
				return 0
			}
			return 1
		}
	}
	twice := func() func(string) int { return func(string) int { return 2 } }
	// A rough one: every 20th is lost and every 10th doubled, as netem would have
	// it with loss 5 % and duplicate 10 %.
	rough := func() func(string) int {
		var mu sync.Mutex
		n := 0
		return func(string) int {
			mu.Lock()
			defer mu.Unlock()
			n++
			switch {
			case n%20 == 7:
				return 0
			case n%10 == 3:
				return 2
			}
			return 1
		}
	}
	for _, c := range []struct {
		name, caller, callee string
		calls                int
		talk                 time.Duration // long enough for the ACK to arrive, since sipp takes no BYE before it
		weather              func() func(string) int
	}{
		{"every first copy is lost", "plain-caller", "plain-callee", 1, 9 * time.Second, loses},
		{"every message comes twice", "plain-caller", "plain-callee", 5, time.Second, twice},
		{"every PRACK comes twice", "prack-caller", "prack-callee", 1, 0, twice},
		{"loss and doubling", "plain-caller", "plain-callee", 40, 4 * time.Second, rough},
	} {
		t.Run(c.name, func(t *testing.T) {
			callee, port := addr("127.0.0.1", freePort(t)), addr("127.0.0.1", freePort(t))
			inner := newWeather(t, callee, c.weather())
			outer := newWeather(t, port, c.weather())
			config := filepath.Join(t.TempDir(), "ringfence.yaml")
			if err := writeFile(config, "next_hops: [{name: callee, address: \""+inner.socket.LocalAddr().String()+"\", probe: -1s}]\n"); err != nil {
				t.Fatal(err)
			}
			start(t, "", t.TempDir(), "--config", config, "--listen", "udp:"+port, "--rules", "none", "--filter", "off", "--metrics", "off")
			wait := sipp{scenario: "agents/" + c.callee, local: callee, calls: c.calls}.background(t, nil)
			r := sipp{
				scenario: "agents/" + c.caller, local: addr("127.0.0.1", freePort(t)), remote: outer.socket.LocalAddr().String(),
				calls: c.calls, rate: 5, talk: c.talk,
			}.run(t, nil)
			must(t, "the caller", r)
			must(t, "the callee", wait())
		})
	}
}

// TestNetem is the same where the kernel itself loses and doubles, between three
// hosts in network namespaces.
func TestNetem(t *testing.T) {
	needs(t, "sipp", "tc")
	l := newLab(t)
	for _, host := range []string{l.outside, l.pbx} {
		if out, err := l.in(host, "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "loss", "5%", "duplicate", "10%").CombinedOutput(); err != nil {
			t.Skipf("this kernel has no netem: %s", out)
		}
	}
	config := filepath.Join(t.TempDir(), "ringfence.yaml")
	if err := writeFile(config, "next_hops: [{name: callee, address: \""+pbxAddr+"\", probe: -1s}]\n"); err != nil {
		t.Fatal(err)
	}
	start(t, l.guard, t.TempDir(), "--config", config, "--listen", "udp:"+guardOut, "--listen", "udp:10.77.2.1:5060", "--rules", "none", "--filter", "off", "--metrics", "off")
	const calls = 50
	wait := sipp{host: l.pbx, scenario: "agents/plain-callee", local: pbxAddr, calls: calls}.background(t, l)
	r := sipp{
		host: l.outside, scenario: "agents/plain-caller", local: addr(phones, 5071), remote: guardOut, calls: calls, rate: 5, talk: 4 * time.Second,
	}.run(t, l)
	must(t, "the caller", r)
	must(t, "the callee", wait())
}
