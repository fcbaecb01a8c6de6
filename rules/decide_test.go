package rules

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"ringfence/guard"
)

const rulesHead = "version: 1\nrules:\n"

// TestEffectsAndAction: every matching rule's effects happen, the first with an
// action decides.
func TestEffectsAndAction(t *testing.T) {
	b := newBench(t, rulesHead+
		"  - {id: tells, title: t, when: sip.new_call, alert: {severity: low}}\n"+
		"  - {id: other, title: t, when: '!sip.new_call', do: drop}\n"+
		"  - {id: first, title: t, when: sip.new_call, do: reject, with: {status: 486, retry_after: 5m}}\n"+
		"  - {id: second, title: t, when: sip.size == 0, do: drop, ban: {for: 5m}}\n"+
		"  - {id: later, title: t, stage: call, when: sip.new_call, do: drop}\n")
	b.facts.given["sip.new_call"] = guard.Truth(true)
	d := b.judge()
	if v := d.Verdict; v.Action != guard.Reject || v.Status != 486 || v.Reason != "Busy Here" || v.RetryAfter != 5*time.Minute || v.Rule != "first" || d.Stage != guard.StageMessage {
		t.Errorf("verdict %+v at stage %s", v, d.Stage)
	}
	if got := matched(d); got != " tells first second" {
		t.Errorf("matched%s", got)
	}
	if len(d.Bans) != 1 || len(d.Alerts) != 1 || d.Alerts[0].Rule != "tells" || d.Matches[1].Where != "a.yaml:5" {
		t.Errorf("bans %v, alerts %v, matches %+v", d.Bans, d.Alerts, d.Matches)
	}
}

func TestStagesInOrder(t *testing.T) {
	b := newBench(t, rulesHead+
		"  - {id: call, title: t, when: 'dst.e164 == \"\"', do: drop}\n"+
		"  - {id: identity, title: t, when: 'auth.result == \"\"', do: challenge, with: {realm: r, algorithms: [MD5]}}\n")
	d := b.judge()
	if v := d.Verdict; v.Action != guard.Challenge || v.Realm != "r" || len(v.Algorithms) != 1 || d.Stage != guard.StageIdentity {
		t.Errorf("verdict %+v at stage %s", v, d.Stage)
	}
	if b.facts.asked["dst.e164"] != 0 {
		t.Error("a fact of a later stage was computed")
	}
}

func TestAllowEndsJudgement(t *testing.T) {
	b := newBench(t, rulesHead+
		"  - {id: friend, title: t, when: 'sip.size == 0', do: allow}\n"+
		"  - {id: call, title: t, when: 'dst.e164 == \"\"', do: drop}\n")
	if d := b.judge(); d.Verdict.Action != guard.Allow || d.Verdict.Emergency || matched(d) != " friend" {
		t.Errorf("%+v:%s", d.Verdict, matched(d))
	}
}

func TestModes(t *testing.T) {
	b := newBench(t, rulesHead+
		"  - {id: shadow, title: t, when: sip.size == 0, do: drop, mode: shadow, ban: {for: 1h}, alert: {severity: low}}\n"+
		"  - {id: 'off', title: t, when: sip.size == 0, do: drop, mode: 'off'}\n"+
		"  - {id: over, title: t, when: sip.size == 0, do: drop, until: 2026-11-23}\n"+
		"  - {id: today, title: t, when: sip.size == 0, do: reject, until: 2026-11-24}\n")
	d := b.judge()
	if d.Verdict.Rule != "today" || matched(d) != " shadow[shadow] today" || len(d.Bans)+len(d.Alerts) != 0 {
		t.Errorf("%+v:%s, bans %v", d.Verdict, matched(d), d.Bans)
	}
}

func TestExceptions(t *testing.T) {
	b := newBench(t, rulesHead+
		"  - {id: night-one, title: t, when: sip.size == 0, do: drop, ban: {for: 1h}}\n"+
		"  - {id: day, title: t, when: sip.size == 0, do: reject}\n"+
		"exceptions:\n"+
		"  - {id: over, rules: ['*'], when: 'true', until: 2026-11-23, because: x, owner: me}\n"+
		"  - {id: friend, rules: [night-*], when: 'src.country == \"CU\"', until: 2026-12-31, because: x, owner: me}\n")
	b.facts.given["src.country"] = guard.Text("CU")
	d := b.judge()
	if d.Verdict.Rule != "day" || matched(d) != " night-one[excepted] day" || d.Matches[0].By != "friend" || len(d.Bans) != 0 {
		t.Errorf("%+v:%s by %q, bans %v", d.Verdict, matched(d), d.Matches[0].By, d.Bans)
	}
	b.facts.given["src.country"] = guard.Text("DE")
	if d := b.judge(); d.Verdict.Rule != "night-one" {
		t.Errorf("nobody is excepted, and %+v", d.Verdict)
	}
	delete(b.facts.given, "src.country")
	b.facts.broken["src.country"] = true // unknown is not excepted
	if d := b.judge(); d.Verdict.Rule != "night-one" {
		t.Errorf("nobody knows, and %+v", d.Verdict)
	}
}

