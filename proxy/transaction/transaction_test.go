package transaction

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

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A bench is a table whose messages are words and whose flows are names.
type bench struct {
	*Table[string, int]
	mu     sync.Mutex
	sent   []string // guarded by mu
	events []string // of Failed and Ended; guarded by mu
	refuse bool
}

func newBench(t *testing.T, o Options[string, int]) *bench {
	t.Helper()
	b := new(bench)
	o.Now = time.Now
	o.Send = func(_ int, f string, msg []byte) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.refuse {
			return errors.New("refused")
		}
		b.sent = append(b.sent, f+" "+string(msg))
		return nil
	}
	o.Failed = func(_ *Context[string, int], i int, why Failure) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, fmt.Sprint("failed ", i, " ", [...]string{"no answer", "too long", "not sent", "lost"}[why]))
	}
	o.Ended = func(*Context[string, int]) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, "ended")
	}
	var err error
	if b.Table, err = New(o); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = b.Run(ctx); close(done) }() // it returns nil
	t.Cleanup(func() { cancel(); <-done })
}

// heard is what was sent, and what happened, since it was last asked.
func (b *bench) heard() string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	out := strings.Join(append(b.sent, b.events...), ", ")
	b.sent, b.events = nil, nil
	return out
}

func (b *bench) want(t *testing.T, want string) {
	t.Helper()
	if got := b.heard(); got != want {
		t.Fatalf("heard %q, want %q", got, want)
	}
}

// begin makes a context with a server transaction and one client transaction.
func (b *bench) begin(t *testing.T, invite, reliable bool) (*Context[string, int], ID) {
	t.Helper()
	c, fresh, err := b.Begin(Key{1, 2}, netip.Addr{}, time.Now())
	if err != nil || !fresh {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	c.Server.Flow, c.Server.Invite, c.Server.Reliable = "up", invite, reliable
	i, _ := c.Add()
	if err := c.Forward(0, i, "down", invite, reliable, []byte("request")); err != nil {
		t.Fatal(err)
	}
	return c, c.ID(i)
}

// TestTimers sets a path through the states against what is sent, tick by tick
// of the clock: (1) what happens before, (2) how long nothing else does, (3)
// what is heard in that time.
func TestTimers(t *testing.T) {
	type at struct {
		after time.Duration
		heard string
	}
	take := func(status int) func(*Context[string, int]) {
		return func(c *Context[string, int]) { c.Take(0, 0, status) }
	}
	respond := func(status int) func(*Context[string, int]) {
		return func(c *Context[string, int]) { c.Respond(0, status, []byte(strconv.Itoa(status))) }
	}
	s := time.Second
	for _, c := range []struct {
		name             string
		invite, reliable bool
		do               []func(*Context[string, int])
		first            string
		then             []at
	}{
		{"A and B", true, false, nil, "down request", []at{
			{600 * time.Millisecond, "down request"},
			{1100 * time.Millisecond, "down request"},
			{2100 * time.Millisecond, "down request"},
			{4100 * time.Millisecond, "down request"},
			{8100 * time.Millisecond, "down request"},
			{17 * s, "down request, failed 0 no answer"},
			{33 * s, "ended"},
		}},
		{"B over TCP", true, true, nil, "down request", []at{{31 * s, ""}, {2 * s, "failed 0 no answer"}, {33 * s, "ended"}}},
		{"E and F", false, false, nil, "down request", []at{
			{600 * time.Millisecond, "down request"},
			{1100 * time.Millisecond, "down request"},
			{2100 * time.Millisecond, "down request"},
			{4100 * time.Millisecond, "down request"},
			{4100 * time.Millisecond, "down request"},
			{4100 * time.Millisecond, "down request"},
			{4100 * time.Millisecond, "down request"},
			{4100 * time.Millisecond, "down request"},
			{4100 * time.Millisecond, "down request"},
			{4100 * time.Millisecond, "down request, failed 0 no answer, ended"},
		}},
		{"C", true, false, []func(*Context[string, int]){take(180)}, "down request", []at{
			{184 * s, ""}, {2 * s, "failed 0 too long"}, {33 * s, "failed 0 no answer"}, {33 * s, "ended"},
		}},
		{"G and H", true, false, []func(*Context[string, int]){take(486), respond(486)}, "down request, up 486", []at{
			{600 * time.Millisecond, "up 486"},
			{1100 * time.Millisecond, "up 486"},
			{2100 * time.Millisecond, "up 486"},
			{4100 * time.Millisecond, "up 486"},
			{4100 * time.Millisecond, "up 486"},
		}},
		{"G over TCP", true, true, []func(*Context[string, int]){take(486), respond(486)}, "down request, up 486", []at{{31 * s, ""}, {2 * s, "ended"}}},
		{"I and D", true, false, []func(*Context[string, int]){take(486), respond(486), func(c *Context[string, int]) { c.Ack() }}, "down request, up 486", []at{
			{31 * s, ""}, {2 * s, "ended"},
		}},
		{"L and M", true, false, []func(*Context[string, int]){take(200), respond(200)}, "down request, up 200", []at{{31 * s, ""}, {2 * s, "ended"}}},
		{"J and K", false, false, []func(*Context[string, int]){take(200), respond(200)}, "down request, up 200", []at{{31 * s, ""}, {2 * s, "ended"}}},
		{"J and K over TCP", false, true, []func(*Context[string, int]){take(200), respond(200)}, "down request, up 200, ended", nil},
		{"mute", true, false, []func(*Context[string, int]){
			func(c *Context[string, int]) { c.Server.Mute = true }, take(486), respond(486),
		}, "down request, up 486", []at{{20 * s, ""}}},
		{"CANCEL", true, false, []func(*Context[string, int]){
			take(180), func(c *Context[string, int]) { c.Cancel(0, 0, []byte("cancel")) },
		}, "down request, down cancel", []at{
			{600 * time.Millisecond, "down cancel"}, {1100 * time.Millisecond, "down cancel"},
		}},
		{"CANCEL answered", true, false, []func(*Context[string, int]){
			take(180), func(c *Context[string, int]) { c.Cancel(0, 0, []byte("cancel")); c.AnswerCancel(0) },
		}, "down request, down cancel", []at{{31 * s, ""}, {2 * s, "failed 0 no answer"}, {33 * s, "ended"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Options[string, int]{})
				b.run(t)
				ctx, _ := b.begin(t, c.invite, c.reliable)
				for _, do := range c.do {
					do(ctx)
				}
				ctx.Unlock()
				b.want(t, c.first)
				for _, step := range c.then {
					time.Sleep(step.after)
					b.want(t, step.heard)
				}
			})
		})
	}
}

