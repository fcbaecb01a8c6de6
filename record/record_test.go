package record

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ringfence/guard"
	"ringfence/intel/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Unix(1_800_000_000, 0).UTC()

func entry(i int) *Entry {
	return &Entry{
		At: start.Add(time.Duration(i) * time.Millisecond), Source: fmt.Sprintf("192.0.2.%d:5060", i%200), Transport: "udp", Method: "INVITE",
		From: fmt.Sprintf("u%d@example.com", i%1000), To: "bob@example.com", CallID: fmt.Sprint("call", i), Stage: "message", Verdict: "reject", Code: 403,
		Rule: fmt.Sprint("rule", i%10), Matches: []Match{{Rule: fmt.Sprint("rule", i%10), Mode: "enforced"}, {Rule: "trial", Mode: []string{"shadow", "excepted"}[i%2]}},
	}
}

func TestSearch(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := New(Options{Store: s})
	const all = 100_000
	var batch []*Entry
	for i := range all {
		if batch = append(batch, entry(i)); len(batch) == 1000 {
			if err := r.keep(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Millisecond) }
	for _, c := range []struct {
		name  string
		q     Query
		n     int
		first int // the newest
	}{
		{"nothing", Query{}, 100, all - 1},
		{"source", Query{Source: "192.0.2.7", Limit: all}, 500, all - 193},
		{"mapped source", Query{Source: "::ffff:192.0.2.7", Limit: all}, 500, all - 193},
		{"account", Query{Account: "u5@example.com", Limit: all}, 100, all - 995},
		{"callee", Query{Account: "bob@example.com", Limit: 10}, 10, all - 1},
		{"call", Query{CallID: "call4242"}, 1, 4242},
		{"call and another rule", Query{CallID: "call4242", Rule: "rule3"}, 0, 0},
		{"rule", Query{Rule: "rule3", Limit: 7}, 7, all - 7},
		{"rule that only matched", Query{Rule: "trial", Mode: "excepted", Limit: 3}, 3, all - 1},
		{"mode", Query{Mode: "shadow", Limit: 3}, 3, all - 2},
		{"time", Query{Since: at(500), Until: at(599), Limit: all}, 100, 599},
		{"nobody", Query{Source: "192.0.2.250"}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			var got []Entry
			for e, err := range r.Search(t.Context(), c.q) {
				if err != nil {
					t.Fatal(err)
				}
				if len(got) > 0 && !e.At.Before(got[len(got)-1].At) {
					t.Fatal("not the newest first")
				}
				got = append(got, e)
			}
			t.Log(time.Since(began))
			if len(got) != c.n || c.n > 0 && got[0].CallID != fmt.Sprint("call", c.first) {
				t.Fatalf("%d found, the first %+v; want %d and %d", len(got), got[:min(1, len(got))], c.n, c.first)
			}
		})
	}
	r.o.Looks = 10
	var last error
	for _, last = range r.Search(t.Context(), Query{Mode: "none"}) {
	}
	if last == nil {
		t.Fatal("a search without end was not ended")
	}
}

func TestJSONLine(t *testing.T) {
	var out bytes.Buffer
	e := entry(7)
	e.Source, e.From, e.Agent = "[2001:db8::1]:5061", "+442079460000@example.com", "a\x1b[31m\r\n\x7f\u009b\u202e\xff\"x"
	e.Account, e.country, e.Took, e.Policy = "12345@example.com", "GB", 1500, "v1"
	if err := JSONLines(&out, "1.0")(e, true); err != nil {
		t.Fatal(err)
	}
	want := `{"@timestamp":"2027-01-15T08:00:00.007Z","event.action":"reject","event.category":["network","intrusion_detection"],"event.duration":1500,"event.kind":"event","event.module":"ringfence","event.outcome":"failure","event.type":["denied"],"network.protocol":"sip","network.transport":"udp","observer.name":"ringfence","observer.version":"1.0","ringfence.stage":"message","rule.id":"rule7","rule.version":"v1","sip.call_id":"call7","sip.code":403,"sip.from.uri.original":"+44********00@example.com","sip.method":"INVITE","sip.to.uri.original":"bob@example.com","sip.user_agent.original":"a\u001b[31m\r\n\u007f\u009b\u202e\ufffd\"x","source.geo.country_iso_code":"GB","source.ip":"2001:db8::1","source.port":5061,"user.name":"12*45@example.com"}` + "\n"
	if got := out.String(); got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
}

func TestFloodSampling(t *testing.T) {
	var f flood
	a := netip.MustParseAddr("192.0.2.1")
	kept, stood := 0, 0
	for range 1000 {
		if n := f.take("r", a, start, 20); n > 0 {
			kept, stood = kept+1, stood+n
		}
	}
	if kept != 30 || stood != 1020 {
		t.Fatalf("%d kept for %d", kept, stood)
	}
	if f.take("r", a, start.Add(time.Minute), 20) != 1 {
		t.Fatal("the next minute has no budget of its own")
	}
}

type channel func(Notice) error

func (c channel) Send(_ context.Context, n Notice) error { return c(n) }
func (channel) Name() string                             { return "test" }