// TestErrors: what cannot be known is the rule's on_error, unless the rest
// decides anyway.
func TestErrors(t *testing.T) {
	b := newBench(t, rulesHead+
		"  - {id: skips, title: t, when: 'src.country == \"CU\"', do: drop}\n"+
		"  - {id: decided, title: t, when: 'src.country == \"CU\" && sip.size == 1', do: drop, on_error: match}\n"+
		"  - {id: matches, title: t, when: '!(src.country == \"LV\")', do: reject, on_error: match}\n"+
		"  - {id: either, title: t, when: 'src.country == \"CU\" || sip.size == 0', alert: {severity: low}}\n")
	b.facts.broken["src.country"] = true
	d := b.judge()
	if d.Verdict.Rule != "matches" || matched(d) != " matches[failed] either" || d.Matches[0].By == "" {
		t.Errorf("%+v:%s", d.Verdict, matched(d))
	}
	for _, h := range b.set.Hits() {
		if want := map[string]uint64{"skips": 1, "matches": 1}[h.Rule]; h.Errors != want {
			t.Errorf("rule %s has %d errors, want %d", h.Rule, h.Errors, want)
		}
	}
}

// TestRates: a rate counts this message, also when it stands at a later stage.
func TestRates(t *testing.T) {
	b := newBench(t, "version: 1\nrates:\n"+
		"  calls: {count: sip.new_call, per: [src.ip], window: 1m}\n"+
		"  users: {distinct: sip.to_user, per: [src.ip], window: 1m}\n"+
		"terms: {many: rate.calls > 2}\nrules:\n"+
		"  - {id: many, title: t, when: is.many, do: drop}\n"+
		"  - {id: users, title: t, when: rate.users > 1, do: reject}\n"+
		"  - {id: later, title: t, stage: call, when: rate.calls == 2, do: reject}\n")
	b.facts.given["sip.new_call"] = guard.Truth(true)
	for i, want := range []string{"", "later", "many"} {
		if d := b.judge(); d.Verdict.Rule != want {
			t.Errorf("call %d: rule %q, want %q", i+1, d.Verdict.Rule, want)
		}
	}
	b.source = "203.0.113.10:5060" // somebody else starts at one
	if d := b.judge(); d.Verdict.Rule != "" {
		t.Errorf("somebody else: %+v", d.Verdict)
	}
	b.facts.given["sip.to_user"] = guard.Text("other")
	b.facts.given["sip.new_call"] = guard.Truth(false) // does not count as a call
	if d := b.judge(); d.Verdict.Rule != "users" || len(d.Matches) != 1 || d.Matches[0].Facts[0] != (guard.Answer{Fact: "rate.users", Value: "2"}) {
		t.Errorf("two users: %+v %+v", d.Verdict, d.Matches)
	}
}

// TestRateUnknown: a message that could not be counted is no message of zero.
func TestRateUnknown(t *testing.T) {
	b := newBench(t, "version: 1\nrates:\n  abroad: {count: 'src.country != \"LV\"', per: [src.ip], window: 1m}\n"+
		"rules:\n  - {id: a, title: t, when: rate.abroad > 0, do: drop}\n  - {id: b, title: t, when: rate.abroad > 0, do: reject, on_error: match}\n")
	b.facts.broken["src.country"] = true
	if d := b.judge(); d.Verdict.Rule != "b" || b.set.Hits()[1].Errors != 1 {
		t.Errorf("%+v, hits %+v", d.Verdict, b.set.Hits())
	}
}