func TestTake(t *testing.T) {
	for _, c := range []struct {
		name   string
		invite bool
		in     []int
		want   []Taking
	}{
		{"invite answered", true, []int{100, 180, 200, 200, 180, 486}, []Taking{Provisional, Provisional, Success, Success, Absorbed, Absorbed}},
		{"invite refused", true, []int{180, 486, 486, 200, 180}, []Taking{Provisional, Refusal, Absorbed, Absorbed, Absorbed}},
		{"other answered", false, []int{100, 200, 200, 404}, []Taking{Provisional, Success, Absorbed, Absorbed}},
		{"other refused", false, []int{404, 404, 200}, []Taking{Refusal, Absorbed, Absorbed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Options[string, int]{})
			ctx, _ := b.begin(t, c.invite, false)
			defer ctx.Unlock()
			for i, status := range c.in {
				if got := ctx.Take(0, 0, status); got != c.want[i] {
					t.Errorf("response %d (%d) is taken as %d, want %d", i, status, got, c.want[i])
				}
			}
		})
	}
}

func TestAckIsSentAgain(t *testing.T) {
	b := newBench(t, Options[string, int]{})
	ctx, _ := b.begin(t, true, false)
	defer ctx.Unlock()
	ctx.Take(0, 0, 486)
	if string(ctx.Request(0)) != "request" {
		t.Error("the request is gone before its ACK was made")
	}
	ctx.Acknowledge(0, 0, []byte("ack"))
	ctx.Take(0, 0, 486)
	if got := strings.Join(b.sent, ", "); got != "down request, down ack, down ack" {
		t.Errorf("sent %s", got)
	}
}

func TestAnswersAfterTheFinalOne(t *testing.T) {
	b := newBench(t, Options[string, int]{})
	ctx, _ := b.begin(t, true, false)
	defer ctx.Unlock()
	for _, c := range []struct {
		status int
		want   bool
	}{{180, true}, {200, true}, {200, true}, {180, false}, {486, false}} {
		if got := ctx.Respond(0, c.status, []byte("x")); got != c.want {
			t.Errorf("response %d is wanted: %v, want %v", c.status, got, c.want)
		}
	}
	if ctx.Ack() {
		t.Error("the ACK to a 2xx was absorbed")
	}
}

func TestFindIsForTheLiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options[string, int]{})
		b.run(t)
		ctx, id := b.begin(t, false, false)
		ctx.Take(0, 0, 200)
		ctx.Respond(0, 200, []byte("200"))
		ctx.Unlock()
		if c := b.Find(id, time.Now()); c == nil {
			t.Fatal("a living transaction is not found")
		} else {
			c.Unlock()
		}
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if c := b.Find(id, time.Now()); c != nil {
			t.Error("a dead transaction is found")
		}
		if c := b.Match(Key{1, 2}, time.Now()); c != nil {
			t.Error("its request is matched")
		}
		ctx, again := b.begin(t, false, false)
		defer ctx.Unlock()
		if again.Slot != id.Slot || again.Generation == id.Generation {
			t.Errorf("the slot is used again as %v after %v", again, id)
		}
	})
}

func TestCaps(t *testing.T) {
	b := newBench(t, Options[string, int]{Max: 4, PerSource: 2})
	one, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2") // of one /64
	begin := func(n uint64, a netip.Addr) error {
		c, _, err := b.Begin(Key{1, n}, a, time.Now())
		if err == nil {
			c.Server.Invite = true
			i, _ := c.Add()
			_ = c.Forward(0, i, "down", true, true, nil) // Send never fails here
			c.Unlock()
		}
		return err
	}
	for n, a := range []netip.Addr{one, other} {
		if err := begin(uint64(n), a); err != nil {
			t.Fatal(err)
		}
	}
	if err := begin(7, one); !errors.Is(err, ErrSource) {
		t.Errorf("a third of one source: %v", err)
	}
	c := b.Match(Key{1, 0}, time.Now())
	c.Respond(0, 486, []byte("x"))
	c.Unlock()
	if err := begin(8, other); err != nil {
		t.Errorf("after an answer: %v", err)
	}
	if err := begin(9, netip.Addr{}); err != nil {
		t.Error(err)
	}
	if err := begin(10, netip.Addr{}); !errors.Is(err, ErrFull) {
		t.Errorf("a fifth: %v", err)
	}
	if got := b.Counts(); got != (Counts{Up: 4, Full: 1, Source: 1}) {
		t.Errorf("counts %+v", got)
	}
}

