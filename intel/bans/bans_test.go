package bans

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"ringfence/guard"
	"ringfence/intel/store"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("RINGFENCE_TEST_BANS"); dir != "" {
		banForEver(dir)
	}
	goleak.VerifyTestMain(m)
}

var start = time.Unix(1_800_000_000, 0)

// A recorder is a screen that remembers what it was told last.
type told map[key]time.Time

func (s told) Ban(p netip.Prefix, port uint16, until time.Time, _ bool) error {
	s[key{p, port}] = until
	return nil
}

func (s told) Lift(p netip.Prefix, port uint16) error {
	delete(s, key{p, port})
	return nil
}

type bench struct {
	*Book
	now    time.Time
	screen told
	store  *store.Badger
}

func open(t testing.TB, o Options) *bench {
	t.Helper()
	s, err := store.Memory(store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	x := &bench{now: start, screen: told{}, store: s}
	o.Now = func() time.Time { return x.now }
	if x.Book, err = Open(t.Context(), s, o, x.screen); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *bench) ban(p string, span time.Duration, limit bool) {
	x.Decided(&guard.Decision{Bans: []guard.Ban{{
		Prefix: netip.MustParsePrefix(p), At: x.now, Until: x.now.Add(span), For: span, Rule: "r", Limit: limit, Escalate: 2, AtMost: time.Hour,
	}}})
}

func (x *bench) live(t testing.TB, p string) *Ban {
	t.Helper()
	for b := range x.All() {
		if b.Prefix.String() == p {
			return &b
		}
	}
	return nil
}

func TestEscalation(t *testing.T) {
	x := open(t, Options{})
	for i, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		x.ban("192.0.2.1/32", time.Minute, false)
		b := x.live(t, "192.0.2.1/32")
		if b == nil || b.Repeat != i || b.Until.Sub(b.At) != want {
			t.Fatalf("ban %d: got %+v, want %d repeats and %s", i, b, i, want)
		}
		x.now = b.Until
	}
}

func TestLimitKeepsTheCountOfBans(t *testing.T) {
	x := open(t, Options{})
	x.ban("192.0.2.1/32", time.Minute, false)
	x.now = x.now.Add(2 * time.Minute)
	x.ban("192.0.2.1/32", time.Minute, true)
	if b := x.live(t, "192.0.2.1/32"); b.Repeat != 0 || !b.Limit {
		t.Fatalf("the first limit: %+v", b)
	}
	x.ban("192.0.2.1/32", time.Minute, false)
	if b := x.live(t, "192.0.2.1/32"); b.Repeat != 1 || b.Limit {
		t.Fatalf("the second ban, over a live limit: %+v", b)
	}
	x.ban("192.0.2.1/32", time.Hour, true)
	if b := x.live(t, "192.0.2.1/32"); b.Limit {
		t.Fatal("a limit took a ban's place")
	}
}

func TestLaterUntilWinsWithinASecond(t *testing.T) {
	x := open(t, Options{})
	x.ban("192.0.2.1/32", time.Minute, false)
	x.ban("192.0.2.1/32", time.Hour, false)
	x.ban("192.0.2.1/32", time.Second, false)
	if b := x.live(t, "192.0.2.1/32"); b.Until != start.Add(time.Hour) || b.Repeat != 0 {
		t.Fatalf("got %+v", b)
	}
	if got := x.screen[key{netip.MustParsePrefix("192.0.2.1/32"), 0}]; got != start.Add(time.Hour) {
		t.Fatalf("the screen was told %v", got)
	}
}