// TestNetworksAreOne: all of an IPv6 /64 is one source, IPv4 hosts are not.
func TestNetworksAreOne(t *testing.T) {
	b := newBench(t, "version: 1\nrates:\n  all: {per: [src.ip], window: 1m}\nrules:\n  - {id: second, title: t, when: rate.all > 1, do: drop, ban: {for: 1h}}\n")
	for _, step := range []struct{ source, rule, ban string }{
		{"[2001:db8:1:2::1]:5060", "", ""},
		{"[2001:db8:1:3::1]:5060", "", ""},
		{"[2001:db8:1:2:ffff::9]:5060", "second", "2001:db8:1:2::/64"},
		{"203.0.113.9:5060", "", ""},
		{"203.0.113.8:5060", "", ""},
		{"203.0.113.9:5061", "second", "203.0.113.9/32"},
	} {
		b.source = step.source
		d := b.judge()
		if d.Verdict.Rule != step.rule || len(d.Bans) > 0 != (step.ban != "") || len(d.Bans) > 0 && d.Bans[0].Prefix.String() != step.ban {
			t.Errorf("%s: %+v, bans %v", step.source, d.Verdict, d.Bans)
		}
	}
}

func TestBans(t *testing.T) {
	const head = rulesHead + "  - {id: a, title: Too much, when: 'sip.size == 0', ban: "
	tests := []struct {
		name, ban, source string
		proven            bool
		want              guard.Ban
	}{
		{"proven", "{for: 5m, escalate: 2, at_most: 1h}", "203.0.113.9:5060", true, guard.Ban{For: 5 * time.Minute, Escalate: 2, AtMost: time.Hour, Prefix: netip.MustParsePrefix("203.0.113.9/32")}},
		{"flow", "{by: src.flow, for: 5m}", "203.0.113.9:5060", true, guard.Ban{For: 5 * time.Minute, Escalate: 1, Port: 5060, Prefix: netip.MustParsePrefix("203.0.113.9/32")}},
		{"flow of IPv6", "{by: src.flow, for: 5m}", "[2001:db8::9]:5060", true, guard.Ban{For: 5 * time.Minute, Escalate: 1, Port: 5060, Prefix: netip.MustParsePrefix("2001:db8::9/128")}},
		{"cap by default", "{for: 5m, escalate: 2}", "203.0.113.9:5060", true, guard.Ban{For: 5 * time.Minute, Escalate: 2, AtMost: 7 * day, Prefix: netip.MustParsePrefix("203.0.113.9/32")}},
		{"unproven", "{for: 5m, escalate: 2, at_most: 1h}", "203.0.113.9:5060", false, guard.Ban{Limit: true, For: time.Minute, Escalate: 1, AtMost: time.Hour, Prefix: netip.MustParsePrefix("203.0.113.9/32")}},
		{"unproven and short", "{for: 5s}", "203.0.113.9:5060", false, guard.Ban{Limit: true, For: 5 * time.Second, Escalate: 1, Prefix: netip.MustParsePrefix("203.0.113.9/32")}},
		{"unproven by wish", "{for: 5m, unproven: ban}", "203.0.113.9:5060", false, guard.Ban{For: 5 * time.Minute, Escalate: 1, Prefix: netip.MustParsePrefix("203.0.113.9/32")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, head+tt.ban+"}\n")
			b.source, b.proven = tt.source, tt.proven
			d := b.judge()
			tt.want.Rule, tt.want.Reason, tt.want.At, tt.want.Until = "a", "Too much", noon, noon.Add(tt.want.For)
			if len(d.Bans) != 1 || d.Bans[0] != tt.want || d.Verdict.Action != guard.Pass {
				t.Errorf("got %+v\nwant %+v", d.Bans, tt.want)
			}
		})
	}
}

func TestAlerts(t *testing.T) {
	b := newBench(t, rulesHead+"  - {id: a, title: Too much, when: sip.size == 0, alert: {severity: high, every: 5m, group_by: [src.ip, src.country]}}\n")
	b.facts.broken["src.country"] = true
	d := b.judge()
	want := guard.Alert{Rule: "a", Title: "Too much", Severity: "high", Group: "203.0.113.9 unknown", Every: 5 * time.Minute, At: noon, Text: "Too much; sip.size 0; source 203.0.113.9:5060"}
	if len(d.Alerts) != 1 || d.Alerts[0] != want {
		t.Errorf("got %+v\nwant %+v", d.Alerts, want)
	}
}

// TestAnswersAskNothing: only what decided is shown, nothing is computed to be
// shown.
func TestAnswersAskNothing(t *testing.T) {
	b := newBench(t, "version: 1\nterms: {big: sip.size > 9}\n"+rulesHead[11:]+"  - {id: a, title: t, stage: identity, when: '!is.big || auth.user == \"x\"', do: drop}\n")
	d := b.judge()
	if len(d.Matches) != 1 || len(d.Matches[0].Facts) != 2 || d.Matches[0].Facts[0].Fact != "is.big" || d.Matches[0].Facts[1].Value != "0" || b.facts.asked["auth.user"] != 0 {
		t.Errorf("%+v, auth.user asked %d times", d.Matches, b.facts.asked["auth.user"])
	}
}

