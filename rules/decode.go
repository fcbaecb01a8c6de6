package rules

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"go.yaml.in/yaml/v4"

	"ringfence/guard"
)

var boolType = cel.BoolType

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

var stageNames = []string{"message", "identity", "call", "reply", "end"}

var actionNames = []string{"allow", "challenge", "reject", "drop"}

var severities = []string{"info", "low", "medium", "high", "critical"}

// span gives a duration field, 0 if it is left out.
func (r *reader) span(n *yaml.Node, what string, least, most time.Duration) time.Duration {
	if n == nil {
		return 0
	}
	d, err := parseSpan(n.Value)
	if err != nil {
		r.bad(n, "bad-duration", "%s: %v", what, err)
		return 0
	}
	if d < least || d > most {
		r.bad(n, "bad-duration", "%s is %s; it may be %s to %s", what, n.Value, spanText(least), spanText(most))
	}
	return d
}

const day = 24 * time.Hour

// names makes known what a rate or an alert groups by.
func (ld *loader) variables(r *reader, n *yaml.Node, what string) []*variable {
	var out []*variable
	for _, i := range r.items(n, what) {
		name := r.text(i, what)
		v := ld.scope.vars[name]
		if v == nil || v.fact < 0 {
			ld.problems = append(ld.problems, Problem{
				File: r.file, Line: i.Line, Col: i.Column, Code: "unknown-fact",
				Text: fmt.Sprintf("%s: no fact is called %s", what, name), Fix: meant(name, ld.scope.names()),
			})
			continue
		}
		out = append(out, v)
	}
	return out
}

// declareRates makes every rate's name known; their conditions come later,
// since they may use terms.
func (ld *loader) declareRates(files []*fileTree) {
	for _, f := range files {
		f.r.entries(f.fields["rates"], "rates", func(name string, key, value *yaml.Node) {
			rt := &rate{name: name}
			fields := f.r.fields(value, "rate "+name, "count", "distinct", "per", "window", "stage", "durable", "about")
			if i, ok := f.r.choice(fields["stage"], "the stage of rate "+name, stageNames...); ok {
				rt.stage = guard.Stage(i)
			}
			if fields["window"] == nil || fields["per"] == nil {
				f.r.bad(value, "missing", "rate %s needs a window and per", name)
			}
			rt.spec = guard.MeterSpec{Name: name, Window: f.r.span(fields["window"], "the window of rate "+name, time.Second, 30*day), Durable: isTrue(f.r, fields["durable"])}
			if !ld.scope.add(&variable{name: "rate." + name, typ: cel.IntType, stage: rt.stage, fact: -1, rate: rt, slot: len(ld.set.rates)}) {
				f.r.bad(key, "twice", "rate %s is already there", name)
				return
			}
			ld.set.rates = append(ld.set.rates, rt)
			ld.later = append(ld.later, func() { ld.rate(f.r, rt, value, fields) })
		})
	}
}

func isTrue(r *reader, n *yaml.Node) bool {
	if n == nil {
		return false
	}
	b, err := strconv.ParseBool(n.Value)
	if err != nil {
		r.bad(n, "not-bool", "want true or false")
	}
	return b
}

func (ld *loader) compileRates() {
	for _, f := range ld.later {
		f()
	}
}

