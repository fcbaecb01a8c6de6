package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
	"ringfence/proxy/resolve"
)

// A book is a Resolver whose answers tests change. What it says holds for a
// minute.
type book struct {
	mu     sync.Mutex
	pages  map[string][]resolve.Server // guarded by mu
	err    error                       // guarded by mu; instead of any answer
	stale  bool                        // guarded by mu
	asked  []resolve.Target            // guarded by mu
	now    func() time.Time
	silent chan struct{} // nil: answers at once
}

// newBook knows one host.
func newBook(host string, servers ...string) *book {
	b := &book{pages: map[string][]resolve.Server{}, now: time.Now}
	b.set(host, servers...)
	return b
}

// set gives a host servers: "192.0.2.1:5060", or with transport, tier and share
// "tcp 192.0.2.1:5060 1 0.5".
func (b *book) set(host string, servers ...string) {
	var all []resolve.Server
	for _, text := range servers {
		s := resolve.Server{Share: 1}
		fields := strings.Fields(text)
		if len(fields) > 1 {
			transport := ""
			if _, err := fmt.Sscan(text, &transport, &fields[0], &s.Tier, &s.Share); err != nil {
				panic(err)
			}
			s.Transport = map[string]guard.Transport{"udp": guard.UDP, "tcp": guard.TCP, "tls": guard.TLS}[transport]
		}
		s.Address = netip.MustParseAddrPort(fields[0])
		all = append(all, s)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pages[host] = all
}

func (b *book) fail(err error, stale bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.stale = err, stale
}

func (b *book) Locate(ctx context.Context, t resolve.Target) (resolve.Answer, error) {
	if b.silent != nil {
		select {
		case <-b.silent:
		case <-ctx.Done():
			return resolve.Answer{}, resolve.ErrSilent
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, t)
	if a, err := netip.ParseAddr(t.Host); err == nil {
		port := t.Port
		if port == 0 {
			port = 5060
		}
		return resolve.Answer{By: "address", Servers: []resolve.Server{{Address: netip.AddrPortFrom(a, port), Transport: t.Transport, Share: 1}}}, nil
	}
	switch {
	case b.err != nil:
		return resolve.Answer{}, b.err
	case len(b.pages[t.Host]) == 0:
		return resolve.Answer{}, resolve.ErrNotFound
	}
	return resolve.Answer{Servers: b.pages[t.Host], By: "SRV", Until: b.now().Add(time.Minute), Stale: b.stale}, nil
}

// hops are the hops in force: name, transport, address, rank and share.
func hops(r *Routes) string {
	var out []string
	for _, h := range r.inForce.Load().hops {
		out = append(out, fmt.Sprintf("%s %s %s %d %.2f", h.Name, h.Transport, h.Address, h.rank, h.share))
	}
	return strings.Join(out, ", ")
}

func TestWhatIsLocated(t *testing.T) {
	for _, c := range []struct {
		hop  Config
		want resolve.Target
	}{
		{Config{Host: "pbx.example"}, resolve.Target{Host: "pbx.example", Named: true, Search: true}},
		{Config{Host: "pbx.example", Any: true}, resolve.Target{Host: "pbx.example", Search: true}},
		{Config{Host: "pbx.example", Port: 5080, Transport: guard.TLS}, resolve.Target{Host: "pbx.example", Port: 5080, Transport: guard.TLS, Named: true, Search: true}},
		{Config{Host: "[2001:db8::1]"}, resolve.Target{Host: "2001:db8::1", Named: true, Search: true}},
	} {
		c.hop.Name = "x"
		b := newBook("pbx.example")
		routes(t, Options{Hops: []Config{c.hop}, Resolver: b})
		if len(b.asked) != 1 || b.asked[0] != c.want {
			t.Errorf("%+v: located %+v, want %+v", c.hop, b.asked, c.want)
		}
	}
}

// One configured hop is several servers, which share its weight.
func TestServersOfAName(t *testing.T) {
	b := newBook("pbx.example", "tls 10.0.0.1:5061 0 30", "tls 10.0.0.2:5061 0 10", "udp 10.0.0.1:5060 1 0.01", "udp 10.0.0.3:5060 1 0.01")
	r := routes(t, Options{Hops: []Config{
		{Name: "pbx", Host: "pbx.example", Any: true, Weight: 2, Priority: 1}, {Name: "old", Host: "10.0.0.9", Priority: 1},
	}, Resolver: b})
	want := "pbx tls 10.0.0.1:5061 256 1.50, pbx tls 10.0.0.2:5061 256 0.50, pbx udp 10.0.0.1:5060 257 1.00, pbx udp 10.0.0.3:5060 257 1.00, old udp 10.0.0.9:5060 256 1.00"
	if got := hops(r); got != want {
		t.Errorf("hops\n  %s\nwant\n  %s", got, want)
	}
	n := map[netip.AddrPort]int{}
	for i := range 6000 {
		h, _ := r.Pick("default", fmt.Append(nil, i), new(Tried))
		n[h.Address]++
	}
	// Six standard deviations of a draw of 6000; the hash is fixed, so the
	// result is too.
	for address, want := range map[string]int{"10.0.0.1:5061": 3000, "10.0.0.2:5061": 1000, "10.0.0.9:5060": 2000} {
		if got := n[netip.MustParseAddrPort(address)]; got < want-230 || got > want+230 {
			t.Errorf("%s got %d calls, want about %d", address, got, want)
		}
	}
	// Each server has a health of its own, also one that is there twice.
	r.Report(r.inForce.Load().hops[0], Result{Outcome: Timeout})
	for i, s := range r.Snapshot() {
		if (s.Failures == 1) != (i == 0) {
			t.Errorf("%s over %s: %d failures", s.Hop.Address, s.Hop.Transport, s.Failures)
		}
	}
	if h, ok := r.ByAddress(netip.MustParseAddrPort("10.0.0.3:5060")); !ok || h.Name != "pbx" {
		t.Error("a server of the name is not known as its source")
	}
}

// running runs routes until the function that it returns is called.
func running(t *testing.T, r *Routes) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestNamesAreLookedUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook("pbx.example", "10.0.0.1:5060")
		var told []string
		r := routes(t, Options{Hops: []Config{
			{Name: "a", Host: "pbx.example"}, {Name: "b", Host: "late.example"}, {Name: "c", Host: "10.9.9.9"},
		}, Resolver: b, Now: time.Now, Fails: 1, Stale: time.Hour, Changed: func(all []*Hop) {
			text := ""
			for _, h := range all {
				text += h.Name
			}
			told = append(told, text)
		}})
		stop := running(t, r)
		expect := func(what, want string) {
			t.Helper()
			synctest.Wait()
			if got := hops(r); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		const c = "c udp 10.9.9.9:5060 0 1.00"
		expect("at start", "a udp 10.0.0.1:5060 0 1.00, "+c)
		if n := r.Names(); len(n) != 2 || n[0].Err != nil || n[0].Servers != 1 || !errors.Is(n[1].Err, resolve.ErrNotFound) {
			t.Errorf("names %+v", n)
		}
		r.Report(r.inForce.Load().hops[0], Result{Outcome: Timeout})
		b.set("late.example", "10.0.0.9:5060")
		time.Sleep(11 * time.Second)
		expect("a name that was missing comes soon", "a udp 10.0.0.1:5060 0 1.00, b udp 10.0.0.9:5060 0 1.00, "+c)
		if r.Snapshot()[0].Failures != 1 {
			t.Error("the health of a hop was lost with the new table")
		}
		b.set("pbx.example", "10.0.0.2:5060")
		time.Sleep(time.Minute)
		expect("a name that moved", "a udp 10.0.0.2:5060 0 1.00, b udp 10.0.0.9:5060 0 1.00, "+c)
		if got := strings.Join(told, " "); got != "ac abc abc" {
			t.Errorf("told of %s", got)
		}
		b.set("pbx.example")
		time.Sleep(2 * time.Minute)
		expect("a name that is gone keeps what it had", "a udp 10.0.0.2:5060 0 1.00, b udp 10.0.0.9:5060 0 1.00, "+c)
		if n := r.Names()[0]; !errors.Is(n.Err, resolve.ErrNotFound) || n.Servers != 1 {
			t.Errorf("its name: %+v", n)
		}
		time.Sleep(time.Hour)
		expect("but not for ever", "b udp 10.0.0.9:5060 0 1.00, "+c)
		b.fail(nil, true)
		time.Sleep(59 * time.Minute)
		expect("what DNS repeats without being sure is used", "b udp 10.0.0.9:5060 0 1.00, "+c)
		time.Sleep(3 * time.Minute)
		expect("but not for ever either", c)
		b.fail(nil, false)
		b.set("pbx.example", "10.0.0.2:5060")
		time.Sleep(time.Minute)
		expect("everything is well again", "a udp 10.0.0.2:5060 0 1.00, b udp 10.0.0.9:5060 0 1.00, "+c)
		if n := r.Names(); n[0].Err != nil || n[1].Err != nil {
			t.Errorf("names %+v", n)
		}
		stop()
	})
}

