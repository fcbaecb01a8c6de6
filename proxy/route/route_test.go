package route

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"ringfence/guard"
	"ringfence/proxy/resolve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A clock is a time that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

func routes(t testing.TB, o Options) *Routes {
	t.Helper()
	if o.Now == nil {
		o.Now = newClock().now
	}
	r, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pick(r *Routes, pool, callID string) string {
	h, ok := r.Pick(pool, []byte(callID), new(Tried))
	if !ok {
		return ""
	}
	return h.Name
}

func three() []Config {
	return []Config{{Name: "a", Host: "10.0.0.1"}, {Name: "b", Host: "10.0.0.2"}, {Name: "c", Host: "10.0.0.3"}}
}

func TestConfigIsChecked(t *testing.T) {
	for want, hops := range map[string][]Config{
		"has no name":                {{Host: "10.0.0.1"}},
		"has no host":                {{Name: "a"}},
		"is used twice":              {{Name: "a", Host: "10.0.0.1"}, {Name: "a", Host: "10.0.0.2"}},
		"negative weight":            {{Name: "a", Host: "10.0.0.1", Weight: -1}},
		"negative priority":          {{Name: "a", Host: "10.0.0.1", Priority: -1}},
		"negative probe":             {{Name: "a", Host: "10.0.0.1", Probe: -1}},
		"no number prefix":           {{Name: "a", Host: "10.0.0.1", Prefixes: []string{"+49x"}}},
		"invalid source prefix":      {{Name: "a", Host: "10.0.0.1", Sources: []netip.Prefix{{}}}},
		"already goes to pool north": {{Name: "a", Host: "10.0.0.1", Pool: "north", Prefixes: []string{"+49"}}, {Name: "b", Host: "10.0.0.2", Pool: "south", Prefixes: []string{"+49"}}},
	} {
		if _, err := New(t.Context(), Options{Hops: hops, Now: time.Now}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := New(t.Context(), Options{}); err == nil {
		t.Error("no clock and no error")
	}
}

func TestDefaultsOfAHop(t *testing.T) {
	r := routes(t, Options{Hops: []Config{{Name: "a", Host: "[::1]", Transport: guard.TLS}}})
	h, ok := r.Pick("default", nil, new(Tried))
	if !ok || h.Address != netip.MustParseAddrPort("[::1]:5061") || h.Weight != 1 {
		t.Errorf("%+v %v", h, ok)
	}
	if _, ok := r.Pick("elsewhere", nil, new(Tried)); ok {
		t.Error("a pool that is not there picked a hop")
	}
}

func TestACallKeepsItsHop(t *testing.T) {
	first, second := routes(t, Options{Hops: three()}), routes(t, Options{Hops: three()})
	seen := map[string]bool{}
	for i := range 100 {
		id := fmt.Sprint(i, "@example")
		name := pick(first, "default", id)
		seen[name] = true
		if again := pick(first, "default", id); again != name {
			t.Errorf("%s went to %s and then to %s", id, name, again)
		}
		if other := pick(second, "default", id); other != name {
			t.Errorf("%s goes to %s here and to %s on another node", id, name, other)
		}
	}
	if len(seen) != 3 {
		t.Errorf("only %v were picked", seen)
	}
}

func TestWeights(t *testing.T) {
	hops := three()
	hops[0].Weight, hops[1].Weight, hops[2].Weight = 1, 2, 5
	r := routes(t, Options{Hops: hops})
	n := map[string]int{}
	for i := range 8000 {
		n[pick(r, "default", strconv.Itoa(i))]++
	}
	// Six standard deviations of a draw of 8000; the hash is fixed, so the
	// result is too.
	for name, want := range map[string]int{"a": 1000, "b": 2000, "c": 5000} {
		if n[name] < want-260 || n[name] > want+260 {
			t.Errorf("%s got %d calls, want about %d", name, n[name], want)
		}
	}
}

// A hop that goes down moves its own calls and no others.
func TestOnlyTheLostHopsCallsMove(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := routes(t, Options{Hops: three(), Fails: 1})
		id := rapid.String().Draw(rt, "call id")
		down := rapid.IntRange(0, 2).Draw(rt, "down")
		before := pick(r, "default", id)
		h := r.inForce.Load().hops[down]
		r.Report(h, Result{Outcome: Timeout})
		after := pick(r, "default", id)
		if before != h.Name && after != before {
			rt.Fatalf("moved from %s to %s though %s went down", before, after, h.Name)
		}
		if after == h.Name {
			rt.Fatalf("%s is down and was picked", after)
		}
	})
}

func TestPriorities(t *testing.T) {
	hops := three()
	hops[0].Priority, hops[1].Priority, hops[2].Priority = 20, 10, 10
	r := routes(t, Options{Hops: hops, Fails: 1})
	var tried Tried
	var order []string
	for h, ok := r.Pick("default", []byte("x"), &tried); ok; h, ok = r.Pick("default", []byte("x"), &tried) {
		order = append(order, h.Name)
	}
	if len(order) != 3 || order[2] != "a" {
		t.Errorf("tried %v, want a last", order)
	}
}

func TestNeverMoreThanTries(t *testing.T) {
	var hops []Config
	for i := range Tries + 4 {
		hops = append(hops, Config{Name: strconv.Itoa(i), Host: fmt.Sprintf("10.0.1.%d", i)})
	}
	r := routes(t, Options{Hops: hops})
	var tried Tried
	seen := map[string]bool{}
	for h, ok := r.Pick("default", []byte("x"), &tried); ok; h, ok = r.Pick("default", []byte("x"), &tried) {
		if seen[h.Name] {
			t.Fatalf("%s was tried twice", h.Name)
		}
		seen[h.Name] = true
	}
	if len(seen) != Tries {
		t.Errorf("%d tries", len(seen))
	}
}

func TestDownAfterFailuresUpAfterRest(t *testing.T) {
	c := newClock()
	r := routes(t, Options{Hops: three()[:1], RefuseWhenDown: true, Now: c.now})
	h := r.inForce.Load().hops[0]
	report := func(o Outcome) { r.Report(h, Result{Outcome: o}) }
	report(Timeout)
	report(Refused)
	report(OK)
	report(Timeout)
	report(Busy)
	if pick(r, "default", "x") != "a" {
		t.Error("two failures in a row took it down")
	}
	report(Timeout)
	if pick(r, "default", "x") != "" {
		t.Error("three failures in a row did not take it down")
	}
	if s := r.Snapshot()[0]; s.Up || s.Fails != 3 || s.Failures != 5 || s.Last != "timeout" || !s.Until.Equal(c.at.Add(defaultRest)) {
		t.Errorf("%+v", s)
	}
	c.at = c.at.Add(defaultRest)
	if pick(r, "default", "x") != "a" {
		t.Error("not tried again after its rest")
	}
	report(Timeout)
	if pick(r, "default", "x") != "" {
		t.Error("one more failure does not send it back to rest")
	}
	report(OK)
	if pick(r, "default", "x") != "a" || !r.Snapshot()[0].Up {
		t.Error("a response does not bring it up")
	}
}

func TestWhenAllAreDown(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		r := routes(t, Options{Hops: three(), Fails: 1, RefuseWhenDown: refuse})
		for _, h := range r.inForce.Load().hops {
			r.Report(h, Result{Outcome: Refused})
		}
		if got := pick(r, "default", "x"); (got == "") != refuse {
			t.Errorf("refuse when down %v: picked %q", refuse, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	c := newClock()
	r := routes(t, Options{Hops: three()[:1], RefuseWhenDown: true, Now: c.now})
	h := r.inForce.Load().hops[0]
	r.Report(h, Result{Outcome: Busy, RetryAfter: time.Hour})
	if pick(r, "default", "x") != "" {
		t.Error("picked before its time")
	}
	r.Report(h, Result{Outcome: OK, Took: time.Millisecond}) // of an earlier request
	if pick(r, "default", "x") != "" {
		t.Error("a late response ended the Retry-After")
	}
	c.at = c.at.Add(defaultMaxRetryAfter)
	if pick(r, "default", "x") != "a" {
		t.Error("a Retry-After of an hour was believed")
	}
}

func TestTookIsSmoothed(t *testing.T) {
	r := routes(t, Options{Hops: three()[:1]})
	h := r.inForce.Load().hops[0]
	r.Report(h, Result{Took: 80 * time.Millisecond})
	r.Report(h, Result{Took: 160 * time.Millisecond})
	if got := r.Snapshot()[0].Took; got != 90*time.Millisecond {
		t.Errorf("%v", got)
	}
}

func TestByAddress(t *testing.T) {
	hops := three()
	hops[2].Sources = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	exact, loose := routes(t, Options{Hops: hops}), routes(t, Options{Hops: hops, AddressOnly: true})
	for _, c := range []struct{ address, exact, loose string }{
		{"10.0.0.1:5060", "a", "a"},
		{"[::ffff:10.0.0.1]:5060", "a", "a"},
		{"10.0.0.1:40000", "", "a"},
		{"198.51.100.77:1", "c", "c"},
		{"203.0.113.1:5060", "", ""},
		{"[2001:db8::1]:5060", "", ""},
	} {
		for _, x := range []struct {
			r    *Routes
			want string
		}{{exact, c.exact}, {loose, c.loose}} {
			name := ""
			if h, ok := x.r.ByAddress(netip.MustParseAddrPort(c.address)); ok {
				name = h.Name
			}
			if name != x.want {
				t.Errorf("%s: %q, want %q", c.address, name, x.want)
			}
		}
	}
}

func TestByNumber(t *testing.T) {
	r := routes(t, Options{Hops: []Config{
		{Name: "a", Host: "10.0.0.1", Pool: "world", Prefixes: []string{"+", "00"}},
		{Name: "b", Host: "10.0.0.2", Pool: "berlin", Prefixes: []string{"+4930"}},
		{Name: "c", Host: "10.0.0.3", Pool: "berlin", Prefixes: []string{"+4930"}},
	}})
	for number, want := range map[string]string{"+493012345": "berlin", "+49301": "berlin", "+4940": "world", "0044": "world", "100": "", "": ""} {
		if got, ok := r.ByNumber(number); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", number, got, ok, want)
		}
	}
}

// A hospital is a Prober that tests tell how each hop is.
type hospital struct {
	mu     sync.Mutex
	status map[string]int
	asked  map[string]int
	most   int
	busy   int
}

func (p *hospital) Probe(ctx context.Context, h *Hop) (int, error) {
	p.mu.Lock()
	p.asked[h.Name]++
	p.busy++
	p.most = max(p.most, p.busy)
	status := p.status[h.Name]
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.busy--
		p.mu.Unlock()
	}()
	if status == 0 {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	if status < 0 {
		return 0, errors.New("connection refused")
	}
	return status, nil
}

func (p *hospital) set(name string, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status[name] = status
}

func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &hospital{status: map[string]int{"a": 404, "b": 503, "c": 200}, asked: map[string]int{}}
		hops := three()
		hops[0].Probe, hops[1].Probe = 10*time.Second, 10*time.Second
		r := routes(t, Options{Hops: hops, Prober: p, Now: time.Now})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		up := func(what, want string) {
			t.Helper()
			synctest.Wait()
			got := ""
			for _, s := range r.Snapshot() {
				if s.Up {
					got += s.Hop.Name
				}
			}
			if got != want {
				t.Errorf("%s: %q are up, want %q", what, got, want)
			}
		}
		time.Sleep(15 * time.Second)
		up("two bad probes", "abc")
		time.Sleep(10 * time.Second)
		up("three bad probes", "ac")
		time.Sleep(time.Hour)
		up("time alone does not help", "ac")
		p.set("b", 200)
		time.Sleep(11 * time.Second)
		up("one good probe", "ac")
		time.Sleep(10 * time.Second)
		up("two good probes", "abc")
		p.set("a", -1)
		p.set("b", 0) // says nothing at all
		time.Sleep(50 * time.Second)
		up("refused and silent", "c")
		if p.asked["c"] != 0 {
			t.Error("a hop without an interval was probed")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestProbesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &hospital{status: map[string]int{}, asked: map[string]int{}}
		var hops []Config
		for i := range 40 {
			hops = append(hops, Config{Name: strconv.Itoa(i), Host: fmt.Sprintf("10.0.1.%d", i), Probe: time.Minute})
		}
		r := routes(t, Options{Hops: hops, Prober: p, Now: time.Now, Probes: 4, ProbeRate: 10})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(time.Minute)
		stop()
		<-done
		if p.most != 4 {
			t.Errorf("%d probes at once, want 4", p.most)
		}
		if len(p.asked) != 40 {
			t.Errorf("%d hops were probed", len(p.asked))
		}
	})
}