func (ld *loader) rate(r *reader, rt *rate, n *yaml.Node, f map[string]*yaml.Node) {
	what := "rate " + rt.name
	rt.per = ld.variables(r, f["per"], what+": per")
	if f["per"] != nil && len(r.items(f["per"], what)) == 0 {
		r.bad(f["per"], "missing", "%s counts per nothing: name a fact, such as src.ip", what)
	}
	if rt.count = ld.condition(r, f["count"], what); rt.count != nil {
		rt.methods = rt.count.methods
	}
	needs := rt.stage
	if f["distinct"] != nil {
		rt.spec.Distinct = true
		name := r.text(f["distinct"], what)
		if rt.distinct = ld.scope.vars[name]; rt.distinct == nil || rt.distinct.fact < 0 {
			ld.problems = append(ld.problems, Problem{
				File: r.file, Line: f["distinct"].Line, Col: f["distinct"].Column, Code: "unknown-fact",
				Text: fmt.Sprintf("%s: no fact is called %s", what, name), Fix: meant(name, ld.scope.names()),
			})
			return
		}
		needs = max(needs, rt.distinct.stage)
	}
	for _, v := range rt.per {
		needs = max(needs, v.stage)
	}
	if rt.count != nil {
		needs = max(needs, rt.count.stage)
	}
	if needs > rt.stage {
		r.bad(n, "too-early", "%s counts at stage %s, but what it asks is known only from stage %s: write stage: %s", what, rt.stage, needs, needs)
	}
	h := fnv.New64a()
	fmt.Fprint(h, rt.name, rt.stage, rt.spec.Window, rt.spec.Distinct)
	for _, v := range rt.per {
		fmt.Fprint(h, v.name, ",")
	}
	if rt.count != nil {
		fmt.Fprint(h, rt.count.text)
	}
	if rt.distinct != nil {
		fmt.Fprint(h, rt.distinct.name)
	}
	rt.spec.Hash = h.Sum64()
}

// rule reads one rule.
func (ld *loader) rule(r *reader, n *yaml.Node, owner string) {
	f := r.fields(n, "rule", "id", "title", "stage", "when", "do", "with", "ban", "alert", "mode", "on_error", "until", "tags", "references", "owner", "about")
	rule := &Rule{ID: r.text(f["id"], "id"), Title: r.text(f["title"], "title"), Where: fmt.Sprintf("%s:%d", r.file, n.Line), hits: new(hits)}
	if f["id"] == nil || !isName(rule.ID, '-') {
		r.bad(at(f["id"], n), "bad-id", "a rule needs an id of small letters, digits and -")
		return
	}
	if slices.ContainsFunc(ld.set.rules, func(o *Rule) bool { return o.ID == rule.ID }) {
		r.bad(f["id"], "twice", "rule %s is already there", rule.ID)
	}
	if len(ld.set.rules) >= ld.o.Rules {
		r.bad(n, "too-many", "more than %d rules", ld.o.Rules)
		return
	}
	if f["title"] == nil {
		r.bad(n, "missing", "rule %s needs a title: one sentence for people", rule.ID)
	}
	if i, ok := r.choice(f["do"], "do", actionNames...); ok {
		rule.Action = guard.Action(i + 1)
	}
	if i, ok := r.choice(f["mode"], "mode", modeTexts...); ok {
		rule.Mode = Mode(i)
	}
	if i, ok := r.choice(f["on_error"], "on_error", "skip", "match"); ok {
		rule.match = i == 1
	}
	rule.Owner = cmp.Or(r.text(f["owner"], "owner"), owner)
	rule.Tags = r.texts(f["tags"], "tags")
	rule.References = r.texts(f["references"], "references")
	if u := f["until"]; u != nil {
		t, err := parseDay(r.text(u, "until"))
		if err != nil {
			r.bad(u, "bad-date", "%v", err)
		}
		rule.Until = t
		if !ld.o.Now.IsZero() && t.Before(ld.o.Now) {
			r.say(u, Warning, "expired", "rule %s ran out on %s and does nothing", rule.ID, u.Value)
		}
	}
	if f["when"] == nil {
		r.bad(n, "missing", "rule %s needs a condition: when", rule.ID)
	}
	rule.when = ld.condition(r, f["when"], "the condition of rule "+rule.ID)
	ld.stage(r, f["stage"], rule)
	ld.with(r, f["with"], rule)
	ld.ban(r, f["ban"], rule)
	ld.alert(r, f["alert"], rule)
	if rule.Action == guard.Pass && rule.ban == nil && rule.alert == nil && f["do"] == nil {
		r.bad(n, "no-effect", "rule %s does nothing: give it do, ban or alert", rule.ID)
	}
	if rule.Action != guard.Pass && rule.Stage >= guard.StageReply {
		r.bad(at(f["do"], n), "too-late", "rule %s: at stage %s the message is on its way; only ban and alert work there", rule.ID, rule.Stage)
	}
	if rule.when == nil {
		return
	}
	rule.methods = rule.when.methods
	ld.set.rules = append(ld.set.rules, rule)
}