func TestAlertGroups(t *testing.T) {
	g := groups{last: map[string]*group{}}
	say := func(group string, after time.Duration) int {
		n, due := g.due(guard.Alert{Rule: "r", Group: group, Every: time.Minute, At: start.Add(after)})
		if due != (n > 0) {
			t.Fatal(n, due)
		}
		return n
	}
	if a, b, c, d, e := say("x", 0), say("x", time.Second), say("y", time.Second), say("x", 59*time.Second), say("x", time.Minute); a != 1 || b != 0 || c != 1 || d != 0 || e != 3 {
		t.Fatal(a, b, c, d, e)
	}
	for i := range 3 * maxGroups {
		say(strconv.Itoa(i), 61*time.Second)
	}
	if len(g.last) > maxGroups+1 {
		t.Fatalf("%d groups are held", len(g.last))
	}
}

func TestRunKeepsAndTells(t *testing.T) {
	s, err := store.Memory(store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	notices := make(chan Notice, 1)
	var out bytes.Buffer
	reg := prometheus.NewRegistry()
	r := New(Options{Store: s, Lines: JSONLines(&out, "1"), Metrics: reg, Alerts: []Channel{channel(func(n Notice) error { notices <- n; return nil })}})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	m := &guard.Message{At: start, Src: netip.MustParseAddrPort("192.0.2.1:5060"), Call: &guard.Call{ID: "call-1", From: "evil\x1b@x", To: "b@x"}}
	r.Decided(&guard.Decision{
		Message: m, Verdict: guard.Verdict{Action: guard.Drop, Rule: "scan"}, Matches: []guard.Match{{Rule: "scan"}},
		Alerts: []guard.Alert{{Rule: "scan", At: start, Title: "Scan"}},
	})
	if n := <-notices; n.Title != "Scan" || n.Stands != 1 {
		t.Errorf("got %+v", n)
	}
	cancel()
	wg.Wait()
	found := 0
	for e, err := range r.Search(t.Context(), Query{CallID: "call-1"}) {
		if err != nil || e.Verdict != "drop" || e.Rule != "scan" {
			t.Errorf("got %+v, %v", e, err)
		}
		found++
	}
	if found != 1 || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%d entries, lines %q", found, out.String())
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	for _, f := range families {
		for _, x := range f.Metric {
			for _, l := range x.Label {
				if strings.ContainsAny(l.GetValue(), "@\x1b") || strings.Contains(l.GetValue(), "192.0.2") {
					t.Errorf("%s has the label %s=%q", f.GetName(), l.GetName(), l.GetValue())
				}
				if l.GetName() == "rule" && l.GetValue() == "scan" {
					rules++
				}
			}
		}
	}
	if rules != 1 {
		t.Errorf("%d counters of the rule", rules)
	}
}

// A full store has room for nothing.
type full struct{}

var errFull = errors.New("no room")

func (full) Get(context.Context, []byte) ([]byte, error)              { return nil, guard.ErrNotFound }
func (full) Put(context.Context, []byte, []byte, time.Duration) error { return errFull }
func (full) Batch(context.Context, []guard.Item, [][]byte) error      { return errFull }
func (full) Delete(context.Context, []byte) error                     { return errFull }
func (full) Scan(context.Context, []byte, bool) iter.Seq2[guard.Item, error] {
	return func(func(guard.Item, error) bool) {}
}

func (full) Update(context.Context, []byte, func([]byte) ([]byte, time.Duration, error)) error {
	return errFull
}

func TestFullStoreIsCountedAndSaidOnce(t *testing.T) {
	var log bytes.Buffer
	r := New(Options{Store: full{}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for i := range 100 {
		r.write(t.Context(), []*Entry{entry(i)})
	}
	if n := strings.Count(log.String(), "history was not written"); n != 1 || r.Dropped() != 100 {
		t.Fatalf("said %d times, %d dropped", n, r.Dropped())
	}
}

func TestFullQueueNeverBlocks(t *testing.T) {
	r := New(Options{Queue: 4})
	for i := range 10 {
		r.Decided(&guard.Decision{Message: &guard.Message{At: start.Add(time.Duration(i)), Call: &guard.Call{}}, Verdict: guard.Verdict{Action: guard.Drop}})
	}
	if r.Dropped() != 6 {
		t.Fatalf("%d dropped, want 6", r.Dropped())
	}
}

func TestWebhook(t *testing.T) {
	var codes []int
	tries := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		mac := hmac.New(sha256.New, []byte("secret"))
		mac.Write(body)
		if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); err != nil || q.Header.Get("X-Ringfence-Signature") != want || !bytes.Contains(body, []byte(`"stands_for":3`)) {
			t.Errorf("signature %q of %s, %v", q.Header.Get("X-Ringfence-Signature"), body, err)
		}
		w.WriteHeader(codes[tries])
		tries++
	}))
	defer s.Close()
	for _, c := range []struct {
		codes []int
		tries int
		ok    bool
	}{{[]int{200}, 1, true}, {[]int{500, 429, 204}, 3, true}, {[]int{503, 503, 503}, 3, false}, {[]int{404}, 1, false}} {
		codes, tries = c.codes, 0
		w := &Webhook{URL: s.URL, Secret: []byte("secret"), Tries: 3, Wait: time.Nanosecond, Client: s.Client()}
		err := w.Send(t.Context(), Notice{guard.Alert{Rule: "r", At: start}, 3})
		if tries != c.tries || (err == nil) != c.ok {
			t.Errorf("%v: %d tries, %v", c.codes, tries, err)
		}
	}
	w := &Webhook{URL: "http://127.0.0.1:1/token-of-ours", Tries: 1}
	if err := w.Send(t.Context(), Notice{}); err == nil || strings.Contains(err.Error(), "token") {
		t.Errorf("the error shows the address: %v", err)
	}
}