func TestUnsentRequestIsOver(t *testing.T) {
	b := newBench(t, Options[string, int]{})
	b.refuse = true
	c, _, err := b.Begin(Key{}, netip.Addr{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	i, _ := c.Add()
	if err := c.Forward(0, i, "down", false, false, []byte("x")); err == nil {
		t.Error("it was sent")
	}
	c.Unlock()
	if b.Counts().Up != 0 {
		t.Error("it is kept")
	}
}

func TestBranch(t *testing.T) {
	b, other := NewBranch([32]byte{1}), NewBranch([32]byte{2})
	rapid.Check(t, func(t *rapid.T) {
		id := ID{Slot: rapid.Uint32().Draw(t, "slot"), Generation: rapid.Uint32().Draw(t, "generation"), Client: rapid.Byte().Draw(t, "client")}
		loop := rapid.Uint64Range(0, 1<<32-1).Draw(t, "loop")
		text := b.Append(nil, id, loop)
		got, gotLoop, ok := b.Open(text)
		if !ok || got != id || gotLoop != loop {
			t.Fatalf("%v %x came back as %v %x, %v", id, loop, got, gotLoop, ok)
		}
		text[len(magic)+rapid.IntRange(0, 31).Draw(t, "at")] ^= 1
		if got, _, ok := b.Open(text); ok && got == id {
			t.Fatal("a changed branch leads to the same place")
		}
		if got, _, ok := other.Open(b.Append(nil, id, loop)); ok && got == id {
			t.Fatal("a branch of another key leads to the same place")
		}
	})
	for n := range 4096 { // of 2^24 guesses one opens
		if _, _, ok := b.Open(fmt.Appendf(nil, "z9hG4bKrf%032x", n)); ok {
			t.Fatalf("the guess %d is ours", n)
		}
	}
	for _, bad := range []string{"", "z9hG4bKrf", "z9hG4bKrf" + strings.Repeat("g", 32), "z9hG4bKxx" + strings.Repeat("0", 32)} {
		if _, _, ok := b.Open([]byte(bad)); ok {
			t.Errorf("%q is ours", bad)
		}
	}
}

// TestNothingLeaks drives contexts with random events and lets the clock run
// out: nothing may be left, and every buffer must have come back.
func TestNothingLeaks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Unix(1e9, 0)
		b := &bench{}
		table, err := New(Options[string, int]{
			Now:    func() time.Time { return now },
			Send:   func(int, string, []byte) error { return nil },
			Failed: func(*Context[string, int], int, Failure) {},
		})
		if err != nil {
			rt.Fatal(err)
		}
		b.Table = table
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			k := Key{1, rapid.Uint64Range(0, 5).Draw(rt, "key")}
			c, fresh, err := b.Begin(k, netip.MustParseAddr("192.0.2.1"), now)
			if err != nil {
				rt.Fatal(err)
			}
			if fresh {
				if c.Server.Invite = k[1]%2 == 0; c.Server.Invite {
					c.Quieten()
				}
				for range rapid.IntRange(1, 3).Draw(rt, "forks") {
					i, _ := c.Add()
					_ = c.Forward(0, i, "down", c.Server.Invite, false, []byte("request")) // Send never fails here
				}
			}
			i := rapid.IntRange(0, len(c.Clients)-1).Draw(rt, "client")
			switch rapid.IntRange(0, 7).Draw(rt, "event") {
			case 0:
				c.Take(0, i, rapid.SampledFrom([]int{100, 180, 200, 404, 603}).Draw(rt, "status"))
			case 1:
				c.Respond(0, rapid.SampledFrom([]int{100, 180, 200, 404, 603}).Draw(rt, "status"), []byte("response"))
			case 2:
				c.Ack()
			case 3:
				c.Cancel(0, i, []byte("cancel"))
			case 4:
				if s := c.Clients[i].State; s == Completed && c.Clients[i].Invite && !c.Clients[i].acked {
					c.Acknowledge(0, i, []byte("ack"))
				}
			case 5:
				c.Drop(i)
			case 6:
				c.Abandon()
			case 7:
				c.AnswerCancel(i)
			}
			c.Unlock()
			now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(rt, "wait")) * time.Millisecond)
			b.Turn()
		}
		for range 400 {
			now = now.Add(time.Second)
			b.Turn()
		}
		if up := b.Counts().Up; up != 0 {
			rt.Fatalf("%d contexts are left", up)
		}
		for i := range b.sources.parts {
			if n := len(b.sources.parts[i].n); n != 0 {
				rt.Fatalf("%d sources are still counted", n)
			}
		}
		for i := range b.shards {
			s := &b.shards[i]
			if len(s.keys) != 0 || len(s.free) != len(s.chunks)*chunk {
				rt.Fatalf("shard %d holds %d keys, %d of %d contexts are free", i, len(s.keys), len(s.free), len(s.chunks)*chunk)
			}
			for spoke, head := range s.wheel.heads {
				if head != nil {
					rt.Fatalf("spoke %d is not empty", spoke)
				}
			}
		}
	})
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	now := time.Unix(1e9, 0)
	table, err := New(Options[string, int]{
		Now:    func() time.Time { return now },
		Send:   func(int, string, []byte) error { return nil },
		Failed: func(*Context[string, int], int, Failure) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	source, request, response := netip.MustParseAddr("192.0.2.1"), make([]byte, 800), make([]byte, 700)
	branch := NewBranch([32]byte{1})
	var text [BranchLen]byte
	one := func() {
		n++
		c, _, err := table.Begin(Key{1, n}, source, now)
		if err != nil {
			t.Fatal(err)
		}
		i, _ := c.Add()
		id, _, _ := branch.Open(branch.Append(text[:0], c.ID(i), 1))
		_ = c.Forward(0, i, "down", false, false, request) // Send never fails here
		c.Unlock()
		c = table.Find(id, now)
		c.Take(0, i, 200)
		c.Respond(0, 200, response)
		c.Unlock()
		now = now.Add(50 * time.Millisecond)
		table.Turn()
	}
	for range 20000 {
		one()
	}
	if got := testing.AllocsPerRun(2000, one); got != 0 {
		t.Errorf("%v allocations for a transaction", got)
	}
}