func at(n, or *yaml.Node) *yaml.Node {
	if n != nil {
		return n
	}
	return or
}

func (ld *loader) stage(r *reader, stage *yaml.Node, rule *Rule) {
	if rule.when != nil {
		rule.Stage = rule.when.stage
	}
	i, ok := r.choice(stage, "stage", stageNames...)
	if !ok {
		return
	}
	rule.Stage = guard.Stage(i)
	if rule.when == nil || rule.when.stage <= rule.Stage {
		return
	}
	for _, v := range rule.when.reads {
		if v.stage > rule.Stage {
			r.bad(stage, "too-early", "rule %s stands at stage %s, but %s is known only from stage %s", rule.ID, rule.Stage, v.name, v.stage)
			return
		}
	}
}

// with holds what the action says against the action.
func (ld *loader) with(r *reader, n *yaml.Node, rule *Rule) {
	rule.with = guard.Verdict{Action: rule.Action, Rule: rule.ID}
	if rule.Action == guard.Reject {
		rule.with.Status, rule.with.Reason = 403, "Forbidden"
	}
	if n == nil {
		return
	}
	var known []string
	switch rule.Action {
	case guard.Reject:
		known = []string{"status", "reason", "retry_after"}
	case guard.Challenge:
		known = []string{"realm", "algorithms"}
	default:
		r.bad(n, "with", "rule %s: with goes with do: reject or do: challenge", rule.ID)
		return
	}
	f := r.fields(n, "with", known...)
	if s := f["status"]; s != nil {
		code, err := strconv.Atoi(s.Value)
		if err != nil || code < 400 || code > 699 {
			r.bad(s, "bad-status", "a refusal has a status from 400 to 699, not %s", s.Value)
		}
		rule.with.Status = code
		rule.with.Reason = reasons[code]
	}
	if f["reason"] != nil {
		rule.with.Reason = r.text(f["reason"], "reason")
		if strings.ContainsAny(rule.with.Reason, "\r\n\x00") {
			r.bad(f["reason"], "bad-reason", "a reason is one line")
		}
	}
	rule.with.Reason = cmp.Or(rule.with.Reason, "Refused")
	rule.with.RetryAfter = r.span(f["retry_after"], "retry_after", time.Second, 30*day)
	rule.with.Realm = r.text(f["realm"], "realm")
	for _, a := range r.items(f["algorithms"], "algorithms") {
		if _, ok := r.choice(a, "an algorithm", "MD5", "SHA-256", "SHA-512-256"); ok {
			rule.with.Algorithms = append(rule.with.Algorithms, a.Value)
		}
	}
}

// reasons are the phrases of RFC 3261 section 21 for the usual refusals.
var reasons = map[int]string{
	400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 420: "Bad Extension",
	480: "Temporarily Unavailable", 486: "Busy Here", 488: "Not Acceptable Here", 503: "Service Unavailable", 603: "Decline", 608: "Rejected",
}

func (ld *loader) ban(r *reader, n *yaml.Node, rule *Rule) {
	if n == nil {
		return
	}
	f := r.fields(n, "ban", "by", "for", "escalate", "at_most", "unproven")
	b := &ban{by: "src.ip", escalate: 1}
	if _, ok := r.choice(f["by"], "by", "src.ip", "src.flow"); ok {
		b.by = f["by"].Value
	}
	if b.span = r.span(f["for"], "for", time.Second, 400*day); f["for"] == nil {
		r.bad(n, "missing", "a ban needs for: how long")
	}
	b.most = r.span(f["at_most"], "at_most", time.Second, 400*day)
	if e := f["escalate"]; e != nil {
		x, err := strconv.ParseFloat(e.Value, 64)
		if err != nil || !(x >= 1 && x <= 100) { // also not NaN
			r.bad(e, "bad-number", "escalate is a factor from 1 to 100")
		}
		b.escalate = x
	}
	if f["at_most"] != nil && b.most < b.span {
		r.bad(f["at_most"], "bad-duration", "at_most is shorter than for")
	}
	if b.escalate > 1 && b.most == 0 {
		b.most = 7 * day
	}
	if _, ok := r.choice(f["unproven"], "unproven", "limit", "ban"); ok {
		b.unproven = f["unproven"].Value == "ban"
	}
	rule.ban = b
}

