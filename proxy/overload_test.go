package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringfence/guard"
	"ringfence/proxy/trust"
)

// TestOverload fills the table: new calls are shed first and told to come back
// at different times, then nothing is taken; calls for help and what belongs to
// a call get through.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		help := false
		l := newLab(t, office, func(_ *Config, o *Options) { o.Transactions = 40 })
		l.engine.verdict = func(*guard.Message) guard.Verdict {
			if help {
				return guard.Verdict{Action: guard.Allow, Emergency: true}
			}
			return guard.Verdict{}
		}
		n := 0
		say := func(method, more string) string {
			n++
			msg := l.request("pbx", method, "+4930123@example.com", "")
			msg = strings.Replace(msg, "z9hG4bK-", fmt.Sprintf("z9hG4bK%d-", n), 1)
			msg = strings.Replace(msg, "Call-ID: ", fmt.Sprintf("Call-ID: %d-", n), 1)
			l.send("pbx", strings.Replace(msg, "To: <sip:+4930123@example.com>", "To: <sip:+4930123@example.com>"+more, 1))
			out := l.got()
			return out[0].msg
		}
		for range 36 {
			if got := say("INVITE", ""); !strings.HasPrefix(got, "INVITE") {
				t.Fatalf("call %d is answered %s", n, got)
			}
		}
		later := map[string]bool{}
		for range 20 {
			got := say("INVITE", "")
			after := headers(got, "Retry-After")
			if !strings.HasPrefix(got, "SIP/2.0 503") || len(after) != 1 {
				t.Fatalf("a call too many is answered %s", got)
			}
			if s, err := strconv.Atoi(after[0]); err != nil || s < retrySoonest || s >= retryLatest {
				t.Errorf("it is to come back after %s", after[0])
			}
			later[after[0]] = true
		}
		if len(later) < 3 {
			t.Errorf("all are to come back at the same time: %v", later)
		}
		if got := say("INFO", ";tag=known"); strings.HasPrefix(got, "SIP/2.0 503") {
			t.Errorf("a request within a dialog is shed: %s", got)
		}
		help = true
		if got := say("INVITE", ""); strings.HasPrefix(got, "SIP/2.0 503") {
			t.Errorf("a call for help is shed: %s", got)
		}
		help = false
		for range 5 {
			say("INFO", ";tag=known")
		}
		if got := say("INFO", ";tag=known"); !strings.HasPrefix(got, "SIP/2.0 503") {
			t.Errorf("a full table takes %s", got)
		}
	})
}

// However many forge sources, those who have proved theirs find room.
func TestUnprovenSourcesShareAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, office, func(_ *Config, o *Options) { o.Transactions, o.Unproven = 40, 10 })
		n := 0
		say := func(to string) (got string) {
			n++
			msg := strings.Replace(l.request("alice", "INVITE", "100@example.com", ""), "z9hG4bK-", fmt.Sprintf("z9hG4bK%d-", n), 1)
			l.send("alice", strings.NewReplacer("Call-ID: ", fmt.Sprintf("Call-ID: %d-", n), "To: <sip:100@example.com>", "To: <sip:100@example.com>"+to).Replace(msg))
			for _, s := range l.got() {
				got = s.msg
			}
			return got
		}
		for range 10 {
			if got := say(""); !strings.HasPrefix(got, "INVITE") {
				t.Fatalf("there is room, and yet %q", got)
			}
		}
		if got := say(""); got != "" {
			t.Errorf("one too many leads to %q", got)
		}
		if got := say(";tag=invented"); got != "" {
			t.Errorf("one that says it belongs to a call leads to %q", got)
		}
		l.p.trust.Promote(trustFlow(l.flow("alice")), guard.Trusted, time.Now())
		for range 20 {
			if got := say(""); !strings.HasPrefix(got, "INVITE") {
				t.Fatalf("a trusted source gets %q", got)
			}
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		l.got()
		if n := l.p.unproven.n.Load() + l.p.unproven.octets.Load(); n != 0 {
			t.Errorf("%d of nobody are left", n)
		}
	})
}

// TestMemoryOfTransactions fills the memory with long messages: nobody's come to
// their part first, then strangers are shed, then new calls of those who are trusted,
// and what belongs to a call gets through until there is none left.
func TestMemoryOfTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const memory = 16 << 20
		l := newLab(t, office, func(_ *Config, o *Options) {
			o.Memory, o.Limits.Message, o.PerSource = memory, 65535, 100000
			wide := trust.Rate{PerSecond: 1e6, Burst: 1e6}
			o.Trust.UnknownRate, o.Trust.ChallengedRate, o.Trust.TrustedRate, o.Trust.Pipe = wide, wide, wide, wide
		})
		n := 0
		long := strings.Repeat("X-Long: "+strings.Repeat("x", 1500)+"\n", 2)
		say := func(from, to string) (got string) {
			n++
			msg := strings.Replace(l.request(from, "INVITE", "100@example.com", ""), "z9hG4bK-", fmt.Sprintf("z9hG4bK%d-", n), 1)
			l.send(from, strings.NewReplacer("Call-ID: ", fmt.Sprintf("%sCall-ID: %d-", long, n), "To: <sip:100@example.com>", "To: <sip:100@example.com>"+to).Replace(msg))
			for _, s := range l.got() {
				got = s.msg
			}
			return got
		}
		fill := func(from string) int64 {
			for range memory / 1000 {
				if got := say(from, ""); !strings.HasPrefix(got, "INVITE") {
					return l.p.table.Held()
				}
			}
			t.Fatalf("%d messages of %s, and %d octets are held", n, from, l.p.table.Held())
			return 0
		}
		if held := fill("alice"); held < memory/8 || held > memory/2 {
			t.Errorf("nobody's messages hold %d of %d octets", held, memory)
		}
		flow := trustFlow(l.flow("alice"))
		l.p.trust.Promote(flow, guard.Challenged, time.Now())
		if held := fill("alice"); held < memory/2 || held > memory*8/10 {
			t.Errorf("those of strangers hold %d of %d octets", held, memory)
		}
		if got := say("alice", ";tag=invented"); strings.HasPrefix(got, "INVITE") {
			t.Error("a stranger that says it belongs to a call finds room")
		}
		l.p.trust.Promote(flow, guard.Trusted, time.Now())
		if held := fill("alice"); held < memory*8/10 || held > memory*95/100 {
			t.Errorf("with those of trusted sources, %d of %d octets are held", held, memory)
		}
		if got := say("alice", ";tag=known"); strings.HasPrefix(got, "SIP/2.0 503") {
			t.Errorf("a request within a dialog is shed: %s", got)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		l.got()
		if held := l.p.table.Held(); held > shardsTold {
			t.Errorf("%d octets are held when all is over", held)
		}
	})
}

// shardsTold is what the shards of the table need not tell of what they hold.
const shardsTold = 32 * 64 << 10