func TestLift(t *testing.T) {
	for _, c := range []struct {
		ban, lift string
		gone      bool
	}{
		{"192.0.2.7/32", "192.0.2.7/32", true},
		{"192.0.2.7/32", "192.0.2.0/24", true},
		{"192.0.2.0/24", "192.0.2.7/32", true},
		{"192.0.2.0/24", "192.0.2.0/28", false},
		{"192.0.2.7/32", "192.0.3.0/24", false},
		{"192.0.2.7/32", "::ffff:192.0.2.7/128", true},
		{"2001:db8::/64", "2001:db8::7/128", true},
		{"2001:db8::/64", "2001:db8::/48", true},
		{"2001:db8::/64", "0.0.0.0/0", false},
	} {
		t.Run(c.ban+" "+c.lift, func(t *testing.T) {
			x := open(t, Options{})
			x.ban(c.ban, time.Hour, false)
			late := x.now
			x.now = x.now.Add(time.Second)
			lifted, err := x.Lift(t.Context(), netip.MustParsePrefix(c.lift), "mistake")
			if err != nil {
				t.Fatal(err)
			}
			if got := x.live(t, c.ban) == nil; got != c.gone || (len(lifted) == 1) != c.gone || (len(x.screen) == 0) != c.gone {
				t.Fatalf("gone %v, lifted %v, screen %v; want gone %v", got, lifted, x.screen, c.gone)
			}
			if !c.gone {
				return
			}
			x.now = late // a decision from before the lift arrives after it
			x.ban(c.ban, time.Hour, false)
			if x.live(t, c.ban) != nil {
				t.Fatal("a decision from before the lift brought the ban back")
			}
			x.now = late.Add(2 * time.Second)
			x.ban(c.ban, time.Minute, false)
			if x.live(t, c.ban) == nil {
				t.Fatal("what came after the lift is not banned")
			}
		})
	}
}

func TestFullBook(t *testing.T) {
	x := open(t, Options{Max: 4})
	for i := range 4 {
		x.ban(fmt.Sprintf("192.0.2.%d/32", i), time.Duration(i+1)*time.Minute, i%2 == 0)
	}
	x.ban("198.51.100.1/32", time.Minute, false)
	if x.live(t, "192.0.2.0/32") != nil || x.live(t, "198.51.100.1/32") == nil || len(x.screen) != 4 {
		t.Fatalf("the limit that ends first should have gone: %v", x.screen)
	}
	x.ban("198.51.100.2/32", time.Minute, true)
	if _, _, lost := x.Counts(); x.live(t, "198.51.100.2/32") != nil || lost != 1 {
		t.Fatal("a limit took the place of one that ends later")
	}
	x.ban("198.51.100.3/32", time.Minute, false)
	x.ban("198.51.100.4/32", time.Hour, false)
	bans, limits, lost := x.Counts()
	if bans != 4 || limits != 0 || lost != 2 {
		t.Fatalf("%d bans, %d limits, %d lost; want 4, 0, 2", bans, limits, lost)
	}
}

func TestProtected(t *testing.T) {
	var alerts []guard.Alert
	x := open(t, Options{
		Protected: func(p netip.Prefix) string {
			if p.Contains(netip.MustParseAddr("192.0.2.1")) {
				return "it is the trunk"
			}
			return ""
		},
		Alert: func(a guard.Alert) { alerts = append(alerts, a) },
	})
	x.ban("192.0.2.0/24", time.Hour, false)
	if len(alerts) != 1 || len(x.screen) != 0 || !strings.Contains(alerts[0].Text, "it is the trunk") {
		t.Fatalf("alerts %v, screen %v", alerts, x.screen)
	}
	if err := x.Ban(t.Context(), Ban{Prefix: netip.MustParsePrefix("192.0.2.1/32"), At: x.now, Until: x.now.Add(time.Hour)}); err == nil {
		t.Fatal("banned by hand")
	}
}

func TestDecisionsAreCopied(t *testing.T) {
	x := open(t, Options{})
	buf := []byte(strings.Repeat("scanner", 100))
	d := &guard.Decision{
		Matches: []guard.Match{{Rule: "r", Facts: []guard.Answer{{Fact: "ua", Value: string(buf)}}}},
		Bans:    []guard.Ban{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), At: start, Until: start.Add(time.Hour), Rule: "r"}, {Rule: "no prefix"}},
	}
	x.Decided(d)
	d.Reset()
	if got := x.live(t, "192.0.2.1/32").Facts["ua"]; len(got) != longest {
		t.Fatalf("%d octets kept", len(got))
	}
}

