package dialog

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"ringfence/guard"
	"ringfence/proxy/index"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	phone = netip.MustParseAddrPort("192.0.2.1:5060")
	pbx   = netip.MustParseAddrPort("10.0.0.1:5060")
	other = netip.MustParseAddrPort("203.0.113.9:5060")
)

func legOf(a netip.AddrPort) Leg { return Leg{Address: a} }

// ours tells our own Record-Route values in these tests.
func ours(x *index.Message, host index.Span, _ uint16) bool { return x.Is(host, "fence.example") }

func parse(t testing.TB, lines ...string) *index.Message {
	t.Helper()
	x := new(index.Message)
	raw := strings.Join(lines, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
	if p := x.Parse([]byte(raw), false, index.Limits{}); p != "" {
		t.Fatalf("%v in\n%s", p, raw)
	}
	return x
}

// request is a request within the dialog of a caller with tag a.
func request(t testing.TB, id, method, from, to string, cseq int, src netip.AddrPort, more ...string) *guard.Message {
	t.Helper()
	if to != "" {
		to = ";tag=" + to
	}
	x := parse(t, append([]string{
		method + " sip:+4930123@fence.example SIP/2.0",
		"Via: SIP/2.0/UDP " + src.String() + ";branch=z9hG4bK1",
		"From: <sip:alice@example.com>;tag=" + from,
		"To: \"Bob\" <sip:+4930123@example.com>" + to,
		"Call-ID: " + id,
		fmt.Sprintf("CSeq: %d %s", cseq, method),
		"Contact: <sip:" + from + "@" + src.String() + ">",
	}, more...)...)
	return &guard.Message{At: time.Now(), Src: src, Index: x}
}

func invite(t testing.TB, id string, src netip.AddrPort, more ...string) *guard.Message {
	m := request(t, id, "INVITE", "a", "", 1, src, more...)
	m.Account = "alice@example"
	return m
}

func response(t testing.TB, id string, status int, to string, more ...string) *index.Message {
	if to != "" {
		to = ";tag=" + to
	}
	return parse(t, append([]string{
		fmt.Sprintf("SIP/2.0 %d Text", status),
		"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
		"From: <sip:alice@example.com>;tag=a",
		"To: \"Bob\" <sip:+4930123@example.com>" + to,
		"Call-ID: " + id,
		"CSeq: 1 INVITE",
		"Contact: <sip:bob@10.0.0.1:5060>",
	}, more...)...)
}

func table(t testing.TB, o Options) *Table {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return start }
	}
	tb, err := New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tb
}