// TestEmergency: the built-in rule comes before everything that files say.
func TestEmergency(t *testing.T) {
	const file = "version: 1\nrates:\n  all: {per: [src.ip], window: 1m}\nrules:\n" +
		"  - {id: all, title: t, when: rate.all >= 0, do: drop, ban: {for: 1h}}\n" +
		"exceptions:\n  - {id: e, rules: ['*'], when: 'false', until: 2026-12-31, because: x, owner: me}\n"
	for name, text := range map[string]string{"with rules that drop all": file, "without rules": ""} {
		b := newBench(t, text)
		b.facts.given["dst.emergency"] = guard.Truth(true)
		b.proven = false
		d := b.judge()
		if d.Verdict.Action != guard.Allow || !d.Verdict.Emergency || d.Verdict.Rule != EmergencyRule || len(d.Bans) != 0 || matched(d) != " "+EmergencyRule {
			t.Errorf("%s: %+v:%s", name, d.Verdict, matched(d))
		}
		if h := b.set.Hits()[0]; h.Rule != EmergencyRule || h.Matched != 1 || h.Enforced != 1 || !h.Last.Equal(noon) {
			t.Errorf("%s: hits %+v", name, h)
		}
	}
	for _, rule := range []string{"builtin:emergency", "builtin*"} {
		_, problems, _ := loadFiles(new(fakeFacts), nil, "a.yaml", rulesHead+"  - {id: a, title: t, when: sip.size == 0, do: drop}\nexceptions:\n  - {id: e, rules: ['"+rule+"'], when: 'true', until: 2026-12-31, because: x, owner: me}\n")
		if !Failed(problems) {
			t.Errorf("%s can be excepted", rule)
		}
	}
}

// TestEmergencyInEveryStage: a fake target that becomes an emergency late is
// let go on late; replies and ends are no calls.
func TestEmergencyInEveryStage(t *testing.T) {
	b := newBench(t, rulesHead+"  - {id: all, title: t, when: 'auth.user == \"\"', do: drop}\n")
	for stage := range guard.Stages {
		var d guard.Decision
		given := map[string]guard.Value{"dst.emergency": guard.Truth(true)}
		if err := b.engine.JudgeKnowing(context.Background(), b.message(), &d, given, stage, stage); err != nil {
			t.Fatal(err)
		}
		if got, want := d.Verdict.Emergency, stage < guard.StageReply; got != want {
			t.Errorf("stage %s: emergency %v, want %v", stage, got, want)
		}
	}
}

// TestMethodIndex: rules that cannot match a method are not tried, whatever
// their form, and those that can are.
func TestMethodIndex(t *testing.T) {
	for when, want := range map[string]bool{
		`sip.method == "INVITE"`:                                   true,
		`sip.method == "REGISTER"`:                                 false,
		`sip.method in ["REGISTER", "INVITE"]`:                     true,
		`sip.method in ["REGISTER", "FOO"]`:                        false,
		`sip.method == "REGISTER" || sip.size == 0`:                true,
		`sip.method != "REGISTER"`:                                 true,
		`!(sip.method == "REGISTER")`:                              true,
		`"INVITE" == sip.method`:                                   true,
		`sip.size == 0 && (sip.method == "INVITE" || is.register)`: true,
		`is.register`:                                              false,
		`is.register || sip.method == "INVITE"`:                    true,
		`sip.method == "INVITE" && sip.method == "REGISTER"`:       false,
		`sip.method == "REGISTER" ? sip.size == 1 : sip.size == 0`: true,
		`sip.new_call`:                                             true,
		`sip.method.startsWith("INV")`:                             true,
	} {
		b := newBench(t, "version: 1\nterms: {register: 'sip.method == \"REGISTER\"'}\nrules:\n  - {id: a, title: t, do: drop, when: '"+when+"'}\n")
		b.facts.given["sip.method"], b.facts.given["sip.new_call"] = guard.Text("INVITE"), guard.Truth(true)
		if got := b.judge().Verdict.Rule == "a"; got != want {
			t.Errorf("%s: matched %v, want %v", when, got, want)
		}
	}
}

