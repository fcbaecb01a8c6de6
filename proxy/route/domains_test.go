package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ringfence/proxy/resolve"
)

func far(host string) resolve.Target { return resolve.Target{Host: host} }

func order(r *Routes, d *Domain) string {
	var tried Tried
	text := ""
	for h, ok := r.PickOf(d, []byte("x"), &tried); ok; h, ok = r.PickOf(d, []byte("x"), &tried) {
		text += fmt.Sprint(h.Transport, " ", h.Address, ", ")
		if more := r.LeftOf(d, &tried); !more {
			text += "none left"
		}
	}
	return text
}

func TestDomains(t *testing.T) {
	c := newClock()
	b := newBook("far.example", "tcp 192.0.2.1:5060 0 1", "udp 192.0.2.2:5060 1 1", "udp 127.0.0.1:5060 1 1")
	b.now = c.now
	r := routes(t, Options{Hops: three(), Resolver: b, Now: c.now, Fails: 1, Rest: time.Hour, Outside: func(s resolve.Server) bool { return !s.Address.Addr().IsLoopback() }})
	if _, ok := r.Domain(far("far.example")); ok {
		t.Fatal("it is known before anybody asked")
	}
	d := r.Find(t.Context(), far("far.example"))
	if got := order(r, d); got != "tcp 192.0.2.1:5060, udp 192.0.2.2:5060, none left" || d.Err() != nil {
		t.Errorf("order %s, %v", got, d.Err())
	}
	if again, ok := r.Domain(far("far.example")); !ok || again != d {
		t.Error("it is not remembered")
	}
	if _, ok := r.Domain(resolve.Target{Host: "far.example", Port: 5070}); ok {
		t.Error("another port is the same")
	}
	if _, ok := r.ByAddress(netip.MustParseAddrPort("192.0.2.1:5060")); ok {
		t.Error("a server of another domain is inside")
	}
	h, _ := r.PickOf(d, []byte("x"), new(Tried))
	r.Report(h, Result{Outcome: Refused})
	if got := order(r, d); got != "udp 192.0.2.2:5060, tcp 192.0.2.1:5060, none left" {
		t.Errorf("with the first server dead: %s", got)
	}
	c.at = c.at.Add(time.Minute)
	if _, ok := r.Domain(far("far.example")); ok {
		t.Error("it is remembered for too long")
	}
	again := r.Find(t.Context(), far("far.example"))
	if h, _ := r.PickOf(again, []byte("x"), new(Tried)); h.Address != netip.MustParseAddrPort("192.0.2.2:5060") {
		t.Error("the health of the servers was lost with the new answer")
	}
}

func TestDomainsWhenDNSFails(t *testing.T) {
	c := newClock()
	b := newBook("far.example", "192.0.2.1:5060")
	b.now = c.now
	r := routes(t, Options{Hops: three(), Resolver: b, Now: c.now, Stale: time.Hour})
	asked := func() int { return len(b.asked) }
	if d := r.Find(t.Context(), far("nowhere.example")); !errors.Is(d.Err(), resolve.ErrNotFound) || order(r, d) != "" {
		t.Errorf("nowhere: %v", d.Err())
	}
	before := asked()
	if d, ok := r.Domain(far("nowhere.example")); !ok || d.Err() == nil || asked() != before {
		t.Error("that there is nothing is not remembered")
	}
	r.Find(t.Context(), far("far.example"))
	c.at = c.at.Add(time.Minute)
	b.fail(resolve.ErrSilent, false)
	if d := r.Find(t.Context(), far("far.example")); d.Err() != nil || order(r, d) == "" {
		t.Errorf("a silent server takes away what is known: %v", d.Err())
	}
	before = asked()
	if _, ok := r.Domain(far("far.example")); !ok || asked() != before {
		t.Error("silent servers are not left alone")
	}
	c.at = c.at.Add(time.Hour)
	if d := r.Find(t.Context(), far("far.example")); d.Err() == nil {
		t.Error("old servers are used for ever")
	}
	b.fail(nil, false)
	c.at = c.at.Add(time.Minute)
	r.Find(t.Context(), far("far.example"))
	c.at = c.at.Add(time.Minute)
	b.set("far.example")
	if d := r.Find(t.Context(), far("far.example")); !errors.Is(d.Err(), resolve.ErrNotFound) {
		t.Errorf("DNS says no and is not believed: %v", d.Err())
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	r.Find(stopped, far("late.example"))
	if _, ok := r.Domain(far("late.example")); ok {
		t.Error("what was not looked up to its end is remembered")
	}
}

func TestDomainsAreBounded(t *testing.T) {
	c := newClock()
	b := newBook("busy.example", "192.0.2.1:5060")
	b.now = c.now
	for i := range 100 {
		b.set(fmt.Sprintf("n%d.example", i), "192.0.2.1:5060")
	}
	r := routes(t, Options{Hops: three(), Resolver: b, Now: c.now, Domains: 10})
	r.Find(t.Context(), far("busy.example"))
	for i := range 100 {
		if _, ok := r.Domain(far("busy.example")); !ok {
			t.Fatalf("the one that is used was thrown out after %d others", i)
		}
		r.Find(t.Context(), far(fmt.Sprintf("n%d.example", i)))
		if n := r.Domains(); n > 10 {
			t.Fatalf("%d domains", n)
		}
	}
}