func TestAlive(t *testing.T) {
	for status, want := range map[int]bool{200: true, 302: true, 404: true, 405: true, 480: true, 501: true, 603: true, 408: false, 500: false, 503: false, 504: false, 100: false, 0: false} {
		if alive(status) != want {
			t.Errorf("%d: %v", status, !want)
		}
	}
}

func TestHashIsFNV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		h := fnv.New64a()
		h.Write(b)
		if fnv1a(b) != h.Sum64() {
			t.Fatal("differs")
		}
	})
}

func TestNoAllocations(t *testing.T) {
	hops := three()
	hops[0].Prefixes = []string{"+49"}
	r := routes(t, Options{Hops: hops, AddressOnly: true, Resolver: newBook("far.example", "192.0.2.9:5060")})
	h := r.inForce.Load().hops[0]
	far := r.Find(t.Context(), resolve.Target{Host: "far.example"})
	src, id := netip.MustParseAddrPort("10.0.0.2:9"), []byte("3848276298220188511@example")
	for what, do := range map[string]func(){
		"pick":       func() { var tried Tried; r.Pick("default", id, &tried) },
		"by address": func() { r.ByAddress(src) },
		"by number":  func() { r.ByNumber("+493012345") },
		"draining":   func() { r.Draining(src) },
		"left":       func() { var tried Tried; r.Left("default", &tried) },
		"domain":     func() { r.Domain(resolve.Target{Host: "far.example"}) },
		"pick of":    func() { var tried Tried; r.PickOf(far, id, &tried) },
		"report":     func() { r.Report(h, Result{Took: time.Millisecond}) },
	} {
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	r := routes(b, Options{Hops: three()})
	id := []byte("3848276298220188511@example")
	for b.Loop() {
		var tried Tried
		r.Pick("default", id, &tried)
	}
}