// TestModel plays bans, lifts and time against the merge rule written down
// plainly, and opens the book again in between.
func TestModel(t *testing.T) {
	type entry struct {
		until time.Time
		limit bool
	}
	rapid.Check(t, func(r *rapid.T) {
		s, err := store.Memory(store.Options{})
		if err != nil {
			r.Fatal(err)
		}
		defer s.Close()
		now := start
		o := Options{Now: func() time.Time { return now }}
		screen := told{}
		b, err := Open(context.Background(), s, o, screen)
		if err != nil {
			r.Fatal(err)
		}
		model := map[netip.Prefix]entry{}
		prefixes := []netip.Prefix{
			netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64"),
		}
		r.Repeat(map[string]func(*rapid.T){
			"ban": func(r *rapid.T) {
				p, limit := rapid.SampledFrom(prefixes).Draw(r, "prefix"), rapid.Bool().Draw(r, "limit")
				until := now.Add(time.Duration(rapid.IntRange(1, 100).Draw(r, "span")) * 10 * time.Second)
				b.Decided(&guard.Decision{Bans: []guard.Ban{{Prefix: p, At: now, Until: until, Limit: limit, Rule: "r"}}})
				old, live := model[p]
				if !live || old.limit && !limit || old.limit == limit && until.After(old.until) {
					model[p] = entry{until, limit}
				}
			},
			"lift": func(r *rapid.T) {
				p := rapid.SampledFrom(prefixes).Draw(r, "prefix")
				if _, err := b.Lift(context.Background(), p, ""); err != nil {
					r.Fatal(err)
				}
				for q := range model {
					if q == p || p.Contains(q.Addr()) && p.Bits() < q.Bits() || p.IsSingleIP() && q.Contains(p.Addr()) {
						delete(model, q)
					}
				}
			},
			"wait": func(r *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 60).Draw(r, "wait")) * 10 * time.Second)
				for p, e := range model {
					if !now.Before(e.until) {
						delete(model, p)
					}
				}
			},
			"restart": func(r *rapid.T) {
				over, cancel := context.WithCancel(context.Background())
				cancel()
				if err := b.Run(over); err != nil {
					r.Fatal(err)
				}
				if b, err = Open(context.Background(), s, o, screen); err != nil {
					r.Fatal(err)
				}
			},
			"": func(r *rapid.T) {
				n := 0
				for x := range b.All() {
					n++
					if e, ok := model[x.Prefix]; !ok || !e.until.Equal(x.Until) || e.limit != x.Limit {
						r.Fatalf("book has %+v, want %+v", x, e)
					}
					if got := screen[key{x.Prefix, 0}]; !got.Equal(x.Until) {
						r.Fatalf("the screen has %v for %+v", got, x)
					}
				}
				if n != len(model) {
					r.Fatalf("%d bans, want %d", n, len(model))
				}
			},
		})
	})
}

// banForEver bans by hand, says so, and goes on until it is killed.
func banForEver(dir string) {
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		panic(err)
	}
	b, err := Open(context.Background(), s, Options{})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
		if err := b.Ban(context.Background(), Ban{Prefix: p, At: time.Now(), Until: time.Now().Add(time.Hour), Rule: "by-hand"}); err != nil {
			panic(err)
		}
		fmt.Println(p)
	}
}

func TestBansSurviveKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "RINGFENCE_TEST_BANS="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var said []netip.Prefix
	for range 50 {
		var p string
		if _, err := fmt.Fscanln(out, &p); err != nil {
			t.Fatal(err)
		}
		said = append(said, netip.MustParsePrefix(p))
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Fatal("it ended by itself")
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	screen := told{}
	b, err := Open(t.Context(), s, Options{}, screen)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range said {
		if len(b.Find(p.Addr())) != 1 || screen[key{p, 0}].IsZero() {
			t.Fatalf("%s was said to be on disk and is not in force", p)
		}
	}
}