func running(t testing.TB, o Options) (*Table, func()) {
	t.Helper()
	tb := table(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tb.Run(ctx) }()
	return tb, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestACallFromInviteToBye(t *testing.T) {
	tb := table(t, Options{Own: ours})
	m := invite(t, "1", phone, "Record-Route: <sip:p2.example;lr>, <sip:p1.example;lr>")
	m.At = start
	if !tb.Begin(m, Leg{Address: phone, Flow: "token"}, legOf(pbx)) {
		t.Fatal("not tracked")
	}
	if tb.Up("alice@example") != 1 {
		t.Error("a call that is being set up is not counted")
	}
	tb.Ring(response(t, "1", 100, ""), legOf(pbx), start)
	if c, _ := tb.Find("1"); c.State != Calling {
		t.Errorf("after 100: %v", c.State)
	}
	tb.Ring(response(t, "1", 180, "b"), legOf(pbx), start)
	if c, _ := tb.Find("1"); c.State != Early {
		t.Errorf("after 180: %v", c.State)
	}
	// The response brings the routes of both sides, ours between them.
	tb.Answer(response(t, "1", 200, "c", "Record-Route: <sip:q2.example;lr>",
		"Record-Route: <sip:q1.example;lr>, <sip:fence.example;lr>, <sip:fence.example;lr;r2=on>, <sip:p2.example;lr>"), legOf(pbx), start.Add(5*time.Second))
	got, ok := tb.Find("1")
	want := Call{
		ID: "1", State: Answered, Account: "alice@example", Dialed: "+4930123",
		Start: start, Answered: start.Add(5 * time.Second), Expires: start.Add(5*time.Second + 24*time.Hour),
		Caller: Side{
			Tag: "a", CSeq: 1, URI: "sip:alice@example.com", Target: "sip:a@192.0.2.1:5060",
			Route: "<sip:p2.example;lr>, <sip:p1.example;lr>", Leg: Leg{Address: phone, Flow: "token"},
		},
		Callees: []Side{{
			Tag: "c", URI: "sip:+4930123@example.com", Target: "sip:bob@10.0.0.1:5060",
			Route: "<sip:q1.example;lr>, <sip:q2.example;lr>", Leg: legOf(pbx), Answered: true,
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); !ok || diff != "" {
		t.Errorf("the call (-want +got):\n%s", diff)
	}
	bye := request(t, "1", "BYE", "c", "a", 1, pbx)
	bye.At = start.Add(65 * time.Second)
	if !tb.Has(bye) {
		t.Error("the BYE is not recognised")
	}
	over, ok := tb.Hangup(bye)
	wantOver := guard.Call{
		ID: "1", Account: "alice@example", From: "alice@example.com", To: "+4930123@example.com", Dialed: "+4930123",
		Start: start, Answered: start.Add(5 * time.Second), End: start.Add(65 * time.Second), Status: 200, EndedBy: "callee",
		FromTag: "a", ToTag: "c", Source: phone, Towards: pbx,
	}
	if diff := cmp.Diff(wantOver, over, cmpopts.EquateComparable(netip.AddrPort{})); !ok || diff != "" {
		t.Errorf("the end (-want +got):\n%s", diff)
	}
	if over.Duration() != time.Minute {
		t.Errorf("it took %v", over.Duration())
	}
	if _, ok := tb.Hangup(bye); ok {
		t.Error("it ended twice")
	}
	if !tb.Has(bye) {
		t.Error("a BYE that comes by again is not recognised")
	}
	if tb.Up("alice@example") != 0 || tb.Counts().Up != 0 || tb.Counts().Tracked != 1 {
		t.Errorf("%+v", tb.Counts())
	}
	for c := range tb.All() {
		t.Errorf("an ended call is listed: %+v", c)
	}
}

// answered is a call of phone through pbx that is up.
func answered(t testing.TB) *Table {
	tb := table(t, Options{})
	tb.Begin(invite(t, "1", phone), legOf(phone), Leg{Address: pbx, Peer: "pbx"})
	tb.Answer(response(t, "1", 200, "b"), Leg{Address: pbx, Peer: "pbx"}, start)
	tb.Note(request(t, "1", "INFO", "a", "b", 10, phone))
	tb.Note(request(t, "1", "INFO", "b", "a", 20, pbx))
	return tb
}

func TestHas(t *testing.T) {
	tb := answered(t)
	for _, c := range []struct {
		what string
		m    *guard.Message
		want bool
	}{
		{"the caller's next request", request(t, "1", "BYE", "a", "b", 11, phone), true},
		{"the callee's next request", request(t, "1", "BYE", "b", "a", 21, pbx), true},
		{"the same number again", request(t, "1", "INFO", "a", "b", 10, phone), true},
		{"from another port", request(t, "1", "BYE", "a", "b", 11, netip.MustParseAddrPort("192.0.2.1:40000")), true},
		{"the ACK of the INVITE", request(t, "1", "ACK", "a", "b", 1, phone), true},
		{"an ACK from the future", request(t, "1", "ACK", "a", "b", 99, phone), false},
		{"a CSeq that goes back", request(t, "1", "BYE", "a", "b", 9, phone), false},
		{"the callee's goes back", request(t, "1", "BYE", "b", "a", 19, pbx), false},
		{"from elsewhere", request(t, "1", "BYE", "a", "b", 11, other), false},
		{"from the other side", request(t, "1", "BYE", "a", "b", 11, pbx), false},
		{"another Call-ID", request(t, "2", "BYE", "a", "b", 11, phone), false},
		{"another From tag", request(t, "1", "BYE", "x", "b", 11, phone), false},
		{"another To tag", request(t, "1", "BYE", "a", "x", 11, phone), false},
		{"no To tag", request(t, "1", "BYE", "a", "", 11, phone), false},
		{"both tags the caller's", request(t, "1", "BYE", "a", "a", 11, phone), false},
		{"Call-ID and tag run together", request(t, "1a", "BYE", "a", "b", 11, phone), false},
	} {
		if got := tb.Has(c.m); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	peer := request(t, "1", "BYE", "b", "a", 21, other)
	peer.Peer = "pbx"
	if !tb.Has(peer) {
		t.Error("another address of the same peer")
	}
	moved := request(t, "1", "BYE", "a", "b", 11, other)
	if moved.Account = "mallory@example"; tb.Has(moved) {
		t.Error("another account")
	}
	if moved.Account = "alice@example"; !tb.Has(moved) {
		t.Error("the caller's account from another network")
	}
	if tb.Has(&guard.Message{Src: phone, Index: response(t, "1", 200, "b")}) {
		t.Error("a response is no request")
	}
}

// A stranger who knows Call-ID and tag of a call cannot become a side of it.
func TestNobodyJoinsAnothersCall(t *testing.T) {
	tb := answered(t)
	if tb.Begin(invite(t, "1", other), legOf(other), legOf(pbx)) {
		t.Error("joined")
	}
	if tb.Has(request(t, "1", "BYE", "a", "b", 11, other)) {
		t.Error("and may hang up")
	}
	inside := invite(t, "1", pbx)
	inside.Inside = true
	if !tb.Begin(inside, legOf(pbx), legOf(other)) {
		t.Error("the next hop sends the INVITE back through us: the same call")
	}
	if tb.Counts().Up != 1 {
		t.Errorf("%+v", tb.Counts())
	}
}

// With a proxy behind us a call passes twice, and so does each of its messages.
func TestACallThatComesByTwice(t *testing.T) {
	tb := table(t, Options{})
	tb.Begin(invite(t, "1", phone), legOf(phone), legOf(pbx))
	back := invite(t, "1", pbx)
	back.Inside = true
	tb.Begin(back, legOf(pbx), legOf(other))
	if _, ok := tb.Fail([]byte("1"), []byte("a"), 486, "callee", start); ok {
		t.Error("the inner passage failed and ended the call")
	}
	back.Index = invite(t, "1", pbx).Index
	tb.Begin(back, legOf(pbx), legOf(other))
	tb.Answer(response(t, "1", 200, "b"), legOf(other), start)
	tb.Answer(response(t, "1", 200, "b"), legOf(pbx), start.Add(time.Second))
	c, _ := tb.Find("1")
	if !c.Answered.Equal(start) || c.Caller.Leg.Address != phone || c.Callees[0].Leg.Address != other {
		t.Errorf("%+v", c)
	}
	for _, src := range []netip.AddrPort{phone, pbx} {
		bye := request(t, "1", "BYE", "a", "b", 2, src)
		if !tb.Has(bye) {
			t.Errorf("the BYE from %v is not recognised", src)
		}
		if _, ok := tb.Hangup(bye); ok != (src == phone) {
			t.Errorf("the BYE from %v: ended %v", src, ok)
		}
	}
}

func TestFail(t *testing.T) {
	tb := table(t, Options{})
	begin := func() { tb.Begin(invite(t, "1", phone), legOf(phone), legOf(pbx)) }
	begin()
	if _, ok := tb.Fail([]byte("1"), []byte("a"), 407, "callee", start); ok || tb.Counts().Tracked != 0 || tb.Up("alice@example") != 0 {
		t.Errorf("a challenge ended a call: %+v", tb.Counts())
	}
	begin()
	tb.Ring(response(t, "1", 183, "b"), legOf(pbx), start)
	c, ok := tb.Fail([]byte("1"), []byte("a"), 486, "callee", start)
	if !ok || c.Status != 486 || c.EndedBy != "callee" || c.ToTag != "b" || !c.Answered.IsZero() || c.Duration() != 0 {
		t.Errorf("%+v %v", c, ok)
	}
	begin() // the same Call-ID again
	if c, _ := tb.Find("1"); c.State != Calling || tb.Counts().Tracked != 1 {
		t.Errorf("%+v %+v", c, tb.Counts())
	}
	tb.Answer(response(t, "1", 200, "b"), legOf(pbx), start)
	if _, ok := tb.Fail([]byte("1"), []byte("a"), 500, "callee", start); ok {
		t.Error("another fork's failure ended an answered call")
	}
	if _, ok := tb.Fail([]byte("none"), []byte("a"), 500, "callee", start); ok {
		t.Error("a call that is not there failed")
	}
}

func TestForks(t *testing.T) {
	tb := table(t, Options{Forks: 3})
	tb.Begin(invite(t, "1", phone), legOf(phone), legOf(pbx))
	for _, tag := range []string{"b", "c", "d", "e"} {
		tb.Ring(response(t, "1", 180, tag), legOf(pbx), start)
	}
	if c, _ := tb.Find("1"); len(c.Callees) != 3 {
		t.Errorf("%d forks", len(c.Callees))
	}
	tb.Answer(response(t, "1", 200, "b"), legOf(pbx), start)
	tb.Answer(response(t, "1", 200, "c"), legOf(other), start)
	if c, _ := tb.Find("1"); len(c.Callees) != 2 {
		t.Errorf("%d forks are up", len(c.Callees))
	}
	if _, ok := tb.Hangup(request(t, "1", "BYE", "a", "c", 2, phone)); ok {
		t.Error("the call ended with one fork still up")
	}
	if c, ok := tb.Hangup(request(t, "1", "BYE", "b", "a", 2, pbx)); !ok || c.EndedBy != "callee" {
		t.Errorf("%+v %v", c, ok)
	}
}

func TestByeInAnEarlyDialog(t *testing.T) {
	tb := table(t, Options{})
	tb.Begin(invite(t, "1", phone), legOf(phone), legOf(pbx))
	tb.Ring(response(t, "1", 180, "b"), legOf(pbx), start)
	if c, ok := tb.Hangup(request(t, "1", "BYE", "a", "b", 2, phone)); !ok || c.EndedBy != "caller" || !c.Answered.IsZero() {
		t.Errorf("%+v %v", c, ok)
	}
}

func TestTargetRefresh(t *testing.T) {
	tb := answered(t)
	tb.Note(request(t, "1", "UPDATE", "a", "b", 11, netip.MustParseAddrPort("192.0.2.1:6000")))
	tb.Note(request(t, "1", "INVITE", "b", "a", 21, other))
	tb.Note(request(t, "1", "INFO", "a", "b", 12, netip.MustParseAddrPort("192.0.2.1:7000")))
	c, _ := tb.Find("1")
	if c.Caller.Target != "sip:a@192.0.2.1:6000" || c.Caller.CSeq != 12 {
		t.Errorf("caller: %+v", c.Caller)
	}
	if c.Callees[0].Target != "sip:bob@10.0.0.1:5060" {
		t.Errorf("callee: %+v", c.Callees[0])
	}
	tb.Answer(response(t, "1", 200, "b", "X: y"), legOf(pbx), start)
	answer := parse(t, "SIP/2.0 200 OK", "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK2", "From: <sip:+4930123@example.com>;tag=b",
		"To: <sip:alice@example.com>;tag=a", "Call-ID: 1", "CSeq: 21 INVITE", "Contact: <sip:a@192.0.2.1:8000>")
	tb.Answer(answer, legOf(phone), start)
	if c, _ := tb.Find("1"); c.Caller.Target != "sip:a@192.0.2.1:8000" || !c.Answered.Equal(start) {
		t.Errorf("after the 2xx to the callee's re-INVITE: %+v", c.Caller)
	}
}

func TestEnd(t *testing.T) {
	tb := answered(t)
	c, ok := tb.End("1", "ringfence", start.Add(time.Minute))
	if !ok || c.EndedBy != "ringfence" || c.Duration() != time.Minute {
		t.Errorf("%+v %v", c, ok)
	}
	if _, ok := tb.End("1", "ringfence", start); ok {
		t.Error("it ended twice")
	}
	if c, ok := tb.Find("1"); !ok || c.State != Ended || c.Account != "alice@example" || len(c.Callees) != 1 {
		t.Errorf("a call that has just ended: %+v %v", c, ok)
	}
}

func TestTheCeiling(t *testing.T) {
	tb := table(t, Options{Max: 2})
	for i := range 5 {
		if got := tb.Begin(invite(t, strconv.Itoa(i), phone), legOf(phone), legOf(pbx)); got != (i < 2) {
			t.Errorf("call %d: tracked %v", i, got)
		}
	}
	if c := tb.Counts(); c.Tracked != 2 || c.Untracked != 3 || c.Up != 2 {
		t.Errorf("%+v", c)
	}
}

func TestTimeRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan guard.Call, 3)
		tb, stop := running(t, Options{Now: time.Now, Length: time.Hour, Ended: func(c *guard.Call) { ended <- *c }})
		tb.Begin(invite(t, "unanswered", phone), legOf(phone), legOf(pbx))
		tb.Begin(invite(t, "long", phone), legOf(phone), legOf(pbx))
		tb.Answer(response(t, "long", 200, "b"), legOf(pbx), time.Now())
		time.Sleep(5*time.Minute + 3*time.Second)
		synctest.Wait()
		if c := <-ended; c.ID != "unanswered" || c.Status != 408 || c.EndedBy != "timeout" || len(ended) > 0 {
			t.Errorf("%+v, and %d more", c, len(ended))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if c := <-ended; c.ID != "long" || c.Status != 200 || c.Answered.IsZero() || len(ended) > 0 {
			t.Errorf("%+v, and %d more", c, len(ended))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if c := tb.Counts(); c != (Counts{}) {
			t.Errorf("%+v", c)
		}
		stop()
	})
}

func TestNoAllocations(t *testing.T) {
	tb := answered(t)
	bye, stranger := request(t, "1", "BYE", "a", "b", 11, phone), request(t, "9", "BYE", "a", "b", 11, other)
	for what, do := range map[string]func(){
		"has":             func() { tb.Has(bye) },
		"has not":         func() { tb.Has(stranger) },
		"up":              func() { tb.Up("alice@example") },
		"note":            func() { tb.Note(bye) },
		"hangup of none":  func() { tb.Hangup(stranger) },
		"ring of unknown": func() { tb.Ring(stranger.Index, Leg{}, start) },
	} {
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// Whatever happens to a few calls in whatever order, the table agrees with a
// model that knows only states.
func TestAgainstAModel(t *testing.T) {
	ids := []string{"1", "2", "3"}
	invites, oks, byes := map[string]*guard.Message{}, map[string]*index.Message{}, map[string]*guard.Message{}
	for _, id := range ids {
		invites[id], oks[id], byes[id] = invite(t, id, phone), response(t, id, 200, "b"), request(t, id, "BYE", "a", "b", 2, phone)
		invites[id].At, byes[id].At = start, start
	}
	rapid.Check(t, func(rt *rapid.T) {
		tb := table(t, Options{Max: 2, Linger: 10 * time.Second, Setup: time.Minute, Length: time.Hour})
		type model struct {
			state   State
			open    int
			expires time.Time
		}
		calls := map[string]*model{}
		at := start
		id := rapid.SampledFrom(ids)
		rt.Repeat(map[string]func(*rapid.T){
			"begin": func(rt *rapid.T) {
				id := id.Draw(rt, "id")
				m := *invites[id]
				m.At = at
				got := tb.Begin(&m, legOf(phone), legOf(pbx))
				c := calls[id]
				if c != nil && c.state != Ended {
					c.open++
					if !got {
						rt.Fatal("the caller was taken for a stranger")
					}
					return
				}
				delete(calls, id)
				if got != (len(calls) < 2) {
					rt.Fatalf("tracked %v with %d calls", got, len(calls))
				}
				if got {
					calls[id] = &model{Calling, 1, at.Add(time.Minute)}
				}
			},
			"answer": func(rt *rapid.T) {
				id := id.Draw(rt, "id")
				tb.Answer(oks[id], legOf(pbx), at)
				if c := calls[id]; c != nil && c.state < Answered {
					c.state, c.expires = Answered, at.Add(time.Hour)
				}
			},
			"fail": func(rt *rapid.T) {
				id := id.Draw(rt, "id")
				status := rapid.SampledFrom([]int{401, 486}).Draw(rt, "status")
				_, got := tb.Fail([]byte(id), []byte("a"), status, "callee", at)
				want := false
				if c := calls[id]; c != nil && c.state != Ended {
					c.open = max(c.open-1, 0)
					if c.open == 0 && c.state != Answered {
						if status == 401 {
							delete(calls, id)
						} else {
							c.state, c.expires, want = Ended, at.Add(10*time.Second), true
						}
					}
				}
				if got != want {
					rt.Fatalf("ended %v, want %v", got, want)
				}
			},
			"hangup": func(rt *rapid.T) {
				id := id.Draw(rt, "id")
				m := *byes[id]
				m.At = at
				_, got := tb.Hangup(&m)
				c := calls[id]
				want := c != nil && c.state == Answered
				if want {
					c.state, c.expires = Ended, at.Add(10*time.Second)
				}
				if got != want {
					rt.Fatalf("ended %v, want %v", got, want)
				}
			},
			"wait": func(rt *rapid.T) {
				at = at.Add(time.Duration(rapid.IntRange(1, 4000).Draw(rt, "s")) * time.Second)
				tb.sweep(at)
				for id, c := range calls {
					switch {
					case c.expires.After(at):
					case c.state == Ended:
						delete(calls, id)
					default:
						c.state, c.expires = Ended, at.Add(10*time.Second)
					}
				}
			},
			"": func(rt *rapid.T) {
				up := 0
				for _, id := range ids {
					c := calls[id]
					got, ok := tb.Find(id)
					if ok != (c != nil) || ok && got.State != c.state {
						rt.Fatalf("call %s is %+v, want %+v", id, got, c)
					}
					if c != nil && c.state != Ended {
						up++
					}
				}
				if n := tb.Counts(); n.Up != up || n.Tracked != len(calls) || tb.Up("alice@example") != up {
					rt.Fatalf("%+v, want %d up of %d", n, up, len(calls))
				}
			},
		})
	})
}

func BenchmarkHas(b *testing.B) {
	tb := answered(b)
	bye := request(b, "1", "BYE", "a", "b", 11, phone)
	for b.Loop() {
		tb.Has(bye)
	}
}

func BenchmarkCall(b *testing.B) {
	tb := table(b, Options{})
	m, ok, bye := invite(b, "1", phone), response(b, "1", 200, "b"), request(b, "1", "BYE", "a", "b", 2, phone)
	b.ReportAllocs()
	for b.Loop() {
		tb.Begin(m, legOf(phone), legOf(pbx))
		tb.Answer(ok, legOf(pbx), start)
		tb.Hangup(bye)
	}
}

// The other side of a dialog is found from either, and for each fork.
func TestAcross(t *testing.T) {
	tb := table(t, Options{})
	tb.Begin(invite(t, "1", phone), legOf(phone), legOf(pbx))
	tb.Answer(response(t, "1", 200, "b"), legOf(pbx), start)
	tb.Answer(response(t, "1", 200, "c"), legOf(other), start)
	for _, c := range []struct {
		from, to string
		want     netip.AddrPort
	}{
		{"a", "b", pbx}, {"a", "c", other}, {"b", "a", phone}, {"c", "a", phone}, {"a", "d", netip.AddrPort{}}, {"x", "a", netip.AddrPort{}},
	} {
		l, ok := tb.Across(request(t, "1", "BYE", c.from, c.to, 9, phone).Index)
		if l.Address != c.want || ok != c.want.IsValid() {
			t.Errorf("%s to %s: %v %v, want %v", c.from, c.to, l.Address, ok, c.want)
		}
	}
}