// A DNS server that says nothing costs the start the time of one look-up,
// however many hops there are.
func TestSilentAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook("x")
		b.silent = make(chan struct{})
		var all []Config
		for i := range 20 {
			all = append(all, Config{Name: strconv.Itoa(i), Host: fmt.Sprintf("n%d.example", i)})
		}
		began := time.Now()
		r := routes(t, Options{Hops: all, Resolver: b, Now: time.Now})
		if took := time.Since(began); took != defaultResolveTimeout { // the clock of the test
			t.Errorf("it took %v", took)
		}
		if got := hops(r); got != "" {
			t.Errorf("hops %s", got)
		}
	})
}

func TestDraining(t *testing.T) {
	for _, byAddress := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBook("pbx.example", "10.0.0.1:5060", "10.0.0.2:5060")
			r := routes(t, Options{Hops: []Config{{Name: "a", Host: "pbx.example"}}, Resolver: b, Now: time.Now, AddressOnly: byAddress, Drain: time.Hour})
			stop := running(t, r)
			gone := netip.MustParseAddrPort("10.0.0.1:5060")
			was, _ := r.ByAddress(gone)
			r.Report(was, Result{Outcome: Timeout})
			if _, ok := r.Draining(gone); ok {
				t.Error("a hop that is in force is drained")
			}
			b.set("pbx.example", "10.0.0.2:5060")
			time.Sleep(61 * time.Second)
			if _, ok := r.ByAddress(gone); ok {
				t.Error("it is still trusted")
			}
			for i := range 100 {
				if h, _ := r.Pick("default", fmt.Append(nil, i), new(Tried)); h.Address == gone {
					t.Fatal("it still gets calls")
				}
			}
			if h, ok := r.Draining(netip.MustParseAddrPort("[::ffff:10.0.0.1]:5060")); !ok || h != was {
				t.Errorf("its calls are not known: %v %v", h, ok)
			}
			if _, ok := r.Draining(netip.MustParseAddrPort("10.0.0.1:40000")); ok != byAddress {
				t.Errorf("by another port: %v", ok)
			}
			b.set("pbx.example", "10.0.0.1:5060", "10.0.0.2:5060")
			time.Sleep(time.Minute)
			if h, ok := r.ByAddress(gone); !ok || h.health != was.health {
				t.Error("it came back without its health")
			}
			if _, ok := r.Draining(gone); ok {
				t.Error("it came back and is drained")
			}
			b.set("pbx.example", "10.0.0.2:5060")
			time.Sleep(time.Minute + time.Hour)
			if _, ok := r.Draining(gone); ok {
				t.Error("it is known for ever")
			}
			stop()
		})
	}
}

func TestDrainedHopsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook("pbx.example", "10.0.0.1:5060")
		r := routes(t, Options{Hops: []Config{{Name: "a", Host: "pbx.example"}}, Resolver: b, Now: time.Now, Drained: 3})
		stop := running(t, r)
		for i := range 10 {
			b.set("pbx.example", fmt.Sprintf("10.0.0.%d:5060", i+2))
			time.Sleep(61 * time.Second)
		}
		for i := range 10 {
			_, ok := r.Draining(netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:5060", i+1)))
			if want := i >= 7; ok != want {
				t.Errorf("hop %d: %v", i+1, ok)
			}
		}
		stop()
	})
}