func (ld *loader) alert(r *reader, n *yaml.Node, rule *Rule) {
	if n == nil {
		return
	}
	f := r.fields(n, "alert", "severity", "every", "group_by")
	a := &alert{severity: "medium"}
	if i, ok := r.choice(f["severity"], "severity", severities...); ok {
		a.severity = severities[i]
	}
	a.every = r.span(f["every"], "every", time.Second, 30*day)
	a.group = ld.variables(r, f["group_by"], "group_by")
	for _, v := range a.group {
		if v.stage > rule.Stage {
			r.bad(f["group_by"], "too-early", "rule %s stands at stage %s, but %s is known only from stage %s", rule.ID, rule.Stage, v.name, v.stage)
		}
	}
	rule.alert = a
}

// longestException is how far ahead an exception may reach.
const longestException = 400 * day

func (ld *loader) exception(r *reader, n *yaml.Node) {
	f := r.fields(n, "exception", "id", "rules", "when", "until", "because", "owner", "about")
	x := &exception{id: r.text(f["id"], "id"), rules: r.texts(f["rules"], "rules")}
	if x.id != "" && !isName(x.id, '-') {
		r.bad(f["id"], "bad-id", "an exception needs an id of small letters, digits and -")
	}
	if slices.ContainsFunc(ld.set.exceptions, func(o *exception) bool { return o.id == x.id }) {
		r.bad(at(f["id"], n), "twice", "exception %s is already there", x.id)
	}
	for _, must := range []string{"id", "rules", "when", "until", "because", "owner"} {
		if f[must] == nil {
			r.bad(n, "missing", "an exception needs %s", must)
		} else if must != "rules" && must != "when" {
			r.text(f[must], must)
		}
	}
	if u := f["until"]; u != nil {
		t, err := parseDay(u.Value)
		switch now := ld.o.Now; {
		case err != nil:
			r.bad(u, "bad-date", "%v", err)
		case now.IsZero():
		case t.Before(now):
			r.say(u, Warning, "expired", "exception %s ran out on %s", x.id, u.Value)
		case t.Sub(now) > longestException+day:
			r.bad(u, "too-far", "exception %s reaches more than 400 days ahead", x.id)
		case t.Sub(now) < 14*day:
			r.say(u, Warning, "expiring", "exception %s runs out in %d days (owner %s)", x.id, int(t.Sub(now)/day), r.text(f["owner"], "owner"))
		}
		x.until = t
	}
	x.when = ld.condition(r, f["when"], "the condition of exception "+x.id)
	matched := false
	for _, rule := range ld.set.rules {
		if !x.names(rule.ID) {
			continue
		}
		matched = true
		if x.when != nil && x.when.stage > rule.Stage {
			r.bad(at(f["when"], n), "too-early", "exception %s asks what is known only from stage %s, but rule %s stands at stage %s", x.id, x.when.stage, rule.ID, rule.Stage)
		}
	}
	if !matched && f["rules"] != nil {
		r.bad(f["rules"], "unknown-rule", "exception %s names no rule that there is", x.id)
	}
	if x.when != nil {
		ld.set.exceptions = append(ld.set.exceptions, x)
	}
}

func (x *exception) names(id string) bool {
	return slices.ContainsFunc(x.rules, func(pattern string) bool {
		if head, wild := strings.CutSuffix(pattern, "*"); wild {
			return strings.HasPrefix(id, head)
		}
		return pattern == id
	})
}