// TestMethodAtTheEnd: a call that ended was an INVITE, and has no message.
func TestMethodAtTheEnd(t *testing.T) {
	b := newBench(t, rulesHead+"  - {id: a, title: t, stage: end, when: 'sip.method == \"INVITE\" && call.duration >= duration(\"0s\")', alert: {severity: low}}\n")
	b.facts.given["sip.method"] = guard.Text("INVITE")
	m := b.message()
	m.Index, m.Call = nil, &guard.Call{ID: "q"}
	var d guard.Decision
	b.engine.End(context.Background(), m, &d)
	if matched(&d) != " a" {
		t.Errorf("matched%s", matched(&d))
	}
}

// TestReload: an unchanged rate keeps its counts whatever stands around it, a
// changed one starts anew.
func TestReload(t *testing.T) {
	text := func(before, window string) string {
		return "version: 1\nrates:\n" + before + "  all: {per: [src.ip], window: " + window + "}\nrules:\n  - {id: third, title: t, when: rate.all > 2, do: drop}\n"
	}
	facts, meters := &fakeFacts{}, new(countingMeters)
	source := netip.MustParseAddrPort("203.0.113.9:5060")
	rule := func(files ...string) string {
		_, problems, e := loadFiles(facts, meters, files...)
		if e == nil {
			t.Fatal(problems)
		}
		m, err := guard.Parse([]byte(rawInvite), noon, source, source, guard.UDP)
		if err != nil {
			t.Fatal(err)
		}
		var d guard.Decision
		e.Judge(context.Background(), m, &d)
		return d.Verdict.Rule
	}
	for i, step := range []struct{ text, want string }{
		{text("", "1m"), ""},
		{text("", "1m"), ""},
		{text("  first: {per: [src.ip], window: 1h}\n", "1m"), "third"},
		{text("", "2m"), ""},
		{text("", "1m"), "third"},
	} {
		if got := rule("a.yaml", step.text); got != step.want {
			t.Errorf("step %d: rule %q, want %q", i, got, step.want)
		}
	}
}

// TestKeys: what a rate counts by is hashed with a key, so that nobody can look
// for two sources or names that count as one. The same key finds the counts of
// a durable rate again after a restart.
func TestKeys(t *testing.T) {
	const text = "version: 1\nrates:\n  all: {per: [src.ip, sip.to_user], window: 1m}\n  users: {distinct: sip.to_user, per: [src.ip], window: 1m}\n" +
		"rules:\n  - {id: a, title: t, when: rate.all + rate.users > 100, do: drop}\n"
	counted := func(key byte) (keys []uint64) {
		facts, meters := &fakeFacts{given: map[string]guard.Value{"sip.to_user": guard.Text("100")}}, new(countingMeters)
		guards := facts.guards()
		set, problems := Load(fstest.MapFS{"a.yaml": {Data: []byte(text)}}, []string{"a.yaml"}, NewEnv(guards), LoadOptions{Now: noon, Key: [16]byte{15: key}})
		if set == nil {
			t.Fatal(problems)
		}
		set.Count(meters)
		e, err := guard.NewEngine(guard.EngineOptions{Guards: guards, Policy: set, Now: func() time.Time { return noon }})
		if err != nil {
			t.Fatal(err)
		}
		var d guard.Decision
		e.Judge(context.Background(), (&bench{t: t, source: "203.0.113.9:5060"}).message(), &d)
		for at := range meters.count {
			keys = append(keys, at.key)
		}
		for at, items := range meters.items {
			keys = append(append(keys, at.key), slices.Collect(maps.Keys(items))...)
		}
		slices.Sort(keys)
		return keys
	}
	one := counted(1)
	if again := counted(1); len(one) != 3 || !slices.Equal(one, again) {
		t.Errorf("the same key gives %x, then %x", one, again)
	}
	for _, k := range counted(2) {
		if slices.Contains(one, k) {
			t.Errorf("another key gives the same %x", k)
		}
	}
}

// TestVersion is of the files' bytes and nothing else.
func TestVersion(t *testing.T) {
	load := func(text string) string {
		s, _, _ := loadFiles(new(fakeFacts), nil, "a.yaml", text)
		return s.Version()
	}
	if a, b, c := load("version: 1\n"), load("version: 1\n"), load("version: 1 \n"); a != b || a == c || len(a) != 12 {
		t.Errorf("versions %q %q %q", a, b, c)
	}
	if s, _, _ := loadFiles(new(fakeFacts), nil); s.Version() != "none" {
		t.Errorf("no files have version %q", s.Version())
	}
}
