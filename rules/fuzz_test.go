package rules_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ringfence/guard"
	"ringfence/intel/meter"
	"ringfence/rules"
)

// asked notes what a set has counted.
type asked struct{ specs []guard.MeterSpec }

func (a *asked) Respec(specs []guard.MeterSpec) guard.Counters {
	a.specs = specs
	return meter.New(meter.Options{}).Respec(nil)
}

// FuzzLoad reads any file: it never panics, every problem has a place in the
// file, and a file that loads once loads again to the same set.
func FuzzLoad(f *testing.F) {
	guards, err := realGuards(meter.New(meter.Options{}), time.Now)
	if err != nil {
		f.Fatal(err)
	}
	env := rules.NewEnv(guards)
	whole, err := os.ReadFile("default/default.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	for _, seed := range []string{
		"", "version: 1\n", "version: 2\nname: x\n", "version: 1\nname: x\nrules: [1]\n", "a: &b [*b]\n", "{", "- - -",
		"version: 1\nname: x\nrules:\n  - {id: a, title: t, stage: message, when: 'sip.method == \"INVITE\"', do: drop}\n",
		"version: 1\nname: x\nrates: {r: {count: is.t, per: [src.ip], window: 1m}}\nterms: {t: rate.r > 1}\n",
		"version: 1\nname: x\nlists: {l: {type: e164, items: [+53]}}\n",
		"version: 1\nname: x\nexceptions:\n  - {id: e, rules: ['*'], when: 'true', until: 2027-01-01, because: b, owner: o}\n",
		"version: 1\nrates: {r: {distinct: sip.to_user, per: [src.ip], window: 1m, durable: true}}\nrules:\n" +
			"  - {id: a, title: t, when: rate.r > 1, do: reject, with: {status: 480, retry_after: 5s}, ban: {for: 5m, escalate: 2}, alert: {severity: low, every: 1h, group_by: [src.ip]}}\n",
	} {
		f.Add([]byte(seed))
	}
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text []byte) {
		once := func() (*rules.Set, []rules.Problem, asked) {
			var rates asked
			set, problems := rules.Load(fstest.MapFS{"f.yaml": {Data: text}}, []string{"f.yaml"}, env, rules.LoadOptions{Now: now})
			if set != nil {
				set.Count(&rates)
			}
			return set, problems, rates
		}
		set, problems, rates := once()
		lines := 1
		for _, c := range string(text) {
			if strings.ContainsRune("\n\r\u0085\u2028\u2029", c) { // what YAML has for line ends
				lines++
			}
		}
		for _, p := range problems {
			if p.File != "f.yaml" || p.Line < 1 || p.Line > lines+1 || p.Col < 1 || p.Text == "" || p.Code == "" {
				t.Errorf("a problem without a place: %+v", p)
			}
		}
		if (set == nil) != rules.Failed(problems) {
			t.Fatalf("a set: %v, with the problems %v", set != nil, problems)
		}
		again, same, sameRates := once()
		if diff := cmp.Diff(problems, same); diff != "" {
			t.Fatalf("loaded twice, the problems differ:\n%s", diff)
		}
		if set == nil {
			return
		}
		if set.Version() != again.Version() {
			t.Errorf("loaded twice, versions %s and %s", set.Version(), again.Version())
		}
		if diff := cmp.Diff(set.Rules(), again.Rules(), cmpopts.IgnoreUnexported(rules.Rule{})); diff != "" {
			t.Errorf("loaded twice, the rules differ:\n%s", diff)
		}
		if diff := cmp.Diff(rates.specs, sameRates.specs); diff != "" {
			t.Errorf("loaded twice, the rates differ:\n%s", diff)
		}
	})
}

// FuzzCondition reads any condition: it never panics, neither when it is read
// nor when it is asked, and what was read off it to be fast - the methods for
// which it can be true - hides no match.
func FuzzCondition(f *testing.F) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	guards, err := realGuards(meter.New(meter.Options{}), func() time.Time { return now })
	if err != nil {
		f.Fatal(err)
	}
	env := rules.NewEnv(guards)
	for _, seed := range []string{
		"true", "sip.new_call", `sip.method == "INVITE"`, `sip.method in ["BYE", "FOO"] && !sip.in_dialog`, `!(sip.method == "REGISTER")`,
		`sip.method == "INVITE" && sip.method == "BYE" || is.call`, "is.call && rate.all > 2", `src.ip.in_net("203.0.113.0/24") && src.ip != ip("203.0.113.9")`,
		`sip.to_user.matches("^[0-9]+$") ? sip.size > 10 : src.port < 1024`, `src.country in lists.near || "x" in lists.near`, `sip.user_agent.startsWith("a") == (1 == 1)`,
		`[1, 2].exists(x, x == sip.size)`, `1 / 0 == sip.size`, `"INVITE" == sip.method`, `duration("5s") < duration("1m")`, "(", `"\u2028"`, "sip.method == 'INVITE' && (", "",
	} {
		f.Add(seed)
	}
	var messages []*guard.Message
	for _, method := range []string{"INVITE", "BYE", "REGISTER", "OPTIONS", "FOO"} {
		messages = append(messages, parsed(f, strings.ReplaceAll(passing, "INVITE", method), now))
	}
	messages = append(messages, parsed(f, strings.Replace(passing, "To: <sip:100@acme.example>", "To: <sip:100@acme.example>;tag=b", 1), now))
	f.Fuzz(func(t *testing.T, when string) {
		const head = "version: 1\nlists: {near: {type: text, items: [LV]}}\nrates: {all: {per: [src.ip], window: 1m}}\n" +
			"terms: {call: 'sip.method == \"INVITE\"'}\nrules:\n"
		rule := func(id, when string) string {
			return "  - {id: " + id + ", title: t, stage: call, alert: {severity: low}, when: " + quoted(when) + "}\n"
		}
		load := func(text string) *rules.Set {
			set, problems := rules.Load(fstest.MapFS{"f.yaml": {Data: []byte(head + text)}}, []string{"f.yaml"}, env, rules.LoadOptions{Now: now})
			for _, p := range problems {
				if p.Line < 1 || p.Col < 1 || p.Text == "" {
					t.Errorf("a problem without a place: %+v", p)
				}
			}
			return set
		}
		if load(rule("as-it-is", when)) == nil {
			return
		}
		// Nothing can be read off this one, and it is true for the same messages.
		set := load(rule("as-it-is", when) + rule("hidden", "(("+when+"\n)) || false"))
		if set == nil {
			return // a comment at its end, or too costly twice
		}
		set.Count(meter.New(meter.Options{Keys: 64, Distinct: 64}))
		engine, err := guard.NewEngine(guard.EngineOptions{Guards: guards, Policy: set, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			var d guard.Decision
			engine.Judge(t.Context(), m, &d)
			if n := len(d.Matches); n == 1 {
				t.Errorf("%s is true for %s only as %s", when, m.Index.Method, d.Matches[0].Rule)
			}
		}
	})
}

// quoted is a text in YAML's double quotes.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case '\n':
			b.WriteString(`\n`)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
